"""Options of the coadd."""

import dataclasses

from mpidriver.options import option

__all__ = ["CoaddOptions"]


@dataclasses.dataclass(frozen=True)
class CoaddOptions:
    """How the warps of one patch and band are combined."""

    statistic: str = option(
        "clipped",
        "weighted mean, the same without outliers, also without what only a few epochs show, or plain median",
        choices=("mean", "clipped", "epochs", "median"),
    )
    clip_sigma: float = option(4.0, "a pixel is clipped beyond this many of its own standard deviations,", minimum=0.0)
    clip_fraction: float = option(
        0.9,
        "plus this fraction of the median: 0.3 for a seeing 12 % better than the median, 0.6 for 20 %, 0.9 for 28 %",
        minimum=0.0,
    )
    epoch_sigma: float = option(
        5.0,
        "statistic epochs: differences from the static sky, smoothed, stand out beyond this many sigmas",
        minimum=0.0,
    )
    epoch_share: float = option(
        0.25,
        "what stands out in at most this share of the epochs, or in one, is left out there",
        minimum=0.0,
    )
    bad_planes: tuple[str, ...] = option(
        ("BAD", "SATURATED", "COSMIC_RAY", "NO_DATA"), "mask planes that are left out where other inputs are good"
    )
    keep_warps: bool = option(
        True, "write warps to files; if false they stay in the memory of the ranks until their coadd is made"
    )
    block_mib: int = option(16, "memory for the block of rows that is combined at once", unit="MiB", minimum=1)
