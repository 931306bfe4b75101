"""The single-frame stage as a chain of its steps."""

import dataclasses

import numpy as np

from mpidriver.tasks.filters import gaussian_kernel, mexican_hat_kernel
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.single_frame._astrometry import match_catalogue, sky_corners
from mpidriver.tasks.single_frame._background import (
    add_missing_sky_noise,
    given_sky,
    pixel_noise,
    source_free_sky,
    without_nan,
)
from mpidriver.tasks.single_frame._bad_pixels import interpolate_bad_pixels, require_content, require_signal
from mpidriver.tasks.single_frame._catalogue import measure_sources
from mpidriver.tasks.single_frame._cosmic_rays import remove_cosmic_rays
from mpidriver.tasks.single_frame._cover import cover_sources
from mpidriver.tasks.single_frame._detection import detect, flag_detected
from mpidriver.tasks.single_frame._fringes import subtract_fringes
from mpidriver.tasks.single_frame._options import SingleFrameOptions
from mpidriver.tasks.single_frame._quality import frame_quality
from mpidriver.tasks.single_frame._records import Calibrations, ReducedFrame
from mpidriver.tasks.single_frame._signature import remove_signature
from mpidriver.tasks.single_frame._sky_pattern import subtract_sky_pattern
from mpidriver.tasks.single_frame._stars import UNFIT
from mpidriver.tasks.single_frame._zero_point import fit_zero_point, header_zero_point

__all__ = ["clean_frame", "reduce_frame", "science_wcs", "subtract_sky"]

#: Share of the frame that detected sources cover when it is crowded.
_CROWDED = 0.15
#: Fewer sources than this are large ones, and no crowd.
_CROWD = 40
#: With so many stars, sources of other kinds are not needed for matching.
_STARS_PLENTY = 30
_MATCH_SNR_MIN = 10.0


def reduce_frame(raw, *, calibrations=None, reference=None, sky_model=None, options=None):
    """Reduce one detector of one exposure.

    Parameters
    ----------
    raw : RawFrame
    calibrations : Calibrations, optional
        Overscan, bias, dark, flat, defects, fringes and sky, each applied if given.
    reference : ndarray, optional
        Structured reference catalogue with ``ra``, ``dec`` (deg) and, for the zero point, ``mag_<band>``.
    sky_model : ndarray, shape (n, n), optional
        The sky in electrons, as for `polynomial_plane`; by default what the frame itself shows is subtracted.
    options : SingleFrameOptions, optional

    Returns
    -------
    ReducedFrame
        A frame without a star is a valid one; what could not be measured is NaN and said in ``notes``.

    Raises
    ------
    DataError
        If the frame holds no signal: no number, all masked, or one constant value; or if shapes disagree.
    """
    options = options or SingleFrameOptions()
    wcs = science_wcs(raw.wcs, calibrations)
    frame = clean_frame(raw, calibrations, options)
    frame, sky, sources, segmentation, fwhm_px = subtract_sky(frame, options, sky_model=sky_model)
    measured = measure_sources(frame, sources, segmentation, options, fwhm_px=fwhm_px)
    match = _match(measured.catalogue, wcs, frame.image.shape, reference, raw.band, options)
    zero_point = _zero_point(measured.catalogue, match, reference, raw, options)
    wcs = match.wcs if match else wcs
    catalogue = _with_sky_positions(measured.catalogue, wcs)
    return ReducedFrame(
        image=_blank_no_data(frame),
        catalogue=catalogue,
        wcs=wcs,
        zero_point_mag=zero_point.mag,
        quality=frame_quality(frame, sky, measured, match, zero_point),
        corners=sky_corners(wcs, frame.image.shape),
        notes=tuple(note for note in (match.note if match else "", zero_point.note) if note),
    )


def clean_frame(raw, calibrations, options):
    """Return a frame in electrons, sky still in it, with bad pixels and cosmic rays flagged and filled.

    Parameters
    ----------
    raw : RawFrame
    calibrations : Calibrations or None
    options : SingleFrameOptions

    Returns
    -------
    MaskedImage
        Pixels without any usable neighbour stay NaN and NO_DATA.
    """
    require_content(raw.image)
    frame = remove_signature(raw, calibrations, saturation_grow_px=options.saturation_grow_px)
    require_signal(frame)
    if raw.weight is None:
        frame = add_missing_sky_noise(frame)
    frame = interpolate_bad_pixels(frame)
    if calibrations is not None and calibrations.fringe is not None:
        frame = subtract_fringes(frame, calibrations.fringe, options)
    if calibrations is not None and calibrations.sky is not None:
        frame = subtract_sky_pattern(frame, calibrations.sky, options)
    return remove_cosmic_rays(frame, options) if options.cosmic_rays else frame


