"""Background matching: what is left of the sky in overlapping frames is made the same, so that coadds have no seams.

Each frame's background is measured in superpixels where the frame is made (`superpixels`), brought onto the cells of
its tract (`sample_cells`), and one least-squares solution a tract finds the polynomial that each frame lacks
(`match_backgrounds`), which is added before the frame is warped (`add_polynomial`).
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.matching._options import MatchingOptions

_HOMES = {
    "FrameCells": "_cells",
    "MatchedBackgrounds": "_solve",
    "Seam": "_solve",
    "Superpixels": "_superpixels",
    "add_polynomial": "_polynomial",
    "match_backgrounds": "_solve",
    "sample_cells": "_cells",
    "superpixels": "_superpixels",
}

__all__ = [
    "FrameCells",
    "MatchedBackgrounds",
    "MatchingOptions",
    "Seam",
    "Superpixels",
    "add_polynomial",
    "match_backgrounds",
    "sample_cells",
    "superpixels",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
