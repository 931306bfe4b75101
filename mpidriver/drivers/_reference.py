"""The reference catalogue: its columns by their standard names, and its stars by place."""

from typing import TYPE_CHECKING

from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers.config import ReferenceOptions

__all__ = ["ReferenceStars", "standard_columns"]


class ReferenceStars:
    """The stars of the catalogue in the order of their declination, so that a frame looks at a strip of them alone.

    Parameters
    ----------
    stars : ndarray, shape (n,)
        Structured, with ra and dec (deg); those without a position are never found.
    """

    def __init__(self, stars: "np.ndarray") -> None:
        import numpy as np

        from mpidriver.sphere import unit_vectors

        vectors = unit_vectors(stars["ra"], stars["dec"])
        self._stars = stars
        self._order = np.argsort(vectors[:, 2], kind="stable")
        self._vectors = vectors[self._order]
        self._height = np.ascontiguousarray(self._vectors[:, 2])

    def around(self, corners_xyz: "np.ndarray", margin_deg: float) -> "np.ndarray":
        """Return the stars within the circle around a polygon, grown by a margin, in the order of the catalogue."""
        import numpy as np

        centre = corners_xyz.mean(axis=0)
        centre = centre / np.linalg.norm(centre)
        radius = min(np.arccos(np.clip(np.min(corners_xyz @ centre), -1.0, 1.0)) + np.radians(margin_deg), np.pi)
        dec = np.arcsin(np.clip(centre[2], -1.0, 1.0))
        lowest, highest = np.sin(np.clip([dec - radius, dec + radius], -np.pi / 2, np.pi / 2))
        strip = slice(*np.searchsorted(self._height, [lowest - 1e-12, highest + 1e-12]))
        near = self._vectors[strip] @ centre >= np.cos(radius)
        return self._stars[np.sort(self._order[strip][near])]


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
