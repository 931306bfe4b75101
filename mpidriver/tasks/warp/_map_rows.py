"""The pixel map along one row of the output, from the nodes of its grid."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["cubic_weights", "node_weights", "row_of_map"]


@kernel
def cubic_weights(t):
    """Return the weights of nodes -1, 0, 1, 2 for the cubic through them at `t` in [0, 1]."""
    return (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )


@kernel
def node_weights(step):
    """Return the cubic weights of the positions inside a cell, shape (4, step)."""
    weights = np.empty((4, step))
    for offset in range(step):
        w = cubic_weights(offset / step)
        weights[0, offset], weights[1, offset], weights[2, offset], weights[3, offset] = w[0], w[1], w[2], w[3]
    return weights


@kernel
def row_of_map(nodes, row, weights, line, values):
    """Fill `values` with the map's nodes interpolated to every column of one row of the box.

    Parameters
    ----------
    nodes : ndarray of float64, shape (node row, node col)
    row : int
        Of the box.
    weights : ndarray of float64, shape (4, step)
        From `node_weights`.
    line : ndarray of float64, shape (node col,)
        Is overwritten.
    values : ndarray of float64, shape (col,)
        Is filled.
    """
    step = weights.shape[1]
    cell, offset = row // step, row % step
    w0, w1, w2, w3 = weights[0, offset], weights[1, offset], weights[2, offset], weights[3, offset]
    above, here, below, next_below = nodes[cell], nodes[cell + 1], nodes[cell + 2], nodes[cell + 3]
    for node in range(line.size):
        line[node] = w0 * above[node] + w1 * here[node] + w2 * below[node] + w3 * next_below[node]
    for cell in range(line.size - 3):
        first = cell * step
        a, b, c, d = line[cell], line[cell + 1], line[cell + 2], line[cell + 3]
        for offset in range(min(step, values.size - first)):
            values[first + offset] = (
                weights[0, offset] * a + weights[1, offset] * b + weights[2, offset] * c + weights[3, offset] * d
            )
