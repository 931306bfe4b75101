"""Coadd: aligned images of one area averaged, outliers left out.

``coadd(images, weights, masks=…, variances=…)`` takes arrays; ``coadd_blocks(fill, weights, shape)`` asks for blocks of
rows and holds no more than those, however many images there are.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.coadd._options import CoaddOptions

__all__ = ["Coadd", "CoaddOptions", "coadd", "coadd_blocks"]

__getattr__, __dir__ = loaded_on_use(__name__, {"Coadd": "_coadd", "coadd": "_coadd", "coadd_blocks": "_coadd"})
