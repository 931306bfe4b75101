"""Single frame: from raw counts of one detector to electrons above sky, a star list, a WCS and a zero point.

`reduce_frame` is the whole stage; its steps are importable from their own files. Importing this package loads neither
numpy nor astropy, so that option records are cheap to read.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.single_frame._options import SingleFrameOptions

_HOMES = {
    "SOURCE_DTYPE": "_records",
    "SOURCE_UNITS": "_records",
    "Calibrations": "_records",
    "Coupling": "_crosstalk",
    "Linearity": "_linearity",
    "RawFrame": "_records",
    "ReducedFrame": "_records",
    "SourceFlag": "_records",
    "counts_above_bias": "_signature",
    "crosstalk": "_crosstalk",
    "reduce_frame": "_reduce",
    "saturation_limit": "_signature",
    "signal_counts": "_signature",
}

__all__ = [
    "SOURCE_DTYPE",
    "SOURCE_UNITS",
    "Calibrations",
    "Coupling",
    "Linearity",
    "RawFrame",
    "ReducedFrame",
    "SingleFrameOptions",
    "SourceFlag",
    "counts_above_bias",
    "crosstalk",
    "reduce_frame",
    "saturation_limit",
    "signal_counts",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
