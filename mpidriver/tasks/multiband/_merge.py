"""Detections of several bands become one list of objects."""

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.sphere import unit_vectors
from mpidriver.tasks.multiband._columns import merged_dtype
from mpidriver.tasks.multiband._ids import object_id
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["by_priority", "merge_detections"]


def merge_detections(detections, *, combined=None, tract=0, patch=(0, 0), options=None):
    """Merge a patch's detections over its bands.

    Bands come in order of priority. The detection nearest to an object that an earlier band made, within the merge
    radius, is that object; any other becomes a new one, at its own position. Detections of one band stay apart however
    close. What all bands together show comes last, then sky objects.

    Parameters
    ----------
    detections : mapping of band to ndarray
        From `detect`, all on one pixel grid.
    combined : CombinedDetections, optional
        From `detect_combined`, on the same grid.
    tract : int
    patch : tuple of int, (x, y)
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object,)
        Structured, `merged_dtype`, in order of rows and numbered so, sky objects last; ``detected_<band>`` for every
        band that was given, and ``detected_combined``; `footprint` numbers the footprints of `combined`, 0 outside.
    """
    options = options or MultibandOptions()
    bands = by_priority(detections, options.priority)
    table = np.zeros(0, merged_dtype(bands))
    for band in bands:
        table = _add_band(table, detections[band], f"detected_{band}", options.merge_radius_arcsec)
    if combined is not None:
        real = ~combined.table["is_sky"]
        _move_to_peaks(table, combined, real, options.merge_radius_arcsec)
        table = _add_band(table, combined.table[real], "detected_combined", options.merge_radius_arcsec)
    table = table[np.lexsort((table["x"], table["y"]))]
    if combined is not None:
        table = np.concatenate([table, _sky_rows(combined.table[~real], table.dtype)])
        table["footprint"] = _footprint_at(combined.footprints, table["x"], table["y"])
    table["id"] = object_id(tract, patch, np.arange(table.size))
    return table


def _move_to_peaks(table, combined, real, radius_arcsec):
    """Put objects that share a footprint where the combined image has their peaks, in place."""
    found = combined.table[real]
    footprint = _footprint_at(combined.footprints, found["x"], found["y"])
    crowded = found[(footprint > 0) & (np.bincount(footprint)[footprint] > 1)] if found.size else found
    if table.size and crowded.size:
        row = _partners(table, crowded, radius_arcsec)
        known = row < table.size
        for name in ("ra", "dec", "x", "y"):
            table[name][row[known]] = crowded[name][known]


def _sky_rows(sky, dtype):
    rows = np.zeros(sky.size, dtype)
    for name in ("ra", "dec", "x", "y", "is_sky"):
        rows[name] = sky[name]
    return rows


def _footprint_at(footprints, x, y):
    """Return the numbers of the footprints at positions, 0 for none."""
    rows, cols = footprints.shape
    row, col = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    return np.where(inside, footprints[np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)], 0)


def by_priority(bands, priority):
    """Return bands in order of priority, those without one last by name."""
    return sorted(bands, key=lambda band: (priority.index(band) if band in priority else len(priority), band))


def _add_band(table, found, column, radius_arcsec):
    """Return the objects with a band's detections: one joins each object that is its nearest, as it is the object's."""
    if found.size == 0:
        return table
    known = _partners(table, found, radius_arcsec)
    table[column][known[known < table.size]] = True
    fresh = found[known == table.size]
    rows = np.zeros(fresh.size, table.dtype)
    for name in ("ra", "dec", "x", "y"):
        rows[name] = fresh[name]
    rows[column] = True
    return np.concatenate([table, rows])


def _partners(table, found, radius_arcsec):
    """Return the row of `table` that each detection is, its length for none.

    A detection is the nearest object within the radius if no other detection is nearer to that, or if it lies within a
    third of the radius, where blends cannot be told from scatter.
    """
    if table.size == 0:
        return np.zeros(found.size, dtype=np.intp)
    objects, detections = unit_vectors(table["ra"], table["dec"]), unit_vectors(found["ra"], found["dec"])
    distance, nearest = cKDTree(objects).query(detections)
    claimed = cKDTree(detections).query(objects)[1]
    mutual = claimed[nearest] == np.arange(found.size)
    reach = np.where(mutual, _chord(radius_arcsec), _chord(radius_arcsec / 3.0))
    return np.where(distance <= np.maximum(reach, 1e-15), nearest, table.size)


def _chord(arcsec):
    return 2.0 * np.sin(np.radians(arcsec / 3600.0) / 2.0)
