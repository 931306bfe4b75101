"""Measurement of a patch's objects on one band's coadd: free, and forced to the reference position and aperture."""

import dataclasses

import numpy as np
import sep

from mpidriver.tasks.gaussian_windows import adaptive_moments, windowed_centroids
from mpidriver.tasks.multiband._columns import empty, forced_dtype, measurement_dtype
from mpidriver.tasks.multiband._deblend import deblend, sky_sigma
from mpidriver.tasks.multiband._flags import ObjectFlag
from mpidriver.tasks.multiband._models import Models, joint_fluxes, sources_at
from mpidriver.tasks.multiband._noise import NoiseFactors, noise_factors
from mpidriver.tasks.multiband._options import MultibandOptions
from mpidriver.tasks.multiband._photometry import fill_fluxes, fill_model_fluxes, kron_ellipses, pixel_flags
from mpidriver.tasks.multiband._psf import LARGEST_SIGMA_PX, Psf, estimate_psf
from mpidriver.tasks.multiband._scene import Scene, make_scene, pixel_scale_arcsec
from mpidriver.tasks.multiband._tiles import tiles_of

__all__ = ["band_psf", "force", "measure"]

#: A centroid may move this far, in FWHM of the PSF.
_CENTROID_REACH_FWHM = 1.0
#: An object is extended if wider than the PSF by this share plus so many sigmas.
_EXTENDED_SHARE, _EXTENDED_SIGMA = 0.06, 2.5
#: Kron apertures are at least this many FWHM of the PSF, in radius.
_KRON_LEAST_FWHM = 1.0


@dataclasses.dataclass(frozen=True)
class _Band:
    """What is known of one band before its objects are measured."""

    scene: Scene
    psf: Psf
    noise: NoiseFactors
    radii_px: np.ndarray
    scale_arcsec: float


def measure(coadd, wcs, objects, *, psf=None, options=None):
    """Measure objects on one band's coadd, each at its own centroid and in its own aperture.

    Parameters
    ----------
    coadd : MaskedImage
        nJy.
    wcs : astropy.wcs.WCS
    objects : ndarray, shape (object,)
        From `merge_detections`.
    psf : CoaddPsf, optional
        What the coadd's inputs say of the PSF; without it a linear change over the coadd is all that is seen.
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object,)
        Structured, `measurement_dtype`, in the order of `objects`. Fluxes: `flux_psf` by the PSF, `flux_model` by
        a point source or a galaxy through the PSF, fitted with all others at once; `flux_aper` in circles, `flux_auto`
        in the Kron ellipse, on the image without the other objects' models. All are corrected to the whole light of a
        point source by the growth of the stars' light. Errors are scaled to the scatter of the same sums on empty sky,
        which holds the correlation of pixels. The moments are those of the best-matching Gaussian, PSF included;
        `fwhm_arcsec` is the PSF's FWHM times the ratio of such sizes. A blank band gives NaN and NO_DATA.
    """
    options = options or MultibandOptions()
    x, y = _pixels(wcs, objects["ra"], objects["dec"])
    scene = make_scene(coadd, background_box_px=options.background_box_px)
    band = _characterised(scene, wcs, *_centred(scene, wcs, x, y, options, psf), options, psf)
    sky = objects["is_sky"]
    deblended = deblend(scene, x, y, band.psf, noise_factor=band.noise.matched, fixed=sky)
    table = empty(measurement_dtype(len(options.aperture_radii_arcsec)), objects.size)
    table["id"], table["footprint"], table["flags"] = objects["id"], objects["footprint"], sky * int(ObjectFlag.SKY)
    _fill_models(table, deblended, band)
    for tiles in tiles_of(scene, deblended.models, _reach_px(deblended.models.sources[:, 7], band)):
        rows = table[tiles.rows]
        centred = _fill_positions(rows, tiles, band)
        _fill_shapes(rows, centred, band)
        fill_fluxes(rows, centred, _ellipses(rows), band.psf, band.noise, band.radii_px)
        _fill_sizes(rows, centred, band)
        table[tiles.rows] = rows
    table["flags"] |= _common_flags(band, table["x"], table["y"])
    table["ra"], table["dec"] = _sky(wcs, table["x"], table["y"])
    fill_model_fluxes(table, deblended.models, deblended.joint, deblended.shape_errors, band.psf, band.noise)
    _fill_extendedness(table)
    return table


