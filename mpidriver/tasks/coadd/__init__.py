"""Coadd: aligned images of one area averaged, outliers left out.

``coadd(images, weights, masks=…, variances=…)`` takes arrays; ``coadd_blocks(fill, weights, shape)`` asks for blocks of
rows and holds no more than those, however many images there are. ``CoaddPsf(inputs)`` tells the PSF at any position
from the table of a coadd's inputs, of which ``input_row`` makes a row a frame.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.coadd._options import CoaddOptions

__all__ = ["INPUT_DTYPE", "INPUT_UNITS", "Coadd", "CoaddOptions", "CoaddPsf", "coadd", "coadd_blocks", "input_row"]

__getattr__, __dir__ = loaded_on_use(
    __name__,
    {
        **dict.fromkeys(("Coadd", "coadd", "coadd_blocks"), "_coadd"),
        "CoaddPsf": "_coadd_psf",
        **dict.fromkeys(("INPUT_DTYPE", "INPUT_UNITS", "input_row"), "_inputs"),
    },
)
