"""The main field of the Earth: IGRF-13 to degree 8 (Alken et al. 2021, Earth Planets Space 73, 49).

What degrees 9 to 13 add is below 0.4 % of the field on the ground and half of that in the ionosphere; maps of the
electrons are wrong by 10 %.
"""

import numpy as np

__all__ = ["EARTH_RADIUS_KM", "magnetic_field_nt"]

EARTH_RADIUS_KM = 6371.2
DEGREE = 8

# Gauss coefficients in nT in the order g10, g11, h11, g20, g21, h21, g22, h22 …, Schmidt quasi-normalised.
_G2010 = (
    -29496.57, -1586.42, 4944.26, -2396.06, 3026.34, -2708.54, 1668.17, -575.73, 1339.85, -2326.54, -160.40, 1232.10,
    251.75, 633.73, -537.03, 912.66, 808.97, 286.48, 166.58, -211.03, -356.83, 164.46, 89.40, -309.72,
    -230.87, 357.29, 44.58, 200.26, 189.01, -141.05, -118.06, -163.17, -0.01, -8.03, 101.04, 72.78,
    68.69, -20.90, 75.92, 44.18, -141.40, 61.54, -22.83, -66.26, 13.10, 3.02, -78.09, 55.40,
    80.44, -75.00, -57.80, -4.55, -21.20, 45.24, 6.54, 14.00, 24.96, 10.46, 7.03, 1.64,
    -27.61, 4.92, -3.28, 24.41, 8.21, 10.84, -14.50, -20.03, -5.59, 11.83, -19.34, -17.41,
    11.61, 16.71, 10.85, 6.96, -14.05, -10.74, -3.54, 1.64,
)  # fmt: skip
_G2015 = (
    -29441.46, -1501.77, 4795.99, -2445.88, 3012.20, -2845.41, 1676.35, -642.17, 1350.33, -2352.26, -115.29, 1225.85,
    245.04, 581.69, -538.70, 907.42, 813.68, 283.54, 120.49, -188.43, -334.85, 180.95, 70.38, -329.23,
    -232.91, 360.14, 46.98, 192.35, 196.98, -140.94, -119.14, -157.40, 15.98, 4.30, 100.12, 69.55,
    67.57, -20.61, 72.79, 33.30, -129.85, 58.74, -28.93, -66.64, 13.14, 7.35, -70.85, 62.41,
    81.29, -75.99, -54.27, -6.79, -19.53, 51.82, 5.59, 15.07, 24.45, 9.32, 3.27, -2.88,
    -27.50, 6.61, -2.32, 23.98, 8.89, 10.04, -16.78, -18.26, -3.16, 13.18, -20.56, -14.60,
    13.33, 16.16, 11.76, 5.69, -15.98, -9.10, -2.02, 2.26,
)  # fmt: skip
_G2020 = (
    -29404.8, -1450.9, 4652.5, -2499.6, 2982.0, -2991.6, 1677.0, -734.6, 1363.2, -2381.2, -82.1, 1236.2,
    241.9, 525.7, -543.4, 903.0, 809.5, 281.9, 86.3, -158.4, -309.4, 199.7, 48.0, -349.7,
    -234.3, 363.2, 47.7, 187.8, 208.3, -140.7, -121.2, -151.2, 32.3, 13.5, 98.9, 66.0,
    65.5, -19.1, 72.9, 25.1, -121.5, 52.8, -36.2, -64.5, 13.5, 8.9, -64.7, 68.1,
    80.6, -76.7, -51.5, -8.2, -16.9, 56.5, 2.2, 15.8, 23.5, 6.4, -2.2, -7.2,
    -27.2, 9.8, -1.8, 23.7, 9.7, 8.4, -17.6, -15.3, -0.5, 12.8, -21.1, -11.7,
    15.3, 14.9, 13.7, 3.6, -16.5, -6.9, -0.3, 2.8,
)  # fmt: skip
# Change in nT a year after 2020.
_CHANGE = (
    5.7, 7.4, -25.9, -11.0, -7.0, -30.2, -2.1, -22.4, 2.2, -5.9, 6.0, 3.1,
    -1.1, -12.0, 0.5, -1.2, -1.6, -0.1, -5.9, 6.5, 5.2, 3.6, -5.1, -5.0,
    -0.3, 0.5, 0.0, -0.6, 2.5, 0.2, -0.6, 1.3, 3.0, 0.9, 0.3, -0.5,
    -0.3, 0.0, 0.4, -1.6, 1.3, -1.3, -1.4, 0.8, 0.0, 0.0, 0.9, 1.0,
    -0.1, -0.2, 0.6, 0.0, 0.6, 0.7, -0.8, 0.1, -0.2, -0.5, -1.1, -0.8,
    0.1, 0.8, 0.3, 0.0, 0.1, -0.2, -0.1, 0.6, 0.4, -0.2, -0.1, 0.5,
    0.4, -0.3, 0.3, -0.4, -0.1, 0.5, 0.4, 0.0,
)  # fmt: skip


