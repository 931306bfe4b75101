"""Normal equations of frames whose stars are eliminated, made block by block of stars and summed by a fixed tree.

All measurements of a star are in one block, so that it is eliminated there. Stars that have their first frame in common
lie together on the sky: a block of them touches few frames, and its matrix is small.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from mpidriver.tasks.scattering import Ranks

if TYPE_CHECKING:
    from mpidriver.tasks.least_squares import Measurements

__all__ = ["Blocks", "NormalEquations"]

#: Measurements of a block, about.
BLOCK = 20_000


@dataclass(frozen=True)
class NormalEquations:
    """Equations in some of the parameters: ``matrix @ coefficients = right``."""

    parameter: np.ndarray
    """Numbers of those parameters, ascending, shape (q,)."""
    matrix: np.ndarray
    """Shape (q, q)."""
    right: np.ndarray
    """Shape (q, r)."""

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        """Return the equations of both."""
        parameter = np.union1d(self.parameter, other.parameter)
        return _sum(self.among(parameter), other.among(parameter))

    def among(self, parameter: np.ndarray) -> "NormalEquations":
        """Return the same in more parameters, which have zeros."""
        if len(parameter) == len(self.parameter):
            return self
        at = np.searchsorted(parameter, self.parameter)
        matrix = np.zeros((len(parameter), len(parameter)), self.matrix.dtype)
        matrix[np.ix_(at, at)] = self.matrix
        right = np.zeros((len(parameter), self.right.shape[1]), self.right.dtype)
        right[at] = self.right
        return NormalEquations(parameter, matrix, right)


def _sum(one: NormalEquations, other: NormalEquations) -> NormalEquations:
    return NormalEquations(one.parameter, one.matrix + other.matrix, one.right + other.right)


class Blocks:
    """Measurements by blocks of stars, kept by the ranks.

    Parameters
    ----------
    m
        All of them.
    ranks
        Who makes the equations; what these are does not depend on it.
    """

    def __init__(self, m: "Measurements", ranks: Ranks) -> None:
        self._ranks = ranks
        self._n_parameters = len(m.precision)
        self._parts = list(_parts(m))
        self._kept = ranks.scatter(_block, [_taken(m, *part) for part in self._parts])

    def equations(self, used: np.ndarray, tied: np.ndarray) -> NormalEquations:
        """Return the equations in all parameters from some of the measurements and reference values."""
        whole = self._ranks.reduce(
            NormalEquations.__add__,
            _equations,
            self._kept,
            [used[rows] for rows, _ in self._parts],
            [tied[stars] for _, stars in self._parts],
        )
        return whole.among(np.arange(self._n_parameters))


def _parts(m: "Measurements") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each block its measurements and its stars."""
    n_stars = len(m.tie)
    first = np.full(n_stars, len(m.parameter))
    np.minimum.at(first, m.star, m.frame)
    order = np.argsort(first, kind="stable")
    count = np.cumsum(np.bincount(m.star, minlength=n_stars)[order])
    block = np.empty(n_stars, dtype=int)
    block[order] = (count - 1).clip(0) // BLOCK
    by_block = np.argsort(block[m.star], kind="stable")
    for number in range(int(block.max(initial=0)) + 1):
        rows = by_block[slice(*np.searchsorted(block[m.star[by_block]], [number, number + 1]))]
        yield rows, np.flatnonzero(block == number)


def _taken(m: "Measurements", rows: np.ndarray, stars: np.ndarray) -> "Measurements":
    """Return a block's measurements; its stars are numbered anew."""
    number = np.empty(len(m.tie), dtype=int)
    number[stars] = np.arange(len(stars))
    return replace(
        m,
        frame=m.frame[rows],
        star=number[m.star[rows]],
        basis=m.basis[rows],
        value=m.value[rows],
        sigma=m.sigma[rows],
        tie=m.tie[stars],
        tie_sigma=m.tie_sigma[stars],
        precision=np.empty(0),
    )


def _block(m: "Measurements") -> "Measurements":
    return m


def _equations(m: "Measurements", used: np.ndarray, tied: np.ndarray) -> NormalEquations:
    """Return the equations of a block, in the parameters of its frames."""
    weight = np.where(used, m.sigma**-2.0, 0.0)
    tie_weight = np.where(tied, m.tie_sigma, np.inf) ** -2.0
    total = np.bincount(m.star, weight, len(tied)) + tie_weight
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)

    frames = np.zeros(len(m.parameter), dtype=bool)
    frames[m.frame] = True
    parameter = np.unique(m.parameter[frames])
    columns = np.searchsorted(parameter, m.parameter[m.frame])
    starts = np.arange(len(m.frame) + 1) * columns.shape[1]
    design = sparse.csr_array((m.basis.ravel(), columns.ravel(), starts), shape=(len(m.frame), len(parameter)))
    weighted = sparse.diags_array(weight) @ design
    by_star = sparse.csr_array((np.ones(len(m.star)), (m.star, np.arange(len(m.star)))), (len(tied), len(m.star)))
    coupling = by_star @ weighted
    tie = np.where(tied[:, None], m.tie, 0.0)
    star_sum = by_star @ (weight[:, None] * m.numbers(m.value)) + tie_weight[:, None] * m.numbers(tie)

    design, back = design.conj().T, coupling.conj().T
    matrix = (design @ weighted - back @ (sparse.diags_array(inverse) @ coupling)).toarray()
    right = back @ (inverse[:, None] * star_sum) - weighted.conj().T @ m.numbers(m.value)
    return NormalEquations(parameter, matrix, right)
