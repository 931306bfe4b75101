"""How the light around the aperture changes over a frame, as the width and shape of its stars do."""

import dataclasses

import numpy as np

from mpidriver.tasks.matching._polynomial import n_terms, terms

__all__ = ["ApertureMap", "fit_aperture_map"]

#: Stars that a term of the polynomial needs, and its highest degree.
_STARS_PER_TERM, _DEGREE_MAX = 4, 3
#: Spread of single stars about the polynomial, from faint neighbours, over the flux.
_STAR_SPREAD = 0.003
#: Residuals beyond this many sigma count less.
_OUTLIER = 2.0
_ROUNDS = 10


@dataclasses.dataclass(frozen=True)
class ApertureMap:
    """The logarithm of a part of the correction as a polynomial."""

    shape: tuple[int, int]
    """Rows and columns of the frame."""
    coefficients: np.ndarray
    """Of 1, u, v, u², uv, v² …, shape (term,)."""

    @property
    def constant(self) -> bool:
        """Whether it is the same everywhere."""
        return self.coefficients.size == 1

    def at(self, x, y):
        """Return the logarithm at positions in px, shape (n,)."""
        return terms(x, y, self.shape, self.coefficients.size) @ self.coefficients


def fit_aperture_map(x, y, step, error, shape):
    """Return how the light around the aperture changes over a frame.

    The polynomial is fitted by robust least squares. Its degree is that of the least Bayesian information criterion
    (Schwarz 1978) among those for which there are enough stars: where stars are equal, or few, it is constant.

    Parameters
    ----------
    x, y : ndarray, shape (n,), px
    step : ndarray, shape (n,)
        Flux of stars within a larger circle over that within the aperture, positive.
    error : ndarray, shape (n,)
        Its relative error.
    shape : tuple of int
        Rows and columns of the frame.

    Returns
    -------
    ApertureMap
    """
    logs, errors = np.log(step), np.hypot(error, _STAR_SPREAD)
    best, least = np.zeros(1), np.inf
    for count in map(n_terms, range(_DEGREE_MAX + 1)):
        if x.size < _STARS_PER_TERM * count:
            break
        coefficients, cost = _robust_fit(terms(x, y, shape, count), logs, errors)
        criterion = cost + count * np.log(x.size)
        if criterion < least:
            best, least = coefficients, criterion
    return ApertureMap(shape, best)


def _robust_fit(design, values, errors):
    """Return coefficients, and the cost of their residuals, which grows linearly beyond 2 sigma."""
    weights = np.ones(values.size)
    for _ in range(_ROUNDS):
        scale = np.sqrt(weights) / errors
        coefficients = np.linalg.lstsq(design * scale[:, None], values * scale, rcond=None)[0]
        roots = np.sqrt(1 + ((values - design @ coefficients) / (_OUTLIER * errors)) ** 2)
        weights = 1 / roots
    return coefficients, float(2 * _OUTLIER**2 * np.sum(roots - 1))
