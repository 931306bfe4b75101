"""Single frame: background, detection and photometry against SExtractor, seconds and what of the truth is found."""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from image_stages.clock import best, compare, figure, missing, run_program
from mpidriver.tasks.filters import gaussian_kernel
from mpidriver.tasks.image import MaskedImage
from mpidriver.tasks.simulate._profiles import add_stars
from mpidriver.tasks.single_frame import SingleFrameOptions
from mpidriver.tasks.single_frame._catalogue import measure_sources
from mpidriver.tasks.single_frame._reduce import subtract_sky

__all__ = ["run"]

#: Rows and columns of the frame, by size.
SHAPES = {"small": (512, 1024), "full": (2048, 4096)}
#: One source in so many pixels.
PIXELS_A_SOURCE = 1500
FWHM_PX = 4.0
#: A third of the sources are as wide as this.
WIDE_FWHM_PX = 7.0
SKY_E, ZERO_POINT_MAG = 400.0, 30.0
BINS_MAG = (18.0, 20.0, 21.0, 21.5, 22.0, 22.5, 23.0, 23.5, 24.0)
#: A source is found if a detection is closer than this.
MATCH_PX = 2.5
PARAMETERS = (
    "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "A_IMAGE", "B_IMAGE", "FLUX_APER(1)",
    "FLUXERR_APER(1)", "FLUX_AUTO", "FLUXERR_AUTO", "FLUX_RADIUS", "FLUX_MAX", "FLAGS",
)  # fmt: skip


def run(size, folder, repeats):
    """Print the section."""
    shape = SHAPES[size]
    options = SingleFrameOptions()
    image, truth = _frame(shape)
    fits.writeto(folder / "frame.fits", image)
    print(f"single frame of {shape[0]} x {shape[1]} px with {len(truth)} sources, files to catalogue, one thread")
    _ours(folder, options)
    seconds, (table, fwhm_px) = best(lambda: _ours(folder, options), repeats)
    found = {"ours": np.column_stack([table["x"], table["y"]])}
    figure("ours", seconds.cpu, "s")
    if not missing("source-extractor"):
        _prepare_sextractor(folder, options, fwhm_px)
        theirs, table = best(lambda: _sextractor(folder), repeats)
        found["SExtractor"] = np.column_stack([table["XWIN_IMAGE"] - 1, table["YWIN_IMAGE"] - 1])
        # Ours may take 1.3 times as long.
        compare("SExtractor : ours, the same steps", theirs, seconds, goal=1 / 1.3)
    _print_found(found, truth)


def _frame(shape):
    """Return a frame with a sloping sky and photon noise, and its sources: x, y, mag."""
    rng = np.random.default_rng(11)
    truth = np.zeros(shape[0] * shape[1] // PIXELS_A_SOURCE, [("x", "f8"), ("y", "f8"), ("mag", "f8")])
    truth["x"], truth["y"] = (rng.uniform(0, side - 1, truth.size) for side in shape[::-1])
    truth["mag"] = BINS_MAG[0] + (BINS_MAG[-1] - BINS_MAG[0]) * np.cbrt(rng.uniform(0, 1, truth.size))
    light = np.zeros(shape)
    flux = 10 ** (-0.4 * (truth["mag"] - ZERO_POINT_MAG))
    wide = np.arange(truth.size) % 3 == 0
    for chosen, fwhm_px in ((~wide, FWHM_PX), (wide, WIDE_FWHM_PX)):
        add_stars(light, truth["x"][chosen], truth["y"][chosen], flux[chosen], fwhm_px=fwhm_px)
    rows, cols = np.indices(shape, sparse=True)
    light += SKY_E * (1 + 0.1 * rows / shape[0] - 0.05 * cols / shape[1])
    return rng.poisson(light).astype(np.float32), truth


def _ours(folder, options):
    """Read, subtract the sky, detect, measure, write; return the catalogue and the width that detection took."""
    image = fits.getdata(folder / "frame.fits").astype(np.float32)
    frame = MaskedImage(image, np.maximum(image, 1), np.zeros(image.shape, np.int32))
    frame, _, sources, segmentation, fwhm_px = subtract_sky(frame, options)
    catalogue = measure_sources(frame, sources, segmentation, options, fwhm_px=fwhm_px).catalogue
    fits.writeto(folder / "ours.fits", catalogue, overwrite=True)
    return catalogue, fwhm_px


def _prepare_sextractor(folder, options, fwhm_px):
    """Write the settings that do what ours does: meshes, smoothing, threshold in the smoothed image, deblending."""
    kernel = gaussian_kernel(fwhm_px)
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in kernel)
    (folder / "gauss.conv").write_text(f"CONV NORM\n{rows}\n")
    (folder / "columns.param").write_text("\n".join(PARAMETERS) + "\n")
    # SExtractor counts in units of the noise of a pixel that is not smoothed.
    threshold = options.detection_sigma * float(np.sqrt(np.sum(kernel**2)) / np.sum(kernel))
    settings = {
        "CATALOG_NAME": "theirs.fits", "CATALOG_TYPE": "FITS_1.0", "PARAMETERS_NAME": "columns.param",
        "FILTER": "Y", "FILTER_NAME": "gauss.conv", "DETECT_THRESH": threshold, "ANALYSIS_THRESH": threshold,
        "DETECT_MINAREA": options.detection_min_px, "DEBLEND_NTHRESH": options.deblend_levels,
        "DEBLEND_MINCONT": options.deblend_contrast, "CLEAN": "Y", "BACK_SIZE": options.background_mesh_px,
        "BACK_FILTERSIZE": options.background_filter, "PHOT_APERTURES": 2 * options.aperture_radius_fwhm * fwhm_px,
        "GAIN": 1.0, "SATUR_LEVEL": 1e9, "SEEING_FWHM": FWHM_PX * 0.2, "PIXEL_SCALE": 0.2,
        "VERBOSE_TYPE": "QUIET", "NTHREADS": 1,
    }  # fmt: skip
    (folder / "theirs.sex").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))


def _sextractor(folder):
    run_program(["source-extractor", "frame.fits", "-c", "theirs.sex"], folder)
    return Table.read(folder / "theirs.fits", hdu=1)


def _print_found(found, truth):
    """Print completeness by magnitude and purity, side by side."""
    places = np.column_stack([truth["x"], truth["y"]])
    bins = np.digitize(truth["mag"], BINS_MAG[1:-1])
    print(f"  {'completeness at mag':20} " + " ".join(f"{mag:>6g}" for mag in BINS_MAG[1:]) + "    all  purity")
    for name, detections in found.items():
        is_found = cKDTree(detections).query(places)[0] < MATCH_PX
        is_true = cKDTree(places).query(detections)[0] < MATCH_PX
        shares = " ".join(f"{is_found[bins == number].mean():6.3f}" for number in range(len(BINS_MAG) - 1))
        print(f"  {name:20} {shares} {is_found.mean():6.3f} {is_true.mean():7.4f}   ({len(detections)} sources)")
