"""The figures of a frame that later stages select by."""

import numpy as np

from mpidriver.tasks.image import BAD_PLANES, MaskPlane

__all__ = ["frame_quality", "limiting_magnitude"]


def frame_quality(frame, sky, measured, match, zero_point):
    """Return the figures of a reduced frame.

    Parameters
    ----------
    frame : MaskedImage
    sky : Sky
    measured : Measured
    match : Match or None
    zero_point : ZeroPoint

    Returns
    -------
    dict of str to float
        NaN for what could not be measured; ``wcs_refined`` and ``zero_point_measured`` are 1 or 0.
    """
    catalogue = measured.catalogue
    matched = match is not None and match.matched
    return {
        "n_sources": float(catalogue.size),
        "n_stars": float(np.count_nonzero(catalogue["star"])),
        "fwhm_px": measured.fwhm_px,
        "ellipticity": _median(catalogue["ellipticity"][catalogue["star"]]),
        "sky_e": sky.level_e,
        "sky_rms_e": sky.rms_e,
        "sky_residual_e": sky.residual_e,
        "sky_residual_rms_e": sky.residual_rms_e,
        "aperture_correction": measured.correction,
        "zero_point_mag": zero_point.mag,
        "zero_point_scatter_mag": zero_point.scatter_mag,
        "zero_point_measured": float(zero_point.n_stars > 0),
        "astrometric_rms_mas": match.rms_mas if matched else float("nan"),
        "wcs_refined": float(matched and not match.note),
        "n_matched": float(match.stars.size) if matched else 0.0,
        "cosmic_ray_pixels": float(np.count_nonzero(frame.mask & MaskPlane.COSMIC_RAY)),
        "bad_fraction": float(np.count_nonzero(frame.mask & BAD_PLANES) / frame.mask.size),
        "limiting_mag": limiting_magnitude(zero_point.mag, sky.rms_e, measured),
    }


def limiting_magnitude(zero_point_mag, rms_e, measured, *, sigma=5.0):
    """Return the magnitude of a point source at `sigma` times the sky noise of the measuring aperture."""
    noise_e = rms_e * np.sqrt(np.pi) * measured.aperture_px * measured.correction
    return float(zero_point_mag - 2.5 * np.log10(sigma * noise_e)) if noise_e > 0 else float("nan")


def _median(values):
    return float(np.median(values)) if values.size else float("nan")
