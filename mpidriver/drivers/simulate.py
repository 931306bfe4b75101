"""The simulate driver: a repository with raw frames, calibrations and a reference catalogue, and the truth beside them.

Scatter frames and channel images; each rank makes and writes its own.
"""

import dataclasses
import functools
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidriver.drivers.config import (
    CalibrationOptions,
    PipelineOptions,
    ReferenceOptions,
    SurveyConfig,
    config_text,
)
from mpidriver.frequencies import SPEED_OF_LIGHT_M_S
from mpidriver.store import Repository, instrument_preset, write_image, write_table
from mpidriver.tasks.faraday import FaradayOptions
from mpidriver.tasks.polarisation import IonosphereOptions, SourceOptions
from mpidriver.tasks.simulate import SimulationOptions
from mpidriver.tasks.skymap import SkyMapOptions

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.pool import Pool

__all__ = ["simulate", "simulated_config"]

log = logging.getLogger(__name__)


def simulated_config(options: SimulationOptions, *, name: str = "simulated survey") -> SurveyConfig:
    """Return the configuration with which a simulated survey is reduced.

    The sky map is one tract about the field's centre, as wide as the dithered focal plane, in patches of about 500 px.
    """
    camera = options.camera
    pitch_arcsec = [n * camera.pixel_scale_arcsec + camera.gap_arcsec for n in camera.detector_shape]
    width_arcsec = max(n * pitch for n, pitch in zip(camera.grid, pitch_arcsec, strict=True))
    radius_deg = (width_arcsec / 2 + options.dither_arcsec + 10.0) / 3600
    return SurveyConfig(
        name=name,
        skymap=SkyMapOptions(
            kind="discrete",
            centres=((options.ra_deg, options.dec_deg),),
            tract_radius_deg=radius_deg,
            pixel_scale_arcsec=camera.pixel_scale_arcsec,
            patch_inner_px=520,
            patch_border_px=40,
            tract_overlap_deg=0.0,
        ),
        faraday=FaradayOptions(binning=max(1, round(options.radio.pixel_scale_arcsec / camera.pixel_scale_arcsec))),
        instrument=instrument_preset("simulated"),
        polarimeter=instrument_preset("simulated-stokes"),
        calibrations=CalibrationOptions(
            bias="calib/bias-{detector:03d}.fits",
            flat="calib/flat-{band}-{detector:03d}.fits",
            defects="calib/defects-{detector:03d}.fits",
        ),
        reference=ReferenceOptions(path="calib/reference.fits", ra_error="ra_err_mas", dec_error="dec_err_mas"),
        pipeline=PipelineOptions(pointing_margin_arcsec=max(5.0, 5.0 * options.errors.pointing_arcsec)),
        sources=_source_options(options),
        ionosphere=_ionosphere_options(options),
        simulation=options,
    )


def _source_options(options: SimulationOptions) -> SourceOptions:
    """Return how the radio sources are measured; their table in truth/ serves as a catalogue of components."""
    radio = options.radio
    columns = {"cat_id": "id", "total_I_flux": "i_jy"}
    if radio.primary_fwhm_arcsec == 0.0:
        return SourceOptions(columns=columns)
    wavelength_m = SPEED_OF_LIGHT_M_S / (sum(radio.freq_range_hz) / 2)
    factor = SourceOptions().fwhm_factor
    dish_m = factor * wavelength_m / math.radians(radio.primary_fwhm_arcsec / 3600)
    return SourceOptions(columns=columns, primary_beam="gaussian", dish_m=dish_m, corrected=False)


def _ionosphere_options(options: SimulationOptions) -> IonosphereOptions:
    if options.radio.ionosphere_radm2 == (0.0, 0.0):
        return IonosphereOptions()
    return IonosphereOptions(kind="series", path="calib/ionosphere.fits")


def simulate(root: Path, options: SimulationOptions, *, pool: "Pool") -> tuple[SurveyConfig, list[Path]]:
    """Make the repository of a simulated survey and return its configuration and raw files.

    Parameters
    ----------
    root
        Folder of the new repository.
    options
        What is simulated; written into survey.toml, so that the survey can be made again.
    pool
        Makes the frames.
    """
    config = simulated_config(options)
    repository = _begun(root, config_text(config))
    for folder in ("calib", "truth"):
        (repository.root / folder).mkdir(exist_ok=True)
    _write_truth(repository.root, options)
    jobs = [
        *((_write_calibrations, (detector,)) for detector in range(options.camera.n_detectors)),
        *((_write_frame, ids) for ids in _frame_ids(options)),
        *((_write_channels, (beam,)) for beam in range(options.radio.n_beams)),
    ]
    make = functools.partial(_make, repository.root, options)
    written = pool.map(make, jobs)
    return config, sorted(path for paths in written for path in paths)


