"""Coadd: aligned images of one area averaged, outliers left out.

``coadd(images, weights, masks=…, variances=…)`` takes arrays; ``coadd_blocks(fill, weights, shape)`` asks for blocks of
rows and holds no more than those, however many images there are.
"""

from mpidriver.tasks.coadd._options import CoaddOptions

__all__ = ["Coadd", "CoaddOptions", "coadd", "coadd_blocks"]


def __getattr__(name):
    if name in ("Coadd", "coadd", "coadd_blocks"):
        from mpidriver.tasks.coadd import _coadd

        return getattr(_coadd, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
