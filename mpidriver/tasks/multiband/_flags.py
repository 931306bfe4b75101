"""Flags of measured objects: bits with names."""

import enum

from mpidriver.tasks.image import MaskPlane

__all__ = ["OBJECT_FLAGS", "UNRELIABLE", "ObjectFlag", "flags_from_mask"]


class ObjectFlag(enum.IntFlag):
    """What is wrong with a measurement in one band."""

    NO_DATA = 1
    """The band has no pixels here; fluxes are NaN."""
    EDGE = 2
    """Pixels without data within two FWHM."""
    SATURATED = 4
    """A saturated pixel within one FWHM."""
    BAD_PIXEL = 8
    """A pixel within one FWHM that was bad or hit by a cosmic ray in every exposure."""
    INTERPOLATED = 16
    """An interpolated pixel within one FWHM."""
    CLIPPED = 32
    """An exposure was clipped within one FWHM."""
    SUSPECT = 64
    """A suspect pixel within one FWHM."""
    NEIGHBOUR = 128
    """Another object within two FWHM."""
    CENTROID = 256
    """The centroid wandered off or did not settle; the detected position stands."""
    SHAPE = 512
    """The second moments did not settle; those of the PSF stand."""
    NO_PSF = 1024
    """Too few stars: the PSF of the options stands, aperture corrections are a model's."""
    BLENDED = 2048
    """A twentieth or more of the light under its model is other objects'; fluxes are without theirs."""
    SKY = 4096
    """No object: an empty place, measured as objects are to show the noise."""


#: Name of each flag -> number of its bit.
OBJECT_FLAGS: dict[str, int] = {flag.name: flag.bit_length() - 1 for flag in ObjectFlag if flag.name}

#: Flags with which a band does not become an object's reference band if another can, nor an object a PSF star.
UNRELIABLE = ObjectFlag.NO_DATA | ObjectFlag.EDGE | ObjectFlag.SATURATED | ObjectFlag.BAD_PIXEL | ObjectFlag.CENTROID

_FROM_MASK = {
    MaskPlane.SATURATED: ObjectFlag.SATURATED,
    MaskPlane.BAD: ObjectFlag.BAD_PIXEL,
    MaskPlane.COSMIC_RAY: ObjectFlag.BAD_PIXEL,
    MaskPlane.INTERPOLATED: ObjectFlag.INTERPOLATED,
    MaskPlane.CLIPPED: ObjectFlag.CLIPPED,
    MaskPlane.SUSPECT: ObjectFlag.SUSPECT,
}


def flags_from_mask(bits):
    """Return the flags that mask bits under an object (ndarray of int) mean."""
    flags = 0 * bits
    for plane, flag in _FROM_MASK.items():
        flags |= ((bits & int(plane)) != 0) * int(flag)
    return flags
