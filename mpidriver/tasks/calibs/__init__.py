"""Calibration frames: many exposures of a detector combined into its bias, dark, flat, defects and fringes.

`combine_frames` is the clipped mean of a stack that is read by blocks of rows; `solve_scales` parts the levels of flat
fields into exposures and detectors; `find_defects` looks for pixels that do not work; `fringe_of` takes a frame of the
sky apart. Importing this package loads neither numpy nor numba, so that option records are cheap to read.
"""

import importlib

from mpidriver.tasks.calibs._options import CalibsOptions

_HOMES = {
    "Combined": "_combine",
    "Scales": "_scales",
    "combine_frames": "_combine",
    "find_defects": "_defects",
    "fringe_of": "_fringe",
    "solve_scales": "_scales",
}

__all__ = ["CalibsOptions", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
