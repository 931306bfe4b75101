"""The Fourier transform along rows of pixels."""

import numpy as np
import pytest

from mpidriver.tasks.faraday._fourier import fast_size, order_of_results, stages, twiddles
from mpidriver.tasks.faraday._fourier_kernels import transform_rows
from mpidriver.tasks.faraday._rows import LANES


@pytest.mark.parametrize("size", [1, 2, 3, 4, 24, 81, 162, 256])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_transform_equals_numpy(size, dtype, tolerance):
    values = np.random.default_rng(size).normal(size=(size, 2, LANES)).astype(dtype)
    rows = values.ravel().copy()
    radices = stages(size)
    transform_rows(rows, np.array(radices, np.intp), twiddles(radices).astype(dtype))
    result = rows.reshape(size, 2, LANES)[order_of_results(radices)]
    expected = np.fft.fft(values[:, 0] + 1j * values[:, 1], axis=0)
    assert np.abs(result[:, 0] + 1j * result[:, 1] - expected).max() < tolerance * np.abs(expected).max()


def test_sizes_are_even_and_the_cheapest_of_factors_two_and_three():
    assert [fast_size(n) for n in (2, 5, 7, 25, 241, 621)] == [2, 6, 8, 32, 256, 768]
    assert stages(10) is None
