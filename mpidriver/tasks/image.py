"""Image, variance and mask of one sky area, and the planes of the mask.

The mask is int32 with one bit a plane; FITS headers name the bits as ``MP_BAD = 0``.
"""

import dataclasses
import enum

import numpy as np

__all__ = ["BAD_PLANES", "MASK_PLANES", "NJY_ZERO_POINT_MAG", "MaskPlane", "MaskedImage"]

#: AB magnitude of 1 nJy: calibrated images are in nJy, ``flux = counts * 10**(-0.4 * (zero_point_mag - 31.4))``.
NJY_ZERO_POINT_MAG = 31.4


class MaskPlane(enum.IntFlag):
    """The planes of a mask, each the value of its bit."""

    BAD = 1
    """Detector defect: dead, hot or unstable pixel."""
    SATURATED = 2
    """At or above the full well, or bled into."""
    COSMIC_RAY = 4
    """Hit by a cosmic ray."""
    INTERPOLATED = 8
    """The value was interpolated from its neighbours."""
    EDGE = 16
    """Too close to the edge for the operation that made the image."""
    NO_DATA = 32
    """No input reached this pixel; the image is NaN."""
    DETECTED = 64
    """Part of a detected object's footprint."""
    CLIPPED = 128
    """At least one input was rejected by clipping here."""
    SUSPECT = 256
    """Usable, but out of the range that was calibrated."""
    SENSOR_EDGE = 512
    """The outermost pixels of a detector."""


#: Name of each plane -> number of its bit.
MASK_PLANES: dict[str, int] = {plane.name: plane.bit_length() - 1 for plane in MaskPlane if plane.name}

#: Planes whose pixels hold no sky: a coadd leaves them out.
BAD_PLANES = MaskPlane.BAD | MaskPlane.SATURATED | MaskPlane.COSMIC_RAY | MaskPlane.NO_DATA


@dataclasses.dataclass(frozen=True)
class MaskedImage:
    """An image with its variance and mask, all of shape (row, col)."""

    image: np.ndarray
    """float32; NaN where NO_DATA."""
    variance: np.ndarray
    """float32, square of the image's unit; NaN where NO_DATA."""
    mask: np.ndarray
    """int32, bits of `MaskPlane`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, cols)."""
        return self.image.shape