def magnetic_field_nt(position_km, year):
    """Return the Earth's magnetic field.

    Parameters
    ----------
    position_km : float (..., 3)
        Geocentric, x to longitude 0 on the equator, z to the north pole; outside the Earth.
    year : float
        As 2021.5. Before 2010 the field of 2010 is taken, after 2020 it goes on as it changed then.

    Returns
    -------
    float64 (..., 3)
        In nT, along the same axes.
    """
    position = np.asarray(position_km, dtype=np.float64)
    radius = np.linalg.norm(position, axis=-1)
    g, h = _coefficients(year)
    sin_lat = position[..., 2] / radius
    cos_lat = np.maximum(np.hypot(position[..., 0], position[..., 1]) / radius, 1e-9)
    lon = np.arctan2(position[..., 1], position[..., 0])
    p, dp = _legendre(sin_lat, cos_lat)
    up, south, east = (np.zeros(radius.shape) for _ in range(3))
    for n in range(1, DEGREE + 1):
        falls = (EARTH_RADIUS_KM / radius) ** (n + 2)
        for m in range(n + 1):
            wave = g[n, m] * np.cos(m * lon) + h[n, m] * np.sin(m * lon)
            turned = h[n, m] * np.cos(m * lon) - g[n, m] * np.sin(m * lon)
            up += falls * (n + 1) * wave * p[n, m]
            south -= falls * wave * dp[n, m]
            east -= falls * m * turned * p[n, m] / cos_lat
    return _along_axes(up, south, east, sin_lat, cos_lat, lon)


def _coefficients(year):
    """Return g and h of a year, (degree + 1, degree + 1)."""
    epochs = np.array([2010.0, 2015.0, 2020.0, 2021.0])
    values = np.array([_G2010, _G2015, _G2020, np.add(_G2020, _CHANGE)])
    at = int(np.clip(np.searchsorted(epochs, year) - 1, 0, len(epochs) - 2))
    share = max((year - epochs[at]) / (epochs[at + 1] - epochs[at]), 0.0)
    flat = iter(((1.0 - share) * values[at] + share * values[at + 1]).tolist())
    g, h = np.zeros((2, DEGREE + 1, DEGREE + 1))
    for n in range(1, DEGREE + 1):
        for m in range(n + 1):
            g[n, m] = next(flat)
            h[n, m] = next(flat) if m else 0.0
    return g, h


def _legendre(sin_lat, cos_lat):
    """Return Schmidt's quasi-normalised P(n, m) of the cosine of the colatitude, and dP/d(colatitude)."""
    shape = (DEGREE + 1, DEGREE + 1, *np.shape(sin_lat))
    p, dp = np.zeros(shape), np.zeros(shape)
    p[0, 0] = 1.0
    for n in range(1, DEGREE + 1):
        factor = np.sqrt(1.0 - 0.5 / n) if n > 1 else 1.0
        p[n, n] = factor * cos_lat * p[n - 1, n - 1]
        dp[n, n] = factor * (cos_lat * dp[n - 1, n - 1] + sin_lat * p[n - 1, n - 1])
        for m in range(n):
            scale = 1.0 / np.sqrt(float(n * n - m * m))
            before = np.sqrt(float((n - 1) ** 2 - m * m)) if m < n - 1 else 0.0
            older, older_slope = (p[n - 2, m], dp[n - 2, m]) if n > 1 else (0.0, 0.0)
            p[n, m] = scale * ((2 * n - 1) * sin_lat * p[n - 1, m] - before * older)
            slope = sin_lat * dp[n - 1, m] - cos_lat * p[n - 1, m]
            dp[n, m] = scale * ((2 * n - 1) * slope - before * older_slope)
    return p, dp


def _along_axes(up, south, east, sin_lat, cos_lat, lon):
    outward = up * cos_lat + south * sin_lat
    x = outward * np.cos(lon) - east * np.sin(lon)
    y = outward * np.sin(lon) + east * np.cos(lon)
    return np.stack([x, y, up * sin_lat - south * cos_lat], axis=-1)
