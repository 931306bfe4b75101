"""The reference catalogue's columns by their standard names."""

from typing import TYPE_CHECKING

from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers.config import ReferenceOptions

__all__ = ["standard_columns"]


def standard_columns(table: "np.ndarray", options: "ReferenceOptions", where: str) -> "np.ndarray":
    """Return the reference table with the columns that the tasks know.

    These are ra, dec, mag_<band> and, as far as they are named, mag_<band>_err, error_mas, ra_err_mas, dec_err_mas,
    pm_ra_masyr, pm_dec_masyr, their errors, and epoch_yr.

    Raises
    ------
    ConfigError
        If a column is named that the table lacks, or motions without their epoch.
    """
    import numpy as np

    names = table.dtype.names or ()
    columns = _named(options) | _magnitudes(names, options)
    missing = [name for name in columns.values() if name not in names]
    if missing:
        raise ConfigError(f"{where}: no column {missing[0]!r}; the table has {', '.join(names)}; see [reference]")
    year = _year(options.epoch)
    if "pm_ra_masyr" in columns and year is None and "epoch_yr" not in columns:
        raise ConfigError(f"{where}: proper motions without epoch; name a column or a year as epoch in [reference]")
    kinds = [(name, "f8") for name in columns] + ([] if year is None else [("epoch_yr", "f8")])
    stars = np.zeros(len(table), dtype=kinds)
    for name, column in columns.items():
        stars[name] = table[column]
    if year is not None:
        stars["epoch_yr"] = year
    return stars


def _named(options: "ReferenceOptions") -> dict[str, str]:
    """Return standard name to the column that is named for it."""
    columns = {
        "ra": options.ra,
        "dec": options.dec,
        "error_mas": options.position_error,
        "ra_err_mas": options.ra_error,
        "dec_err_mas": options.dec_error,
        "pm_ra_masyr": options.pm_ra,
        "pm_dec_masyr": options.pm_dec,
        "pm_ra_err_masyr": options.pm_ra_error,
        "pm_dec_err_masyr": options.pm_dec_error,
        "epoch_yr": options.epoch if _year(options.epoch) is None else "",
    }
    return {name: column for name, column in columns.items() if column}


def _year(epoch: str) -> float | None:
    """Return the epoch if it is a number."""
    try:
        return float(epoch)
    except ValueError:
        return None


def _magnitudes(names: tuple[str, ...], options: "ReferenceOptions") -> dict[str, str]:
    """Return standard name to the column of magnitudes, and of their errors, of each band that the table has."""
    errors = {_band(name, options.magnitude_error): name for name in names if options.magnitude_error}
    errors.pop("", None)
    taken = {*errors.values(), *_named(options).values()}
    magnitudes = {_band(name, options.magnitude): name for name in names if name not in taken}
    magnitudes.pop("", None)
    columns = {f"mag_{band}": name for band, name in magnitudes.items()}
    return columns | {f"mag_{band}_err": name for band, name in errors.items() if band in magnitudes}


def _band(name: str, pattern: str) -> str:
    """Return the band that a column's name has by a pattern; empty if it does not fit."""
    before, _, after = pattern.partition("{band}")
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else ""
