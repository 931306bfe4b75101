"""The polarised sources of a patch: from its Stokes cubes to rows of the RM catalogue."""

import numpy as np

from mpidriver.tasks.faraday._catalogue import rm_table
from mpidriver.tasks.faraday._detect import channel_noise, detect_sources, extract_spectra, mean_image
from mpidriver.tasks.faraday._measure import measure_faraday
from mpidriver.tasks.faraday._options import FaradayOptions

__all__ = ["measure_patch"]

ENOUGH_PIXELS = 400
"""Pixels of a plane from which its noise can be told in spite of the sources in it."""


def measure_patch(i, q, u, variance, freq_hz, phi_radm2, wcs, *, options=None):
    """Find the sources in a patch's mean Stokes I image, measure them, and return those that are polarised.

    Parameters
    ----------
    i, q, u : float (chan, row, col)
        Jy/beam; NaN where blank.
    variance : float (chan, row, col)
        Of Q and U, (Jy/beam)². Only its distribution over a plane counts: its scale is taken from the scatter of the
        plane itself, for resampling correlates pixels.
    freq_hz : (chan,) Hz
    phi_radm2 : (phi,) rad/m²
        Ascending depths among which peaks are sought.
    wcs : astropy.wcs.WCS
        Of rows and columns.
    options : FaradayOptions, optional

    Returns
    -------
    structured ndarray (source,)
        Columns `RM_DTYPE`, units `RM_UNITS`, for sources of at least `options.polarised_snr`, brightest in I first.
    """
    options = options or FaradayOptions()
    sources = detect_sources(mean_image(i), snr=options.detection_snr)
    row, col = sources["row"], sources["col"]
    measured = measure_faraday(
        extract_spectra(q, row, col),
        extract_spectra(u, row, col),
        extract_spectra(i, row, col),
        freq_hz,
        _noise_at(q, variance, row, col),
        _noise_at(u, variance, row, col),
        sigma_i=np.broadcast_to(channel_noise(i), (len(sources), len(i))),
        phi_radm2=phi_radm2,
        options=options,
    )
    ra_deg, dec_deg = wcs.all_pix2world(col, row, 0)
    table = rm_table(measured, ra_deg, dec_deg, flux_type="Peak")
    return table[measured["snr_polint"] >= options.polarised_snr]


def _noise_at(cube, variance, row, col):
    """Return the noise of a cube at positions, float64 (source, chan); not positive where there is none."""
    row, col = np.rint(row).astype(np.intp), np.rint(col).astype(np.intp)
    with np.errstate(invalid="ignore"):
        sigma = np.sqrt(variance[:, row, col].astype(np.float64))
    return (sigma * _noise_scale(cube, variance)[:, None]).T


def _noise_scale(cube, variance):
    """Return for each plane the scatter of its pixels over what the variance says, 1 where it cannot be told."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = channel_noise(cube / np.sqrt(variance))
    known = np.isfinite(cube).sum(axis=(1, 2)) >= ENOUGH_PIXELS
    return np.where(known & np.isfinite(scale) & (scale > 0), scale, 1.0)
