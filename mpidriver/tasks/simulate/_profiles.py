"""Stars and galaxies on pixels: a Moffat PSF, averaged over the pixel, and Spergel galaxies convolved with it.

All fluxes are those within the whole profile. A stamp holds all but `LOST_LIGHT` of a star.
"""

import functools
import math

import numpy as np

__all__ = ["LOST_LIGHT", "MOFFAT_BETA", "add_galaxies", "add_stars", "galaxy_matrices"]

#: Exponent of the PSF, a usual value for the seeing of large telescopes (Trujillo et al. 2001, MNRAS 328, 977).
MOFFAT_BETA = 3.5
#: Part of a star's light outside its stamp.
LOST_LIGHT = 3e-5
#: How many profiles are computed at once; bounds the memory.
_BATCH = 128
#: Stamp sizes of galaxies, pixels; the smallest that holds 12 half-light radii and 12 seeing widths is taken.
_GALAXY_STAMPS = (32, 64, 128, 256)


def moffat_alpha_px(fwhm_px: float) -> float:
    """Return the Moffat core width in pixels."""
    return fwhm_px / (2.0 * math.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))


def add_stars(image: np.ndarray, x, y, flux, *, fwhm_px: float) -> None:
    """Add point sources to an image in place.

    The average over a pixel is taken as f + ∇²f / 24, right to third order in the pixel's size; what is missing has no
    integral, so that the flux is exact, and does not depend on the place of the star within its pixel.

    Parameters
    ----------
    image : ndarray of float64, shape (row, col)
    x, y : ndarray, shape (source,), pixel
        0-based positions; (0, 0) is the middle of the first pixel. Sources outside add what falls on the image.
    flux : ndarray, shape (source,)
        Total flux, in the unit of `image`.
    fwhm_px
        Full width at half maximum of the PSF, pixel; 2.5 or more (fluxes are then right to 5e-5).
    """
    alpha = moffat_alpha_px(fwhm_px)
    half = math.ceil(alpha * math.sqrt(LOST_LIGHT ** (1.0 / (1.0 - MOFFAT_BETA)) - 1.0))
    grid = np.arange(-half, half + 1, dtype=float)
    for part in _batches(x, y, half, image.shape):
        x_px, y_px = np.rint(x[part]).astype(int), np.rint(y[part]).astype(int)
        dx = (grid - (x[part] - x_px)[:, None])[:, None, :]
        dy = (grid - (y[part] - y_px)[:, None])[:, :, None]
        stamps = _moffat((dx * dx + dy * dy) / alpha**2, alpha)
        stamps *= flux[part][:, None, None]
        _add_stamps(image, stamps, x_px - half, y_px - half)


def _moffat(q, alpha: float):
    """Return the pixel-averaged Moffat profile of unit flux at q = (r / alpha)²."""
    beta = MOFFAT_BETA
    inverse = 1.0 / (1.0 + q)
    core = (beta - 1.0) / (np.pi * alpha**2) * inverse**beta
    laplacian = 4.0 * beta / alpha**2 * inverse * ((beta + 1.0) * q * inverse - 1.0)
    return core * (1.0 + laplacian / 24.0)


