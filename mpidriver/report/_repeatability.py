"""Stars that several frames saw: matched on the sky, each measurement against the mean of its star."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.sphere import lon_lat, unit_vectors

__all__ = ["MATCH_DTYPE", "FrameStars", "match_stars", "robust_rms", "scatter_of_stars"]

#: One measurement of a matched star.
MATCH_DTYPE = np.dtype(
    [
        ("star", "i8"),  # index of the star
        ("frame", "i8"),  # index of the frame in the input
        ("band", "U8"),
        ("ra", "f8"),  # deg, mean of the star
        ("dec", "f8"),  # deg, mean of the star
        ("east_arcmin", "f8"),  # of the star from the middle of the exposure: where in the focal plane it fell
        ("north_arcmin", "f8"),
        ("dra_mas", "f8"),  # measurement - mean, times cos(dec)
        ("ddec_mas", "f8"),
        ("mag", "f8"),  # mean of the star in this band
        ("dmag_mmag", "f8"),  # measurement - mean; NaN for a star seen once in the band
    ]
)


@dataclass(frozen=True)
class FrameStars:
    """The stars of one frame with its final calibration."""

    band: str
    """Band of the frame."""
    ra: np.ndarray
    """Shape (star,), degrees."""
    dec: np.ndarray
    """Shape (star,), degrees."""
    mag: np.ndarray
    """Shape (star,), AB magnitude; NaN if unknown."""
    middle: tuple[float, float] | None = None
    """Right ascension and declination of the middle of the exposure, degrees; the mean of the stars if None."""


def match_stars(frames: Sequence[FrameStars], *, radius_arcsec=0.7):
    """Match the stars of overlapping frames and return each measurement's residual.

    Measurements closer than `radius_arcsec` are the same star, through friends of friends; a group with two
    measurements from one frame is ambiguous and left out, like stars that were seen once.

    Parameters
    ----------
    frames : sequence of FrameStars
    radius_arcsec : float

    Returns
    -------
    ndarray of MATCH_DTYPE, shape (measurement,)
        In the order of star, then frame.
    """
    frame = np.repeat(np.arange(len(frames)), [len(stars.ra) for stars in frames])
    if frame.size == 0:
        return np.zeros(0, dtype=MATCH_DTYPE)
    ra, dec, mag = (np.concatenate([getattr(stars, name) for stars in frames]) for name in ("ra", "dec", "mag"))
    band = np.array([stars.band for stars in frames])[frame]
    known = np.isfinite(ra) & np.isfinite(dec)
    frame, band, ra, dec, mag = frame[known], band[known], ra[known], dec[known], mag[known].astype(float)
    vectors = unit_vectors(ra, dec)
    star = _friends(vectors, np.radians(radius_arcsec / 3600.0))
    keep = _unambiguous(star, frame)
    order = np.lexsort((frame[keep], star[keep]))
    chosen = np.flatnonzero(keep)[order]
    matches = _residuals(star[chosen], frame[chosen], band[chosen], vectors[chosen], mag[chosen])
    for index in np.unique(matches["frame"]):
        own = np.flatnonzero(matches["frame"] == index)
        offsets = _offsets_arcmin(vectors[chosen[own]], _middle(frames[index], vectors[frame == index]))
        matches["east_arcmin"][own], matches["north_arcmin"][own] = offsets
    return matches


def _middle(stars, vectors):
    return vectors.mean(axis=0) if stars.middle is None else unit_vectors(*stars.middle)


def _offsets_arcmin(vectors, middle):
    """Return tangent-plane offsets to the east and the north of a direction."""
    middle = middle / np.linalg.norm(middle)
    east, north = _local_axes(*lon_lat(middle))
    along = vectors @ middle
    return np.degrees(vectors @ east / along) * 60.0, np.degrees(vectors @ north / along) * 60.0


def _friends(vectors, radius_rad):
    """Return the index of the group of each vector: groups are chains of pairs closer than the radius."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n = len(vectors)
    if n == 0:
        return np.zeros(0, dtype=int)
    pairs = cKDTree(vectors).query_pairs(radius_rad, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _unambiguous(star, frame):
    """Tell which measurements belong to a star that at least two frames saw, each of them once."""
    if star.size == 0:
        return np.zeros(0, dtype=bool)
    seen = np.bincount(star)
    pair = star.astype(np.int64) * (int(frame.max()) + 1) + frame
    _, inverse, repeats = np.unique(pair, return_inverse=True, return_counts=True)
    doubled = np.zeros(seen.size, dtype=bool)
    doubled[star[repeats[inverse] > 1]] = True
    return (seen[star] > 1) & ~doubled[star]


def _residuals(star, frame, band, vectors, mag):
    matches = np.zeros(star.size, dtype=MATCH_DTYPE)
    if star.size == 0:
        return matches
    _, group = np.unique(star, return_inverse=True)
    mean = np.stack([np.bincount(group, weights=vectors[:, axis]) for axis in range(3)], axis=-1)
    ra, dec = lon_lat(mean)
    matches["star"], matches["frame"], matches["band"] = group, frame, band
    matches["ra"], matches["dec"] = ra[group], dec[group]
    east, north = _local_axes(ra, dec)
    mas = np.degrees(1.0) * 3.6e6
    matches["dra_mas"] = np.sum(vectors * east[group], axis=1) * mas
    centre = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    matches["ddec_mas"] = np.sum((vectors - centre[group]) * north[group], axis=1) * mas
    matches["mag"], matches["dmag_mmag"] = _magnitude_residuals(group, band, mag)
    return matches


def _local_axes(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(ra), np.cos(ra), 0.0 * ra], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return east, north


def _magnitude_residuals(group, band, mag):
    """Return the mean magnitude of each measurement's star in its band, and the residual in mmag."""
    _, band_number = np.unique(band, return_inverse=True)
    _, cell = np.unique(group * (int(band_number.max()) + 1) + band_number, return_inverse=True)
    known = np.isfinite(mag)
    count = np.bincount(cell, weights=known)
    total = np.bincount(cell, weights=np.where(known, mag, 0.0))
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)[cell]
    return mean, np.where(count[cell] > 1, 1000.0 * (mag - mean), np.nan)


def robust_rms(values):
    """Return 1.4826 times the median absolute value of the finite values, NaN if there is none."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(values))) if values.size else float("nan")


def scatter_of_stars(matches):
    """Return the scatter of each star and band over its frames.

    Parameters
    ----------
    matches : ndarray of MATCH_DTYPE

    Returns
    -------
    tuple of ndarray, shape (star and band,)
        Magnitude, astrometric rms per coordinate in mas, photometric rms in mmag, both with n - 1 in the denominator;
        the rms is NaN for a star seen once in the band.
    """
    if matches.size == 0:
        return (np.zeros(0),) * 3
    _, band_number = np.unique(matches["band"], return_inverse=True)
    _, cell = np.unique(matches["star"] * (int(band_number.max()) + 1) + band_number, return_inverse=True)
    seen = np.bincount(cell)
    mag = np.bincount(cell, weights=matches["mag"]) / seen
    squares = {name: _squares_about_mean(cell, seen, matches[name]) for name in ("dra_mas", "ddec_mas", "dmag_mmag")}
    freedom = np.where(seen > 1, seen - 1.0, np.nan)
    astrometric = np.sqrt((squares["dra_mas"] + squares["ddec_mas"]) / (2.0 * freedom))
    return mag, astrometric, np.sqrt(squares["dmag_mmag"] / freedom)


def _squares_about_mean(cell, seen, values):
    mean = np.bincount(cell, weights=values) / seen
    return np.bincount(cell, weights=np.square(values - mean[cell]))
