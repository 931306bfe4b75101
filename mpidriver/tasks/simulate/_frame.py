"""One raw frame: light on pixels, charge with its noise, counts with a header that does not know the truth."""

import dataclasses
from typing import Any

import numpy as np

from mpidriver.tasks.simulate._calibrations import hot_charge, simulate_calibrations
from mpidriver.tasks.simulate._camera import claimed_wcs, true_wcs
from mpidriver.tasks.simulate._cosmic_rays import cosmic_ray_charge
from mpidriver.tasks.simulate._light import expected_electrons, frame_zero_point_mag
from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._truth import Truth

__all__ = ["SimulatedFrame", "blank_frame", "simulate_frame"]


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
    band = str(truth.exposure(exposure)["band"])
    calibrations = simulate_calibrations(options, detector, band)
    rng = generator(options.seed, Stream.FRAME_NOISE, exposure, detector)
    rays = cosmic_ray_charge(options, exposure, detector)
    charge = rng.poisson(expected_electrons(truth, options, exposure, detector) * calibrations.flat) + rays
    bad = hot_charge(options, detector)
    charge = np.where(np.isnan(bad), charge, bad)
    charge += rng.normal(0.0, options.camera.read_noise, charge.shape)
    counts = np.rint(charge / options.camera.gain + calibrations.bias)
    image = np.clip(counts, 0, options.camera.saturation).astype(np.uint16)
    return _described(truth, options, exposure, detector, image, rays > 0.0)


def blank_frame(truth: Truth, options: SimulationOptions, exposure: int, detector: int) -> SimulatedFrame:
    """Return a frame as a camera that did not read out would write it: headers as ever, every pixel the same.

    Parameters
    ----------
    truth, options, exposure, detector
        As for `simulate_frame`.
    """
    shape = options.camera.detector_shape
    image = np.full(shape, round(options.camera.bias_level), dtype=np.uint16)
    return _described(truth, options, exposure, detector, image, np.zeros(shape, dtype=bool))


def _described(truth: Truth, options: SimulationOptions, exposure: int, detector: int, image, cosmic_rays):
    """Return an image with its header, both WCS and its zero point."""
    visit, chip = truth.exposure(exposure), truth.detector(detector)
    return SimulatedFrame(
        image=image,
        header=_header(options, visit, detector),
        wcs=claimed_wcs(options, visit, chip),
        true_wcs=true_wcs(options, visit, chip),
        true_zero_point_mag=frame_zero_point_mag(visit, chip),
        cosmic_rays=cosmic_rays,
    )


def _header(options: SimulationOptions, visit, detector: int) -> dict[str, Any]:
    camera = options.camera
    return {
        "TELESCOP": "SIMULATED",
        "EXPID": int(visit["exposure"]),
        "DETECTOR": int(detector),
        "FILTER": str(visit["band"]),
        "OBJECT": f"FIELD {visit['field']}",
        "EXPTIME": float(visit["exptime_s"]),
        "MJD-OBS": float(visit["mjd"]),
        "GAIN": float(camera.gain),
        "RDNOISE": float(camera.read_noise),
        "SATURATE": float(camera.saturation),
        "BUNIT": "adu",
    }
