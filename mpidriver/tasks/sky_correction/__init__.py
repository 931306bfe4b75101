"""Sky correction: one smooth sky over the focal plane for all detectors of an exposure.

A detector's own meshes take what is larger than them for sky: the halo of a galaxy, a nebula, the light of a cluster. A
model of low order over all detectors does not. `detector_sky` bins the sky of a detector, `fit_focal_plane` joins those
of an exposure, `detector_model` brings the model back to a detector's pixels.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.sky_correction._options import SkyCorrectionOptions

_HOMES = {
    "DetectorSky": "_detector",
    "FocalPlaneSky": "_focal_plane",
    "detector_model": "_focal_plane",
    "detector_sky": "_detector",
    "fit_focal_plane": "_focal_plane",
}

__all__ = [
    "DetectorSky",
    "FocalPlaneSky",
    "SkyCorrectionOptions",
    "detector_model",
    "detector_sky",
    "fit_focal_plane",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
