"""The rows of the catalogue: reference position and shape, and forced photometry in every band."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
from mpidriver.tasks.multiband._columns import SHAPE_COLUMNS, bands_of, empty, object_dtype
from mpidriver.tasks.multiband._flags import ObjectFlag
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["join_bands", "join_catalogues"]

_REFERENCE_COLUMNS = ("id", "footprint", "ra", "dec", "x", "y", "ref_band", "snr", *SHAPE_COLUMNS, "flags")


def join_bands(merged, forced, *, is_primary=None, bands=None, tract=0, patch=(0, 0)):
    """Join a patch's reference table with its forced photometry.

    Parameters
    ----------
    merged : ndarray, shape (object,)
        From `merge_measurements`.
    forced : mapping of band to ndarray, shape (object,)
        From `force`, of the same objects.
    is_primary : ndarray of bool, shape (object,), optional
        Whether the row is the one of its sky position in the survey; all are if not given.
    bands : sequence of str, optional
        Bands of the result; those without photometry are NaN with NO_DATA. The bands of `forced` if not given.
    tract : int
    patch : tuple of int, (x, y)

    Returns
    -------
    ndarray, shape (object,)
        Structured, `object_dtype`; columns are explained at `object_units`. Magnitudes are AB, NaN for fluxes that are
        not positive.
    """
    bands = sorted(forced) if bands is None else list(bands)
    for band in forced:
        if band not in bands:
            raise DataError(f"join: band {band!r} has photometry but is not among the bands {', '.join(bands)}")
        if not np.array_equal(forced[band]["id"], merged["id"]):
            raise DataError(f"join: the objects of band {band!r} are not those of the reference table")
    n_apertures = {table.dtype["flux_aper"].shape[0] for table in forced.values()}
    if len(n_apertures) > 1:
        raise DataError(f"join: bands have different numbers of apertures: {sorted(n_apertures)}")
    default = len(MultibandOptions().aperture_radii_arcsec)
    table = empty(object_dtype(bands, n_apertures.pop() if n_apertures else default), merged.size)
    for name in _REFERENCE_COLUMNS:
        table[name] = merged[name]
    table["tract"], (table["patch_x"], table["patch_y"]) = tract, patch
    table["is_primary"] = True if is_primary is None else is_primary
    for band in bands:
        _fill_band(table, band, forced.get(band))
    return table


def _fill_band(table, band, forced):
    if forced is None:
        table[f"flags_{band}"] = int(ObjectFlag.NO_DATA)
        return
    for kind in ("psf", "model", "aper", "auto"):
        table[f"flux_{kind}_{band}"] = forced[f"flux_{kind}"]
        table[f"flux_{kind}_{band}_err"] = forced[f"flux_{kind}_err"]
    for kind in ("psf", "model", "auto"):
        table[f"mag_{kind}_{band}"], table[f"mag_{kind}_{band}_err"] = _magnitudes(
            forced[f"flux_{kind}"], forced[f"flux_{kind}_err"]
        )
    for name in ("blendedness", "snr", "psf_fwhm_arcsec", "flags"):
        table[f"{name}_{band}"] = forced[name]


def _magnitudes(flux_njy, error_njy):
    """Return AB magnitudes and their errors, NaN where the flux is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        flux_njy = np.where(flux_njy > 0, flux_njy, np.nan)
        return NJY_ZERO_POINT_MAG - 2.5 * np.log10(flux_njy), 2.5 / np.log(10.0) * error_njy / flux_njy


def join_catalogues(tables):
    """Join the tables of tracts, which may have different bands, and keep their primary rows.

    Parameters
    ----------
    tables : sequence of ndarray
        From `join_bands`.

    Returns
    -------
    joined : ndarray
        In order of ids; a band that a tract lacks is NaN with NO_DATA.
    bands : list of str
        Its bands.
    """
    bands = sorted({band for table in tables for band in bands_of(table.dtype)})
    n_apertures = {_apertures(table.dtype) for table in tables} - {0}
    if len(n_apertures) > 1:
        raise DataError(f"join: tables have different numbers of apertures: {sorted(n_apertures)}")
    dtype = object_dtype(bands, n_apertures.pop() if n_apertures else 0)
    parts = [_primary_rows(table, dtype, bands) for table in tables]
    joined = np.concatenate(parts) if parts else empty(dtype, 0)
    return joined[np.argsort(joined["id"], kind="stable")], bands


def _apertures(dtype):
    shapes = [dtype[name].shape for name in dtype.names if name.startswith("flux_aper_")]
    return shapes[0][0] if shapes and shapes[0] else 0


def _primary_rows(table, dtype, bands):
    rows = table[table["is_primary"]]
    out = empty(dtype, rows.size)
    for band in set(bands) - set(bands_of(table.dtype)):
        out[f"flags_{band}"] = int(ObjectFlag.NO_DATA)
    for name in rows.dtype.names:
        if rows[name].shape == out[name].shape:
            out[name] = rows[name]
    return out
