"""Which axis of a stored array is spectral, which are the sky, and which Stokes parameter is where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpidriver.errors import DataError

__all__ = ["STOKES_NUMBERS", "CubeAxes", "find_axes", "sky_header"]

#: Values on a FITS axis of type STOKES.
STOKES_NUMBERS = {"I": 1, "Q": 2, "U": 3, "V": 4}

#: How the types of spectral axes begin; the first channel of each may be of any kind.
_SPECTRAL = ("FREQ", "FDEP", "CHAN", "VRAD", "VOPT", "VELO", "FELO", "WAVE", "AWAV", "WAVN", "ZOPT", "BETA", "ENER")
_SKY = ("RA--", "DEC-", "GLON", "GLAT", "ELON", "ELAT")
#: Keywords of one axis, and those that hold for the sky as a whole.
_OF_AN_AXIS = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT", "CROTA")
_OF_THE_SKY = ("LONPOLE", "LATPOLE", "RADESYS", "EQUINOX")
#: What belongs to the cube alone: its range, its time, and what it was itself made of.
_NOT_KEPT = re.compile(r"DATAM(IN|AX)|STOKES|DATE|MPD_\w+|INP\d{5}")


@dataclass(frozen=True)
class CubeAxes:
    """Places of the axes in a stored array, slowest first."""

    shape: tuple[int, ...]
    """Shape of the stored array."""
    chan: int
    """Spectral axis."""
    row: int
    """Slower axis of the sky."""
    col: int
    """Faster axis of the sky."""
    at: tuple[int, ...]
    """Index that is read along each of the other axes; 0 for these three."""

    @property
    def cube_shape(self) -> tuple[int, int, int]:
        """Lengths of channels, rows and columns."""
        return self.shape[self.chan], self.shape[self.row], self.shape[self.col]

    @property
    def order(self) -> tuple[int, int, int]:
        """Which of channel, row and column an array of the three in their stored order has at 0, 1 and 2."""
        kept = sorted((self.chan, self.row, self.col))
        first, second, third = (kept.index(axis) for axis in (self.chan, self.row, self.col))
        return first, second, third


def find_axes(shape: Sequence[int], header: Any, where: str, stokes: str | None) -> CubeAxes:
    """Return the axes of a cube.

    Parameters
    ----------
    shape
        Of the stored array, slowest axis first.
    header
        `astropy.io.fits.Header` with CTYPEn, n counted from the fastest axis. Without a spectral type the slowest axis
        that is longer than 1 is spectral.
    where
        File for messages.
    stokes
        Stokes parameter that is wanted of a STOKES axis longer than 1.
    """
    types = [str(header.get(f"CTYPE{len(shape) - axis}", "")).strip().upper() for axis in range(len(shape))]
    found = f"axes {', '.join(f'{kind or chr(63)} ({size})' for kind, size in zip(types, shape, strict=True))}"
    free = [axis for axis, kind in enumerate(types) if kind != "STOKES"]
    chan = _spectral_axis(free, types, shape)
    sky = [axis for axis in free if axis != chan]
    while len(sky) > 2:
        spare = [axis for axis in sky if shape[axis] == 1 and not types[axis].startswith(_SKY)]
        if not spare:
            break
        sky.remove(spare[0])
    if chan is None or len(sky) != 2:
        raise DataError(f"{where}: expected one spectral and two sky axes beside degenerate ones, found {found}")
    at = [0] * len(shape)
    for axis, kind in enumerate(types):
        if kind == "STOKES" and shape[axis] > 1:
            at[axis] = _stokes_index(header, len(shape) - axis, shape[axis], where, stokes)
    return CubeAxes(tuple(shape), chan, sky[0], sky[1], tuple(at))


def _spectral_axis(free: Sequence[int], types: Sequence[str], shape: Sequence[int]) -> int | None:
    named = [axis for axis in free if types[axis].startswith(_SPECTRAL) or "FREQ" in types[axis]]
    if named:
        return named[0]
    unnamed = [axis for axis in free if not types[axis].startswith(_SKY)]
    long = [axis for axis in unnamed if shape[axis] > 1]
    return next(iter(long or unnamed), None)


def _stokes_index(header: Any, number: int, length: int, where: str, stokes: str | None) -> int:
    first, step, reference = (header.get(f"{key}{number}", 1.0) for key in ("CRVAL", "CDELT", "CRPIX"))
    values = [round(first + (index + 1 - reference) * step) for index in range(length)]
    if stokes is not None and STOKES_NUMBERS[stokes] in values:
        return values.index(STOKES_NUMBERS[stokes])
    names = {value: name for name, value in STOKES_NUMBERS.items()}
    there = ", ".join(names.get(value, str(value)) for value in values)
    raise DataError(f"{where}: expected Stokes {stokes or 'of one kind'}, its STOKES axis has {there}")


def sky_header(header: Any, axes: CubeAxes) -> Any:
    """Return the header of the sky alone: columns are axis 1 and rows axis 2, with what else the header says.

    Parameters
    ----------
    header
        `astropy.io.fits.Header` of the cube.
    axes
        Its axes.
    """
    from astropy.io import fits

    from mpidriver.store._fits._headers import free_values
    from mpidriver.store._fits._scan import quiet

    numbers = {len(axes.shape) - axes.col: 1, len(axes.shape) - axes.row: 2}
    with quiet():
        kept = fits.Header()
        for old, new in numbers.items():
            kept.update({f"{key}{new}": header[f"{key}{old}"] for key in _OF_AN_AXIS if f"{key}{old}" in header})
        for old, new in numbers.items():
            for other, second in numbers.items():
                for key in ("PC", "CD"):
                    _copy_element(header, kept, key, (old, other), (new, second))
        for key in header:
            if key in _OF_THE_SKY or (key.startswith("PV") and key[2:].partition("_")[0] in map(str, numbers)):
                old_number, _, rest = key[2:].partition("_")
                kept[f"PV{numbers[int(old_number)]}_{rest}" if key.startswith("PV") else key] = header[key]
        for key, value in free_values(header).items():
            if not _NOT_KEPT.fullmatch(key) and len(key) <= 8 and key not in kept:
                kept[key] = value
    return kept


def _copy_element(header: Any, kept: Any, key: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Copy one element of a matrix of coordinates, in either spelling."""
    for name in (f"{key}{old[0]}_{old[1]}", f"{key}{old[0]:03d}{old[1]:03d}"):
        if name in header:
            kept[f"{key}{new[0]}_{new[1]}"] = header[name]
