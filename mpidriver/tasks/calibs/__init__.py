"""Calibration frames: many exposures of a detector combined into its bias, dark, flat, defects, fringes and sky.

`combine_frames` is the clipped mean of a stack that is read by blocks of rows; `solve_scales` parts the levels of flat
fields into exposures and detectors; `find_defects` looks for pixels that do not work; `fringe_of` and `sky_of` take a
frame of the sky apart. Importing this package loads neither numpy nor numba, so that option records are cheap to read.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.calibs._options import CalibsOptions

_HOMES = {
    "Combined": "_combine",
    "Scales": "_scales",
    "SkyMeshes": "_sky",
    "combine_frames": "_combine",
    "combine_skies": "_sky",
    "coupling_sums": "_couplings",
    "find_defects": "_defects",
    "fringe_of": "_fringe",
    "sky_of": "_sky",
    "solve_scales": "_scales",
}

__all__ = ["CalibsOptions", *_HOMES]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
