"""The catalogue of a frame: centroids, fluxes, shapes and flags of every source, and which are stars."""

import dataclasses

import numpy as np
import sep

from mpidriver.tasks.gaussian_windows import mask_bits
from mpidriver.tasks.image import MaskPlane
from mpidriver.tasks.moffat import MoffatProfile, fit_profile
from mpidriver.tasks.single_frame._aperture_correction import aperture_correction
from mpidriver.tasks.single_frame._centroids import windowed_centroids
from mpidriver.tasks.single_frame._photometry import (
    aperture_fluxes,
    half_light_radii,
    kron_fluxes,
)
from mpidriver.tasks.single_frame._psf import half_light_locus
from mpidriver.tasks.single_frame._records import SOURCE_DTYPE, SourceFlag
from mpidriver.tasks.single_frame._stars import UNFIT, nearest_that_matters_px, select_stars

__all__ = ["Measured", "measure_sources"]

#: A neighbour of this share of the flux spoils a curve of growth.
_GROWTH_FLUX_RATIO = 0.005
#: Brightest sources among which the stars' profile is looked for.
_PROFILE_SOURCES = 1000
#: Brightest sources among which the stars' locus is looked for.
_LOCUS_SOURCES = 200
_FLAG_OF_PLANE = (
    (MaskPlane.SATURATED, SourceFlag.SATURATED),
    (MaskPlane.COSMIC_RAY, SourceFlag.COSMIC_RAY),
    (MaskPlane.BAD, SourceFlag.INTERPOLATED),
    (MaskPlane.NO_DATA, SourceFlag.EDGE),
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The sources of a frame and the width of its stars."""

    catalogue: np.ndarray
    """`SOURCE_DTYPE`, brightest first; ra and dec still NaN."""
    fwhm_px: float
    """Width of the stars, NaN if there are none."""
    correction: float
    """Total flux over aperture flux, typical of the frame."""
    aperture_px: float
    """Radius of the measuring aperture."""


def measure_sources(frame, sources, segmentation, options, *, fwhm_px):
    """Measure every source on a sky-subtracted frame.

    Parameters
    ----------
    frame : MaskedImage
        Electrons above the sky, finite.
    sources : ndarray
        From `detect`.
    segmentation : ndarray of int32, shape (row, col)
        From `detect`.
    options : SingleFrameOptions
    fwhm_px : float
        First guess of the stars' width.

    Returns
    -------
    Measured
    """
    profile = _star_profile(frame, sources, segmentation, options, fwhm_px)
    found_fwhm_px = profile.fwhm_px if profile else float("nan")
    profile = profile or MoffatProfile.of_width(fwhm_px)
    numbers = np.arange(1, sources.size + 1)
    neighbour_px = _neighbours(sources, sources["flux"], profile.fwhm_px, options, options.isolation_flux_ratio)
    table, half_light_px = _centroids_and_flags(frame, sources, (segmentation, numbers), neighbour_px, profile.fwhm_px)
    radius_px = options.aperture_radius_fwhm * profile.fwhm_px
    _add_aperture(table, frame, radius_px)
    table["flux_auto"], table["flux_auto_err"] = kron_fluxes(
        frame.image, frame.variance, sources, segmentation, table["x"], table["y"]
    )
    order = np.lexsort((table["x"], table["y"], -table["flux_aper"]))
    table, half_light_px, numbers = table[order], half_light_px[order], numbers[order]
    neighbour_px = _neighbours(table, table["flux_aper"], profile.fwhm_px, options, options.isolation_flux_ratio)
    locus = _locus(table, half_light_px, neighbour_px, profile.fwhm_px, options)
    table["star"] = select_stars(table, half_light_px, neighbour_px, locus, fwhm_px=profile.fwhm_px, options=options)
    table["fwhm_px"] = half_light_px * _width_per_half_light(profile.fwhm_px, locus[0])
    stars = table["star"]
    any_neighbour_px = _neighbours(table, table["flux_aper"], profile.fwhm_px, options, _GROWTH_FLUX_RATIO)
    segments = segmentation, numbers[stars]
    correction = aperture_correction(
        frame.image, frame.variance, table[stars], any_neighbour_px[stars], segments, profile, options
    )
    correction_there = correction.at(table["x"], table["y"])
    table["flux_aper"] *= correction_there
    table["flux_aper_err"] *= correction_there
    return Measured(table, found_fwhm_px if stars.any() else float("nan"), correction.typical, radius_px)


def _centroids_and_flags(frame, sources, segments, neighbour_px, fwhm_px):
    """Return a table with the columns that need no flux, and half-light radii, px.

    Windows are as wide as the half-light diameter, or half of the distance to a neighbour that matters if that is
    less, but no narrower than a star.
    """
    table = np.zeros(sources.size, dtype=SOURCE_DTYPE)
    table["ra"] = table["dec"] = np.nan
    x, y = sources["x"], sources["y"]
    half_light_px = half_light_radii(frame.image, segments, x, y, fwhm_px=fwhm_px)
    width_px = np.fmax(np.fmin(2 * half_light_px, 0.5 * neighbour_px), fwhm_px)
    table["x"], table["y"], table["x_err"], table["y_err"], failed = windowed_centroids(
        frame.image, frame.variance, segments, x, y, width_px
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        table["ellipticity"] = np.where(sources["a"] > 0, 1 - sources["b"] / sources["a"], 0.0)
    table["peak"] = sources["peak"]
    table["flags"][failed] |= SourceFlag.CENTROID
    table["flags"][(sources["flag"] & sep.OBJ_MERGED) != 0] |= SourceFlag.BLENDED
    table["flags"][(sources["flag"] & sep.OBJ_TRUNC) != 0] |= SourceFlag.EDGE
    near = mask_bits(frame.mask, table["x"], table["y"], fwhm_px)
    for plane, flag in _FLAG_OF_PLANE:
        table["flags"][(near & plane) != 0] |= flag
    return table, half_light_px


def _add_aperture(table, frame, radius_px):
    """Fill in aperture fluxes (not yet corrected to total), errors and signal-to-noise ratios."""
    if table.size == 0:
        return
    flux, error, flag = aperture_fluxes(frame.image, frame.variance, table["x"], table["y"], radius_px)
    table["flux_aper"], table["flux_aper_err"] = flux, error
    with np.errstate(divide="ignore", invalid="ignore"):
        table["snr"] = np.where(error > 0, flux / error, 0.0)
    table["flags"][(flag & sep.APER_TRUNC) != 0] |= SourceFlag.EDGE
    table["flags"][~(flux > 0)] |= SourceFlag.FLUX


def _star_profile(frame, sources, segmentation, options, fwhm_px):
    """Return the profile of the point-like sources among the brightest, or None; from the guess in two rounds."""
    profile = None
    brightest = np.argsort(-sources["flux"], kind="stable")[:_PROFILE_SOURCES]
    for _ in range(2):
        width_px = profile.fwhm_px if profile else fwhm_px
        stars = _bright_stars(frame, sources, segmentation, brightest, options, width_px)
        profile = fit_profile(frame.image, frame.variance, *stars, fwhm_px=width_px) or profile
    return profile


def _bright_stars(frame, sources, segmentation, brightest, options, fwhm_px):
    """Return the centres of stars among the given sources and the distance to any neighbour, brightest first."""
    matters_px, any_px = (
        _neighbours(sources, sources["flux"], fwhm_px, options, ratio)[brightest]
        for ratio in (options.isolation_flux_ratio, _GROWTH_FLUX_RATIO)
    )
    segments = segmentation, brightest + 1
    table, half_light_px = _centroids_and_flags(frame, sources[brightest], segments, matters_px, fwhm_px)
    _add_aperture(table, frame, fwhm_px)
    locus = _locus(table, half_light_px, matters_px, fwhm_px, options)
    stars = select_stars(table, half_light_px, matters_px, locus, fwhm_px=fwhm_px, options=options)
    stars = np.flatnonzero(stars)
    stars = stars[np.argsort(-table["flux_aper"][stars], kind="stable")]
    return table["x"][stars], table["y"][stars], any_px[stars]


def _neighbours(table, flux, fwhm_px, options, flux_ratio):
    reach_px = (options.aperture_total_fwhm + 2) * fwhm_px
    return nearest_that_matters_px(table["x"], table["y"], flux, reach_px=reach_px, flux_ratio=flux_ratio)


def _locus(table, half_light_px, neighbour_px, fwhm_px, options):
    """Return the stars' locus from the brightest clean sources; isolated ones if there are enough of them."""
    clean = ((table["flags"] & UNFIT) == 0) & (table["snr"] >= options.star_snr_min) & (half_light_px > 0)
    isolated = clean & (neighbour_px > options.isolation_fwhm * fwhm_px)
    chosen = np.flatnonzero(isolated if isolated.sum() >= 10 else clean)
    brightest = chosen[np.argsort(-table["snr"][chosen], kind="stable")][:_LOCUS_SOURCES]
    return half_light_locus(half_light_px[brightest])


def _width_per_half_light(fwhm_px, locus_px):
    return fwhm_px / locus_px if np.isfinite(locus_px) and locus_px > 0 else 2.0
