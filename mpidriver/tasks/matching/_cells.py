"""A frame's superpixels on the cells of a tract: squares of its tangent plane, the same for all frames."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpidriver.tasks.matching._polynomial import n_terms, terms
from mpidriver.tasks.matching._superpixels import Superpixels
from mpidriver.tasks.skymap import TangentPlane

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["FrameCells", "sample_cells"]

#: Positions along a side of the frame at which its WCS is evaluated.
_NODES = 9
#: Of the polynomial from the plane to pixels; 0.01 px off on a detector of DECam.
_MAP_DEGREE = 4
#: A cell's number is ``row * _ROW + column``, both from the middle of the tract.
_ROW = 1 << 32
_ARCSEC2_PER_DEG2 = 3600.0**2


@dataclass(frozen=True)
class FrameCells:
    """The background of one frame in the cells that it covers; n cells, k terms."""

    cell: np.ndarray
    """Number of each cell, int64, shape (n,)."""
    value: np.ndarray
    """Surface brightness, nJy/arcsec², shape (n,)."""
    sigma: np.ndarray
    """Its error, shape (n,)."""
    basis: np.ndarray
    """What one unit of each coefficient of the frame's correction adds to the value, shape (n, k)."""
    noise: float
    """Noise of one pixel of the frame, in its unit: that of the coefficients."""


def sample_cells(
    background: Superpixels, wcs: "WCS", plane: TangentPlane, *, cell_deg: float, scale: float, degree: int
) -> FrameCells:
    """Interpolate a frame's superpixels at the middles of a tract's cells.

    Parameters
    ----------
    background
        Of the frame.
    wcs
        Of the frame's pixels.
    plane
        Of the tract.
    cell_deg
        Side of a cell.
    scale
        From the frame's unit to nJy; frames without a zero point have none, and get no cell.
    degree
        Of the frame's correction, a polynomial over its pixels in its unit.
    """
    column, row, x, y, pixels = _cells_under(background.shape, wcs, plane, cell_deg)
    value, variance = _interpolate(background, x, y)
    known = np.flatnonzero(np.isfinite(value) & (variance > 0) & np.isfinite(scale))
    factor = scale * pixels[known]
    return FrameCells(
        cell=row[known] * _ROW + column[known],
        value=value[known] * factor,
        sigma=np.sqrt(variance[known]) * factor,
        basis=terms(x[known], y[known], background.shape, n_terms(degree)) * factor[:, None],
        noise=background.pixel_noise(),
    )


def _cells_under(shape: tuple[int, int], wcs: "WCS", plane: TangentPlane, cell_deg: float) -> tuple[np.ndarray, ...]:
    """Return column and row of the cells around a frame, where its pixels see them, and pixels an arcsec² there."""
    x, y = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-0.5, size - 0.5, _NODES) for size in shape[::-1])))
    at, right, up = (_on_plane(wcs, plane, *shifted) for shifted in ((x, y), (x + 1, y), (x, y + 1)))
    area = np.abs((right - at)[0] * (up - at)[1] - (right - at)[1] * (up - at)[0]) * _ARCSEC2_PER_DEG2
    low, high = np.floor(at.min(axis=1) / cell_deg), np.ceil(at.max(axis=1) / cell_deg)
    column, row = (
        axis.ravel()
        for axis in np.meshgrid(*(np.arange(a, b + 1, dtype=np.int64) for a, b in zip(low, high, strict=True)))
    )
    middle, half = at.mean(axis=1, keepdims=True), np.ptp(at, axis=1).max() / 2
    design = _monomials((at - middle) / half)
    fitted = np.linalg.lstsq(design, np.stack([x, y, 1.0 / area], axis=-1), rcond=None)[0]
    x, y, pixels = (_monomials((np.stack([column, row]) * cell_deg - middle) / half) @ fitted).T
    return column, row, x, y, pixels


def _on_plane(wcs: "WCS", plane: TangentPlane, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(plane.project(*wcs.all_pix2world(x, y, 0)))


def _monomials(place: np.ndarray) -> np.ndarray:
    u, v = place
    return np.stack([u**i * v ** (total - i) for total in range(_MAP_DEGREE + 1) for i in range(total + 1)], axis=-1)


def _interpolate(background: Superpixels, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return level and variance between the middles of the four nearest superpixels; NaN beyond or beside a hole."""
    steps = [size / count for size, count in zip(background.shape, background.level.shape, strict=True)]
    level, variance = np.zeros(len(x)), np.zeros(len(x))
    at = [(pixel + 0.5) / step - 0.5 for pixel, step in zip((y, x), steps, strict=True)]
    inside = np.ones(len(x), dtype=bool)
    lower = []
    for place, count in zip(at, background.level.shape, strict=True):
        inside &= (place >= 0) & (place <= count - 1)
        lower.append(np.clip(np.floor(place), 0, max(count - 2, 0)).astype(np.int64))
    fraction = [place - low for place, low in zip(at, lower, strict=True)]
    for up in (0, 1):
        for right in (0, 1):
            weight = (fraction[0] if up else 1 - fraction[0]) * (fraction[1] if right else 1 - fraction[1])
            node = tuple(
                np.minimum(low + more, count - 1)
                for low, more, count in zip(lower, (up, right), background.level.shape, strict=True)
            )
            level += weight * background.level[node]
            variance += weight**2 * background.variance[node]
    level[~inside] = np.nan
    return level, variance
