"""What is kept: the repository, its FITS files, and the state database.

Names are loaded when first used, so that `mpidriver status` pays for neither numpy nor astropy.

Headers: values are str, bool, int, float or None, or ``(value, comment)``; nothing in a product carries a wall-clock
time, so that equal input gives equal bytes.
"""

from typing import TYPE_CHECKING

from mpidriver.lazy import loaded_on_use

if TYPE_CHECKING:
    from mpidriver.store._atomic import (
        all_or_none,
        atomic_batch,
        atomic_path,
        is_partial,
        nothing_kept,
        remove_partials,
        write_text,
    )
    from mpidriver.store._components._layouts import COMPONENT_DTYPE, COMPONENT_UNITS
    from mpidriver.store._components._tables import ComponentTable, read_components
    from mpidriver.store._cubes._channels import read_channel_values
    from mpidriver.store._cubes._depth import depth_axis, depth_cards
    from mpidriver.store._cubes._files import CubeFile, NewCube, RegionWriter, create_cubes, find_cubes, publish_cubes
    from mpidriver.store._cubes._journal import RegionJournal
    from mpidriver.store._cubes._maps import read_map
    from mpidriver.store._cubes._source import CubeSource, open_cube
    from mpidriver.store._digest import file_digest, file_stamp, files_digest
    from mpidriver.store._fits._cards import Cards
    from mpidriver.store._fits._cutouts import EMPTY_PRIMARY, CutoutHeader, hdu_bytes
    from mpidriver.store._fits._headers import wcs_from_header
    from mpidriver.store._fits._images import (
        ImageWriter,
        MaskedImageWriter,
        WrittenFile,
        write_image,
        write_images,
        write_masked_image,
    )
    from mpidriver.store._fits._raw import read_raw
    from mpidriver.store._fits._readers import (
        MaskedImageReader,
        StoredImage,
        read_header,
        read_image,
        read_masked_image,
    )
    from mpidriver.store._fits._regions import RegionPlane, physical_values, region_planes
    from mpidriver.store._fits._tables import read_table, read_table_header, read_table_units, write_table
    from mpidriver.store._instruments._headers import read_headers
    from mpidriver.store._instruments._instrument import InstrumentOptions
    from mpidriver.store._instruments._presets import PRESETS, instrument_preset
    from mpidriver.store._instruments._stokes import jy_per_beam
    from mpidriver.store._ionex import IonexMaps, read_ionex
    from mpidriver.store._layout import DATASETS
    from mpidriver.store._mongo._state import MongoState
    from mpidriver.store._parquet import write_parquet
    from mpidriver.store._provenance import stamped
    from mpidriver.store._repository import Repository
    from mpidriver.store._spool import Spool
    from mpidriver.store._sqlite._state import SqliteState
    from mpidriver.store._state._database import StateDatabase, open_state
    from mpidriver.store._state._options import StateOptions
    from mpidriver.store._state._records import (
        STATUSES,
        Frame,
        FrameUpdate,
        Product,
        QuantumRecord,
        QuantumUpdate,
        RunRecord,
    )
    from mpidriver.store._state._run_lock import process_identity, process_is_alive
    from mpidriver.store._votables import write_votable

_HOMES = {
    "_atomic": (
        "all_or_none",
        "atomic_batch",
        "atomic_path",
        "is_partial",
        "nothing_kept",
        "remove_partials",
        "write_text",
    ),
    "_components._layouts": ("COMPONENT_DTYPE", "COMPONENT_UNITS"),
    "_components._tables": ("ComponentTable", "read_components"),
    "_cubes._channels": ("read_channel_values",),
    "_cubes._depth": ("depth_axis", "depth_cards"),
    "_cubes._files": ("CubeFile", "NewCube", "RegionWriter", "create_cubes", "find_cubes", "publish_cubes"),
    "_cubes._journal": ("RegionJournal",),
    "_cubes._maps": ("read_map",),
    "_cubes._source": ("CubeSource", "open_cube"),
    "_state._database": ("StateDatabase", "open_state"),
    "_digest": ("file_digest", "file_stamp", "files_digest"),
    "_fits._cards": ("Cards",),
    "_fits._cutouts": ("EMPTY_PRIMARY", "CutoutHeader", "hdu_bytes"),
    "_fits._headers": ("wcs_from_header",),
    "_fits._images": (
        *("ImageWriter", "MaskedImageWriter", "WrittenFile"),
        *("write_image", "write_images", "write_masked_image"),
    ),
    "_fits._raw": ("read_raw",),
    "_fits._readers": ("MaskedImageReader", "StoredImage", "read_header", "read_image", "read_masked_image"),
    "_fits._tables": ("read_table", "read_table_header", "read_table_units", "write_table"),
    "_fits._regions": ("RegionPlane", "physical_values", "region_planes"),
    "_instruments._headers": ("read_headers",),
    "_instruments._instrument": ("InstrumentOptions",),
    "_ionex": ("IonexMaps", "read_ionex"),
    "_layout": ("DATASETS",),
    "_mongo._state": ("MongoState",),
    "_parquet": ("write_parquet",),
    "_instruments._presets": ("PRESETS", "instrument_preset"),
    "_instruments._stokes": ("jy_per_beam",),
    "_provenance": ("stamped",),
    "_state._records": ("STATUSES", "Frame", "FrameUpdate", "Product", "QuantumRecord", "QuantumUpdate", "RunRecord"),
    "_repository": ("Repository",),
    "_state._run_lock": ("process_identity", "process_is_alive"),
    "_spool": ("Spool",),
    "_sqlite._state": ("SqliteState",),
    "_state._options": ("StateOptions",),
    "_votables": ("write_votable",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "COMPONENT_DTYPE",
    "COMPONENT_UNITS",
    "DATASETS",
    "EMPTY_PRIMARY",
    "PRESETS",
    "STATUSES",
    "Cards",
    "ComponentTable",
    "CubeFile",
    "CubeSource",
    "CutoutHeader",
    "Frame",
    "FrameUpdate",
    "ImageWriter",
    "InstrumentOptions",
    "IonexMaps",
    "MaskedImageReader",
    "MaskedImageWriter",
    "MongoState",
    "NewCube",
    "Product",
    "QuantumRecord",
    "QuantumUpdate",
    "RegionJournal",
    "RegionPlane",
    "RegionWriter",
    "Repository",
    "RunRecord",
    "Spool",
    "SqliteState",
    "StateDatabase",
    "StateOptions",
    "StoredImage",
    "WrittenFile",
    "all_or_none",
    "atomic_batch",
    "atomic_path",
    "create_cubes",
    "depth_axis",
    "depth_cards",
    "file_digest",
    "file_stamp",
    "files_digest",
    "find_cubes",
    "hdu_bytes",
    "instrument_preset",
    "is_partial",
    "jy_per_beam",
    "nothing_kept",
    "open_cube",
    "open_state",
    "physical_values",
    "process_identity",
    "process_is_alive",
    "publish_cubes",
    "read_channel_values",
    "read_components",
    "read_header",
    "read_headers",
    "read_image",
    "read_ionex",
    "read_map",
    "read_masked_image",
    "read_raw",
    "read_table",
    "read_table_header",
    "read_table_units",
    "region_planes",
    "remove_partials",
    "stamped",
    "wcs_from_header",
    "write_image",
    "write_images",
    "write_masked_image",
    "write_parquet",
    "write_table",
    "write_text",
    "write_votable",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOME)
