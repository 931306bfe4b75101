"""Detections of several bands become one list of objects."""

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.sphere import unit_vectors
from mpidriver.tasks.multiband._columns import merged_dtype
from mpidriver.tasks.multiband._ids import object_id
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["by_priority", "merge_detections"]


def merge_detections(detections, *, tract=0, patch=(0, 0), options=None):
    """Merge a patch's detections over its bands.

    Bands come in order of priority. A detection within the merge radius of an object that an earlier band made is that
    object; any other becomes a new one, at its own position. Detections of one band stay apart however close.

    Parameters
    ----------
    detections : mapping of band to ndarray
        From `detect`, all on one pixel grid.
    tract : int
    patch : tuple of int, (x, y)
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object,)
        Structured, `merged_dtype`, in order of rows and numbered so; ``detected_<band>`` for every band that was given.
    """
    options = options or MultibandOptions()
    bands = by_priority(detections, options.priority)
    table = np.zeros(0, merged_dtype(bands))
    for band in bands:
        table = _add_band(table, detections[band], f"detected_{band}", options.merge_radius_arcsec)
    table = table[np.lexsort((table["x"], table["y"]))]
    table["id"] = object_id(tract, patch, np.arange(table.size))
    return table


def by_priority(bands, priority):
    """Return bands in order of priority, those without one last by name."""
    return sorted(bands, key=lambda band: (priority.index(band) if band in priority else len(priority), band))


def _add_band(table, found, column, radius_arcsec):
    if found.size == 0:
        return table
    known = _nearest(table, found, radius_arcsec)
    table[column][known[known < table.size]] = True
    fresh = found[known == table.size]
    rows = np.zeros(fresh.size, table.dtype)
    for name in ("ra", "dec", "x", "y"):
        rows[name] = fresh[name]
    rows[column] = True
    return np.concatenate([table, rows])


def _nearest(table, found, radius_arcsec):
    """Return the row of `table` nearest to each detection, its length where none is within the radius."""
    if table.size == 0:
        return np.zeros(found.size, dtype=np.intp)
    chord = 2.0 * np.sin(np.radians(radius_arcsec / 3600.0) / 2.0)
    tree = cKDTree(unit_vectors(table["ra"], table["dec"]))
    return tree.query(unit_vectors(found["ra"], found["dec"]), distance_upper_bound=max(chord, 1e-15))[1]
