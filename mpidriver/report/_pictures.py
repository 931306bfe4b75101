"""All pictures of a repository: which there are to draw, and the drawing, scattered over a pool's ranks."""

import fnmatch
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.errors import ConfigError
from mpidriver.pool import current_pool
from mpidriver.report._inventory import stored, stored_by_tract
from mpidriver.store import Repository, read_image, read_table

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import Frame, QuantumRecord, StateDatabase

__all__ = ["PictureJob", "draw_all", "draw_pictures", "draw_sources", "picture_jobs"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureJob:
    """One picture to draw on any rank."""

    name: str
    """File name in the reports folder."""
    draw: Callable[..., None]
    """Draws it: ``draw(path, repository, **arguments)``."""
    arguments: dict[str, Any]
    """What the root knows and the ranks do not; what lies in files is read where the picture is drawn."""
    root: Path
    """The repository's folder."""

    def run(self) -> Path:
        """Draw the picture and return its path."""
        repo = Repository.open(self.root)
        path = repo.path("report", name=self.name)
        self.draw(path, repo, **self.arguments)
        return path


def draw_all(repo: Repository, state: "StateDatabase", *, pool: "Pool | None" = None) -> list[Path]:
    """Draw every picture for which the repository has the products.

    Parameters
    ----------
    repo
        The repository; the pictures go to its reports folder.
    state
        Its state database, read on this rank alone.
    pool
        Draws them, a picture an item; the current one if None.

    Returns
    -------
    list of Path
        The pictures. One that could not be drawn is missing and named in the log, not raised.
    """
    return draw_pictures(picture_jobs(repo, state), pool=pool)


def draw_pictures(jobs: list[PictureJob], *, pool: "Pool | None" = None) -> list[Path]:
    """Draw pictures and return those that could be drawn; the others are named in the log."""
    pool = current_pool() if pool is None else pool
    drawn = []
    for outcome in pool.map(PictureJob.run, jobs, on_error="return", name="pictures"):
        if outcome.error is None:
            drawn.append(outcome.value)
        else:
            log.warning("%s was not drawn: %s", outcome.item.name, outcome.error.cause)
    return drawn


def draw_sources(repo: Repository, *, pool: "Pool | None" = None, published: "np.ndarray | None" = None) -> list[Path]:
    """Draw the pictures of the RM table alone.

    Parameters
    ----------
    repo
        The repository.
    pool
        As for `draw_all`.
    published
        RMs to compare with, from `published_rms`.
    """
    wanted = _source_pictures(repo)
    if published is not None:
        wanted.append(("rm-published.png", _draw_published, {"published": published}))
    return draw_pictures([PictureJob(name, draw, arguments, repo.root) for name, draw, arguments in wanted], pool=pool)


def _source_pictures(repo: Repository) -> list[tuple[str, Callable[..., None], dict[str, Any]]]:
    if not repo.path("rm_table").exists():
        return []
    return [("rm-sources.png", _draw_rm_table, {}), ("source-spectra.png", _draw_source_spectra, {})]


def picture_jobs(repo: Repository, state: "StateDatabase", names: Sequence[str] = ()) -> list[PictureJob]:
    """Return the pictures for which there are products, those that take longest first.

    Parameters
    ----------
    names
        Patterns of their names, as ``frames`` or ``coadd-*``; empty for all.

    Raises
    ------
    ConfigError
        If a pattern matches none.
    """
    jobs = _all_jobs(repo, state)
    for name in names:
        if not any(_is_called(job, name) for job in jobs):
            there = ", ".join(job.name.removesuffix(".png") for job in jobs) or "none: there are no products yet"
            raise ConfigError(f"no picture {name!r}; there are {there}")
    return [job for job in jobs if not names or any(_is_called(job, name) for name in names)]


def _is_called(job: PictureJob, name: str) -> bool:
    return fnmatch.fnmatchcase(job.name, f"{name.removesuffix('.png')}.png")


def _all_jobs(repo: Repository, state: "StateDatabase") -> list[PictureJob]:
    from mpidriver.report._loading import frame_points, last_exposures, patch_states, seeing_by_band

    frames = list(state.frames(kind="image"))
    points = frame_points(frames)
    seeing = seeing_by_band(points)
    wanted: list[tuple[str, Callable[..., None], dict[str, Any]]] = []
    for tract in stored_by_tract(repo, "coadd"):
        wanted.append((f"coadd-{tract:05d}.png", _draw_coadds, {"tract": tract}))
        wanted.append((f"coverage-{tract:05d}.png", _draw_coverage, {"tract": tract, "seeing_arcsec": seeing}))
        wanted.append((f"clipped-{tract:05d}.png", _draw_clipped, {"tract": tract}))
    for data_id, _ in stored(repo, "mosaic"):
        wanted.append((f"stars-{data_id['tract']:05d}.png", _draw_stars, data_id))
    for data_id, _ in stored(repo, "background_seams"):
        wanted.append((f"seams-{data_id['tract']:05d}.png", _draw_seams, data_id))
    for tract in stored_by_tract(repo, "faraday", name="FDF_maxPI"):
        wanted.append((f"faraday-{tract:05d}.png", _draw_faraday, {"tract": tract}))
    if repo.path("rm_survey_catalogue").exists() and stored(repo, "faraday", name="FDF_real_dirty"):
        wanted.append(("faraday-spectra.png", _draw_spectra, {}))
    wanted += _source_pictures(repo)
    if repo.path("survey_catalogue").exists():
        wanted.append(("objects.png", _draw_objects, {}))
    if repo.path("fakes_summary").exists():
        wanted.append(("fakes.png", _draw_fakes, {}))
    for data_id, _ in stored(repo, "tract_catalogue"):
        wanted.append((f"noise-{data_id['tract']:05d}.png", _draw_noise, data_id))
    if any(np.isfinite([point.zero_point_mag, point.fwhm_arcsec]).any() for point in points):
        wanted.append(("frames.png", _draw_frames, {"points": points}))
    for band, chosen in last_exposures(repo, frames).items():
        wanted.append((f"exposure-{band}.png", _draw_exposure, {"frames": chosen}))
    if any(stored(repo, dataset) for dataset in ("bias", "dark", "flat", "fringe", "sky")):
        wanted.append(("calibs.png", _draw_calibs, {}))
    for tract, states in patch_states(state.quanta()).items():
        wanted.append((f"board-{tract:05d}.png", _draw_board, {"tract": tract, "states": states}))
    quanta, ranks = _last_run(state)
    if quanta:
        wanted.append(("timeline.png", _draw_timeline, {"quanta": quanta, "ranks": ranks}))
    return [PictureJob(name, draw, arguments, repo.root) for name, draw, arguments in wanted]


def _last_run(state: "StateDatabase") -> "tuple[list[QuantumRecord], int | None]":
    """Return the quanta that ran in the last run that ran any, and its ranks."""
    ran = [quantum for quantum in state.quanta() if quantum.started is not None and quantum.seconds is not None]
    for run in reversed(state.runs()):
        own = [quantum for quantum in ran if quantum.started is not None and quantum.started >= run.started]
        if own:
            return own, run.ranks
    return ran, None


def _by_band(repo: Repository, tract: int) -> dict[str, list[Path]]:
    bands: dict[str, list[Path]] = {}
    for data_id, path in stored_by_tract(repo, "coadd")[tract]:
        bands.setdefault(data_id["band"], []).append(path)
    return bands


def _draw_coadds(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._assembly import canvas_of
    from mpidriver.report._colour import colour_bands, draw_colour_coadd

    paths = _by_band(repo, tract)
    canvas = canvas_of([patch for band in paths.values() for patch in band])
    images = {band: canvas.mean(paths[band]) for band in colour_bands(paths)}
    draw_colour_coadd(path, images, canvas.binned_wcs(), title=f"Coadds of tract {tract}")


def _draw_coverage(path: Path, repo: Repository, *, tract: int, seeing_arcsec: dict[str, float]) -> None:
    from mpidriver.report._assembly import canvas_of
    from mpidriver.report._coverage import draw_coverage, point_source_depth_mag
    from mpidriver.report._sky import pixel_scale_arcsec

    paths = _by_band(repo, tract)
    canvas = canvas_of([patch for band in paths.values() for patch in band], largest_px=500)
    scale = pixel_scale_arcsec(canvas.wcs)
    n_image, depth_mag = {}, {}
    for band, own in paths.items():
        n_image[band] = canvas.mean(own, hdu="NIMAGE")
        fwhm_px = seeing_arcsec.get(band, 1.0) / scale
        depth_mag[band] = point_source_depth_mag(canvas.mean(own, hdu="VARIANCE"), fwhm_px)
    title = f"Coverage and depth of tract {tract}"
    draw_coverage(path, n_image, canvas.binned_wcs(), depth_mag=depth_mag, title=title)


def _draw_clipped(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._assembly import canvas_of
    from mpidriver.report._clip_map import draw_clip_map
    from mpidriver.tasks.image import MaskPlane

    paths = _by_band(repo, tract)
    canvas = canvas_of([patch for band in paths.values() for patch in band], largest_px=400)
    bits, no_data = int(MaskPlane.CLIPPED), int(MaskPlane.NO_DATA)
    shares = {band: canvas.share_of(own, bits, no_data=no_data) for band, own in paths.items()}
    draw_clip_map(path, shares, canvas.binned_wcs(), title=f"Frames clipped as outliers, tract {tract}")


def _draw_board(path: Path, repo: Repository, *, tract: int, states: Any) -> None:
    from mpidriver.report._patch_board import draw_patch_board

    draw_patch_board(path, states, title=f"Patches of tract {tract}")


def _draw_stars(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._astrometry import draw_astrometry
    from mpidriver.report._loading import frame_stars
    from mpidriver.report._repeatability import match_stars

    draw_astrometry(path, match_stars(frame_stars(repo, tract)), title=f"Repeatability of stars, tract {tract}")


def _draw_seams(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._seams import draw_seams

    seams = read_table(repo.path("background_seams", tract=tract))
    draw_seams(path, seams, title=f"Tract {tract}: backgrounds of overlapping frames")


def _draw_fakes(path: Path, repo: Repository) -> None:
    from mpidriver.report._fakes import draw_fakes

    draw_fakes(path, read_table(repo.path("fakes_summary")), title="Fakes: what was found of sources that were put in")


def _draw_noise(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._noise import draw_noise
    from mpidriver.tasks.multiband import ObjectFlag

    objects = read_table(repo.path("tract_catalogue", tract=tract))
    prefix = "flux_psf_"
    names = [name[len(prefix) :] for name in objects.dtype.names or () if name.startswith(prefix)]
    sky = objects[objects["flags"] & int(ObjectFlag.SKY) != 0]
    bands = [band for band in names if not band.endswith("_err")]
    draw_noise(path, sky, bands, title=f"Fluxes at empty places of tract {tract}")


def _draw_faraday(path: Path, repo: Repository, *, tract: int) -> None:
    from mpidriver.report._assembly import canvas_of
    from mpidriver.report._faraday_maps import draw_faraday_maps

    peaks = [found for _, found in stored_by_tract(repo, "faraday", name="FDF_maxPI")[tract]]
    depths = [found for _, found in stored_by_tract(repo, "faraday", name="FDF_peakRM").get(tract, [])]
    canvas = canvas_of([*peaks, *depths])
    catalogue = repo.path("rm_catalogue", tract=tract)
    draw_faraday_maps(
        path,
        canvas.pasted(depths),
        canvas.pasted(peaks),
        canvas.wcs,
        sources=read_table(catalogue) if catalogue.exists() else None,
        title=f"Polarisation of tract {tract}",
    )


def _draw_spectra(path: Path, repo: Repository) -> None:
    from mpidriver.report._faraday_loading import brightest_spectra
    from mpidriver.report._faraday_spectra import draw_faraday_spectra

    spectra = brightest_spectra(repo, read_table(repo.path("rm_survey_catalogue")), 4)
    draw_faraday_spectra(path, spectra, title="Faraday spectra of the sources of highest polarised intensity")


def _draw_rm_table(path: Path, repo: Repository) -> None:
    from mpidriver.report._rm_sources import draw_rm_table

    rows = read_table(repo.path("rm_table"))
    draw_rm_table(path, rows, title=f"RM table: {len(rows):,} sources")


def _draw_source_spectra(path: Path, repo: Repository) -> None:
    from mpidriver.report._faraday_spectra import draw_faraday_spectra
    from mpidriver.report._source_loading import brightest_components

    spectra = brightest_components(repo, read_table(repo.path("rm_table")), 4)
    draw_faraday_spectra(path, spectra, title="Faraday spectra of the components of highest polarised intensity")


def _draw_published(path: Path, repo: Repository, *, published: np.ndarray) -> None:
    from mpidriver.report._rm_sources import draw_rm_comparison

    draw_rm_comparison(path, read_table(repo.path("rm_table")), published, title="Rotation measures against published")


def _draw_objects(path: Path, repo: Repository) -> None:
    from mpidriver.report._catalogue import draw_catalogue
    from mpidriver.report._loading import catalogue_magnitudes

    objects = read_table(repo.path("survey_catalogue"))
    names = objects.dtype.names or ()
    draw_catalogue(
        path,
        catalogue_magnitudes(objects),
        fwhm_arcsec=objects["fwhm_arcsec"] if "fwhm_arcsec" in names else None,
        star=objects["extendedness"] < 0.5 if "extendedness" in names else None,
        title=f"Objects of the survey: {len(objects):,}",
    )


def _draw_frames(path: Path, repo: Repository, *, points: list[Any]) -> None:
    from mpidriver.report._focal_plane import draw_focal_plane

    draw_focal_plane(path, points, title=f"Frames: {len(points):,}")


def _draw_exposure(path: Path, repo: Repository, *, frames: "list[Frame]") -> None:
    from mpidriver.report._exposure import draw_exposure
    from mpidriver.report._loading import detector_images

    title = f"Exposure {frames[0].exposure}, band {frames[0].band}"
    draw_exposure(path, detector_images(repo, frames), title=title)


def _draw_calibs(path: Path, repo: Repository) -> None:
    from mpidriver.report._calibs import draw_calibrations

    frames: dict[str, dict[int, np.ndarray]] = {}
    for dataset in ("bias", "dark", "flat", "fringe", "sky"):
        for ids, found in stored(repo, dataset):
            kind = " ".join([dataset, *([ids["band"]] if "band" in ids else [])])
            frames.setdefault(kind, {})[ids["detector"]] = read_image(found)[0]
    draw_calibrations(path, frames, title="Calibration frames by detector")


def _draw_timeline(path: Path, repo: Repository, *, quanta: "list[QuantumRecord]", ranks: int | None) -> None:
    from mpidriver.report._timeline import draw_timeline

    draw_timeline(path, quanta, ranks=ranks, title="Timeline of the last run")
