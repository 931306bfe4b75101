"""Options of calibration frames."""

import dataclasses

from mpidriver.options import option

__all__ = ["CalibsOptions"]


@dataclasses.dataclass(frozen=True)
class CalibsOptions:
    """How raw calibration frames are combined."""

    clip_sigma: float = option(4.0, "Pixels further than this from the median of the stack are left out.", minimum=1.0)
    frames_min: int = option(3, "Fewest frames of a detector that make a calibration frame.", minimum=1)
    hot_sigma: float = option(
        50.0, "A pixel is bad if its dark current is this far above the others', in their own scatter.", minimum=5.0
    )
    response_min: float = option(0.3, "A pixel is bad if its flat is below this share of its neighbourhood's.")
    response_max: float = option(2.0, "A pixel is bad if its flat is above this share of its neighbourhood's.")
    crosstalk_least_adu: float = option(
        5000.0, "Counts above the sky from which a source shows cross-talk.", unit="ADU", minimum=1.0
    )
    sky_mesh_px: int = option(64, "Side of the meshes of a sky frame.", unit="px", minimum=8)
    block_mib: int = option(128, "Memory for the block of rows that is combined at once.", unit="MiB", minimum=1)
