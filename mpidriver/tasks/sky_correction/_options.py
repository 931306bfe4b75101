"""Options of the sky correction."""

import dataclasses

from mpidriver.options import option

__all__ = ["SkyCorrectionOptions"]


@dataclasses.dataclass(frozen=True)
class SkyCorrectionOptions:
    """How the sky of an exposure is modelled over its focal plane."""

    enabled: bool = option(
        False, "subtract one sky over all detectors of an exposure, which leaves what a detector alone takes for sky"
    )
    degree: int = option(2, "degree of the polynomial over the focal plane", minimum=0)
    detector_offsets: bool = option(
        True,
        "each detector has a constant of its own beside the polynomial, as long as flats do not bring all to one "
        "response; what fills more than half of a detector is then part of its sky",
    )
