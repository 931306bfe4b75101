"""Warp: seconds against SWarp and, without variance and mask, reproject; errors of position and flux of stars."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from image_stages.clock import best, compare, figure, missing, run_program
from mpidriver.store import read_masked_image, write_masked_image
from mpidriver.tasks.image import MASK_PLANES
from mpidriver.tasks.warp import warp

__all__ = ["run"]

#: Rows and columns of the frame, by size.
SHAPES = {"small": (512, 1024), "full": (2048, 4096)}
#: Rotation of the output against the frame.
ROTATION_DEG = 3.0
SCALE_ARCSEC = 0.2
ZERO_POINT_MAG = 30.0


def tan_wcs(shape, rotation_deg=0.0, scale_arcsec=SCALE_ARCSEC):
    """Return a tangent projection about the middle of an image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[-cos, sin], [sin, cos]])
    return wcs


def run(size, folder, repeats):
    """Print the section."""
    shape = SHAPES[size]
    shape_out = (shape[0] + 256, shape[1] + 128)
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, shape).astype(np.float32)
    variance = np.full(shape, 100.0, np.float32)
    mask = np.where(rng.random(shape) < 1e-3, 1 << MASK_PLANES["COSMIC_RAY"], 0).astype(np.int32)
    wcs_in, wcs_out = tan_wcs(shape), tan_wcs(shape_out, ROTATION_DEG)
    print(f"warp of {shape[0]} x {shape[1]} px onto a grid turned by {ROTATION_DEG:g} deg, one thread")

    def ours(kernel="bspline3"):
        return warp(image, wcs_in, wcs_out, shape_out, variance=variance, mask=mask, kernel=kernel)

    ours()
    spline, _ = best(ours, repeats)
    write_masked_image(folder / "frame.fits", image, variance, mask, wcs=wcs_in, mask_planes=MASK_PLANES)
    files, _ = best(lambda: _files(folder, wcs_out, shape_out), repeats)
    if not missing("SWarp"):
        _prepare_swarp(folder, image, variance, wcs_in)
        swarp, _ = best(lambda: _swarp(folder, shape_out, "LANCZOS3"), max(2, repeats // 2))
        compare("SWarp Lanczos-3 with weight : ours, spline, files", swarp, files)
        compare("SWarp Lanczos-3 with weight : ours, spline, in memory", swarp, spline, goal=5)
    for kernel in ("bspline5", "lanczos3", "bilinear"):
        ours(kernel)
        seconds, _ = best(lambda kernel=kernel: ours(kernel), max(2, repeats // 2))
        figure(f"{kernel}, in memory", seconds.cpu, "s")
    for kernel in ("bspline3", "bspline5", "lanczos3"):
        _star_errors(kernel, 20 if size == "small" else 60)


def _files(folder, wcs_out, shape_out):
    """Do what the driver does: read, warp, write."""
    frame = read_masked_image(folder / "frame.fits")
    out = warp(frame.image, frame.wcs, wcs_out, shape_out, variance=frame.variance, mask=frame.mask)
    write_masked_image(folder / "warp.fits", out.image, out.variance, out.mask, wcs=wcs_out, mask_planes=MASK_PLANES)


def _prepare_swarp(folder, image, variance, wcs_in):
    header = wcs_in.to_header()
    fits.writeto(folder / "swarp.fits", image, header, overwrite=True)
    fits.writeto(folder / "swarp.weight.fits", 1 / variance, header, overwrite=True)


def _swarp(folder, shape_out, kind):
    """Resample by SWarp onto a grid of the same size; what it projects on is written as swarp.coadd.head."""
    header = tan_wcs(shape_out, ROTATION_DEG).to_header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, shape_out[1], shape_out[0]
    header.totextfile(folder / "coadd.head", overwrite=True)
    run_program(
        [
            "SWarp", "swarp.fits", "-IMAGEOUT_NAME", "coadd.fits", "-WEIGHTOUT_NAME", "coadd.weight.fits",
            "-WEIGHT_TYPE", "MAP_WEIGHT", "-RESAMPLING_TYPE", kind, "-SUBTRACT_BACK", "N", "-COMBINE", "N",
            "-NTHREADS", "1", "-VERBOSE_TYPE", "QUIET", "-WRITE_XML", "N", "-RESAMPLE_DIR", ".",
        ],
        folder,
    )  # fmt: skip


def _star_errors(kernel, n_stars):
    """Print the largest errors of analytic stars of FWHM 4 px over sub-pixel phases and rotations."""
    worst_mas, worst_mmag = 0.0, 0.0
    rng = np.random.default_rng(2)
    shape = (64, 64)
    for _ in range(n_stars):
        x, y, rotation = *rng.uniform(30, 34, 2), rng.uniform(0, 360)
        wcs_in, wcs_out = tan_wcs(shape), tan_wcs(shape, rotation)
        out = warp(_star(shape, x, y), wcs_in, wcs_out, shape, kernel=kernel)
        want = np.array(wcs_out.all_world2pix(*wcs_in.all_pix2world(x, y, 0), 0))
        flux, place = _fitted(out.image, want)
        worst_mas = max(worst_mas, 1000 * SCALE_ARCSEC * float(np.hypot(*(place - want))))
        worst_mmag = max(worst_mmag, 2500 * abs(np.log10(flux)))
    goals = {"bspline3": (0.1, 0.05)}.get(kernel, (None, None))
    figure(f"{kernel}: worst position of {n_stars} stars, FWHM 4 px", worst_mas, "mas", goals[0])
    figure(f"{kernel}: worst flux", worst_mmag, "mmag", goals[1])


def _star(shape, x, y, fwhm_px=4.0):
    rows, cols = np.indices(shape)
    sigma = fwhm_px / 2.3548
    return np.exp(-0.5 * ((cols - x) ** 2 + (rows - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


def _fitted(image, place):
    """Return flux and place of a star by Gaussian-weighted centroids and an aperture of 3.5 FWHM."""
    rows, cols = np.indices(image.shape)
    image = np.nan_to_num(image.astype(float))
    near = np.hypot(cols - place[0], rows - place[1]) < 14
    x, y = place
    for _ in range(30):
        weight = image * np.exp(-0.5 * ((cols - x) ** 2 + (rows - y) ** 2) / 1.7**2) * near
        x += 2 * ((weight * cols).sum() / weight.sum() - x)
        y += 2 * ((weight * rows).sum() / weight.sum() - y)
    return image[near].sum(), np.array([x, y])
