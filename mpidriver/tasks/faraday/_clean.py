"""RM-CLEAN of Faraday spectra (Heald, Braun & Edmonds 2009, A&A 503, 409), with a deeper second search in windows.

The arithmetic is float64 for complex64 spectra too: where two depths are almost equally bright, rounding in float32
decides which is taken first, and the components after it would be others.
"""

from typing import NamedTuple

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.faraday._checks import real_values
from mpidriver.tasks.faraday._clean_kernels import CONVERGED, DEPTHS, STOPPED, clean_spectra
from mpidriver.tasks.faraday._grids import check_phi, uniform_step
from mpidriver.tasks.faraday._tiles import share_tiles

__all__ = ["CleanResult", "rm_clean"]

SPECTRA_A_TILE = 32
"""Spectra that are turned at once from planes, where they lie side by side, into rows."""


class CleanResult(NamedTuple):
    """Faraday spectra after RM-CLEAN, in the unit and with the axes of the dirty ones."""

    cleaned: np.ndarray
    """Complex (phi, ...), components times a Gaussian of the RMTF's width, and the residual."""
    components: np.ndarray
    """Complex (phi, ...), at grid points."""
    residual: np.ndarray
    """Complex (phi, ...)"""
    iterations: np.ndarray
    """int (...), components that were subtracted."""
    converged: np.ndarray
    """bool (...), False for a spectrum that is blank, has not come below its cutoff or has diverged."""


class _Task(NamedTuple):
    """Checked input, pixels along one axis."""

    fdf: np.ndarray
    rmtf: np.ndarray
    """Complex (2k + 1, 1 or pixel), shared or a pixel."""
    allowed: np.ndarray
    """bool (phi, 1 or pixel)"""
    limit: np.ndarray
    window_limit: np.ndarray
    """Squares of the cutoffs, (pixel,), inf where nothing is to be done."""
    fwhm: np.ndarray
    """float64 (1 or pixel,), in samples."""
    gain: float
    max_iterations: int


def rm_clean(
    fdf,
    rmtf,
    phi_radm2,
    fwhm_radm2,
    *,
    cutoff,
    window_cutoff=None,
    noise=None,
    mask=None,
    gain=0.1,
    max_iterations=1000,
    threads=None,
):
    """Take the transfer function out of Faraday spectra.

    Again and again the largest |residual| is found, `gain` of it noted as a component at that depth, and the transfer
    function, shifted there, subtracted times that component. A spectrum that is below the cutoff from the start stays
    as it is.

    Parameters
    ----------
    fdf : complex64 or complex128 (phi, ...)
        From `rm_synthesis`; the results have its precision.
    rmtf : complex (2k + 1,) or (2k + 1, ...)
        From `rmtf` with the same λ²_0 and weights, on depths centred on 0 with the step of `phi_radm2` that reach at
        least as far as its range is wide, as `double_phi_grid`: one for all or one for each spectrum.
    phi_radm2 : (phi,) rad/m²
        Ascending and uniform.
    fwhm_radm2 : float or (...), rad/m²
        FWHM of the RMTF: of the restoring Gaussian and of the windows.
    cutoff : float or (...)
        |residual| below which a spectrum is clean, in its unit or, with `noise`, in standard deviations. A spectrum
        whose own cutoff, noise or FWHM is not positive and finite is not cleaned.
    window_cutoff : float or (...), optional
        Lower cutoff of a second search, confined to ± FWHM/2 around the components of the first.
    noise : float or (...), optional
        Standard deviation of the real and of the imaginary part of each spectrum.
    mask : bool (...) or (phi, ...), optional
        True for spectra to clean or, with an axis for the depths, where components may be placed.
    gain : float
        Above 0, at most 1.
    max_iterations : int
        Of both searches together.
    threads : int, optional
        Threads that share the spectra; the result does not depend on it. Default: one.

    Returns
    -------
    CleanResult
        NaN for a spectrum that is not finite everywhere. A spectrum without a finite transfer function, or whose
        residual grows beyond twice the dirty spectrum, which an RMTF that is not its own can bring about, stays dirty
        without components, and has not converged.

    Raises
    ------
    DataError
        If shapes do not fit, depths are not uniform, or a number is out of its range.
    """
    fdf, phi_radm2 = np.asarray(fdf), check_phi(phi_radm2)
    _check(fdf, phi_radm2, gain, max_iterations)
    pixels = fdf.shape[1:]
    fwhm = _positive("fwhm_radm2", fwhm_radm2, pixels) / uniform_step(phi_radm2)
    unit = 1.0 if noise is None else _positive("noise", noise, pixels)
    to_clean, allowed = _split_mask(mask, fdf.shape)
    to_clean = to_clean & np.isfinite(fwhm)
    limit = _squares(_positive("cutoff", cutoff, pixels) * unit, to_clean)
    window_limit = np.full_like(limit, np.inf)
    if window_cutoff is not None:
        window_limit = _squares(_positive("window_cutoff", window_cutoff, pixels) * unit, to_clean)
    responses = _responses(rmtf, fdf)
    spectra = fdf.reshape(phi_radm2.size, -1)
    task = _Task(spectra, responses, allowed, limit, window_limit, fwhm.ravel(), float(gain), int(max_iterations))
    return _clean_all(task, pixels, threads)


