"""One reference band an object: the band that says where it is and what shape it has."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.multiband._columns import empty, reference_dtype
from mpidriver.tasks.multiband._flags import UNRELIABLE
from mpidriver.tasks.multiband._merge import by_priority
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["merge_measurements"]


def merge_measurements(measurements, *, options=None):
    """Choose each object's reference band and keep that band's position and shape.

    The reference band is the first by priority that measured the object without trouble at the reference S/N or better;
    without such a band the one of highest S/N without trouble, then the one of highest S/N, then the first (Bosch et
    al. 2018, PASJ 70, S5, sect. 3.4).

    Parameters
    ----------
    measurements : mapping of band to ndarray, shape (object,)
        From `measure`, all of the same objects.
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object,)
        Structured, `reference_dtype`.
    """
    options = options or MultibandOptions()
    bands = by_priority(measurements, options.priority)
    if not bands:
        return empty(reference_dtype(), 0)
    tables = [measurements[band] for band in bands]
    for band, table in zip(bands, tables, strict=True):
        if not np.array_equal(table["id"], tables[0]["id"]):
            raise DataError(f"band {band}: its objects are not those of band {bands[0]}; measure the same merged list")
    chosen = _choice(tables, options.reference_snr)
    merged = empty(reference_dtype(), tables[0].size)
    for k, (band, table) in enumerate(zip(bands, tables, strict=True)):
        rows = chosen == k
        for name in merged.dtype.names:
            merged[name][rows] = band if name == "ref_band" else table[name][rows]
    return merged


def _choice(tables, enough_snr):
    """Return the number of the chosen table for each object."""
    snr = np.array([np.nan_to_num(table["snr"], nan=-np.inf) for table in tables], dtype=float)
    clean = np.array([table["flags"] & int(UNRELIABLE) == 0 for table in tables])
    enough = clean & (snr >= enough_snr)
    best_clean = np.argmax(np.where(clean, snr, -np.inf), axis=0)
    best = np.where(clean.any(axis=0), best_clean, np.argmax(snr, axis=0))
    return np.where(enough.any(axis=0), np.argmax(enough, axis=0), best)
