"""Catalogues of dithered and turned exposures of a focal plane with distortion, and their truth."""

import dataclasses

import numpy as np
from astropy.wcs import WCS

from mpidriver.tasks.mosaic import FrameSources
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["Field", "make_field"]

CENTRE = (150.0, 2.2)
SCALE_ARCSEC = 0.2
SHAPE = (2000, 2000)
#: Of a perfectly bright star, mas and mmag.
FLOOR_MAS, FLOOR_MMAG = 3.0, 2.0
SOURCE = [(name, "f8") for name in ("x", "y", "x_err", "y_err", "flux_aper", "flux_aper_err", "snr")]
#: Cubic distortion: so much of the distance from the optical axis at 1 deg.
CUBIC = 0.02


@dataclasses.dataclass
class Field:
    """Frames and what is true of them."""

    plane: TangentPlane
    stars: np.ndarray
    """ra, dec (deg) and mag."""
    frames: list
    """FrameSources, with wrong WCS."""
    number: list
    """For each frame which stars its sources are."""
    true_xy: list
    """Where they really lie, shape (2, n)."""
    zero_point_mag: np.ndarray

    def reference(self, error_mas=20.0, error_mmag=10.0):
        """Return a catalogue of the brighter half of the stars with errors."""
        rng = np.random.default_rng(3)
        stars = self.stars[self.stars["mag"] < np.median(self.stars["mag"])]
        kinds = [("ra", "f8"), ("dec", "f8"), ("error_mas", "f8"), ("mag_r", "f8"), ("mag_r_err", "f8")]
        table = np.zeros(len(stars), kinds)
        shift = rng.normal(0, error_mas / 3.6e6, (2, len(stars)))
        table["ra"], table["dec"] = stars["ra"] + shift[0] / np.cos(np.radians(stars["dec"])), stars["dec"] + shift[1]
        table["error_mas"], table["mag_r_err"] = error_mas, error_mmag / 1000
        table["mag_r"] = stars["mag"] + rng.normal(0, error_mmag / 1000, len(stars))
        return table

    def position_error_mas(self, wcs_of_frames):
        """Return the rms error of one axis at all stars, without the whole's offset, turn and stretch."""
        errors, places = [], []
        for wcs, (x, y), number in zip(wcs_of_frames, self.true_xy, self.number, strict=True):
            place = np.stack(self.plane.project(self.stars["ra"][number], self.stars["dec"][number]), axis=-1)
            got = np.stack(self.plane.project(*wcs.all_pix2world(x, y, 0)), axis=-1)
            errors.append((got - place) * 3.6e6)
            places.append(place)
        errors, places = np.concatenate(errors), np.concatenate(places)
        design = np.column_stack([np.ones(len(places)), places])
        rest = errors - design @ np.linalg.lstsq(design, errors, rcond=None)[0]
        return float(np.sqrt(np.mean(rest**2)))

    def zero_point_error_mmag(self, zero_points):
        """Return the rms error, without what all have in common."""
        return float(np.std(np.asarray(zero_points) - self.zero_point_mag) * 1000)


