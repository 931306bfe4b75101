"""HEALPix pixels in ring ordering: centres and lookup (Gorski et al. 2005, section 4)."""

import numpy as np

__all__ = ["max_pixel_radius_deg", "pixel_at", "pixel_centres"]


def pixel_centres(nside: int) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination in degrees of all pixel centres, shape (12 nside**2,) each."""
    ring = np.arange(1, 4 * nside)
    length = _ring_length(ring, nside)
    starts = np.cumsum(length) - length
    pixel_ring = np.repeat(ring, length)
    place = np.arange(12 * nside**2) - np.repeat(starts, length)
    in_cap = (pixel_ring < nside) | (pixel_ring > 3 * nside)
    shift = np.where(in_cap | ((pixel_ring - nside) % 2 == 0), 0.5, 0.0)
    ra = (place + shift) / np.repeat(length, length) * 360.0
    return ra, np.degrees(np.arcsin(_ring_height(pixel_ring, nside)))


def pixel_at(nside: int, ra_deg, dec_deg) -> np.ndarray:
    """Return the pixel that holds each sky position."""
    z, ra_deg = np.broadcast_arrays(np.sin(np.radians(dec_deg)), ra_deg)
    quarter = np.mod(ra_deg, 360.0) / 90.0  # 0..4
    # Polar caps: 1 - |z| through the half-angle, which keeps its digits at the pole.
    depth = nside * np.sqrt(6.0) * np.sin(np.radians(90.0 - np.abs(dec_deg)) / 2.0)
    in_belt = np.abs(z) <= 2.0 / 3.0
    return np.where(in_belt, _belt_pixel(nside, quarter, z), _cap_pixel(nside, quarter, depth, z > 0))


def max_pixel_radius_deg(nside: int) -> float:
    """Return the largest distance of a pixel's corner from its centre, in degrees."""
    # The corner where belt and cap meet is the farthest: from (z = 2/3, phi = pi / 4 nside) up to the next ring.
    upper, phi = 1.0 - (1.0 - 1.0 / nside) ** 2 / 3.0, np.pi / (4 * nside)
    cosine = 2.0 / 3.0 * upper + np.sqrt((1 - 4.0 / 9.0) * (1 - upper**2)) * np.cos(phi)
    return float(np.degrees(np.arccos(cosine)))


def _ring_length(ring, nside):
    return 4 * np.minimum(np.minimum(ring, 4 * nside - ring), nside)


def _ring_height(ring, nside):
    """Return z of ring centres, counted from 1 at the north pole."""
    from_pole = np.minimum(ring, 4 * nside - ring)
    cap = np.sign(2 * nside - ring) * (1.0 - from_pole**2 / (3.0 * nside**2))
    belt = 4.0 / 3.0 - 2.0 * ring / (3.0 * nside)
    return np.where(from_pole < nside, cap, belt)


def _belt_pixel(nside, quarter, z):
    """Return the pixel of positions with |z| <= 2/3, where pixels are diamonds between two families of lines."""
    rising = np.floor(nside * (0.5 + quarter - 0.75 * z)).astype(int)
    falling = np.floor(nside * (0.5 + quarter + 0.75 * z)).astype(int)
    ring = nside + rising - falling  # from 0 at z = 2/3
    place = (rising + falling - nside + ring % 2 + 1) // 2 % (4 * nside)
    return 2 * nside * (nside - 1) + 4 * nside * ring + place


def _cap_pixel(nside, quarter, depth, north):
    """Return the pixel of positions with |z| > 2/3; `depth` is nside * sqrt(3 (1 - |z|))."""
    within = quarter - np.floor(quarter)
    ring = np.floor(within * depth).astype(int) + np.floor((1.0 - within) * depth).astype(int) + 1  # from the pole
    place = np.floor(quarter * ring).astype(int) % (4 * ring)
    return np.where(north, 2 * ring * (ring - 1) + place, 12 * nside**2 - 2 * ring * (ring + 1) + place)
