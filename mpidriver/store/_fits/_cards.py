"""FITS headers as their cards, 80 letters each, read without astropy, whose import takes longer than many a cutout."""

import re
from typing import Any

__all__ = ["CARD_LENGTH", "Cards", "card_text"]

CARD_LENGTH = 80

_STRING = re.compile(r"'((?:[^']|'')*)'")
_PLAIN = re.compile(r"[^/]*")


class Cards:
    """A header that is looked at and copied, never changed.

    Parameters
    ----------
    text
        The header, with or without END and what follows it.
    """

    def __init__(self, text: str) -> None:
        cards = [text[start : start + CARD_LENGTH] for start in range(0, len(text), CARD_LENGTH)]
        end = next((place for place, card in enumerate(cards) if card.startswith("END     ")), len(cards))
        #: The cards, without END.
        self.cards = [card.ljust(CARD_LENGTH) for card in cards[:end]]
        self._places: dict[str, int] = {}
        for place, card in enumerate(self.cards):
            self._places.setdefault(_keyword(card), place)

    @property
    def text(self) -> str:
        """The cards in a row, as ``astropy.io.fits.Header.fromstring`` reads them."""
        return "".join(self.cards)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._places

    def __iter__(self) -> Any:
        return iter(self._places)

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return the value of a keyword's first card: str, bool, int or float; `default` if there is none.

        Long texts that are continued on further cards come back as their first part.

        Raises
        ------
        ValueError
            If the value is none that FITS knows.
        """
        place = self._places.get(keyword)
        if place is None:
            return default
        value = _value(self.cards[place])
        return default if value is None else value


def _keyword(card: str) -> str:
    if card.startswith("HIERARCH"):
        return card[8:].partition("=")[0].strip()
    return card[:8].strip()


def _value(card: str) -> str | bool | int | float | None:
    head, equals, field = card.partition("=")
    if not equals or (len(head) != 8 and not card.startswith("HIERARCH")):
        return None
    field = field.strip()
    if field.startswith("'"):
        match = _STRING.match(field)
        if match is None:
            raise ValueError(f"the text is not closed: {card.rstrip()!r}")
        return match[1].replace("''", "'").rstrip()
    match = _PLAIN.match(field)
    plain = match[0].strip() if match else ""
    if plain in ("T", "F"):
        return plain == "T"
    if not plain:
        return None
    return int(plain) if re.fullmatch(r"[+-]?\d+", plain) else float(plain.upper().replace("D", "E"))


def card_text(keyword: str, value: str | bool | int | float) -> str:
    """Return one card, as astropy writes it without a comment.

    Parameters
    ----------
    keyword
        Of at most 8 letters.
    value
        Letters beyond ASCII become Python escapes; what does not fit on one card is cut off.
    """
    if isinstance(value, bool):
        return f"{keyword:<8}= {'T' if value else 'F':>20}".ljust(CARD_LENGTH)
    if isinstance(value, str):
        quoted = value.encode("ascii", "backslashreplace").decode().replace("'", "''")
        if len(quoted) > CARD_LENGTH - 12:
            quoted = quoted[: CARD_LENGTH - 12].rstrip("'")
        return f"{keyword:<8}= '{quoted:<8}'".ljust(CARD_LENGTH)
    text = repr(float(value)).upper() if isinstance(value, float) else str(int(value))
    return f"{keyword:<8}= {text:>20}".ljust(CARD_LENGTH)
