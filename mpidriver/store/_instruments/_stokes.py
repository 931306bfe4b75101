"""Channel images of a polarimeter: frequency, Stokes parameters and unit, as their headers tell them."""

import re
from typing import Any

from mpidriver.errors import DataError
from mpidriver.frequencies import HERTZ, LOWEST_FREQUENCY_HZ

__all__ = ["jy_per_beam", "stokes_metadata"]

#: FITS numbers of the Stokes parameters that count.
LETTERS = {1: "I", 2: "Q", 3: "U", 4: "V"}
_FLUX = re.compile(r"(?P<prefix>[munµ]?)jy *(/ *beam|[. ] *beam *(\^|\*\*)?-1)", re.IGNORECASE)
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}


def stokes_metadata(where: str, header: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what the header of a channel's image says.

    Parameters
    ----------
    where
        File and HDU, for messages.
    header
        Its header.
    shape
        Of its array.

    Returns
    -------
    dict
        ``freq_hz``, ``stokes`` (a letter a plane) and ``unit``.

    Raises
    ------
    DataError
        If an axis is missing, the frequency is none in Hz, one of I, Q and U is absent, or the unit is not Jy/beam or a
        part of it.
    """
    axes = {str(header.get(f"CTYPE{n}", "")).strip().upper()[:6]: n for n in range(1, len(shape) + 1)}
    if "STOKES" not in axes or header[f"NAXIS{axes['STOKES']}"] not in (3, 4):
        raise DataError(
            f"{where}: expected a STOKES axis of length 3 or 4, the array has shape {shape}, axes {list(axes)}"
        )
    if "FREQ" not in axes or header[f"NAXIS{axes['FREQ']}"] != 1:
        raise DataError(f"{where}: expected a FREQ axis of length 1, the array has shape {shape}")
    stokes = "".join(LETTERS.get(round(value), "?") for value in _axis_values(header, axes["STOKES"]))
    if not set("IQU") <= set(stokes):
        raise DataError(f"{where}: expected Stokes I, Q and U, its STOKES axis has {stokes}")
    unit = str(header.get("BUNIT", "")).strip() or "Jy/beam"
    return {"freq_hz": _frequency(where, header, axes["FREQ"]), "stokes": stokes, "unit": unit}


def _axis_values(header: Any, axis: int) -> list[float]:
    first, step = float(header[f"CRVAL{axis}"]), float(header.get(f"CDELT{axis}", 1.0))
    reference = float(header.get(f"CRPIX{axis}", 1.0))
    return [first + (pixel - reference) * step for pixel in range(1, int(header[f"NAXIS{axis}"]) + 1)]


def _frequency(where: str, header: Any, axis: int) -> float:
    unit = str(header.get(f"CUNIT{axis}", "Hz")).strip()
    if unit.lower() not in HERTZ:
        raise DataError(f"{where}: CUNIT{axis} of the frequency: expected Hz, kHz, MHz, GHz or THz, got {unit!r}")
    freq_hz = _axis_values(header, axis)[0] * HERTZ[unit.lower()]
    if not LOWEST_FREQUENCY_HZ <= freq_hz < float("inf"):
        raise DataError(
            f"{where}: expected a frequency above {LOWEST_FREQUENCY_HZ:g} Hz, got {freq_hz:g}; if it is in MHz or GHz, "
            f"CUNIT{axis} has to say so"
        )
    return freq_hz


def jy_per_beam(unit: str) -> float:
    """Return what turns a brightness into Jy/beam.

    Raises
    ------
    DataError
        If the unit is not Jy/beam, mJy/beam, uJy/beam or nJy/beam.
    """
    match = _FLUX.fullmatch(unit.strip())
    if match is None or match["prefix"] == "M":
        raise DataError(f"BUNIT: expected Jy/beam, mJy/beam, uJy/beam or nJy/beam, got {unit!r}")
    return _PREFIXES[match["prefix"].lower()]
