"""The planes of a mask and the record of an image."""

import numpy as np

from mpidriver.tasks.image import BAD_PLANES, MASK_PLANES, MaskedImage, MaskPlane


def test_planes_keep_their_bits():
    """Masks of older repositories are read by these numbers."""
    assert MASK_PLANES == {
        "BAD": 0,
        "SATURATED": 1,
        "COSMIC_RAY": 2,
        "INTERPOLATED": 3,
        "EDGE": 4,
        "NO_DATA": 5,
        "DETECTED": 6,
        "CLIPPED": 7,
        "SUSPECT": 8,
        "SENSOR_EDGE": 9,
    }
    assert all(MaskPlane[name] == 1 << bit for name, bit in MASK_PLANES.items())


def test_a_masked_image_knows_its_shape():
    planes = np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32), np.zeros((3, 4), np.int32)
    assert MaskedImage(*planes).shape == (3, 4)


def test_bad_planes_hold_no_sky():
    assert MaskPlane.NO_DATA in BAD_PLANES
    assert MaskPlane.SATURATED in BAD_PLANES
    assert MaskPlane.INTERPOLATED not in BAD_PLANES
