"""Exposures and detectors of the simulated survey: where they truly are and what their headers will claim."""

import numpy as np

from mpidriver.tasks.simulate._options import CameraOptions, SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._tables import empty_table
from mpidriver.tasks.simulate._tangent import north_angle_deg, offset_position

__all__ = [
    "DETECTOR_UNITS",
    "EXPOSURE_UNITS",
    "field_centres",
    "field_half_size_arcsec",
    "focal_plane_half_size_arcsec",
    "make_detectors",
    "make_exposures",
]

#: Units of the detectors' columns. x runs with an image's columns, y with its rows; the header claims the nominal
#: centre and no rotation.
DETECTOR_UNITS = {
    "detector": "",
    "x_arcsec": "arcsec",
    "y_arcsec": "arcsec",
    "x_shift_arcsec": "arcsec",
    "y_shift_arcsec": "arcsec",
    "rotation_deg": "deg",
    "zero_point_offset_mag": "mag",
}

#: Units of the exposures' columns; `field` is 0 for the survey's, above for strays. Rotations are the angle, from
#: north to east, of the direction in which rows count up. The header claims the columns `header_…` and a scale of 1.
EXPOSURE_UNITS = {
    "exposure": "",
    "band": "",
    "field": "",
    "mjd": "d",
    "exptime_s": "s",
    "ra": "deg",
    "dec": "deg",
    "header_ra": "deg",
    "header_dec": "deg",
    "rotation_deg": "deg",
    "header_rotation_deg": "deg",
    "scale": "",
    "seeing_arcsec": "arcsec",
    "zero_point_mag": "mag",
    "sky_mag_arcsec2": "mag/arcsec2",
    "sky_gradient_angle_deg": "deg",
}

#: Time between two exposures for read-out and slew.
_OVERHEAD_S = 30.0

#: Sources are laid this far beyond what the dithers reach.
_FIELD_MARGIN_ARCSEC = 20.0


def detector_pitch_arcsec(camera: CameraOptions) -> np.ndarray:
    """Return the distance of neighbouring detectors' centres, (y, x), in arcsec."""
    return np.asarray(camera.detector_shape) * camera.pixel_scale_arcsec + camera.gap_arcsec


def focal_plane_half_size_arcsec(camera: CameraOptions) -> tuple[float, float]:
    """Return half the extent (x, y) of the focal plane in arcsec."""
    half_y, half_x = detector_pitch_arcsec(camera) * camera.grid / 2
    return float(half_x), float(half_y)


def field_half_size_arcsec(options: SimulationOptions) -> tuple[float, float]:
    """Return half the extent (east, north) in arcsec of what the dithered focal plane can see, with a margin."""
    half_x, half_y = focal_plane_half_size_arcsec(options.camera)
    margin = abs(options.dither_arcsec) + _FIELD_MARGIN_ARCSEC + 5.0 * options.errors.pointing_arcsec
    return half_x + margin, half_y + margin


def field_centres(options: SimulationOptions) -> list[tuple[float, float]]:
    """Return the centres (ra, dec) in degrees of the survey's field and then of each stray exposure's."""
    centres = [(options.ra_deg, options.dec_deg)]
    for _ in range(options.strays):
        ra, dec = offset_position(*centres[-1], 3600.0 * options.stray_offset_deg, 0.0)
        centres.append((float(ra), float(dec)))
    return centres


def make_detectors(options: SimulationOptions) -> np.ndarray:
    """Return the table of detectors, row by row of the focal plane.

    Parameters
    ----------
    options

    Returns
    -------
    ndarray, shape (detector,)
        Structured; columns and units are `DETECTOR_UNITS`.
    """
    camera, errors = options.camera, options.errors
    table = empty_table(DETECTOR_UNITS, camera.n_detectors)
    pitch_y, pitch_x = detector_pitch_arcsec(camera)
    for detector in range(camera.n_detectors):
        i_row, i_col = divmod(detector, camera.grid[1])
        draw = generator(options.seed, Stream.DETECTOR, detector).standard_normal(4)
        table[detector] = (
            detector,
            (i_col - (camera.grid[1] - 1) / 2) * pitch_x,
            (i_row - (camera.grid[0] - 1) / 2) * pitch_y,
            draw[0] * errors.detector_shift_arcsec,
            draw[1] * errors.detector_shift_arcsec,
            draw[2] * errors.detector_rotation_deg,
            draw[3] * errors.detector_zero_point_mag,
        )
    return table


def make_exposures(options: SimulationOptions) -> np.ndarray:
    """Return the table of exposures: all of the first band, of the second …, then the strays.

    Parameters
    ----------
    options

    Returns
    -------
    ndarray, shape (exposure,)
        Structured; columns and units are `EXPOSURE_UNITS`.
    """
    table = empty_table(EXPOSURE_UNITS, options.n_exposures)
    n_regular = options.n_exposures - options.strays
    centres = field_centres(options)
    for i in range(options.n_exposures):
        stray = max(0, i - n_regular + 1)
        i_band = (stray - 1) % len(options.bands) if stray else i // options.exposures_per_band
        table[i] = _exposure(options, i, i_band, centres[stray], stray)
    return table


def _exposure(options: SimulationOptions, i: int, i_band: int, centre: tuple[float, float], field: int) -> tuple:
    errors, exptime_s = options.errors, options.camera.exptime_s
    rng = generator(options.seed, Stream.EXPOSURE, i)
    dither = rng.uniform(-options.dither_arcsec, options.dither_arcsec, 2)
    pointing_error = rng.normal(0.0, errors.pointing_arcsec, 2)
    header_ra, header_dec = offset_position(*centre, *dither)
    ra, dec = offset_position(*centre, *(dither + pointing_error))
    return (
        options.first_exposure + i,
        options.bands[i_band],
        field,
        options.mjd + i * (exptime_s + _OVERHEAD_S) / 86400.0,
        exptime_s,
        ra,
        dec,
        header_ra,
        header_dec,
        north_angle_deg(ra, dec, *centre) + rng.normal(0.0, errors.rotation_deg),
        north_angle_deg(header_ra, header_dec, *centre),
        1.0 + rng.normal(0.0, errors.scale),
        rng.uniform(*options.sky.seeing_range_arcsec),
        options.zero_points_mag[i_band] + rng.normal(0.0, errors.exposure_zero_point_mag),
        options.sky_mag_arcsec2[i_band],
        rng.uniform(0.0, 360.0),
    )
