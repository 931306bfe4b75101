"""Cosmic rays: straight, sharp tracks of charge."""

import numpy as np

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator

__all__ = ["cosmic_ray_charge"]

#: Mean length of a track beyond its first pixel, pixels.
_LENGTH_PX = 6.0
#: Median charge and its scatter (natural logarithm) from track to track, electrons a pixel of length.
_CHARGE_ELECTRONS = 2000.0
_CHARGE_SCATTER = 0.6
#: Step along a track, pixels.
_STEP_PX = 0.1


def cosmic_ray_charge(options: SimulationOptions, exposure: int, detector: int) -> np.ndarray:
    """Return the charge of cosmic rays, shape (row, col), electrons."""
    charge = np.zeros(options.camera.detector_shape)
    rng = generator(options.seed, Stream.COSMIC_RAYS, exposure, detector)
    for _ in range(rng.poisson(options.camera.cosmic_rays)):
        start = rng.uniform(-0.5, np.asarray(charge.shape) - 0.5)
        angle, length_px = rng.uniform(0.0, 2.0 * np.pi), 1.0 + rng.exponential(_LENGTH_PX)
        electrons_px = _CHARGE_ELECTRONS * np.exp(_CHARGE_SCATTER * rng.standard_normal())
        _deposit(charge, start, angle, length_px, electrons_px)
    return charge


def _deposit(charge: np.ndarray, start, angle: float, length_px: float, electrons_px: float) -> None:
    """Add a track of `electrons_px` a pixel of its length to the pixels it crosses, in place."""
    along = np.arange(0.0, length_px, _STEP_PX)
    rows = np.rint(start[0] + along * np.sin(angle)).astype(int)
    cols = np.rint(start[1] + along * np.cos(angle)).astype(int)
    inside = (rows >= 0) & (rows < charge.shape[0]) & (cols >= 0) & (cols < charge.shape[1])
    np.add.at(charge, (rows[inside], cols[inside]), _STEP_PX * electrons_px)
