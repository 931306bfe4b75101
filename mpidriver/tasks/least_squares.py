"""Least squares over frames whose stars are free: one sparse system with the stars eliminated.

Measurement m of star s in frame f has the value p_m + B_m c_f with error sigma_m, and star s the free value theta_s.
Frames may have some of their coefficients in common, as those of a detector. The sum of
(p_m + B_m c_f - theta_s)^2 / sigma_m^2, of (theta_s - t_s)^2 / tau_s^2 for stars tied to a reference, and of c^T P c,
with the precision P to which the coefficients are known beforehand, is least where the theta are weighted means, which
leaves normal equations in the c alone (Schur complement). Several coordinates with equal errors share one matrix. Two
of them may be the parts of a complex number: then the terms are complex as well, and a coefficient that exposures have
in common is turned with each of them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special

from mpidriver.tasks.normal_equations import Blocks
from mpidriver.tasks.scattering import ALONE, Ranks

__all__ = [
    "Fit",
    "Measurements",
    "evaluate",
    "grouped_rms",
    "precision_about",
    "solve_robustly",
    "weighted_rms",
    "worst_outliers",
]


@dataclass(frozen=True)
class Measurements:
    """What is known before the solution; m measurements, s stars, f frames, k terms, p parameters, r coordinates."""

    frame: np.ndarray
    """Shape (m,)."""
    star: np.ndarray
    """Shape (m,)."""
    basis: np.ndarray
    """Terms of the frame's correction at the measurement, shape (m, k); complex for two coordinates as one number."""
    value: np.ndarray
    """Measured, shape (m, r)."""
    sigma: np.ndarray
    """Error of one coordinate, shape (m,)."""
    tie: np.ndarray
    """Reference values of the stars, shape (s, r)."""
    tie_sigma: np.ndarray
    """Their errors, shape (s,); infinite for stars without reference."""
    parameter: np.ndarray
    """Number of the parameter that each coefficient of each frame is, shape (f, k)."""
    precision: np.ndarray
    """Inverse covariance of the parameters, shape (p, p), or its diagonal, shape (p,)."""

    def correction(self, coefficients: np.ndarray) -> np.ndarray:
        """Return what the frames' coefficients add to each value, shape (m, r)."""
        return np.ascontiguousarray(np.einsum("mk,mkr->mr", self.basis, coefficients[self.frame])).view(float)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return values, shape (n, r), as what the terms are: real, or complex of shape (n, 1)."""
        return np.ascontiguousarray(values).view(self.basis.dtype)


@dataclass(frozen=True)
class Fit:
    """A solution."""

    coefficients: np.ndarray
    """Shape (f, k, r), or complex, (f, k, 1)."""
    used: np.ndarray
    """Which measurements were used, shape (m,)."""
    tied: np.ndarray
    """Which stars' reference values were used, shape (s,)."""
    residual: np.ndarray
    """Corrected value less the star's mean over `used` and `tied`, shape (m, r)."""
    tie_residual: np.ndarray
    """Reference value less the star's mean, shape (s, r)."""
    share: np.ndarray
    """Weight of a measurement in the mean of its star, shape (m,); 1 if it is alone."""
    tie_share: np.ndarray
    """The same for the reference value, shape (s,)."""


def solve_robustly(
    m: Measurements, used: np.ndarray, *, clip_sigma: float, max_iterations: int, ranks: Ranks = ALONE
) -> Fit:
    """Solve, drop the worst outlier of each star, and solve again until none is left.

    Parameters
    ----------
    m
        The measurements.
    used : ndarray of bool, shape (m,)
        Those to begin with.
    clip_sigma
        In units of the expected error, scaled up where the residuals' median says that errors are underestimated.
    max_iterations
        Solutions at most.
    ranks
        Who sets up the normal equations.
    """
    blocks = Blocks(m, ranks)
    tied = np.isfinite(m.tie_sigma)
    for _ in range(max_iterations):
        fit = solve(m, used, tied, blocks)
        out, tie_out = worst_outliers(m, fit, clip_sigma)
        if not out.any() and not tie_out.any():
            break
        used, tied = used & ~out, tied & ~tie_out
    return fit