def subtract_sky(frame, options, *, sky_model=None):
    """Subtract the sky in two rounds, the second with the sources of the first left out, and detect.

    Parameters
    ----------
    frame : MaskedImage
        From `clean_frame`.
    options : SingleFrameOptions
    sky_model : ndarray, optional
        As for `reduce_frame`.

    Returns
    -------
    frame : MaskedImage
        Sky subtracted, 0 where NO_DATA; DETECTED set.
    sky : Sky
    sources, segmentation : ndarray
        From `detect`.
    fwhm_px : float
        First guess of the stars' width.
    """
    no_data = (frame.mask & MaskPlane.NO_DATA) != 0
    image, variance = without_nan(frame.image), _finite_variance(frame.variance)
    cover = cover_sources(frame, options)
    sky = source_free_sky(frame, cover.pixels, options)
    if sky_model is not None:
        sky = given_sky(sky, sky_model)
    above = _above_sky(image, sky, no_data)
    if is_crowded(cover, options):
        rms, kernel = crowded_noise(frame, sky), mexican_hat_kernel(cover.fwhm_px)
    else:
        rms, kernel = sky.rms, gaussian_kernel(cover.fwhm_px)
    sources, segmentation = detect(above, rms, no_data, options, kernel=kernel)
    frame = MaskedImage(above, variance, flag_detected(frame.mask, segmentation))
    return frame, sky, sources, segmentation, cover.fwhm_px


def is_crowded(cover, options):
    """Tell whether a Mexican hat is to part the sources: as the options say, or if many cover much of the frame."""
    if options.detection_filter == "auto":
        return cover.share > _CROWDED and cover.n_sources >= _CROWD
    return options.detection_filter == "mexican_hat"


def crowded_noise(frame, sky):
    """Return the noise from pixel to pixel, without the confusion of faint stars that a Mexican hat does not see."""
    noise = pixel_noise(without_nan(frame.image), frame.mask == 0)
    return np.full_like(sky.rms, noise) if 0 < noise < sky.rms_e else sky.rms


def _above_sky(image, sky, no_data):
    above = image - sky.level
    if no_data.any():
        above[no_data] = 0
    return above


def _finite_variance(variance):
    holes = ~np.isfinite(variance)
    return np.where(holes, np.float32(np.nanmedian(variance)), variance) if holes.any() else variance


def _blank_no_data(frame):
    """Return the frame as products hold it: NaN where NO_DATA."""
    no_data = (frame.mask & MaskPlane.NO_DATA) != 0
    if not no_data.any():
        return frame
    blank = np.float32(np.nan)
    return MaskedImage(np.where(no_data, blank, frame.image), np.where(no_data, blank, frame.variance), frame.mask)


def science_wcs(wcs, calibrations):
    """Return the WCS of the science region."""
    region = (calibrations or Calibrations()).science
    if wcs is None or region is None:
        return wcs
    x0, y0, x1, y1 = region
    return wcs.slice((slice(y0, y1), slice(x0, x1)))


def _match(catalogue, wcs, shape, reference, band, options):
    """Match the stars, or in a sparse frame all clean sources, with the reference; None if there is none."""
    if wcs is None or reference is None or len(reference) == 0:
        return None
    chosen = np.flatnonzero(catalogue["star"])
    if chosen.size < _STARS_PLENTY:
        clean = (catalogue["flags"] & UNFIT) == 0
        chosen = np.flatnonzero(clean & (catalogue["snr"] >= min(_MATCH_SNR_MIN, options.star_snr_min)))
    order = _brightest_first(reference, band)
    x, y = catalogue["x"][chosen], catalogue["y"][chosen]
    match = match_catalogue(x, y, wcs, shape, reference[order], options)
    return dataclasses.replace(match, stars=chosen[match.stars], references=order[match.references])


def _brightest_first(reference, band):
    """Return the order of the reference catalogue by magnitude in the band, or else in the first one it has."""
    columns = [name for name in (f"mag_{band}", *reference.dtype.names) if name in reference.dtype.names]
    magnitudes = [name for name in columns if name.startswith("mag_")]
    return np.argsort(reference[magnitudes[0]], kind="stable") if magnitudes else np.arange(len(reference))


def _zero_point(catalogue, match, reference, raw, options):
    if match is None:
        return header_zero_point(raw, options, "no reference catalogue or no WCS")
    column = f"mag_{raw.band}"
    if column not in reference.dtype.names:
        return header_zero_point(raw, options, f"the reference catalogue has no column {column}")
    stars = catalogue["star"][match.stars]
    flux, mag = catalogue["flux_aper"][match.stars[stars]], reference[column][match.references[stars]]
    measured = fit_zero_point(flux, mag)
    return measured or header_zero_point(raw, options, f"{flux.size} stars match the reference catalogue")


def _with_sky_positions(catalogue, wcs):
    if wcs is not None and catalogue.size:
        catalogue["ra"], catalogue["dec"] = wcs.all_pix2world(catalogue["x"], catalogue["y"], 0)
    return catalogue