def make_field(n_exposures, n_side, stars_a_frame):
    """Simulate exposures of n_side x n_side detectors, turned by 0, 90, 180 and 270 deg and a little more."""
    rng = np.random.default_rng(7)
    plane = TangentPlane(*CENTRE)
    side_deg = SHAPE[0] * SCALE_ARCSEC / 3600
    reach_deg = (n_side * 0.5 * 1.45 + 0.3) * side_deg
    stars = np.zeros(int(stars_a_frame * (2 * reach_deg / side_deg) ** 2), [("ra", "f8"), ("dec", "f8"), ("mag", "f8")])
    stars["ra"], stars["dec"] = plane.deproject(*rng.uniform(-reach_deg, reach_deg, (2, len(stars))))
    stars["mag"] = 16 + 5 * np.sqrt(rng.uniform(0, 1, len(stars)))
    flat_mag = rng.normal(0, 0.02, n_side**2)
    tilt = rng.normal(0, 2e-3, (n_side**2, 2))
    field = Field(plane, stars, [], [], [], np.zeros(0))
    for exposure in range(n_exposures):
        axis = TangentPlane(*plane.deproject(*rng.uniform(-0.15, 0.15, 2) * side_deg))
        turn = np.radians(90.0 * (exposure % 4) + rng.normal(0, 0.5))
        wrong = TangentPlane(*axis.deproject(*rng.normal(0, 1.0 / 3600, 2)))
        wrong_turn, zero_point = turn + rng.normal(0, 5e-5), 30.0 + rng.normal(0, 0.1)
        for detector in range(n_side**2):
            middle = (np.array([detector % n_side, detector // n_side]) - (n_side - 1) / 2) * side_deg * 1.03
            number, xy = _on_detector(stars, axis, turn, middle, tilt[detector])
            sources = _measured(rng, stars["mag"][number], xy, zero_point + flat_mag[detector])
            guess = _nominal_wcs(wrong, wrong_turn, middle)
            field.frames.append(FrameSources(exposure, detector, "r", guess, SHAPE, 30.0, sources))
            field.number.append(number)
            field.true_xy.append(xy)
            field.zero_point_mag = np.append(field.zero_point_mag, zero_point + flat_mag[detector])
    return field


def _on_detector(stars, axis, turn, middle, tilt):
    """Return which stars fall on a detector and where: cubic optics, and a detector that is bent a little."""
    xi, eta = axis.project(stars["ra"], stars["dec"])
    cos, sin = np.cos(turn), np.sin(turn)
    u, v = cos * xi + sin * eta, -sin * xi + cos * eta
    grow = 1 + CUBIC * (u**2 + v**2)
    x, y = -(u * grow - middle[0]), v * grow - middle[1]
    x, y = x / SCALE_ARCSEC * 3600, y / SCALE_ARCSEC * 3600
    half = SHAPE[0] / 2
    x, y = x + half * tilt[0] * (x / half) ** 2 * 0.2, y + half * tilt[1] * (x / half) * (y / half) * 0.2
    inside = np.flatnonzero((np.abs(x) < half - 15) & (np.abs(y) < half - 15))
    return inside, np.stack([x[inside], y[inside]]) + half - 0.5


def _measured(rng, mag, xy, zero_point):
    """Return sources with noise as their magnitudes have it."""
    flux = 10 ** (-0.4 * (mag - zero_point))
    snr = flux / np.sqrt(flux + 2e4)
    sources = np.zeros(len(mag), SOURCE)
    error_px = np.hypot(FLOOR_MAS / 1000 / SCALE_ARCSEC, 4.0 / 2.3548 / snr)
    error_mag = np.hypot(FLOOR_MMAG / 1000, 1.0857 / snr)
    sources["x"], sources["y"] = xy + rng.normal(0, 1, xy.shape) * error_px
    sources["x_err"] = sources["y_err"] = 4.0 / 2.3548 / snr
    sources["flux_aper"] = flux * 10 ** (-0.4 * error_mag * rng.normal(0, 1, len(mag)))
    sources["flux_aper_err"], sources["snr"] = flux / snr, snr
    return sources


def _nominal_wcs(axis, turn, middle):
    """Return what a header would say: the detector's place in the focal plane, without distortion."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [axis.ra_deg, axis.dec_deg]
    cos, sin = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = np.array([[-cos, -sin], [-sin, cos]]) * SCALE_ARCSEC / 3600
    offset_px = middle / SCALE_ARCSEC * 3600
    wcs.wcs.crpix = [SHAPE[1] / 2 + 0.5 + offset_px[0], SHAPE[0] / 2 + 0.5 - offset_px[1]]
    wcs.wcs.set()
    return wcs
