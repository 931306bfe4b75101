"""Warp: an image onto the pixels of another WCS.

``warp(image, wcs_in, wcs_out, shape_out, variance=…, mask=…)`` interpolates with a cubic B-spline (or another
kernel) and conserves flux.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.warp._options import WarpOptions

__all__ = ["WarpOptions", "overlap", "warp"]

__getattr__, __dir__ = loaded_on_use(__name__, {"overlap": "_warp", "warp": "_warp"})
