"""The records of the state database."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mpidriver.errors import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SOLUTION", "STATUSES", "Frame", "FrameUpdate", "Product", "QuantumRecord", "QuantumUpdate", "RunRecord"]

#: Fields of a frame that the single-frame stage fills.
SOLUTION = ("solved_wcs_header", "solved_corners", "quality")

#: The states of a quantum.
STATUSES = ("ready", "running", "done", "failed", "blocked")


@dataclass(frozen=True, eq=False)
class Frame:
    """One raw frame: an image of one detector, or a channel's Stokes image of one beam.

    A frame is identified by exposure, detector and band. What ingest found in the headers never changes; what the
    single-frame stage found out is in `solved_wcs_header`, `solved_corners` and `quality`.
    """

    exposure: int
    """Exposure (visit)."""
    detector: int
    """Detector, or beam of a radio telescope."""
    band: str
    """Filter, or frequency channel."""
    path: str
    """The file, absolute or relative to the repository."""
    hdu: int = 0
    """Number of the image's HDU."""
    digest: str = ""
    """Digest of the file, and of its weight and mask files where it has them."""
    exptime_s: float | None = None
    """Exposure time in seconds."""
    mjd: float | None = None
    """Start of the exposure, modified Julian date."""
    gain: float | None = None
    """Electrons per count."""
    read_noise: float | None = None
    """Read noise in electrons."""
    saturation: float | None = None
    """Counts at which a pixel saturates."""
    wcs_header: str | None = None
    """Coordinates as ingested, FITS header text."""
    corners: "np.ndarray[Any, np.dtype[np.float64]] | None" = None
    """Outer corners of the image as ingested, shape (4, 2), ra and dec in degrees."""
    kind: str = "image"
    """``image``, ``stokes`` for a channel's cube of Stokes planes, or ``bias``, ``dark`` or ``flat``."""
    shape: tuple[int, ...] = ()
    """Shape of the array, slowest axis first."""
    zero_point_mag: float | None = None
    """AB magnitude of one electron in the frame, if the headers tell."""
    weight_path: str | None = None
    """File of the weight map, absolute or relative to the repository."""
    weight_hdu: int = 0
    """Number of its HDU."""
    mask_path: str | None = None
    """File of the mask map, absolute or relative to the repository."""
    mask_hdu: int = 0
    """Number of its HDU."""
    mask_bits: int = -1
    """Bits of the mask map that mean a bad pixel; -1: any."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Further values of the headers."""
    solved_wcs_header: str | None = None
    """Coordinates that the single-frame stage found."""
    solved_corners: "np.ndarray[Any, np.dtype[np.float64]] | None" = None
    """Corners by those coordinates, as `corners`."""
    quality: dict[str, float] = field(default_factory=dict)
    """What the single-frame stage measured: seeing, background, number of stars …"""
    stamp: str = ""
    """Size and time of the file and of its maps when they were read, as `file_stamp` gives them."""

    @property
    def key(self) -> tuple[int, int, str]:
        """Exposure, detector and band."""
        return self.exposure, self.detector, self.band

    @property
    def footprint(self) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
        """The best known corners."""
        return self.corners if self.solved_corners is None else self.solved_corners

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self._comparable() == other._comparable()

    def __hash__(self) -> int:
        return hash(self.key)

    def _comparable(self) -> list[Any]:
        values = (getattr(self, item.name) for item in fields(self))
        return [value.tobytes() if hasattr(value, "tobytes") else value for value in values]


@dataclass(frozen=True, eq=False)
class FrameUpdate:
    """What the single-frame stage found out about a frame."""

    exposure: int
    """Exposure of the frame."""
    detector: int
    """Its detector."""
    band: str
    """Its band."""
    wcs_header: str | None
    """New coordinates, FITS header text."""
    corners: "np.ndarray[Any, np.dtype[np.float64]] | None"
    """New corners, shape (4, 2), ra and dec in degrees."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """What was measured."""


@dataclass(frozen=True)
class Product:
    """A file that a quantum has made."""

    dataset: str
    """Name of the dataset, a key of `DATASETS` or one of its aliases."""
    path: str
    """The file, relative to the repository."""
    digest: str
    """Digest of its bytes."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class QuantumRecord:
    """One task on one data id, as the database knows it."""

    key: str
    """Name, as ``warp{tract=3, patch=2,5, exposure=1204, detector=17}``."""
    task: str
    """Name of the task."""
    data_id: dict[str, Any] = field(default_factory=dict)
    """What it works on."""
    status: str = "ready"
    """One of `STATUSES`."""
    attempt: int = 0
    """How often it was run."""
    started: float | None = None
    """Start of the last run, Unix time."""
    seconds: float | None = None
    """Duration of the last run."""
    peak_rss_bytes: int | None = None
    """Peak memory of the last run."""
    rank: int | None = None
    """Rank that ran it."""
    host: str | None = None
    """Host of that rank."""
    inputs_digest: str | None = None
    """Digest of inputs, options and code."""
    error: str | None = None
    """Cause in one line, of a failure or of being blocked."""
    traceback: str | None = None
    """Traceback of a failure."""
    provenance: dict[str, Any] | None = field(default=None, compare=False)
    """What its products were made of and by: inputs with digests, digests of options and code, version.

    `StateDatabase.quantum` alone gives it; so it does not count when records are compared.
    """

    def __iter__(self) -> Iterator[Any]:
        """Yield key, task and data id, which is what `StateDatabase.plan` takes."""
        return iter((self.key, self.task, self.data_id))


@dataclass(frozen=True)
class QuantumUpdate:
    """What has become of a quantum; none leaves a field as it is, but error and traceback are always replaced."""

    key: str
    """Name of the quantum."""
    status: str
    """One of `STATUSES`."""
    attempt: int | None = None
    """How often it was run; none: once more than before if it was run (`started` is given)."""
    started: float | None = None
    """Start of the run, Unix time."""
    seconds: float | None = None
    """Duration of the run."""
    peak_rss_bytes: int | None = None
    """Peak memory of the run."""
    rank: int | None = None
    """Rank that ran it."""
    host: str | None = None
    """Host of that rank."""
    inputs_digest: str | None = None
    """Digest of inputs, options and code."""
    error: str | None = None
    """Cause in one line."""
    traceback: str | None = None
    """Traceback."""
    products: tuple[Product, ...] | None = None
    """Files that it made, in place of those of earlier runs."""
    provenance: Mapping[str, Any] | None = None
    """What they were made of and by."""


def known_statuses(updates: Iterable[QuantumUpdate]) -> list[QuantumUpdate]:
    """Return updates as a list.

    Raises
    ------
    DataError
        If the status of one is none of `STATUSES`.
    """
    checked = list(updates)
    for update in checked:
        if update.status not in STATUSES:
            raise DataError(f"{update.key}: status must be one of {', '.join(STATUSES)}, got {update.status!r}")
    return checked


@dataclass(frozen=True)
class RunRecord:
    """One run of a driver."""

    run_id: int
    """Number of the run."""
    command: str
    """Command line."""
    ranks: int
    """Number of ranks."""
    version: str
    """Version of mpidriver."""
    host: str
    """Host of the root."""
    pid: int
    """Process of the root."""
    started: float
    """Unix time."""
    heartbeat: float
    """Last sign of life, Unix time."""
    ended: float | None
    """Unix time, none while it runs."""
    status: str
    """``running``, ``done``, ``failed``, ``died``, or what `end_run` was told."""
