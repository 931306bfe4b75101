"""Small systems of linear equations in kernels."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = ["solve_positive"]


@kernel
def solve_positive(matrix, vector):
    """Solve a small symmetric positive definite system in place by Cholesky's method.

    Parameters
    ----------
    matrix : float64 (n, n)
        Of which the lower half is read, and overwritten.
    vector : float64 (n,)
        Right side; receives the solution.

    Returns
    -------
    bool
        False if the matrix is not positive definite; both are then of no use.
    """
    n = vector.size
    for j in range(n):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        if not matrix[j, j] > 0.0:
            return False
        matrix[j, j] = np.sqrt(matrix[j, j])
        for i in range(j + 1, n):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True