def worst_outliers(m: Measurements, fit: Fit, clip_sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for each star the measurement or reference value that is farthest off, if it is too far.

    Returns
    -------
    out : ndarray of bool, shape (m,)
    tie_out : ndarray of bool, shape (s,)
    """
    pulls = _pulls(fit.residual, m.sigma, fit.share, fit.used)
    tie_pulls = _pulls(fit.tie_residual, np.where(fit.tied, m.tie_sigma, 1.0), fit.tie_share, fit.tied)
    pulls /= clip_sigma * max(_typical(pulls, fit.residual.shape[1]), 1.0)
    tie_pulls /= clip_sigma * max(_typical(tie_pulls, fit.residual.shape[1]), 1.0)
    worst = tie_pulls.copy()
    np.maximum.at(worst, m.star, pulls)
    return (pulls > 1.0) & (pulls >= worst[m.star]), (tie_pulls > 1.0) & (tie_pulls >= worst)


def solve(m: Measurements, used: np.ndarray, tied: np.ndarray, blocks: Blocks | None = None) -> Fit:
    """Return the least-squares solution from some of the measurements and reference values."""
    equations = (blocks or Blocks(m, ALONE)).equations(used, tied)
    normal = equations.matrix + (np.diag(m.precision) if m.precision.ndim == 1 else m.precision)
    factor = linalg.cho_factor(normal, lower=True, overwrite_a=True)
    return evaluate(m, linalg.cho_solve(factor, equations.right)[m.parameter], used, tied)


def evaluate(m: Measurements, coefficients: np.ndarray, used: np.ndarray, tied: np.ndarray) -> Fit:
    """Return residuals and shares of a set of coefficients; the means are over `used` and `tied`."""
    weight = np.where(used, m.sigma**-2.0, 0.0)
    tie_weight = np.where(tied, m.tie_sigma, np.inf) ** -2.0
    total = np.bincount(m.star, weight, len(tied)) + tie_weight
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    corrected = m.value + m.correction(coefficients)
    tie = np.where(tied[:, None], m.tie, 0.0)
    sums = [np.bincount(m.star, weight * axis, len(tied)) for axis in corrected.T]
    mean = inverse[:, None] * (np.stack(sums, axis=-1) + tie_weight[:, None] * tie)
    return Fit(
        coefficients=coefficients,
        used=used,
        tied=tied,
        residual=corrected - mean[m.star],
        tie_residual=np.where(tied[:, None], m.tie - mean, 0.0),
        share=weight * inverse[m.star],
        tie_share=tie_weight * inverse,
    )


def _pulls(residual: np.ndarray, sigma: np.ndarray, share: np.ndarray, used: np.ndarray) -> np.ndarray:
    free = used & (share < 1.0 - 1e-9)
    expected = sigma * np.sqrt(np.where(free, 1.0 - share, 1.0))
    return np.where(free, np.max(np.abs(residual), axis=1) / expected, 0.0)


def _typical(pulls: np.ndarray, coordinates: int) -> float:
    """Return a robust scale of pulls: their median in units of that of the largest of so many unit normals."""
    known = pulls[pulls > 0]
    unit = special.ndtri((1.0 + 0.5 ** (1.0 / coordinates)) / 2.0)
    return float(np.median(known) / unit) if len(known) else 0.0


def precision_about(design: np.ndarray, size: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Return the inverse covariance of parameters that scatter about what groups of them have in common.

    Parameters
    ----------
    design : ndarray, shape (p, q)
        What one unit of each common value adds to each parameter.
    size : ndarray, shape (q,)
        Expected size of the common values.
    scatter : ndarray, shape (p,)
        Expected deviation of the parameters from their sum.

    Returns
    -------
    ndarray, shape (p, p)
        Inverse of ``diag(scatter²) + design diag(size²) designᴴ`` (Woodbury's identity).
    """
    scaled = design * (scatter**-2.0)[:, None]
    inner = np.diag(size**-2.0) + design.conj().T @ scaled
    return np.diag(scatter**-2.0) - scaled @ linalg.cho_solve(linalg.cho_factor(inner, lower=True), scaled.conj().T)


def weighted_rms(residual: np.ndarray, sigma: np.ndarray, share: np.ndarray, used: np.ndarray) -> float:
    """Return the error-weighted rms of one coordinate, corrected for what the stars' means take up; NaN if none.

    Parameters
    ----------
    residual : ndarray, shape (m, r)
    sigma, share : ndarray, shape (m,)
    used : ndarray of bool, shape (m,)
    """
    return float(grouped_rms(residual, sigma, share, used, np.zeros(len(sigma), dtype=int), 1)[0])


def grouped_rms(
    residual: np.ndarray, sigma: np.ndarray, share: np.ndarray, used: np.ndarray, group: np.ndarray, n_groups: int
) -> np.ndarray:
    """Return what `weighted_rms` does for each group of measurements, shape (n_groups,)."""
    weight = np.where(used, sigma, np.inf) ** -2.0
    total = np.bincount(group, weight, n_groups)
    freedom = np.bincount(group, weight * (1.0 - share), n_groups)
    squares = np.bincount(group, weight * np.mean(residual**2, axis=1), n_groups)
    known = freedom > 1e-9 * total
    return np.sqrt(np.divide(squares, freedom, out=np.full(n_groups, np.nan), where=known))
