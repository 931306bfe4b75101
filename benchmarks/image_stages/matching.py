"""Background matching of warped frames, from files to files: seams before and after, against Montage."""

import itertools

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from image_stages.clock import best, compare, figure, missing, run_program
from mpidriver.store import write_image
from mpidriver.tasks.matching import add_polynomial, match_backgrounds, sample_cells, superpixels
from mpidriver.tasks.skymap import TangentPlane

__all__ = ["run"]

#: Exposures, detectors along a side, pixels along a side of a detector.
SIZES = {"small": (4, 2, 500), "full": (8, 3, 1000)}
SCALE_DEG = 0.2 / 3600
SKY_SIGMA = 13.0
#: Of the planes that frames have too much: the constant, and what it rises by from the middle to the edge.
OFFSET, SLOPE = 20.0, 5.0
STARS_A_MPX = 300
SUPERPIXEL_PX = 32


def run(size, folder, repeats):
    """Print the section."""
    n_exposures, n_side, pixels = SIZES[size]
    layout = _make_frames(folder / "in", n_exposures, n_side, pixels)
    print(f"background matching of {len(layout)} warped frames of {pixels} x {pixels} px, noise {SKY_SIGMA:g} a pixel")
    (folder / "ours").mkdir()
    _match(folder, list(layout)[:2])
    ours, _ = best(lambda: _match(folder, layout), max(2, repeats // 2))
    solving, _ = best(lambda: match_backgrounds(_cells_of_files(folder, layout)), 1)
    _print_seams("seams before", _seams(folder / "in", layout))
    _print_seams("ours: seams after", _seams(folder / "ours", layout))
    figure("ours, files to files", ours.cpu, "s")
    figure("ours, without writing", solving.cpu, "s")
    if missing("mImgtbl", "mOverlaps", "mDiffExec", "mFitExec", "mBgModel", "mBgExec"):
        return
    theirs, _ = best(lambda: _montage(folder), 1)
    _print_seams("Montage: seams after", _seams(folder / "montage", layout))
    compare("Montage : ours, files to files", theirs, ours, goal=5)


def _make_frames(folder, n_exposures, n_side, pixels):
    """Write dithered exposures on one grid of pixels; return file names to the column and row of their first pixel."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    reach = int(n_side * pixels * 1.6)
    sky = _stars(rng, reach, int(STARS_A_MPX * reach**2 / 1e6))
    layout = {}
    for exposure in range(n_exposures):
        dither = rng.integers(0, reach - int(n_side * pixels * 1.03), 2)
        for number in range(n_side**2):
            column, row = (dither + np.array(divmod(number, n_side)) * pixels * 1.03).astype(int)
            image = sky[row : row + pixels, column : column + pixels] + rng.normal(0, SKY_SIGMA, (pixels, pixels))
            plane = np.concatenate([rng.normal(0, OFFSET, 1), rng.normal(0, SLOPE, 2)])
            name = f"e{exposure:02d}d{number:02d}.fits"
            image = add_polynomial(image.astype(np.float32), plane)
            write_image(folder / name, image, wcs=_wcs(column, row, reach, pixels))
            layout[name] = column, row
    return layout


def _stars(rng, reach, count):
    """Return the sky: stars between the noise and a thousand times of it."""
    sky = np.zeros((reach, reach), np.float32)
    rows, cols = np.mgrid[-12:13, -12:13]
    for x, y, dex in zip(*rng.integers(12, reach - 12, (2, count)), rng.uniform(1, 4, count), strict=True):
        sky[y - 12 : y + 13, x - 12 : x + 13] += 10**dex * np.exp(-0.5 * (rows**2 + cols**2) / 1.7**2)
    return sky


def _wcs(column, row, reach, pixels):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], ["deg", "deg"], [150.0, 2.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-SCALE_DEG, SCALE_DEG], [reach / 2 - column, reach / 2 - row]
    wcs.pixel_shape = pixels, pixels
    wcs.wcs.set()
    return wcs


def _cells_of_files(folder, layout):
    """Do what the stages do before the solution: superpixels of each frame, on the tract's cells."""
    cells = []
    for name in layout:
        with fits.open(folder / "in" / name, memmap=False) as file:
            image, wcs = file[0].data.astype(np.float32), WCS(file[0].header)
        background = superpixels(image, np.zeros(image.shape, np.int32), size_px=SUPERPIXEL_PX)
        cell_deg = SUPERPIXEL_PX * SCALE_DEG
        cells.append(sample_cells(background, wcs, TangentPlane(150.0, 2.0), cell_deg=cell_deg, scale=1.0, degree=1))
    return cells


def _match(folder, layout):
    matched = match_backgrounds(_cells_of_files(folder, layout))
    for name, correction in zip(layout, matched.coefficients, strict=True):
        with fits.open(folder / "in" / name, memmap=False) as file:
            image, wcs = file[0].data.astype(np.float32), WCS(file[0].header)
        write_image(folder / "ours" / name, add_polynomial(image, correction), wcs=wcs)


def _montage(folder):
    """Run what Montage has for it; tables of its own, planes through the differences of all pairs."""
    for made in ("diff", "montage"):
        (folder / made).mkdir()
    (folder / "template.hdr").write_text(_template(folder))
    for command in (
        ["mImgtbl", "in", "images.tbl"],
        ["mOverlaps", "images.tbl", "diffs.tbl"],
        ["mDiffExec", "-p", "in", "-n", "diffs.tbl", "template.hdr", "diff"],
        ["mFitExec", "diffs.tbl", "fits.tbl", "diff"],
        ["mBgModel", "-i", "1000", "images.tbl", "fits.tbl", "corrections.tbl"],
        ["mBgExec", "-p", "in", "-n", "images.tbl", "corrections.tbl", "montage"],
    ):
        run_program(command, folder)


def _template(folder):
    """Return the header of the whole, as Montage's programs take it."""
    run_program(["mMakeHdr", "images.tbl", "made.hdr"], _listed(folder))
    return (folder / "made.hdr").read_text()


def _listed(folder):
    run_program(["mImgtbl", "in", "images.tbl"], folder)
    return folder


def _print_seams(name, seams):
    worst, typical = seams
    figure(f"{name}, rms over pairs of frames", typical, "ADU")
    figure(f"{name}, worst of the pairs", worst, "ADU")


def _seams(folder, layout):
    """Return the worst and the rms of the pairs' differences: means in the overlap, of pixels without a star."""
    images = {name: fits.getdata(folder / name) for name in layout}
    means = []
    for one, other in itertools.combinations(layout, 2):
        low = np.maximum(layout[one], layout[other])
        shape = np.array(images[one].shape[::-1])
        high = np.minimum(layout[one], layout[other]) + shape
        if np.any(high - low < 2 * SUPERPIXEL_PX):
            continue
        parts = [
            images[name][low[1] - row : high[1] - row, low[0] - column : high[0] - column]
            for name, (column, row) in ((one, layout[one]), (other, layout[other]))
        ]
        difference = parts[0] - parts[1]
        means.append(np.mean(difference[np.isfinite(difference)]))
    return float(np.max(np.abs(means))), float(np.sqrt(np.mean(np.square(means))))
