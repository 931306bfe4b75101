"""Sky correction over a focal plane: scatter the CCDs of an exposure, merge one sky model, scatter it back.

    python examples/sky_correction.py            one process
    mpirun -n 8 python examples/sky_correction.py

Exposures are scattered too: each is led by the rank that got it, with whatever ranks are free.
"""

import functools

import numpy as np

from mpidriver import Pool, current_pool, launch

CCDS = range(9)


def read_ccd(exposure: int, ccd: int) -> np.ndarray:
    """Stand in for reading a file: a sky with a gradient over the focal plane, and noise."""
    rng = np.random.default_rng([exposure, ccd])
    row, col = np.mgrid[:100, :100] / 100.0
    return 200.0 + 10.0 * (row + ccd // 3) - 5.0 * (col + ccd % 3) + rng.normal(0.0, 1.0, row.shape)


def measure_sky(exposure: int, ccd: int) -> tuple[float, float, float]:
    """Return position of a CCD in the focal plane and the median of its pixels."""
    return ccd // 3, ccd % 3, float(np.median(read_ccd(exposure, ccd)))


def fit_plane(measured: list[tuple[float, float, float]]) -> np.ndarray:
    """Return the coefficients of the plane through the CCDs' skies."""
    y, x, sky = np.array(measured).T
    return np.linalg.lstsq(np.stack([np.ones_like(x), y, x], axis=1), sky, rcond=None)[0]


def residual(exposure: int, plane: np.ndarray, ccd: int) -> float:
    """Return what is left of a CCD's sky when the focal plane's model is off."""
    y, x = ccd // 3, ccd % 3
    return float(np.median(read_ccd(exposure, ccd)) - plane @ [1.0, y, x])


def correct_exposure(exposure: int) -> float:
    """Correct one exposure; return the rms of what is left."""
    pool = current_pool()
    plane = fit_plane(pool.map(functools.partial(measure_sky, exposure), CCDS))
    left = pool.map(functools.partial(residual, exposure, plane), CCDS)
    return float(np.sqrt(np.mean(np.square(left))))


def main(pool: Pool) -> None:
    """Correct all exposures and print what is left of each."""
    for exposure, rms in enumerate(pool.map(correct_exposure, range(6))):
        print(f"exposure {exposure}: sky residual {rms:.4f}")


if __name__ == "__main__":
    launch(main)