def _begun(root: Path, text: str) -> Repository:
    """Return a new repository, or the one that the same simulation had begun before it was ended."""
    try:
        begun = (root / "survey.toml").read_text(encoding="utf-8") == text and not (root / "state.sqlite").exists()
    except (OSError, UnicodeDecodeError):
        begun = False
    return Repository.open(root) if begun else Repository.create(root, config=text)


def _make(root: Path, options: SimulationOptions, job: tuple[Any, tuple[int, ...]]) -> list[Path]:
    """Run one job on this rank."""
    write, ids = job
    written = write(root, options, *ids)
    log.info("made %s", ", ".join(path.name for path in written) or f"the calibrations of detector {ids[0]}")
    return written


@functools.lru_cache(maxsize=1)
def _truth(options: SimulationOptions) -> Any:
    from mpidriver.tasks.simulate import make_truth

    return make_truth(options)


def _frame_ids(options: SimulationOptions) -> list[tuple[int, int]]:
    exposures = [int(row["exposure"]) for row in _truth(options).exposures]
    return [(exposure, detector) for exposure in exposures for detector in range(options.camera.n_detectors)]


def _write_truth(root: Path, options: SimulationOptions) -> None:
    """Write the tables of the truth and the reference catalogue that is drawn from it."""
    from mpidriver.tasks.simulate import reference_catalogue, reference_units, truth_units

    truth = _truth(options)
    units = truth_units(options)
    for field in dataclasses.fields(truth):
        write_table(root / "truth" / f"{field.name}.fits", getattr(truth, field.name), units=units[field.name])
    if options.radio.ionosphere_radm2 != (0.0, 0.0):
        write_table(root / "calib" / "ionosphere.fits", _ionosphere_table(options), units={"mjd": "d", "rm": "rad/m2"})
    write_table(root / "calib" / "reference.fits", reference_catalogue(truth, options), units=reference_units(options))


def _ionosphere_table(options: SimulationOptions) -> "np.ndarray":
    """Return the RM of the ionosphere at the start and at the end of the radio observation."""
    import numpy as np

    rows = np.zeros(2, dtype=[("mjd", "f8"), ("rm", "f8")])
    rows["mjd"] = options.mjd + np.array([0.0, options.radio.exptime_s / 86400.0])
    rows["rm"] = options.radio.ionosphere_radm2
    return rows


def _write_calibrations(root: Path, options: SimulationOptions, detector: int) -> list[Path]:
    from mpidriver.tasks.simulate import simulate_calibrations

    for band in options.bands:
        made = simulate_calibrations(options, detector, band)
        write_image(root / "calib" / f"flat-{band}-{detector:03d}.fits", made.flat)
    write_image(root / "calib" / f"bias-{detector:03d}.fits", made.bias)
    write_image(root / "calib" / f"defects-{detector:03d}.fits", made.defects.astype("u1"))
    return []


def _write_frame(root: Path, options: SimulationOptions, exposure: int, detector: int) -> list[Path]:
    from mpidriver.tasks.simulate import simulate_frame

    made = simulate_frame(_truth(options), options, exposure, detector)
    path = root / "raw" / f"frame-{exposure:06d}-{detector:03d}.fits"
    write_image(path, made.image, wcs=made.wcs, header=made.header)
    return [path]


def _write_channels(root: Path, options: SimulationOptions, beam: int) -> list[Path]:
    from mpidriver.tasks.simulate import simulate_channel

    paths = []
    for channel in range(options.radio.n_channels):
        made = simulate_channel(_truth(options), options, beam, channel)
        path = root / "raw" / f"stokes-{options.radio_exposure:06d}-{beam:03d}-{channel:04d}.fits"
        write_image(path, made.image[None], wcs=made.wcs, header=made.header | _stokes_axes(made.header))
        paths.append(path)
    return paths


def _stokes_axes(header: dict[str, Any]) -> dict[str, Any]:
    """Return the header of the axes STOKES (I, Q, U) and FREQ (one channel)."""
    stokes = {"CTYPE3": "STOKES", "CRPIX3": 1.0, "CRVAL3": 1.0, "CDELT3": 1.0}
    width_hz = header.get("CHANWID", 1.0)
    frequency = {"CTYPE4": "FREQ", "CRPIX4": 1.0, "CRVAL4": header["FREQ"], "CDELT4": width_hz, "CUNIT4": "Hz"}
    return stokes | frequency
