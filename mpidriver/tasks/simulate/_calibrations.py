"""Bias, flat field and bad columns of a detector: what its frames suffer and its calibrations tell."""

import dataclasses

import numpy as np

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator

__all__ = ["SimulatedCalibrations", "hot_charge", "simulate_calibrations"]

#: Charge of a hot column, electrons a pixel.
_HOT_ELECTRONS = 15000.0


@dataclasses.dataclass(frozen=True)
class SimulatedCalibrations:
    """What a frame of one detector and band was made with."""

    bias: np.ndarray
    """Bias in adu, float32, shape (row, col)."""
    flat: np.ndarray
    """Relative response with a mean of 1, float32, shape (row, col); bad columns are not in it."""
    defects: np.ndarray
    """Pixels of bad columns, bool, shape (row, col)."""


def simulate_calibrations(options: SimulationOptions, detector: int, band: str) -> SimulatedCalibrations:
    """Return bias, flat field and defects of a detector in one band, free of noise.

    Parameters
    ----------
    options
    detector
        Number of the detector.
    band
        One of `options.bands`; only the flat field depends on it.
    """
    return SimulatedCalibrations(_bias(options, detector), _flat(options, detector, band), defects(options, detector))


def _bias(options: SimulationOptions, detector: int) -> np.ndarray:
    """Level with a slow wave along the columns and a scatter of 1 adu from column to column."""
    n_rows, n_cols = options.camera.detector_shape
    rng = generator(options.seed, Stream.BIAS, detector)
    columns = 2.0 * np.sin(2.0 * np.pi * (np.arange(n_cols) / n_cols + rng.random())) + rng.standard_normal(n_cols)
    return np.broadcast_to(options.camera.bias_level + columns, (n_rows, n_cols)).astype(np.float32)


def _flat(options: SimulationOptions, detector: int, band: str) -> np.ndarray:
    """Fall of light from a point near the middle to the corners, times scatter from pixel to pixel."""
    camera = options.camera
    n_rows, n_cols = camera.detector_shape
    rng = generator(options.seed, Stream.FLAT, detector, options.band_index(band))
    x0, y0 = rng.uniform(-0.2, 0.2, 2)
    x = np.linspace(-1.0, 1.0, n_cols)
    y = np.linspace(-1.0, 1.0, n_rows)[:, None]
    flat = 1.0 - camera.flat_amplitude * ((x - x0) ** 2 + (y - y0) ** 2) / 2.0
    flat *= 1.0 + camera.flat_noise * rng.standard_normal((n_rows, n_cols))
    return (flat / flat.mean()).astype(np.float32)


def _bad_columns(options: SimulationOptions, detector: int) -> list[tuple[slice, int, bool]]:
    """Return the rows, column and whether it is hot, of each bad column; they reach from some row to the top."""
    n_rows, n_cols = options.camera.detector_shape
    rng = generator(options.seed, Stream.BAD_COLUMNS, detector)
    columns = rng.choice(n_cols, size=min(options.camera.bad_columns, n_cols), replace=False)
    starts = rng.integers(0, n_rows // 2, size=len(columns))
    return [(slice(int(r), n_rows), int(c), bool(i % 2)) for i, (r, c) in enumerate(zip(starts, columns, strict=True))]


def defects(options: SimulationOptions, detector: int) -> np.ndarray:
    """Return the pixels of a detector's bad columns, bool, shape (row, col)."""
    bad = np.zeros(options.camera.detector_shape, dtype=bool)
    for rows, col, _ in _bad_columns(options, detector):
        bad[rows, col] = True
    return bad


def hot_charge(options: SimulationOptions, detector: int) -> np.ndarray:
    """Return the charge of bad columns, shape (row, col): 0 in dead ones, NaN in pixels that work."""
    charge = np.full(options.camera.detector_shape, np.nan)
    for rows, col, hot in _bad_columns(options, detector):
        charge[rows, col] = _HOT_ELECTRONS if hot else 0.0
    return charge