def force(coadd, wcs, merged, *, psf=None, options=None):
    """Measure one band's coadd at the reference positions and in the reference apertures.

    Parameters
    ----------
    coadd : MaskedImage
        nJy.
    wcs : astropy.wcs.WCS
    merged : ndarray, shape (object,)
        From `merge_measurements`.
    psf : CoaddPsf, optional
        What the coadd's inputs say of the PSF; without it a linear change over the coadd is all that is seen.
    options : MultibandOptions, optional

    Returns
    -------
    ndarray, shape (object,)
        Structured, `forced_dtype`, in the order of `merged`; fluxes as `measure` gives them. The Kron ellipse is the
        reference band's; PSF and corrections are this band's own.
    """
    options = options or MultibandOptions()
    x, y = _pixels(wcs, merged["ra"], merged["dec"])
    scene = make_scene(coadd, background_box_px=options.background_box_px)
    band = _characterised(scene, wcs, x, y, options, psf)
    models = _forced_models(merged, x, y, band)
    joint = joint_fluxes(scene, models)
    models.sources[:, 6] = np.nan_to_num(joint.flux)
    table = empty(forced_dtype(len(options.aperture_radii_arcsec)), merged.size)
    table["id"], table["x"], table["y"], table["flags"] = merged["id"], x, y, 0
    table["psf_fwhm_arcsec"] = band.psf.fwhm_at(x, y) * band.scale_arcsec
    ellipses = _ellipses(merged)
    for tiles in tiles_of(scene, models, np.maximum(_reach_px(models.sources[:, 7], band), ellipses[0])):
        rows = table[tiles.rows]
        fill_fluxes(rows, tiles, tuple(axis[tiles.rows] for axis in ellipses), band.psf, band.noise, band.radii_px)
        table[tiles.rows] = rows
    table["flags"] |= _common_flags(band, x, y)
    fill_model_fluxes(table, models, joint, np.nan_to_num(merged["model_shape_err"]), band.psf, band.noise)
    return table


def _forced_models(merged, x, y, band):
    """Return models of the reference band's shapes through this band's PSF."""
    ellipses = np.nan_to_num(np.column_stack([merged[name] for name in ("model_xx", "model_yy", "model_xy")]))
    sigma, dev_share = sky_sigma(band.scene, x, y), np.nan_to_num(merged["model_dev_share"])
    matrices, planes = band.psf.matrices(x, y), band.psf.planes
    point = sources_at(x, y, np.nan_to_num(band.psf.point_fluxes(band.scene, x, y, sigma)[:, 0]), sigma, band.psf)
    flux = point[:, 6].copy()
    return Models(sources_at(x, y, flux, sigma, band.psf, ellipses=ellipses, dev_share=dev_share), matrices, planes)


def _reach_px(half_px, band):
    """Return how far from sources with windows of such half widths they are measured, px."""
    return np.maximum(half_px, band.radii_px.max() + 1.0)


def band_psf(scene, wcs, objects, options, expected=None):
    """Return the PSF that the stars among objects with `ra` and `dec` show on a band's scene."""
    x, y = _pixels(wcs, objects["ra"], objects["dec"])
    return _psf(scene, wcs, *_centred(scene, wcs, x, y, options, expected), options, expected)


def _pixels(wcs, ra, dec):
    if ra.size == 0:
        return np.zeros(0), np.zeros(0)
    return tuple(np.ascontiguousarray(axis, float) for axis in wcs.all_world2pix(ra, dec, 0))


def _sky(wcs, x, y):
    return wcs.all_pix2world(x, y, 0) if x.size else (x, y)


def _psf(scene, wcs, x, y, options, expected):
    scale_arcsec = pixel_scale_arcsec(wcs)
    return estimate_psf(
        scene,
        x,
        y,
        np.asarray(options.aperture_radii_arcsec) / scale_arcsec,
        default_fwhm_px=options.default_fwhm_arcsec / scale_arcsec,
        star_snr=options.star_snr,
        expected=expected,
    )


def _characterised(scene, wcs, x, y, options, expected):
    psf = _psf(scene, wcs, x, y, options, expected)
    scale_arcsec = pixel_scale_arcsec(wcs)
    radii_px = np.asarray(options.aperture_radii_arcsec) / scale_arcsec
    return _Band(scene, psf, noise_factors(scene, x, y, psf, radii_px), radii_px, scale_arcsec)


def _common_flags(band, x, y):
    assumed = 0 if band.psf.n_stars else int(ObjectFlag.NO_PSF)
    return pixel_flags(band.scene, x, y, band.psf.fwhm_px) | assumed


