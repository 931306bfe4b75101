"""Mosaic: one astrometric and one photometric solution for all frames that overlap a tract.

`solve_mosaic` is the whole stage. Importing this package loads neither numpy nor astropy, so that option records are
cheap to read.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.mosaic._options import MosaicOptions

_HOMES = {
    "FrameSolution": "_records",
    "FrameSources": "_records",
    "MosaicSolution": "_records",
    "fit_sip": "_sip",
    "flat_magnitudes": "_flat",
    "flatten": "_flat",
    "join_tracts": "_joining",
    "solve_mosaic": "_solve",
}

__all__ = [
    "FrameSolution",
    "FrameSources",
    "MosaicOptions",
    "MosaicSolution",
    "fit_sip",
    "flat_magnitudes",
    "flatten",
    "join_tracts",
    "solve_mosaic",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