def _check(fdf, phi_radm2, gain, max_iterations):
    if fdf.dtype not in (np.complex64, np.complex128) or fdf.shape[:1] != phi_radm2.shape:
        raise DataError(
            f"fdf: expected complex64 or complex128 with {phi_radm2.size} Faraday depths (as phi_radm2) along the "
            f"first axis, got {fdf.dtype} of shape {fdf.shape}"
        )
    if not 0 < gain <= 1:
        raise DataError(f"gain: expected more than 0 and at most 1, got {gain:g}")
    if max_iterations < 0:
        raise DataError(f"max_iterations: expected at least 0, got {max_iterations}")


def _positive(name, values, pixels):
    """Return values for each pixel, inf where a pixel's own is not positive and finite."""
    values = real_values(name, values)
    if values.shape not in ((), pixels):
        raise DataError(f"{name}: expected one value or one for each spectrum, shape {pixels}, got {values.shape}")
    if values.ndim == 0 and not 0 < values < np.inf:
        raise DataError(f"{name}: expected a positive number, got {values}")
    return np.broadcast_to(np.where(values > 0, values, np.inf), pixels)


def _squares(cutoff, to_clean):
    return np.where(to_clean, cutoff, np.inf).ravel() ** 2


def _responses(rmtf, fdf):
    """Return transfer functions (2k + 1, 1 or pixel)."""
    rmtf = np.asarray(rmtf)
    if rmtf.dtype.kind not in "fc":
        raise DataError(f"rmtf: expected complex numbers, got {rmtf.dtype}")
    if rmtf.shape[1:] not in ((), fdf.shape[1:]):
        raise DataError(f"rmtf: expected one for all or one for each spectrum, {fdf.shape[1:]}, got {rmtf.shape[1:]}")
    if rmtf.shape[0] % 2 == 0 or rmtf.shape[0] < 2 * fdf.shape[0] - 1:
        raise DataError(
            f"rmtf: expected an odd number of at least {2 * fdf.shape[0] - 1} Faraday depths, 0 in the middle (see "
            f"double_phi_grid), got {rmtf.shape[0]}"
        )
    centre, reach = rmtf.shape[0] // 2, fdf.shape[0] - 1
    return rmtf[centre - reach : centre + reach + 1].reshape(2 * reach + 1, -1)


def _split_mask(mask, shape):
    """Return which spectra to clean, bool (...), and where components may be placed, bool (phi, 1 or pixel)."""
    mask = np.asarray(True if mask is None else mask, dtype=bool)
    try:
        if mask.ndim < len(shape):
            return np.broadcast_to(mask, shape[1:]), np.ones((shape[0], 1), bool)
        shared = all(size == 1 for size in mask.shape[1:])
        depths = np.broadcast_to(mask, (shape[0], *mask.shape[1:]) if shared else shape)
    except ValueError:
        raise DataError(f"mask: expected shape {shape[1:]} or {shape}, got {mask.shape}") from None
    return np.ones(shape[1:], bool), depths.reshape(shape[0], -1)


def _clean_all(task, pixels, threads):
    """Clean all spectra, tile by tile."""
    depths, count = task.fdf.shape
    result = CleanResult(
        *(np.empty((depths, count), task.fdf.dtype) for _ in range(3)),
        np.empty(count, np.int64),
        np.empty(count, bool),
    )

    def clean_tiles(first, last):
        for tile in range(first, last):
            _clean_tile(task, slice(tile * SPECTRA_A_TILE, (tile + 1) * SPECTRA_A_TILE), result)

    share_tiles(clean_tiles, -(-count // SPECTRA_A_TILE), threads)
    cubes = (cube.reshape(depths, *pixels) for cube in result[:3])
    return CleanResult(*cubes, *(image.reshape(pixels) for image in result[3:]))


def _clean_tile(task, some, result):
    """Clean some neighbouring spectra and write them into the result."""
    spectra = _rows(task.fdf[:, some])
    components, residual, cleaned = np.zeros_like(spectra), np.empty_like(spectra), np.empty_like(spectra)
    iterations, end = clean_spectra(
        spectra,
        _padded_responses(_own(task.rmtf, some), spectra.shape[1]),
        np.ascontiguousarray(_own(task.allowed, some).T),
        task.limit[some],
        task.window_limit[some],
        task.fwhm[some],
        task.gain,
        task.max_iterations,
        components,
        residual,
        cleaned,
    )
    for k in np.flatnonzero(end == STOPPED):
        if not np.all(np.isfinite(spectra[k])):
            components[k] = np.nan
    for cube, rows in ((result.cleaned, cleaned), (result.components, components), (result.residual, residual)):
        cube[:, some] = rows.view(np.complex128)[..., 0].T
    result.iterations[some], result.converged[some] = iterations, end == CONVERGED


def _own(values, some):
    """Return the columns of some spectra, or the one that all share."""
    return values if values.shape[1] == 1 else values[:, some]


def _rows(planes):
    """Return planes (phi, spectrum) as float64 (spectrum, phi, 2)."""
    rows = np.ascontiguousarray(planes.T, dtype=np.complex128)
    return rows.view(np.float64).reshape(*rows.shape, 2)


def _padded_responses(rmtf, depths):
    """Return (spectrum, 2, k), of which the last `depths`, filled up for the kernel, begin with the value at 0."""
    centre = rmtf.shape[0] // 2
    padded = np.zeros((rmtf.shape[1], 2, centre + depths + -depths % DEPTHS))
    padded[:, 0, : len(rmtf)], padded[:, 1, : len(rmtf)] = rmtf.real.T, rmtf.imag.T
    return padded
