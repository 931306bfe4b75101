"""The loop of the cut-outs: B-splines of degree 5 through a window, sampled along a map of second order."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["TAPS", "sample_window"]

TAPS = 6


@kernel
def _taps(fraction, weights):
    """Write the six weights of a B-spline of degree 5 at a fraction of a pixel beyond the third of its nodes."""
    for side in range(2):
        t = fraction if side == 0 else 1.0 - fraction
        outer = (1.0 - t) ** 5
        second = 26.0 + t * (-50.0 + t * (20.0 + t * (20.0 + t * (-20.0 + t * 5.0))))
        third = 66.0 + t * t * (-60.0 + t * t * (30.0 - t * 10.0))
        if side == 0:
            weights[0], weights[1], weights[2] = outer / 120.0, second / 120.0, third / 120.0
        else:
            weights[5], weights[4], weights[3] = outer / 120.0, second / 120.0, third / 120.0


@kernel
def sample_window(coefficients, blank, x_map, y_map, step, out):
    """Sample the planes of one window on the pixels of a cut-out.

    Parameters
    ----------
    coefficients : float64 (plane, row, col)
        B-spline coefficients of the window.
    blank : bool (row, col)
        Pixels without data.
    x_map, y_map : float64 (3, 3)
        Polynomials: the window's column and row at the cut-out's offset (v, u) from its centre are
        Σ map[i, j] vⁱ uʲ, with v and u in rows and columns times `step`.
    step : float
        What scales offsets to about -1 … 1.
    out : float32 (plane, row, col)
        Filled; NaN where a tap meets a blank pixel or the window's edge.
    """
    planes, rows, cols = coefficients.shape
    half_row, half_col = (out.shape[1] - 1) / 2, (out.shape[2] - 1) / 2
    in_x, in_y = np.empty(TAPS), np.empty(TAPS)
    for row in range(out.shape[1]):
        v = (row - half_row) * step
        for col in range(out.shape[2]):
            u = (col - half_col) * step
            x = y = 0.0
            for i in range(2, -1, -1):
                x = x * v + (x_map[i, 0] + u * (x_map[i, 1] + u * x_map[i, 2]))
                y = y * v + (y_map[i, 0] + u * (y_map[i, 1] + u * y_map[i, 2]))
            first_col, first_row = int(np.floor(x)) - 2, int(np.floor(y)) - 2
            usable = first_col >= 0 and first_row >= 0 and first_col + TAPS <= cols and first_row + TAPS <= rows
            if usable:
                for i in range(TAPS):
                    for j in range(TAPS):
                        usable = usable and not blank[first_row + i, first_col + j]
            if not usable:
                out[:, row, col] = np.nan
                continue
            _taps(x - np.floor(x), in_x)
            _taps(y - np.floor(y), in_y)
            for plane in range(planes):
                total = 0.0
                for i in range(TAPS):
                    along = 0.0
                    for j in range(TAPS):
                        along += in_x[j] * coefficients[plane, first_row + i, first_col + j]
                    total += in_y[i] * along
                out[plane, row, col] = total
