"""Options of the warp."""

import dataclasses

from mpidriver.options import option

__all__ = ["WarpOptions"]


@dataclasses.dataclass(frozen=True)
class WarpOptions:
    """How images are brought onto the pixels of the sky map."""

    kernel: str = option(
        "bspline3",
        "interpolation kernel; bspline5 for stars of less than 3 px FWHM",
        choices=("bspline3", "bspline5", "lanczos3", "bilinear"),
    )
    mask_weight: float = option(
        0.02, "an input pixel's mask bits reach an output pixel in which it has at least this weight", minimum=0.0
    )
    grid_step_px: int = option(32, "first spacing at which the pixel map is computed exactly", unit="px", minimum=1)
    max_map_error_px: float = option(
        1e-3, "the spacing is halved until the interpolated pixel map is this good", unit="px", minimum=0.0
    )