def add_galaxies(image: np.ndarray, x, y, flux, matrices, spergel_nu, *, fwhm_px: float) -> None:
    """Add galaxies to an image in place.

    Profile, PSF and pixel are multiplied as their analytic Fourier transforms, so that a stamp's sum is the flux to
    rounding; light beyond a stamp's edge comes in on its other side.

    Parameters
    ----------
    image : ndarray of float64, shape (row, col)
    x, y : ndarray, shape (source,), pixel
    flux : ndarray, shape (source,)
    matrices : ndarray, shape (source, 2, 2), pixel2
        Symmetric matrices of the half-light ellipses, from `galaxy_matrices`.
    spergel_nu : ndarray, shape (source,)
        Index of the profile (Spergel 2010, ApJS 191, 58): its transform is (1 + (2π k r0)²)^−(1 + ν).
    fwhm_px
        Full width at half maximum of the PSF, pixel.
    """
    longest = np.sqrt(np.trace(matrices, axis1=1, axis2=2)) if len(matrices) else np.zeros(0)
    needed = 12.0 * np.maximum(longest, fwhm_px)
    sizes = np.asarray(_GALAXY_STAMPS)[np.minimum(np.searchsorted(_GALAXY_STAMPS, needed), len(_GALAXY_STAMPS) - 1)]
    for size in _GALAXY_STAMPS:
        chosen = np.flatnonzero(sizes == size)
        for part in _batches(x[chosen], y[chosen], size // 2, image.shape):
            i = chosen[part]
            stamps, x0, y0 = _galaxy_stamps(x[i], y[i], matrices[i], spergel_nu[i], size, fwhm_px)
            stamps *= flux[i][:, None, None]
            _add_stamps(image, stamps, x0, y0)


def _galaxy_stamps(x, y, matrices, spergel_nu, size: int, fwhm_px: float):
    """Return stamps of unit flux, shape (source, size, size), and the image columns and rows of their first pixels."""
    x_px, y_px = np.rint(x).astype(int), np.rint(y).astype(int)
    ky, kx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    r0 = np.array([_half_light_constant(nu) for nu in spergel_nu])[:, None, None]
    a, b, c = (m[:, None, None] for m in (matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]))
    k2 = a * kx**2 + 2.0 * b * kx * ky[:, None] + c * ky[:, None] ** 2
    spectrum = (1.0 + (2.0 * np.pi / r0) ** 2 * k2) ** -(1.0 + spergel_nu[:, None, None])
    spectrum *= _psf_transform(size, fwhm_px)
    shift_x = np.exp(-2j * np.pi * kx * (x - x_px + size // 2)[:, None])
    shift_y = np.exp(-2j * np.pi * ky * (y - y_px + size // 2)[:, None])
    stamps = np.fft.irfft2(spectrum * shift_y[:, :, None] * shift_x[:, None, :], s=(size, size), axes=(1, 2))
    return stamps, x_px - size // 2, y_px - size // 2


@functools.lru_cache(maxsize=32)
def _psf_transform(size: int, fwhm_px: float) -> np.ndarray:
    """Return the transform of the PSF averaged over a pixel, shape (size, size // 2 + 1).

    For β = 3.5 the Moffat profile's, 2 (t/2)^(β−1) K_{β−1}(t) / Γ(β−1) at t = 2π k α, is (1 + t + t²/3) e^−t.
    """
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    t = 2.0 * np.pi * moffat_alpha_px(fwhm_px) * np.hypot(kx, ky)
    return (1.0 + t + t * t / 3.0) * np.exp(-t) * np.sinc(kx) * np.sinc(ky)


@functools.cache
def _half_light_constant(nu: float) -> float:
    """Return half-light radius over r0 of a Spergel profile: light within u r0 is 1 − 2 (1 + ν) f_{ν+1}(u)."""
    from scipy.optimize import brentq
    from scipy.special import gamma, kv

    def outside(u: float) -> float:
        return 2.0 * (1.0 + nu) * (u / 2.0) ** (nu + 1.0) * kv(nu + 1.0, u) / gamma(nu + 2.0)

    return float(brentq(lambda u: outside(u) - 0.5, 1e-3, 20.0, xtol=1e-12))


def galaxy_matrices(half_light_arcsec, ellipticity, position_angle_deg, cd_deg) -> np.ndarray:
    """Return the half-light ellipses of galaxies as matrices on an image's pixels.

    Parameters
    ----------
    half_light_arcsec, ellipticity, position_angle_deg : ndarray, shape (source,)
        Geometric-mean radius, 1 − b/a, and the angle of a from north to east.
    cd_deg : ndarray, shape (2, 2), deg/pixel
        Matrix from pixel offsets (x, y) to (east, north).

    Returns
    -------
    ndarray, shape (source, 2, 2), pixel2
        M with the ellipse {p: pᵀ M⁻¹ p = 1}.
    """
    ratio = np.sqrt(1.0 - ellipticity)
    angle = np.radians(position_angle_deg)
    major = np.stack([np.sin(angle), np.cos(angle)], axis=-1) * (half_light_arcsec / ratio)[:, None]
    minor = np.stack([np.cos(angle), -np.sin(angle)], axis=-1) * (half_light_arcsec * ratio)[:, None]
    axes = np.stack([major, minor], axis=-1)
    on_pixels = np.linalg.inv(np.asarray(cd_deg) * 3600.0) @ axes
    return on_pixels @ np.swapaxes(on_pixels, 1, 2)


def _batches(x, y, half: int, shape: tuple[int, int]):
    """Yield index arrays of the sources whose stamps touch the image, a batch at a time."""
    n_rows, n_cols = shape
    near = (x > -half - 1) & (x < n_cols + half) & (y > -half - 1) & (y < n_rows + half)
    indices = np.flatnonzero(near)
    for start in range(0, len(indices), _BATCH):
        yield indices[start : start + _BATCH]


def _add_stamps(image: np.ndarray, stamps: np.ndarray, x0, y0) -> None:
    """Add stamps, shape (source, row, col), whose first pixels lie at columns `x0` and rows `y0`."""
    n_rows, n_cols = image.shape
    size_y, size_x = stamps.shape[1:]
    for stamp, left, bottom in zip(stamps, x0.tolist(), y0.tolist(), strict=True):
        top, right = min(bottom + size_y, n_rows), min(left + size_x, n_cols)
        row, col = max(bottom, 0), max(left, 0)
        if top > row and right > col:
            image[row:top, col:right] += stamp[row - bottom : top - bottom, col - left : right - left]
