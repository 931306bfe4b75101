"""What the back ends of the state database share about frames: JSON, corners, and what errors say."""

import json
import math
from typing import TYPE_CHECKING, Any

from mpidriver.errors import DataError
from mpidriver.store._state._records import Frame

if TYPE_CHECKING:
    import numpy as np

__all__ = ["as_json", "check_content", "choose", "finite_corners", "frame_name", "known_corners", "plain"]


def as_json(value: Any) -> str:
    """Return plain JSON text; NumPy scalars become plain numbers."""
    return json.dumps(value, default=lambda item: item.item())


def plain(value: Any) -> Any:
    """Return a value without NumPy; what is no number becomes none, as in SQL."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def finite_corners(corners: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return corners as numbers of 64 bits, shape (4, 2).

    Raises
    ------
    DataError
        If they are of another shape or not finite.
    """
    import numpy as np

    values = np.asarray(corners, dtype="<f8")
    if values.shape != (4, 2) or not np.isfinite(values).all():
        raise DataError(f"corners must be 4 pairs of finite ra and dec, got {np.asarray(corners).tolist()}")
    return values


def known_corners(corners: "np.ndarray[Any, Any] | None") -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """Return new corners of a frame, or none if they are not finite: its footprint then stays as it is."""
    import numpy as np

    return None if corners is None or not np.isfinite(corners).all() else finite_corners(corners)


def check_content(frame: Frame, digest: str, hdu: int, path: str) -> None:
    """Check that a frame is the one that is known by its name.

    Parameters
    ----------
    frame
        The new one.
    digest, hdu, path
        Of the one that is known.

    Raises
    ------
    DataError
        If it has other content.
    """
    if (digest, hdu) != (frame.digest, frame.hdu):
        raise DataError(
            f"{frame.path}: {frame_name(*frame.key)} is in the repository already with other content, from {path}; "
            f"remove one of the two files, or let [instrument] tell them apart"
        )


def choose(found: list[Frame], name: str, where: object) -> Frame:
    """Return the one frame of those that were found by a name.

    Raises
    ------
    DataError
        If there is none, or more than one.
    """
    if not found:
        raise DataError(f"{where}: no frame of {name}")
    if len(found) > 1:
        bands = ", ".join(frame.band for frame in found[:5])
        raise DataError(f"{where}: {len(found)} frames of {name}; name a band of {bands} …")
    return found[0]


def frame_name(exposure: int, detector: int, band: str | None) -> str:
    """Return what errors call a frame."""
    return f"exposure {exposure}, detector {detector}" + ("" if band is None else f", band {band!r}")
