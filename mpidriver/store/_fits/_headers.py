"""FITS headers: values in and out, WCS and mask planes."""

import math
import re
from collections.abc import Mapping
from typing import Any

from astropy.io import fits

from mpidriver.errors import DataError
from mpidriver.store._fits._scan import quiet

__all__ = ["extra_cards", "free_values", "mask_plane_cards", "wcs_cards", "wcs_from_header"]

_STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|T(TYPE|FORM|UNIT|DIM|COMM|NULL|SCAL|ZERO|DISP)\d+"
    r"|THEAP|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|CHECKSUM|DATASUM|END|COMMENT|HISTORY|"
)
_WCS = re.compile(
    r"WCSAXES|WCSNAME|C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)\d+|(CD|PC)\d+_\d+|P[VS]\d+_\d+"
    r"|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)|LONPOLE|LATPOLE|RADESYS|EQUINOX|MJDREF[IF]?|SPECSYS|RESTFRQ|RESTWAV"
)
_PLAIN_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")


def wcs_from_header(header: Any) -> Any:
    """Return the `astropy.wcs.WCS` of a header or of its text.

    Parameters
    ----------
    header
        `astropy.io.fits.Header` of an image or a table, or text as `WCS.to_header_string` and
        ``Header.tostring`` give it. With SIP distortion only the celestial axes count, as astropy wants it.
    """
    from astropy.wcs import WCS

    if isinstance(header, str):
        header = fits.Header.fromstring(header, sep="\n" if "\n" in header else "")
    if header.get("XTENSION") == "BINTABLE":
        header = fits.Header([card for card in header.cards if _WCS.fullmatch(card.keyword)])
    with quiet():
        return WCS(header, naxis=2 if "A_ORDER" in header else None)


def wcs_cards(wcs: Any, axes: int) -> Any:
    """Return the header cards of a WCS given as `WCS`, `Header`, text or none.

    Parameters
    ----------
    wcs
        Coordinates; of a header only the WCS keywords count.
    axes
        Axes of the array: WCSAXES is raised to it, so that further axes can be described by plain keywords.
    """
    if wcs is None:
        return fits.Header()
    if isinstance(wcs, str):
        wcs = wcs_from_header(wcs)
    with quiet():
        header = wcs if isinstance(wcs, fits.Header) else wcs.to_header(relax=True)
    kept = fits.Header([card for card in header.cards if _WCS.fullmatch(card.keyword)])
    if int(kept.get("WCSAXES", axes)) < axes:
        kept["WCSAXES"] = axes
    return kept


def extra_cards(values: Mapping[str, Any], *, where: str, taken: Any = ()) -> list[Any]:
    """Return header cards of plain values.

    Parameters
    ----------
    values
        Keyword to str, bool, int, float, None or ``(value, comment)``. Keywords longer than 8 letters become
        HIERARCH cards. NaN and infinity, which FITS cannot hold, become undefined values. What describes the array
        (NAXIS, BITPIX …) is left out, as are the keywords in `taken`.
    where
        File for messages.
    taken
        Keywords that are there already.
    """
    cards = []
    for key, value in values.items():
        keyword = key.strip().upper()
        if _STRUCTURE.fullmatch(keyword) or keyword in taken:
            continue
        content, comment = value if isinstance(value, tuple) else (value, "")
        name = keyword if _PLAIN_KEYWORD.fullmatch(keyword) else f"HIERARCH {keyword}"
        try:
            cards.append(fits.Card(name, _plain_value(content, f"{where}: header {key!r}"), _printable(comment)))
            with quiet():
                str(cards[-1])
        except ValueError as error:
            raise DataError(f"{where}: header {key!r} = {content!r} cannot be written: {error}") from None
    return cards


def _plain_value(value: Any, where: str) -> str | bool | int | float | None:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    raise DataError(f"{where} must be a text, a number or true/false, got {type(value).__name__} {value!r}")


def _printable(text: str) -> str:
    """Return a text with what FITS cannot hold written as a Python escape."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def mask_plane_cards(planes: Mapping[str, int], *, where: str) -> list[Any]:
    """Return the ``MP_<NAME> = <bit>`` cards that name the bits of a mask."""
    ordered = sorted(planes.items(), key=lambda plane: plane[1])
    return extra_cards({f"MP_{name}": int(bit) for name, bit in ordered}, where=where)


def mask_planes(header: Any) -> dict[str, int]:
    """Return the names and bits of a mask's planes."""
    return {key[3:]: int(value) for key, value in header.items() if key.startswith("MP_")}


def free_values(header: Any) -> dict[str, Any]:
    """Return the values of a header that neither describe the array nor its coordinates nor name mask planes."""
    return {
        key: None if isinstance(value, fits.card.Undefined) else value
        for key, value in header.items()
        if not (_STRUCTURE.fullmatch(key) or _WCS.fullmatch(key) or key.startswith("MP_"))
    }
