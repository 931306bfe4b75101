"""Where each output pixel lies on the input: exact on a coarse grid, cubic between.

A WCS costs about a microsecond a pixel and is smooth over hundreds of them. The map is therefore evaluated on a grid
of spacing `step` with one node beyond each side, and interpolated by the cubic through four nodes along each axis;
the spacing is halved until cell centres, evaluated exactly, agree.
"""

import dataclasses

import numpy as np

from mpidriver.tasks.positions import sky_to_pixel

__all__ = ["PixelMap", "interpolated", "make_pixel_map", "output_box", "project"]

#: How far beyond the input's edge output pixels are still considered, in input pixels.
MARGIN_PX = 4.0
#: Positions along each side of the input.
_BORDER_POINTS = 33


@dataclasses.dataclass(frozen=True)
class PixelMap:
    """Input position of the output pixels of one box, on a grid of nodes.

    Node ``(i, j)`` belongs to the output pixel (row ``row0 + (i - 1) * step``, col ``col0 + (j - 1) * step``).
    """

    x: np.ndarray
    """float64, shape (node row, node col), px: input column, 0-based; NaN where the projection does not reach."""
    y: np.ndarray
    """The same for the input row."""
    area: np.ndarray
    """Area of an output pixel on the input, in input pixels: the Jacobian determinant of the map."""
    row0: int
    """First row of the box."""
    col0: int
    """First column of the box."""
    rows: int
    """Rows of the box."""
    cols: int
    """Columns of the box."""
    step: int
    """Spacing of the nodes in output pixels."""


def project(wcs_from, wcs_to, x, y):
    """Return where pixel positions of one WCS lie on another, NaN where they do not.

    Parameters
    ----------
    wcs_from, wcs_to : astropy.wcs.WCS
    x, y : ndarray, px, 0-based

    Returns
    -------
    tuple of ndarray
    """
    return sky_to_pixel(wcs_to, *wcs_from.all_pix2world(x, y, 0))


def output_box(shape_in, wcs_in, wcs_out, shape_out):
    """Return the part of the output that the input can reach, as ``(row0, row1, col0, col1)``, or None.

    The input's border, widened by `MARGIN_PX`, is mapped to the output.

    Parameters
    ----------
    shape_in, shape_out : tuple of int, (rows, cols)
    wcs_in, wcs_out : astropy.wcs.WCS
    """
    x_out, y_out = project(wcs_in, wcs_out, *_border(shape_in, MARGIN_PX))
    reached = np.isfinite(x_out) & np.isfinite(y_out)
    if not reached.any():
        return None
    # A border between two of its points may bulge by a little of their spacing: add a pixel and 1 % of the extent.
    row0, row1 = _padded_range(y_out[reached], shape_out[0])
    col0, col1 = _padded_range(x_out[reached], shape_out[1])
    return (row0, row1, col0, col1) if row0 < row1 and col0 < col1 else None


def _border(shape, margin_px):
    """Return positions along the border of an image, widened by `margin_px`: x and y, px."""
    along_y, along_x = (np.linspace(-margin_px, size - 1 + margin_px, _BORDER_POINTS) for size in shape)
    low, high = np.zeros(_BORDER_POINTS, int), np.full(_BORDER_POINTS, -1)
    x = np.concatenate([along_x, along_x, along_x[low], along_x[high]])
    y = np.concatenate([along_y[low], along_y[high], along_y, along_y])
    return x, y


def _padded_range(positions, size):
    low, high = positions.min(), positions.max()
    pad = 1.0 + 0.01 * (high - low)
    return int(np.clip(np.floor(low - pad), 0, size)), int(np.clip(np.ceil(high + pad) + 1, 0, size))


