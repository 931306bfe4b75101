"""One raw frame: light on pixels, charge with its noise, counts with a header that does not know the truth."""

import dataclasses
from typing import Any

import numpy as np

from mpidriver.tasks.simulate import _camera, _profiles
from mpidriver.tasks.simulate._calibrations import hot_charge, simulate_calibrations
from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._survey import field_half_size_arcsec
from mpidriver.tasks.simulate._truth import Truth

__all__ = ["SimulatedFrame", "blank_frame", "simulate_frame"]

#: Sources this far outside a detector still shed light on it, pixels.
_MARGIN_PX = 130


@dataclasses.dataclass(frozen=True)
class SimulatedFrame:
    """A raw frame and what is true of it."""

    image: np.ndarray
    """Counts in adu, uint16, shape (row, col)."""
    header: dict[str, Any]
    """EXPID, DETECTOR, FILTER, OBJECT, EXPTIME, MJD-OBS, GAIN, RDNOISE, SATURATE; without the WCS."""
    wcs: Any
    """`astropy.wcs.WCS` that the header claims (TAN)."""
    true_wcs: Any
    """`astropy.wcs.WCS` by which the sources were placed (TAN-SIP)."""
    true_zero_point_mag: float
    """AB magnitude that gives one electron in this frame, behind the flat field."""
    cosmic_rays: np.ndarray
    """Pixels hit by cosmic rays, bool, shape (row, col)."""


def simulate_frame(truth: Truth, options: SimulationOptions, exposure: int, detector: int) -> SimulatedFrame:
    """Return the raw frame of one exposure and detector.

    Charge is Poisson noise about (sources + sky) × flat field, with Gaussian read noise; counts are charge / gain +
    bias, rounded, cut at the saturation level.

    Parameters
    ----------
    truth
        From `make_truth` of the same options.
    options
    exposure, detector
        Their numbers, as in `truth.exposures` and `truth.detectors`.
    """
    camera = options.camera
    visit, chip = truth.exposure(exposure), truth.detector(detector)
    calibrations = simulate_calibrations(options, detector, str(visit["band"]))
    rng = generator(options.seed, Stream.FRAME_NOISE, exposure, detector)
    charge = rng.poisson(expected_electrons(truth, options, exposure, detector) * calibrations.flat).astype(float)
    rays = _cosmic_ray_charge(options, exposure, detector)
    charge += rays
    bad = hot_charge(options, detector)
    charge = np.where(np.isnan(bad), charge, bad)
    charge += rng.normal(0.0, camera.read_noise, charge.shape)
    counts = np.rint(charge / camera.gain + calibrations.bias)
    image = np.clip(counts, 0, camera.saturation).astype(np.uint16)
    return SimulatedFrame(
        image=image,
        header=_header(options, visit, detector),
        wcs=_camera.claimed_wcs(options, visit, chip),
        true_wcs=_camera.true_wcs(options, visit, chip),
        true_zero_point_mag=frame_zero_point_mag(visit, chip),
        cosmic_rays=rays > 0.0,
    )


def blank_frame(truth: Truth, options: SimulationOptions, exposure: int, detector: int) -> SimulatedFrame:
    """Return a frame as a camera that did not read out would write it: headers as ever, every pixel the same.

    Parameters
    ----------
    truth, options, exposure, detector
        As for `simulate_frame`.
    """
    visit, chip = truth.exposure(exposure), truth.detector(detector)
    shape = options.camera.detector_shape
    return SimulatedFrame(
        image=np.full(shape, round(options.camera.bias_level), dtype=np.uint16),
        header=_header(options, visit, detector),
        wcs=_camera.claimed_wcs(options, visit, chip),
        true_wcs=_camera.true_wcs(options, visit, chip),
        true_zero_point_mag=frame_zero_point_mag(visit, chip),
        cosmic_rays=np.zeros(shape, dtype=bool),
    )


def frame_zero_point_mag(visit, chip) -> float:
    """Return the AB magnitude of one electron in a frame, from its rows of the exposures and detectors."""
    return float(visit["zero_point_mag"] + chip["zero_point_offset_mag"])


