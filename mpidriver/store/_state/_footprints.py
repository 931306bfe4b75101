"""Footprints on the sky, many at once: boxes of unit vectors and the exact overlap test.

The same geometry as `mpidriver.sphere.bounding_box` and `polygons_overlap`, vectorised over frames.
"""

from typing import Any

import numpy as np

from mpidriver.sphere import FLOAT32_PAD

__all__ = ["boxes", "overlapping", "padded_box"]

Array = np.ndarray[Any, np.dtype[np.float64]]


def boxes(corners: Array) -> Array:
    """Return the boxes of spherical polygons, great-circle edges included.

    Parameters
    ----------
    corners : ndarray, shape (frame, corner, 3)

    Returns
    -------
    ndarray, shape (frame, 6)
        ``x_min, x_max, y_min, y_max, z_min, z_max`` of each.
    """
    centre = corners.mean(axis=1)
    centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
    cos_radius = np.einsum("fci,fi->fc", corners, centre).min(axis=1)
    pad = (1.0 - np.maximum(cos_radius, -1.0) + FLOAT32_PAD)[:, None]
    bounds = np.stack([corners.min(axis=1) - pad, corners.max(axis=1) + pad], axis=-1)
    return bounds.reshape(len(corners), 6)


def padded_box(corners: Array, pad_deg: float) -> list[float]:
    """Return the box of one polygon of shape (corner, 3), grown by an angle."""
    bounds = boxes(corners[None])[0]
    pad = 2.0 * np.sin(np.radians(min(pad_deg, 180.0)) / 2.0)
    return [float(bound) for bound in bounds + np.array([-pad, pad] * 3)]


def overlapping(polygon: Array, frames: Array, pad_deg: float = 0.0) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Tell which convex spherical polygons come within an angle of one polygon.

    Two convex polygons are apart exactly if the great circle of an edge of one has all of the other on its outer
    side; with a pad, farther than the pad from it. Beyond a corner that keeps a little more than the pad asks for.

    Parameters
    ----------
    polygon : ndarray, shape (corner, 3)
    frames : ndarray, shape (frame, corner, 3)
    pad_deg

    Returns
    -------
    ndarray of bool, shape (frame,)
    """
    limit = float(np.sin(np.radians(pad_deg)))
    outside_polygon = np.einsum("ei,fci->fec", _outward_normals(polygon[None])[0], frames) > limit
    outside_frame = np.einsum("fei,ci->fec", _outward_normals(frames), polygon) > limit
    apart = outside_polygon.all(axis=2).any(axis=1) | outside_frame.all(axis=2).any(axis=1)
    return np.asarray(~(apart | _split_midway(polygon, frames, limit)))


def _outward_normals(corners: Array) -> Array:
    """Return the unit normals of the edges of polygons, shape (frame, edge, 3), pointing outwards."""
    normals = np.cross(corners, np.roll(corners, -1, axis=1))
    inside = np.einsum("fei,fi->fe", normals, corners.mean(axis=1))
    lengths = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), np.finfo(float).tiny)
    return np.asarray(normals / lengths * -np.sign(inside)[..., None])


def _split_midway(polygon: Array, frames: Array, limit: float) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Tell which polygons the great circle midway separates; that decides for those on the other side of the sky."""
    across = polygon.mean(axis=0) - frames.mean(axis=1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), np.finfo(float).tiny)
    here = (across @ polygon.T > limit).all(axis=1)
    there = (np.einsum("fci,fi->fc", frames, across) < 0.0).all(axis=1)
    return np.asarray(here & there)
