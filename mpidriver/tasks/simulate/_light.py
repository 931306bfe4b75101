"""Light of sources and sky on a detector: what a perfect, noiseless camera would collect."""

import numpy as np

from mpidriver.tasks.simulate import _camera, _profiles
from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._survey import focal_plane_half_size_arcsec
from mpidriver.tasks.simulate._truth import Truth

__all__ = ["expected_electrons", "frame_zero_point_mag"]

#: Sources this far outside a detector may still shed light on it, pixels.
_MARGIN_PX = 130


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
    along = (x * np.cos(angle) + y[:, None] * np.sin(angle)) / max(focal_plane_half_size_arcsec(options.camera))
    return level * (1.0 + options.sky.sky_gradient * along)


def _on_detector(sources, wcs, visit, options: SimulationOptions):
    """Return the sources on and close around a detector, and their true 0-based x and y."""
    sources = sources[sources["field"] == visit["field"]]
    n_rows, n_cols = options.camera.detector_shape
    x, y = wcs.wcs_world2pix(sources["ra"], sources["dec"], 0)
    near = (x > -_MARGIN_PX) & (x < n_cols + _MARGIN_PX) & (y > -_MARGIN_PX) & (y < n_rows + _MARGIN_PX)
    sources = sources[near]
    if not len(sources):
        return sources, np.zeros(0), np.zeros(0)
    x, y = wcs.all_world2pix(sources["ra"], sources["dec"], 0, tolerance=1e-6)
    return sources, x, y
