"""What astro-metadata-translator makes of a header: the same properties for all instruments that it knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpidriver.errors import DataError

__all__ = ["Translation"]


class Translation:
    """The header of one image, translated by whoever knows its instrument.

    A property is worked out when it is asked for: others may be missing in the header, or need a network.

    Parameters
    ----------
    headers
        Header of the image and of the primary HDU, in the order in which they are asked.
    path
        The file, for messages.

    Raises
    ------
    DataError
        If nobody knows the instrument.
    """

    def __init__(self, headers: tuple[Mapping[str, Any], ...], path: Path) -> None:
        from astro_metadata_translator import MetadataTranslator

        merged = {key: value for header in reversed(headers) for key, value in header.items()}
        try:
            kind = MetadataTranslator.determine_translator(merged, filename=str(path))
        except ValueError:
            known = ", ".join(sorted(MetadataTranslator.translators))
            raise DataError(
                f"{path}: astro-metadata-translator knows no instrument with such a header; it knows {known}; for "
                "others say in [instrument] where the values stand"
            ) from None
        self._translator = kind(merged, filename=str(path))
        self._path = path

    def value(self, name: str) -> Any:
        """Return a property as a plain number or text: times as MJD (UTC), durations in seconds.

        Raises
        ------
        DataError
            If there is no such property, or the header lacks what it needs.
        """
        where = f"{self._path}: {name} by {self._translator.name}"
        worked_out = getattr(self._translator, f"to_{name}", None)
        if worked_out is None:
            raise DataError(f"{where}: no property of that name; see astro_metadata_translator.PROPERTIES")
        try:
            found = worked_out()
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{where}: {error.args[0] if error.args else error!r}") from None
        if hasattr(found, "mjd"):
            return float(found.utc.mjd)
        if hasattr(found, "to_value"):
            return float(found.to_value("s" if found.unit.is_equivalent("s") else found.unit))
        return found
