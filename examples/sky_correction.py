"""Sky correction over a focal plane: the images stay on the ranks that have read them, only models travel.

    python examples/sky_correction.py            one process
    mpirun -n 8 python examples/sky_correction.py

Scatter the CCDs of an exposure, merge a model of the sky, scatter it to the images, scale them, merge a second model
and write what is left. Exposures are scattered too: each is led by the rank that got it, with whatever ranks are free.
"""

import sys
from pathlib import Path

import numpy as np

from mpidriver import Pool, current_pool, launch

CCDS = range(9)


def read_ccd(exposure: int, ccd: int) -> np.ndarray:
    """Stand in for reading a file: a vignetted sky with a gradient over the focal plane, and noise."""
    rng = np.random.default_rng([exposure, ccd])
    row, col = np.mgrid[:100, :100] / 100.0
    sky = 200.0 + 10.0 * (row + ccd // 3) - 5.0 * (col + ccd % 3)
    return sky * (1.0 - 0.01 * ccd) + rng.normal(0.0, 1.0, row.shape)


def measure_sky(image: np.ndarray) -> float:
    """Return the median of the pixels."""
    return float(np.median(image))


def fit_plane(skies: list[float]) -> np.ndarray:
    """Return the coefficients of the plane through the CCDs' skies."""
    y, x = np.divmod(np.array(CCDS), 3)
    return np.linalg.lstsq(np.stack([np.ones_like(y), y, x], axis=1), np.array(skies), rcond=None)[0]


def plane_at(plane: np.ndarray, ccd: int) -> float:
    """Return the model's sky on a CCD."""
    return float(plane @ [1.0, ccd // 3, ccd % 3])


def scale(image: np.ndarray, plane: np.ndarray, ccd: int) -> np.ndarray:
    """Return an image scaled to the sky of the focal plane's model."""
    return image * (plane_at(plane, ccd) / np.median(image))


def write(image: np.ndarray, plane: np.ndarray, ccd: int, path: Path | None) -> float:
    """Write an image without its sky; return the rms of what is left."""
    left = image - plane_at(plane, ccd)
    if path is not None:
        np.save(path, left)
    return float(np.std(left))


def correct_exposure(exposure: int, folder: Path | None = None) -> list[float]:
    """Correct one exposure; return the rms of what is left on each CCD."""
    pool = current_pool()
    images = pool.scatter(read_ccd, [exposure] * len(CCDS), CCDS)
    plane = fit_plane(pool.map(measure_sky, images))
    scaled = pool.scatter(scale, images, [plane] * len(CCDS), CCDS)
    second = fit_plane(pool.map(measure_sky, scaled))
    paths = [None if folder is None else folder / f"sky-{exposure}-{ccd}.npy" for ccd in CCDS]
    return pool.map(write, scaled, [second] * len(CCDS), CCDS, paths)


def main(pool: Pool, folder: Path | None) -> None:
    """Correct all exposures and print what is left of each."""
    for exposure, rms in enumerate(pool.map(correct_exposure, range(6), [folder] * 6)):
        print(f"exposure {exposure}: sky residual {np.mean(rms):.4f}")


if __name__ == "__main__":
    launch(main, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
