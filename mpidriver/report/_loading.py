"""From products of a repository to what the pictures take."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.report._exposure import SHOWN_DETECTOR_PX, DetectorImage
from mpidriver.report._figure import sort_bands
from mpidriver.report._focal_plane import FramePoint
from mpidriver.report._repeatability import FrameStars
from mpidriver.report._sky import binned
from mpidriver.sphere import angular_separation_deg, lon_lat, unit_vectors
from mpidriver.store import read_image, read_table, read_table_header, wcs_from_header
from mpidriver.tasks.mosaic import flat_magnitudes

if TYPE_CHECKING:
    from pathlib import Path

    from mpidriver.store import Frame, QuantumRecord, Repository

__all__ = [
    "catalogue_magnitudes",
    "detector_images",
    "frame_points",
    "frame_stars",
    "last_exposures",
    "patch_states",
    "seeing_by_band",
]

#: AB magnitude of 1 nJy.
NANOJANSKY_MAG = 31.4


def frame_points(frames: "Iterable[Frame]") -> list[FramePoint]:
    """Return what the picture of the frames needs, of those whose place is known."""
    return [_frame_point(frame) for frame in frames if frame.footprint is not None]


def _frame_point(frame: "Frame") -> FramePoint:
    corners = np.asarray(frame.footprint, dtype=float)
    fwhm = frame.quality.get("fwhm_px", np.nan) * _pixel_scale_arcsec(corners, frame.shape)
    zero_point = frame.quality.get("zero_point_mag", np.nan)
    if frame.exptime_s:
        zero_point -= 2.5 * np.log10(frame.exptime_s)
    return FramePoint(frame.exposure, frame.detector, frame.band, corners, float(zero_point), float(fwhm))


def _pixel_scale_arcsec(corners: np.ndarray, shape: Sequence[int]) -> float:
    """Return the mean side of a pixel by the outline of a frame and its shape, NaN if the shape is not known."""
    if len(shape) < 2 or not np.isfinite(corners).all():
        return float("nan")
    vectors = unit_vectors(corners[:, 0], corners[:, 1])
    sides = angular_separation_deg(vectors, np.roll(vectors, -1, axis=0))
    area_deg2 = 0.25 * (sides[0] + sides[2]) * (sides[1] + sides[3])
    return 3600.0 * float(np.sqrt(area_deg2 / (shape[-1] * shape[-2])))


def seeing_by_band(points: Sequence[FramePoint]) -> dict[str, float]:
    """Return the median FWHM in arcsec of the frames of each band that has one."""
    seeing: dict[str, list[float]] = {}
    for point in points:
        if np.isfinite(point.fwhm_arcsec):
            seeing.setdefault(point.band, []).append(point.fwhm_arcsec)
    return {band: float(np.median(values)) for band, values in seeing.items()}


def last_exposures(repo: "Repository", frames: "Iterable[Frame]") -> "dict[str, list[Frame]]":
    """Return the frames of the last exposure of each band whose images are there."""
    made = [frame for frame in frames if frame.footprint is not None and frame.quality]
    last = {frame.band: frame.exposure for frame in sorted(made, key=lambda frame: frame.exposure)}
    exposures = {
        band: [
            frame
            for frame in made
            if (frame.band, frame.exposure) == (band, last[band])
            and all(path.exists() for path in _images(repo, frame))
        ]
        for band in sort_bands(last)
    }
    return {band: there for band, there in exposures.items() if there}


def detector_images(repo: "Repository", frames: "Iterable[Frame]") -> list[DetectorImage]:
    """Return what the detectors of an exposure saw."""
    found = []
    for frame in frames:
        image, background = (read_image(path)[0] for path in _images(repo, frame))
        shown = binned(image, -(-max(image.shape) // SHOWN_DETECTOR_PX))
        found.append(DetectorImage(frame.detector, np.asarray(frame.footprint, dtype=float), shown, background))
    return found


def _images(repo: "Repository", frame: "Frame") -> "tuple[Path, Path]":
    """Return where the image of a frame and its superpixels are."""
    names = {"exposure": frame.exposure, "detector": frame.detector}
    return repo.path("frame", **names), repo.path("frame_background", **names)


def frame_stars(repo: "Repository", tract: int) -> list[FrameStars]:
    """Return the clean stars of each frame of a tract with the positions and magnitudes of its mosaic solution."""
    solutions = read_table(repo.path("mosaic", tract=tract))
    members = []
    for row in solutions:
        path = repo.path("frame_catalogue", exposure=int(row["exposure"]), detector=int(row["detector"]))
        if path.exists():
            header = read_table_header(path)
            shape = int(header["NROW"]), int(header["NCOL"])
            members.append((int(row["exposure"]), _calibrated(read_table(path), shape, row)))
    middles = _middles(members)
    return [FrameStars(band, ra, dec, mag, middles.get(exposure)) for exposure, (band, ra, dec, mag) in members]


def _calibrated(
    sources: np.ndarray, shape: tuple[int, int], solution: np.void
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    stars = sources[sources["star"] & (sources["flags"] == 0) & (sources["flux_aper"] > 0)]
    ra, dec = wcs_from_header(_text(solution["wcs"])).all_pix2world(stars["x"], stars["y"], 0)
    flat = flat_magnitudes(np.atleast_1d(solution["flat"]), stars["x"], stars["y"], shape)
    mag = float(solution["zero_point"]) + flat - 2.5 * np.log10(stars["flux_aper"])
    return _text(solution["band"]), np.asarray(ra), np.asarray(dec), mag


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _middles(members: Sequence[tuple[int, tuple[str, np.ndarray, np.ndarray, np.ndarray]]]) -> dict[int, Any]:
    """Return the middle of each exposure: of the box of all its stars on the sky."""
    vectors: dict[int, list[np.ndarray]] = {}
    for exposure, (_, ra, dec, _) in members:
        if len(ra):
            vectors.setdefault(exposure, []).append(unit_vectors(ra, dec))
    middles = {}
    for exposure, parts in vectors.items():
        joined = np.concatenate(parts)
        ra, dec = lon_lat(0.5 * (joined.min(axis=0) + joined.max(axis=0)))
        middles[exposure] = (float(ra), float(dec))
    return middles


def catalogue_magnitudes(objects: np.ndarray) -> dict[str, np.ndarray]:
    """Return the magnitudes of a catalogue's objects by band, NaN where a flux is not positive.

    Taken from the first of ``mag_auto_<band>``, ``mag_psf_<band>``, ``flux_auto_<band>`` and ``flux_psf_<band>`` (nJy).
    """
    magnitudes: dict[str, np.ndarray] = {}
    for prefix in ("mag_auto_", "mag_psf_", "flux_auto_", "flux_psf_"):
        for name in objects.dtype.names or ():
            band = name.removeprefix(prefix)
            if name.startswith(prefix) and not band.endswith("_err") and band not in magnitudes:
                values = np.asarray(objects[name], dtype=float)
                magnitudes[band] = values if prefix.startswith("mag") else _magnitude(values)
    return {band: magnitudes[band] for band in sort_bands(magnitudes)}


def patch_states(
    quanta: "Iterable[QuantumRecord]",
) -> dict[int, dict[str, dict[tuple[int, int], dict[str, int]]]]:
    """Return how many quanta of patches are in which state: by tract, task, patch and state."""
    states: dict[int, dict[str, dict[tuple[int, int], dict[str, int]]]] = {}
    for quantum in quanta:
        if "patch" in quantum.data_id:
            x, y = (int(part) for part in str(quantum.data_id["patch"]).split(","))
            of_task = states.setdefault(int(quantum.data_id["tract"]), {}).setdefault(quantum.task, {})
            counts = of_task.setdefault((x, y), {})
            counts[quantum.status] = counts.get(quantum.status, 0) + 1
    return dict(sorted(states.items()))


def _magnitude(flux_nJy: np.ndarray) -> np.ndarray:
    blank = np.full(flux_nJy.shape, np.nan)
    return NANOJANSKY_MAG - 2.5 * np.log10(flux_nJy, out=blank, where=flux_nJy > 0)
