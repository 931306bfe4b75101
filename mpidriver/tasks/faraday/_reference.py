"""RM synthesis and RM-CLEAN as the papers have them: slow, obvious, float64. Tests compare the kernels with them.

Brentjens & de Bruyn 2005, A&A 441, 1217, eqs. 25-26 and 32, 36-38; Heald, Braun & Edmonds 2009, A&A 503, 409.
"""

import numpy as np

from mpidriver.tasks.faraday._grids import lambda_sq

__all__ = ["reference_rm_clean", "reference_rm_synthesis"]


def reference_rm_synthesis(q, u, freq_hz, phi_radm2, *, weights=None, lambda0_sq_m2=None):
    """Return F(φ) = K Σ w P exp(-2iφ(λ² - λ²_0)) as complex128 (phi, ...); arguments as of `rm_synthesis`."""
    lambda_sq_m2 = lambda_sq(freq_hz)
    q, u = np.asarray(q, dtype=np.float64), np.asarray(u, dtype=np.float64)
    along_chan = (slice(None), *[None] * (q.ndim - 1))
    good = np.isfinite(q) & np.isfinite(u)

    if weights is None:
        w = np.ones(q.shape)
    elif np.ndim(weights) == 1:
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64)[along_chan], q.shape)
    else:
        w = np.asarray(weights, dtype=np.float64)
    w = np.where(good & np.isfinite(w) & (w > 0), w, 0.0)
    if lambda0_sq_m2 is None:
        used = w > 0
        mean_weight = [w[j][used[j]].mean() if used[j].any() else 0.0 for j in range(len(lambda_sq_m2))]
        lambda0_sq_m2 = np.average(lambda_sq_m2, weights=mean_weight if np.any(mean_weight) else None)

    p = np.where(good, q + 1j * u, 0.0)
    total = w.sum(axis=0)
    k = np.where(total > 0, 1.0 / np.where(total > 0, total, 1.0), np.nan)
    phases = -2.0 * (lambda_sq_m2 - lambda0_sq_m2)
    return np.stack([k * np.sum(w * p * np.exp(1j * phi * phases)[along_chan], axis=0) for phi in phi_radm2])


def reference_rm_clean(
    fdf, rmtf, phi_radm2, fwhm_radm2, *, cutoff, window_cutoff=None, allowed=None, gain=0.1, max_iterations=1000
):
    """Return cleaned, components, residual (phi,) and the iterations of one spectrum; arguments as of `rm_clean`."""
    residual, components = np.array(fdf, complex), np.zeros(fdf.size, complex)
    allowed = np.ones(fdf.size, bool) if allowed is None else allowed
    distance = np.abs(np.subtract.outer(phi_radm2, phi_radm2))
    iterations = 0
    for limit in (cutoff, window_cutoff):
        if limit is None:
            continue
        if limit is window_cutoff:
            window = distance <= 0.5 * fwhm_radm2 * (1 + 1e-6)
            allowed = allowed & window[:, components != 0].any(axis=1)
        while iterations < max_iterations and np.abs(residual[allowed]).max(initial=0.0) >= limit:
            peak = int(np.argmax(np.where(allowed, np.abs(residual), 0.0)))
            component = gain * residual[peak]
            components[peak] += component
            shift = rmtf.size // 2 - peak
            residual -= component * rmtf[shift : shift + fdf.size]
            iterations += 1
    restored = np.exp(-4.0 * np.log(2.0) * (distance / fwhm_radm2) ** 2) @ components
    return restored + residual, components, residual, iterations
