"""Gaussian beams: the smallest common one, what smooths one to another, and what that does to units and noise.

A beam is (major FWHM, minor FWHM, position angle from north to east), in deg.
"""

import numpy as np

from mpidriver.errors import DataError

__all__ = ["beam_area_ratio", "beam_covariance", "common_beam", "smoothing_covariance"]

SIGMA_OF_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))
#: A beam may miss the common one by so much of its area and count as equal: what headers round.
TOLERANCE = 1e-3


def beam_covariance(beam_deg):
    """Return the covariance of a beam on (east, north), deg²; float64 (..., 2, 2) of beams (..., 3)."""
    major, minor, pa = np.moveaxis(np.asarray(beam_deg, float), -1, 0)
    a, b = (major * SIGMA_OF_FWHM) ** 2, (minor * SIGMA_OF_FWHM) ** 2
    s, c = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))
    east, north, both = a * s * s + b * c * c, a * c * c + b * s * s, (a - b) * s * c
    return np.stack([np.stack([east, both], -1), np.stack([both, north], -1)], -2)


def common_beam(beams_deg):
    """Return the smallest beam to which all others can be smoothed.

    Parameters
    ----------
    beams_deg : float (beam, 3)

    Returns
    -------
    float64 (3,)

    Raises
    ------
    DataError
        If a beam has no size.
    """
    beams = np.unique(np.round(np.asarray(beams_deg, float), 9), axis=0)
    if not (np.isfinite(beams).all() and (beams[:, 1] > 0).all() and (beams[:, 0] >= beams[:, 1]).all()):
        raise DataError("a channel image has no beam (BMAJ, BMIN, BPA); name them in [polarimeter.metadata] as "
                        "bmaj_deg, bmin_deg and bpa_deg")  # fmt: skip
    round_ones = beams[:, 0] == beams[:, 1]
    if round_ones.all():
        return np.array([beams[:, 0].max(), beams[:, 0].max(), 0.0])
    if len(beams) == 1:
        return beams[0]
    return _smallest(beams)


def _smallest(beams):
    from astropy import units
    from radio_beam import Beams

    major, minor, pa = (column * units.deg for column in beams.T)
    found = Beams(major=major, minor=minor, pa=pa).common_beam()
    beam = np.array([found.major.to_value("deg"), found.minor.to_value("deg"), found.pa.to_value("deg")])
    lacking = [np.linalg.eigvalsh(beam_covariance(beam) - beam_covariance(own))[0] for own in beams]
    short = max(0.0, -min(lacking)) / SIGMA_OF_FWHM**2
    return np.array([np.sqrt(beam[0] ** 2 + short), np.sqrt(beam[1] ** 2 + short), beam[2]])


def smoothing_covariance(beam_deg, common_deg):
    """Return the covariance (2, 2), deg², of the Gaussian that smooths a beam to the common one, None if it is that.

    Raises
    ------
    DataError
        If the common beam does not contain it.
    """
    difference = beam_covariance(common_deg) - beam_covariance(beam_deg)
    smallest, largest = np.linalg.eigvalsh(difference)
    slack = TOLERANCE * np.linalg.eigvalsh(beam_covariance(common_deg))[1]
    if smallest < -slack:
        raise DataError(
            f"a beam of {_arcsec(beam_deg)} cannot be smoothed to {_arcsec(common_deg)}; "
            "make resolution_arcsec of [sources] larger, or leave it empty"
        )
    if largest <= slack:
        return None
    return difference


def _arcsec(beam_deg):
    major, minor, pa = beam_deg
    return f"{3600 * major:.2f} x {3600 * minor:.2f} arcsec at {pa:.1f} deg"


def beam_area_ratio(beam_deg, common_deg):
    """Return the common beam's area over a beam's: what turns Jy/beam into Jy/common beam after smoothing.

    Noise that is correlated like the beam changes its rms by the square root of it.
    """
    return float(common_deg[0] * common_deg[1] / (beam_deg[0] * beam_deg[1]))
