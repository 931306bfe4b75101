"""Mosaic: one astrometric and one photometric solution for all frames that overlap a tract.

`solve_mosaic` is the whole stage. Importing this package loads neither numpy nor astropy, so that option records are
cheap to read.
"""

import importlib

from mpidriver.tasks.mosaic._options import MosaicOptions

_HOMES = {
    "FrameSolution": "_records",
    "FrameSources": "_records",
    "MosaicSolution": "_records",
    "fit_sip": "_sip",
    "solve_mosaic": "_solve",
}

__all__ = ["FrameSolution", "FrameSources", "MosaicOptions", "MosaicSolution", "fit_sip", "solve_mosaic"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
