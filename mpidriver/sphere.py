"""Geometry on the unit sphere without poles or wraps: unit vectors, their boxes, convex polygons.

A footprint is a convex polygon given by its corner vectors, shape (corner, 3), in either sense of rotation and smaller
than a hemisphere. Boxes of unit vectors have no RA wrap and no pole, so that an R*-tree can hold them.
"""

import numpy as np

__all__ = ["angular_separation_deg", "bounding_box", "grow_polygon", "lon_lat", "polygons_overlap", "unit_vectors"]

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


def _outward_normals(corners):
    """Return the normals of a convex polygon's edges, pointing outwards, shape (edge, 3)."""
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    inside = normals @ corners.mean(axis=0)
    return normals * -np.sign(inside)[:, None]


def polygons_overlap(a, b):
    """Tell whether two convex spherical polygons share a point.

    Separating-great-circle test: two convex polygons are apart exactly if the great circle of an edge of one has
    all of the other on its outer side (the gnomonic projection makes it the planar separating-axis theorem). That
    holds for polygons within one hemisphere; the great circle midway between their centres separates the others, if
    neither is larger than 45 deg in radius.

    Parameters
    ----------
    a, b : ndarray, shape (corner, 3)

    Returns
    -------
    bool
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    for one, other in ((a, b), (b, a)):
        if np.any(np.all(_outward_normals(one) @ other.T > 0.0, axis=1)):
            return False
    across = a.mean(axis=0) - b.mean(axis=0)
    return not (np.all(a @ across > 0.0) and np.all(b @ across < 0.0))


def grow_polygon(corners, margin_deg):
    """Return the corners moved outwards from the polygon's centre by an angle, so that the edges move by at least it.

    Parameters
    ----------
    corners : ndarray, shape (corner, 3)
    margin_deg : float

    Returns
    -------
    ndarray, shape (corner, 3)
    """
    corners = np.asarray(corners, dtype=float)
    if margin_deg == 0.0:
        return corners
    centre = corners.mean(axis=0)
    centre /= np.linalg.norm(centre)
    outwards = corners - (corners @ centre)[:, None] * centre
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    normals = _outward_normals(corners)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    # An edge moves by the projection of its corners' motion on its normal; the flattest corner sets the scale.
    slopes = np.einsum("ij,ij->i", normals, outwards), np.einsum("ij,ij->i", normals, np.roll(outwards, -1, axis=0))
    shift = np.radians(margin_deg) / max(float(np.min(np.abs(slopes))), 0.05)
    angles = np.arccos(np.clip(corners @ centre, -1.0, 1.0)) + shift
    return np.cos(angles)[:, None] * centre + np.sin(angles)[:, None] * outwards
