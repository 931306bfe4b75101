"""Warp: an image onto the pixels of another WCS.

``warp(image, wcs_in, wcs_out, shape_out, variance=…, mask=…)`` interpolates with a cubic B-spline (or another
kernel) and conserves flux.
"""

from mpidriver.tasks.warp._options import WarpOptions

__all__ = ["WarpOptions", "overlap", "warp"]


def __getattr__(name):
    if name in ("overlap", "warp"):
        from mpidriver.tasks.warp import _warp

        return getattr(_warp, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