def expected_electrons(truth: Truth, options: SimulationOptions, exposure: int, detector: int) -> np.ndarray:
    """Return the mean charge of sources and sky before the flat field, float64, shape (row, col), electrons."""
    visit, chip = truth.exposure(exposure), truth.detector(detector)
    zero_point = frame_zero_point_mag(visit, chip)
    wcs = _camera.true_wcs(options, visit, chip)
    fwhm_px = float(visit["seeing_arcsec"]) / (options.camera.pixel_scale_arcsec * float(visit["scale"]))
    electrons = _sky_electrons(options, visit, chip, zero_point)
    stars, x, y = _on_detector(truth.stars, wcs, visit, options)
    _profiles.add_stars(electrons, x, y, _flux(stars, visit, zero_point), fwhm_px=fwhm_px)
    galaxies, x, y = _on_detector(truth.galaxies, wcs, visit, options)
    shapes = _profiles.galaxy_matrices(
        galaxies["half_light_arcsec"], galaxies["ellipticity"], galaxies["position_angle_deg"], wcs.wcs.cd
    )
    flux = _flux(galaxies, visit, zero_point)
    _profiles.add_galaxies(electrons, x, y, flux, shapes, galaxies["spergel_nu"], fwhm_px=fwhm_px)
    return np.maximum(electrons, 0.0)


def _flux(sources, visit, zero_point: float) -> np.ndarray:
    return 10.0 ** (-0.4 * (sources[f"mag_{visit['band']}"] - zero_point))


def _sky_electrons(options: SimulationOptions, visit, chip, zero_point: float) -> np.ndarray:
    """Return the sky with a gradient over the focal plane; its brightness is that outside the atmosphere."""
    pixel_arcsec2 = options.camera.pixel_scale_arcsec**2
    level = 10.0 ** (-0.4 * (visit["sky_mag_arcsec2"] - zero_point)) * pixel_arcsec2
    x, y = _camera.distance_from_axis(options, chip)
    angle = np.radians(visit["sky_gradient_angle_deg"])
    along = (x * np.cos(angle) + y[:, None] * np.sin(angle)) / max(field_half_size_arcsec(options))
    return level * (1.0 + options.sky.sky_gradient * along)


def _on_detector(sources, wcs, visit, options: SimulationOptions):
    """Return the sources on and close around a detector, and their true 0-based x and y."""
    sources = sources[sources["field"] == visit_field(visit, options)]
    n_rows, n_cols = options.camera.detector_shape
    x, y = wcs.wcs_world2pix(sources["ra"], sources["dec"], 0)
    near = (x > -_MARGIN_PX) & (x < n_cols + _MARGIN_PX) & (y > -_MARGIN_PX) & (y < n_rows + _MARGIN_PX)
    sources = sources[near]
    if not len(sources):
        return sources, np.zeros(0), np.zeros(0)
    x, y = wcs.all_world2pix(sources["ra"], sources["dec"], 0, tolerance=1e-6)
    return sources, x, y


def visit_field(visit, options: SimulationOptions) -> int:
    """Return the field of an exposure: 0 for the survey's, 1 and above for strays in their order."""
    n_regular = options.n_exposures - options.strays
    return max(0, int(visit["exposure"]) - options.first_exposure - n_regular + 1)


def _cosmic_ray_charge(options: SimulationOptions, exposure: int, detector: int) -> np.ndarray:
    """Return the charge of cosmic rays, shape (row, col): straight, sharp tracks of some pixels."""
    charge = np.zeros(options.camera.detector_shape)
    rng = generator(options.seed, Stream.COSMIC_RAYS, exposure, detector)
    for _ in range(rng.poisson(options.camera.cosmic_rays)):
        start = rng.uniform(-0.5, np.asarray(charge.shape) - 0.5)
        angle, length_px = rng.uniform(0.0, 2.0 * np.pi), 1.0 + rng.exponential(6.0)
        electrons_px = 2000.0 * np.exp(0.6 * rng.standard_normal())
        _deposit(charge, start, angle, length_px, electrons_px)
    return charge


def _deposit(charge: np.ndarray, start, angle: float, length_px: float, electrons_px: float) -> None:
    """Add a track of `electrons_px` a pixel of its length to the pixels it crosses, in place."""
    along = np.arange(0.0, length_px, 0.1)
    rows = np.rint(start[0] + along * np.sin(angle)).astype(int)
    cols = np.rint(start[1] + along * np.cos(angle)).astype(int)
    inside = (rows >= 0) & (rows < charge.shape[0]) & (cols >= 0) & (cols < charge.shape[1])
    np.add.at(charge, (rows[inside], cols[inside]), 0.1 * electrons_px)


def _header(options: SimulationOptions, visit, detector: int) -> dict[str, Any]:
    camera = options.camera
    return {
        "TELESCOP": "SIMULATED",
        "EXPID": int(visit["exposure"]),
        "DETECTOR": int(detector),
        "FILTER": str(visit["band"]),
        "OBJECT": "STRAY" if visit["stray"] else "FIELD",
        "EXPTIME": float(visit["exptime_s"]),
        "MJD-OBS": float(visit["mjd"]),
        "GAIN": float(camera.gain),
        "RDNOISE": float(camera.read_noise),
        "SATURATE": float(camera.saturation),
        "BUNIT": "adu",
    }
