"""Files of the background: a frame's superpixels, and the corrections of a tract's frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.store import WrittenFile, read_masked_image, read_table, write_masked_image, write_table

if TYPE_CHECKING:
    from mpidriver.tasks.matching import Superpixels

__all__ = [
    "CORRECTION_UNITS",
    "SEAM_UNITS",
    "read_corrections",
    "read_superpixels",
    "write_corrections",
    "write_seams",
    "write_superpixels",
]

#: Units of the columns of a tract's corrections.
CORRECTION_UNITS = {"correction": "electron"}
#: Units of the columns of a tract's seams.
SEAM_UNITS = {"before": "nJy/arcsec2", "after": "nJy/arcsec2"}


def write_superpixels(path: Path, background: "Superpixels", header: Mapping[str, Any]) -> WrittenFile:
    """Write a frame's superpixels as an image with variance and mask, a pixel a superpixel."""
    import numpy as np

    from mpidriver.tasks.image import MASK_PLANES, MaskPlane

    mask = np.where(np.isfinite(background.level), 0, int(MaskPlane.NO_DATA)).astype(np.int32)
    rows, columns = background.shape
    return write_masked_image(
        path,
        background.level,
        background.variance,
        mask,
        mask_planes=MASK_PLANES,
        header={**header, "NROW": rows, "NCOL": columns},
    )


def read_superpixels(path: Path) -> "Superpixels":
    """Read what `write_superpixels` has written."""
    from mpidriver.tasks.matching import Superpixels

    stored = read_masked_image(path)
    return Superpixels(stored.image, stored.variance, (int(stored.header["NROW"]), int(stored.header["NCOL"])))


def write_corrections(
    path: Path, rows: Sequence[tuple[Any, ...]], n_terms: int, header: Mapping[str, Any]
) -> WrittenFile:
    """Write a tract's corrections as a table: exposure, detector, band, cells used and the polynomial of each frame."""
    import numpy as np

    kinds = [
        ("exposure", "i8"),
        ("detector", "i4"),
        ("band", "S16"),
        ("n_cells", "i4"),
        ("correction", "f8", (n_terms,)),
    ]
    return write_table(path, np.array(rows, dtype=kinds), units=CORRECTION_UNITS, header=header)


def write_seams(path: Path, rows: Sequence[tuple[Any, ...]], header: Mapping[str, Any]) -> WrittenFile:
    """Write a tract's seams: band, two frames that overlap, cells in common, their mean difference before and after."""
    import numpy as np

    kinds = [
        ("band", "S16"),
        ("exposure1", "i8"),
        ("detector1", "i4"),
        ("exposure2", "i8"),
        ("detector2", "i4"),
        ("n_cells", "i4"),
        ("before", "f8"),
        ("after", "f8"),
    ]
    return write_table(path, np.array(rows, dtype=kinds), units=SEAM_UNITS, header=header)


def read_corrections(path: Path) -> dict[tuple[int, int], tuple[float, ...]]:
    """Read the polynomial that is added to each frame of a tract, by exposure and detector."""
    import numpy as np

    return {
        (int(row["exposure"]), int(row["detector"])): tuple(np.atleast_1d(row["correction"]).tolist())
        for row in read_table(path)
    }
