"""Headers of cutouts: those of the image they are from, card by card, but for its size and the zero point of pixels.

A cutout's coordinates are exact whatever the projection and distortion: cutting only moves the reference pixel. SIP and
TPV polynomials count from there, so that no other card changes.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpidriver.store._fits._cards import CARD_LENGTH, Cards, card_text
from mpidriver.store._fits._scan import padded

__all__ = ["EMPTY_PRIMARY", "CutoutHeader", "hdu_bytes"]

Array = np.ndarray[Any, Any]

#: What depends on the array and on the HDU's place in a file, and what a copy makes wrong.
_DROPPED = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|EXTNAME|EXTVER|INHERIT|CHECKSUM|DATASUM|")
#: What describes the coordinates of the first two axes.
_COORDINATES = re.compile(
    r"WCSNAME|C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)[12]|(CD|PC)[12]_[12]|P[VS][12]_\d+"
    r"|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)|LONPOLE|LATPOLE|RADESYS|EQUINOX"
)
_SCALING = ("BSCALE", "BZERO", "BLANK")
#: Positions in pixels along the first two axes; LTV is IRAF's, of the image before it was cut.
_SHIFTED = re.compile(r"CRPIX([12])[A-Z]?|LTV([12])")


class CutoutHeader:
    """The header of an image, ready to become that of any box of its pixels.

    Parameters
    ----------
    header
        Of the image.
    wcs_header
        Coordinates that stand for those of the header: text of `WCS.to_header_string`. None: the header's own.
    """

    def __init__(self, header: Cards, *, wcs_header: str | None = None) -> None:
        self._bitpix = int(header.get("BITPIX"))
        cards = [card for card in header.cards if not _DROPPED.fullmatch(card[:8].strip()) or _is_comment(card)]
        if wcs_header is not None:
            cards = [card for card in cards if not _COORDINATES.fullmatch(card[:8].strip())]
            cards += [card for card in Cards(wcs_header).cards if _COORDINATES.fullmatch(card[:8].strip())]
        self._cards = _with_reference_pixels(cards)
        self._shifts = [(place, *shift) for place, card in enumerate(self._cards) if (shift := _shift(card))]

    def of_box(
        self,
        x0: int,
        y0: int,
        shape: tuple[int, ...],
        *,
        name: str | None,
        values: Mapping[str, str | int | float],
        float_bytes: int = 0,
    ) -> bytes:
        """Return the header of a box, padded.

        Parameters
        ----------
        x0, y0 : px, 0-based
            First column and row of the box.
        shape
            Shape of the box, slowest axis first.
        name
            EXTNAME of an extension; None for a primary HDU.
        values
            Further values.
        float_bytes
            Bytes of a pixel, if pixels were scaled and made floats; 0: they are as they were.
        """
        cards = list(self._cards)
        for place, keyword, axis, value in self._shifts:
            cards[place] = card_text(keyword, value - (x0 if axis == 1 else y0))
        if float_bytes:
            cards = [card for card in cards if card[:8].strip() not in _SCALING]
        bitpix = -8 * float_bytes if float_bytes else self._bitpix
        own = [card_text(keyword, value) for keyword, value in values.items()]
        text = "".join([*_structure(bitpix, shape, name), *cards, *own]) + "END".ljust(CARD_LENGTH)
        return text.ljust(padded(len(text))).encode("ascii", "replace")


def hdu_bytes(header: bytes, pixels: Array) -> list[Any]:
    """Return the pieces of an HDU, in their order: header, stored pixels, padding."""
    content = np.ascontiguousarray(pixels)
    return [header, content, bytes(padded(content.nbytes) - content.nbytes)]


def _is_comment(card: str) -> bool:
    """Tell whether a card without keyword is a comment and not filling."""
    return not card[:8].strip() and bool(card.strip())


def _with_reference_pixels(cards: list[str]) -> list[str]:
    """Return cards with every reference pixel written out; where there is none it is 0."""
    known = {card[:8].strip() for card in cards}
    axes = [keyword[5:] for keyword in known if re.fullmatch(r"CTYPE[12][A-Z]?", keyword)]
    return cards + [card_text(f"CRPIX{axis}", 0.0) for axis in sorted(axes) if f"CRPIX{axis}" not in known]


def _shift(card: str) -> tuple[str, int, float] | None:
    """Return keyword, axis and value of a card that holds a position in pixels, None of others."""
    keyword = card[:8].strip()
    match = _SHIFTED.fullmatch(keyword)
    return (keyword, int(match[1] or match[2]), float(Cards(card).get(keyword, 0.0))) if match else None


def _structure(bitpix: int, shape: tuple[int, ...], name: str | None) -> list[str]:
    """Return the cards that describe the array and the HDU."""
    first = card_text("SIMPLE", True) if name is None else card_text("XTENSION", "IMAGE")
    axes = [card_text(f"NAXIS{axis}", length) for axis, length in enumerate(reversed(shape), start=1)]
    cards = [first, card_text("BITPIX", bitpix), card_text("NAXIS", len(shape)), *axes]
    if name is None:
        return [*cards, card_text("EXTEND", True)]
    return [*cards, card_text("PCOUNT", 0), card_text("GCOUNT", 1), card_text("EXTNAME", name)]


def _empty_primary() -> bytes:
    cards = [card_text("SIMPLE", True), card_text("BITPIX", 8), card_text("NAXIS", 0), card_text("EXTEND", True)]
    text = "".join(cards) + "END"
    return text.ljust(padded(len(text))).encode("ascii")


#: A primary HDU without data, for files of extensions.
EMPTY_PRIMARY = _empty_primary()