def make_pixel_map(shape_in, wcs_in, wcs_out, box, *, step, max_error_px):
    """Return the pixel map of a box of the output.

    Parameters
    ----------
    shape_in : tuple of int, (rows, cols)
    wcs_in, wcs_out : astropy.wcs.WCS
    box : tuple of int
        ``(row0, row1, col0, col1)`` in the output.
    step : int, px
        First spacing.
    max_error_px : float
        Error in input pixels above which the spacing is halved.

    Returns
    -------
    PixelMap
    """
    pixel_map = _evaluate(wcs_in, wcs_out, box, step)
    while pixel_map.step > 1 and _error_px(pixel_map, shape_in, wcs_in, wcs_out) > max_error_px:
        pixel_map = _evaluate(wcs_in, wcs_out, box, pixel_map.step // 2)
    return pixel_map


def _evaluate(wcs_in, wcs_out, box, step):
    row0, row1, col0, col1 = box
    row_nodes = row0 + step * np.arange(-1.0, _n_cells(row1 - row0, step) + 2)
    col_nodes = col0 + step * np.arange(-1.0, _n_cells(col1 - col0, step) + 2)
    grid_x, grid_y = np.meshgrid(col_nodes, row_nodes)
    x, y = project(wcs_out, wcs_in, grid_x.ravel(), grid_y.ravel())
    x, y = np.ascontiguousarray(x).reshape(grid_x.shape), np.ascontiguousarray(y).reshape(grid_x.shape)
    (x_by_row, x_by_col), (y_by_row, y_by_col) = (np.gradient(nodes, step, edge_order=2) for nodes in (x, y))
    area = np.abs(x_by_col * y_by_row - x_by_row * y_by_col)
    return PixelMap(x, y, area, row0, col0, row1 - row0, col1 - col0, step)


def _n_cells(size, step):
    """Return how many cells hold `size` pixels, each cell without its last node: the kernel starts a cell at one."""
    return -(-size // step)


def _error_px(pixel_map, shape_in, wcs_in, wcs_out):
    """Return the largest error of the interpolated map on the input, at cell centres and along its border, px.

    It is infinite where the map has no value although the position has one: a node lies where the input's projection
    or distortion does not reach.
    """
    checked = _centres(pixel_map), _on_border(pixel_map, shape_in, wcs_in, wcs_out)
    rows, cols = (np.concatenate(positions) for positions in zip(*checked, strict=True))
    exact_x, exact_y = project(wcs_out, wcs_in, cols, rows)
    x, y, area = (interpolated(pixel_map, nodes, rows, cols) for nodes in (pixel_map.x, pixel_map.y, pixel_map.area))
    error = np.where(np.isfinite(area), np.hypot(x - exact_x, y - exact_y), np.inf)
    inside = (exact_x > -1) & (exact_x < shape_in[1]) & (exact_y > -1) & (exact_y < shape_in[0])
    return float(np.max(error[inside], initial=0.0))


def _centres(pixel_map):
    """Return rows and columns of the output in the middle of cells."""
    half = 0.5 * pixel_map.step
    rows = pixel_map.row0 + half + pixel_map.step * _spread(pixel_map.x.shape[0] - 3)
    cols = pixel_map.col0 + half + pixel_map.step * _spread(pixel_map.x.shape[1] - 3)
    cols, rows = np.meshgrid(cols, rows)
    return rows.ravel(), cols.ravel()


def _on_border(pixel_map, shape_in, wcs_in, wcs_out):
    """Return rows and columns of the box where the border of the input lies."""
    cols, rows = project(wcs_in, wcs_out, *_border(shape_in, 0.0))
    within = (rows >= pixel_map.row0) & (rows < pixel_map.row0 + pixel_map.rows)
    within &= (cols >= pixel_map.col0) & (cols < pixel_map.col0 + pixel_map.cols)
    return rows[within], cols[within]


def _spread(count, most=24):
    """Return up to `most` of `count` cells, evenly spread with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def interpolated(pixel_map, nodes, rows, cols):
    """Return `nodes` (the map's x, y or area) interpolated to output pixels of the box, as the warp itself does.

    Parameters
    ----------
    pixel_map : PixelMap
    nodes : ndarray, shape (node row, node col)
    rows, cols : ndarray of float, px
        Output pixels.
    """
    row_cell, row_weights = _cell_and_weights((rows - pixel_map.row0) / pixel_map.step, nodes.shape[0] - 3)
    col_cell, col_weights = _cell_and_weights((cols - pixel_map.col0) / pixel_map.step, nodes.shape[1] - 3)
    return sum(row_weights[i] * col_weights[j] * nodes[row_cell + i, col_cell + j] for i in range(4) for j in range(4))


def _cell_and_weights(position, cells):
    """Return the cell of each position, in cells, and the weights of the four nodes about it (Lagrange cubic)."""
    cell = np.clip(np.floor(position).astype(int), 0, cells - 1)
    t = position - cell
    return cell, (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )
