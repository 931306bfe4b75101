"""The sky map: how the sky is divided into tracts (tangent planes) and patches (rectangles of their pixels).

A sky map is made from its options alone and answers, in numpy, which tracts and patches a footprint touches and in
which one patch of the survey a position is primary.
"""

from typing import TYPE_CHECKING

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.skymap._options import SkyMapOptions

if TYPE_CHECKING:
    from mpidriver.tasks.skymap._coverage import patches_under
    from mpidriver.tasks.skymap._sky import SkyMap, make_skymap
    from mpidriver.tasks.skymap._tangent import TangentPlane
    from mpidriver.tasks.skymap._tract import Box, Patch, Tract

__all__ = ["Box", "Patch", "SkyMap", "SkyMapOptions", "TangentPlane", "Tract", "make_skymap", "patches_under"]

_HOMES = {
    "Box": "_tract",
    "Patch": "_tract",
    "SkyMap": "_sky",
    "TangentPlane": "_tangent",
    "Tract": "_tract",
    "make_skymap": "_sky",
    "patches_under": "_coverage",
}

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
