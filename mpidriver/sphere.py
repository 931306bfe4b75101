"""Geometry on the unit sphere without poles or wraps: unit vectors, their boxes, convex polygons.

A footprint is a convex polygon given by its corner vectors, shape (corner, 3), in either sense of rotation and smaller
than a hemisphere. Boxes of unit vectors have no RA wrap and no pole, so that an R*-tree can hold them.
"""

import numpy as np

__all__ = [
    "angular_separation_deg",
    "bounding_box",
    "bounding_circles",
    "grow_polygon",
    "lon_lat",
    "points_near_polygon",
    "polygons_overlap",
    "square_about",
    "unit_vectors",
]

#: Absolute pad of a box for coordinates that are kept as 32-bit floats.
FLOAT32_PAD = 1e-7


def unit_vectors(ra_deg, dec_deg):
    """Return the unit vectors of sky positions.

    Parameters
    ----------
    ra_deg, dec_deg : array_like, shape (…), deg

    Returns
    -------
    ndarray of float64, shape (…, 3)
    """
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    cos_dec = np.cos(dec)
    return np.stack([cos_dec * np.cos(ra), cos_dec * np.sin(ra), np.sin(dec) + 0.0 * ra], axis=-1)


def lon_lat(vectors):
    """Return right ascension in [0, 360) and declination, both in degrees, of vectors of shape (…, 3)."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=float), -1, 0)
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    return ra, np.degrees(np.arctan2(z, np.hypot(x, y)))


def angular_separation_deg(a, b):
    """Return the angle between unit vectors of shape (…, 3), in degrees, exact for small and large angles."""
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    dot = np.sum(np.asarray(a) * np.asarray(b), axis=-1)
    return np.degrees(np.arctan2(cross, dot))


def bounding_box(corners):
    """Return the box of a spherical polygon's unit vectors, great-circle edges included.

    A point of the polygon is a convex combination of the corners, stretched to the sphere by at most the sagitta of
    the polygon's largest radius; that is added on every side, with `FLOAT32_PAD` for stores of 32-bit coordinates.

    Parameters
    ----------
    corners : ndarray, shape (corner, 3)

    Returns
    -------
    tuple of float
        ``(x_min, x_max, y_min, y_max, z_min, z_max)``.
    """
    corners = np.asarray(corners, dtype=float)
    centre = corners.mean(axis=0)
    centre /= np.linalg.norm(centre)
    cos_radius = float(np.min(corners @ centre))
    pad = (1.0 - max(cos_radius, -1.0)) + FLOAT32_PAD
    low, high = corners.min(axis=0) - pad, corners.max(axis=0) + pad
    return tuple(float(v) for pair in zip(low, high, strict=True) for v in pair)


def bounding_circles(corners):
    """Return circles that hold convex polygons, about the means of their corners.

    Parameters
    ----------
    corners : ndarray, shape (…, corner, 3)

    Returns
    -------
    centre : ndarray, shape (…, 3)
        Unit vectors.
    radius : ndarray, shape (…), rad
    """
    centre = corners.mean(axis=-2)
    centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
    cos_radius = np.einsum("...cj,...j->...c", corners, centre).min(axis=-1)
    return centre, np.arccos(np.clip(cos_radius, -1.0, 1.0))


def _outward_normals(corners):
    """Return the normals of convex polygons' edges, pointing outwards, shape (…, edge, 3)."""
    normals = np.cross(corners, np.roll(corners, -1, axis=-2))
    inside = np.einsum("...ej,...j->...e", normals, corners.mean(axis=-2))
    return normals * -np.sign(inside)[..., None]


def polygons_overlap(a, b):
    """Tell whether two convex spherical polygons share a point.

    Separating-great-circle test: two convex polygons are apart exactly if the great circle of an edge of one has
    all of the other on its outer side (the gnomonic projection makes it the planar separating-axis theorem). That
    holds for polygons within one hemisphere; the great circle midway between their centres separates the others, if
    neither is larger than 45 deg in radius.

    Parameters
    ----------
    a, b : ndarray, shape (…, corner, 3)
        One polygon, or many; their leading axes are broadcast.

    Returns
    -------
    bool, or ndarray of bool, shape (…)
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    across = (a.mean(axis=-2) - b.mean(axis=-2))[..., None]
    apart = np.all(a @ across > 0.0, axis=(-2, -1)) & np.all(b @ across < 0.0, axis=(-2, -1))
    for one, other in ((a, b), (b, a)):
        outside = _outward_normals(one) @ np.swapaxes(other, -1, -2) > 0.0  # (…, edge, corner)
        apart = apart | np.any(np.all(outside, axis=-1), axis=-1)
    return ~apart if np.ndim(apart) else not apart


def points_near_polygon(points, corners, margin_deg):
    """Tell which points lie in a convex spherical polygon or within an angle of its edges' great circles.

    Parameters
    ----------
    points : ndarray, shape (point, 3)
        Unit vectors.
    corners : ndarray, shape (corner, 3)
    margin_deg : float

    Returns
    -------
    ndarray of bool, shape (point,)
    """
    corners = np.asarray(corners, dtype=float)
    normals = _outward_normals(corners)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
    return np.all(points @ normals.T <= np.sin(np.radians(margin_deg)), axis=1) & (points @ corners.mean(axis=0) > 0.0)


def square_about(centre, half_deg):
    """Return the corners of a square about a unit vector that holds all points within an angle below 45 deg of it.

    Parameters
    ----------
    centre : ndarray, shape (3,)
    half_deg : float

    Returns
    -------
    ndarray, shape (4, 3)
    """
    aside = np.eye(3)[np.argmin(np.abs(centre))]
    east = np.cross(aside, centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    reach = np.tan(np.radians(half_deg))
    corners = centre + reach * (np.outer([-1, 1, 1, -1], east) + np.outer([-1, -1, 1, 1], north))
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


def grow_polygon(corners, margin_deg):
    """Return the corners moved outwards from the polygon's centre by an angle, so that the edges move by at least it.

    Parameters
    ----------
    corners : ndarray, shape (…, corner, 3)
    margin_deg : float

    Returns
    -------
    ndarray, shape (…, corner, 3)
    """
    corners = np.asarray(corners, dtype=float)
    if margin_deg == 0.0:
        return corners
    centre = corners.mean(axis=-2, keepdims=True)
    centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
    height = np.sum(corners * centre, axis=-1, keepdims=True)
    outwards = corners - height * centre
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    normals = _outward_normals(corners)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    # An edge moves by the projection of its corners' motion on its normal; the flattest corner sets the scale.
    ends = outwards, np.roll(outwards, -1, axis=-2)
    slopes = np.minimum(*(np.abs(np.sum(normals * end, axis=-1)).min(axis=-1) for end in ends))
    shift = np.radians(margin_deg) / np.maximum(slopes, 0.05)
    angles = np.arccos(np.clip(height, -1.0, 1.0)) + shift[..., None, None]
    return np.cos(angles) * centre + np.sin(angles) * outwards
