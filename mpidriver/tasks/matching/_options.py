"""Options of background matching."""

from dataclasses import dataclass

from mpidriver.options import option

__all__ = ["MatchingOptions"]


@dataclass(frozen=True)
class MatchingOptions:
    """How the backgrounds of overlapping frames are made the same."""

    enabled: bool = option(True, "Whether frames get a correction at all.")
    degree: int = option(
        1, "Degree of the polynomial that is added to a frame; 0 is an offset, 1 a plane.", choices=(0, 1, 2, 3)
    )
    correction_prior: float = option(
        1.0,
        "Expected size of a correction; of all that match the frames the smallest is taken, so that the sky stays.",
        unit="noise of a pixel",
        minimum=1e-6,
    )
    clip_sigma: float = option(5.0, "Superpixels farther than this from the solution are dropped.", minimum=1.0)
    max_iterations: int = option(10, "Solutions at most, each after dropping what is too far off.", minimum=1)