def _fill_models(table, deblended, band):
    """Fill the shapes of the models."""
    sources = deblended.models.sources
    for k, name in enumerate(("model_xx", "model_yy", "model_xy", "model_dev_share")):
        table[name] = sources[:, 2 + k]
    table["model_shape_err"] = deblended.shape_errors
    table["model_radius_arcsec"] = _size_px(sources[:, 2], sources[:, 3], sources[:, 4]) * band.scale_arcsec
    table["psf_fwhm_arcsec"] = band.psf.fwhm_at(sources[:, 0], sources[:, 1]) * band.scale_arcsec


def _centred(scene, wcs, x, y, options, expected):
    """Return centroids on the image as it is, by which stars show their PSF better than by where they were detected."""
    psf = _psf(scene, wcs, x, y, options, expected)
    reach_px = _CENTROID_REACH_FWHM * psf.fwhm_px
    found = windowed_centroids(scene.image, scene.variance, scene.usable, x, y, psf.sigma_px, reach_px)
    return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])


def _fill_positions(table, tiles, band):
    """Fill centroids and their errors; return the tiles with the sources there."""
    scene, psf = tiles.scene, band.psf
    reach_px = _CENTROID_REACH_FWHM * psf.fwhm_px
    found = windowed_centroids(scene.image, scene.variance, scene.usable, tiles.x, tiles.y, psf.sigma_px, reach_px)
    sky = table["flags"] & int(ObjectFlag.SKY) != 0
    x, y = np.where(sky, tiles.x, found[:, 0]), np.where(sky, tiles.y, found[:, 1])
    table["x"], table["y"] = x + tiles.offsets[:, 0], y + tiles.offsets[:, 1]
    table["x_err"], table["y_err"] = (found[:, 2:4] * band.noise.matched).T
    table["flags"] |= np.where(sky | (found[:, 4] > 0), 0, int(ObjectFlag.CENTROID))
    return dataclasses.replace(tiles, x=x, y=y)


def _fill_shapes(table, tiles, band):
    """Fill second moments, the width they mean and the Kron ellipse."""
    scene, psf, x, y = tiles.scene, band.psf, tiles.x, tiles.y
    # Windows of moments end at four sigmas, which must lie on the tile.
    largest_px = min(LARGEST_SIGMA_PX, 0.25 * tiles.half_px)
    moments = adaptive_moments(scene.image, scene.usable, x, y, psf.sigma_px, largest_px)
    xx, yy, xy, settled = moments.T
    table["moment_xx"], table["moment_yy"], table["moment_xy"] = xx, yy, xy
    table["fwhm_arcsec"] = psf.fwhm_px * (_size_px(xx, yy, xy) / psf.sigma_px) * band.scale_arcsec
    table["flags"] |= np.where(settled > 0, 0, int(ObjectFlag.SHAPE))
    table["kron_a_px"], table["kron_b_px"], table["kron_theta_rad"] = kron_ellipses(
        scene, x, y, xx, yy, xy, least_px=_KRON_LEAST_FWHM * psf.fwhm_px, most_px=tiles.half_px
    )


def _size_px(xx, yy, xy):
    return np.maximum(xx * yy - xy * xy, 0.0) ** 0.25


def _ellipses(table):
    """Return the Kron apertures of a table's 32-bit columns, so that free and forced fluxes use the same numbers."""
    a, b, theta = (table[name].astype(float) for name in ("kron_a_px", "kron_b_px", "kron_theta_rad"))
    unknown = ~(np.isfinite(a) & np.isfinite(b) & np.isfinite(theta))
    a, b, theta = (np.where(unknown, value, axis) for value, axis in ((1.0, a), (1.0, b), (0.0, theta)))
    return a, b, np.clip(theta, -0.5 * np.pi, 0.5 * np.pi)


def _fill_sizes(table, tiles, band):
    """Fill the half-light radius, which needs a flux."""
    lit = np.flatnonzero(np.isfinite(table["flux_auto"]) & (table["flux_auto"] > 0))
    rows, scene = table[lit], tiles.scene
    reach_px = np.minimum(2.0 * rows["kron_a_px"].astype(float), tiles.half_px)
    radius_px, _ = sep.flux_radius(
        scene.image, tiles.x[lit], tiles.y[lit], reach_px, 0.5, normflux=rows["flux_auto"], mask=scene.unusable
    )
    table["half_light_radius_arcsec"][lit] = np.asarray(radius_px) * band.scale_arcsec


def _fill_extendedness(table):
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = table["fwhm_arcsec"] / table["psf_fwhm_arcsec"] - 1.0
        limit = _EXTENDED_SHARE + _EXTENDED_SIGMA / table["snr"]
    known = (table["snr"] > 0) & (table["flags"] & int(ObjectFlag.SHAPE) == 0)
    table["extendedness"] = np.where(known, excess > limit, np.nan)
