"""Clipped coadd of 20 aligned frames, from files to a file, against SWarp's CLIPPED; memory; what clipping leaves."""

import subprocess
import sys

import numpy as np
from astropy.io import fits

from image_stages.clock import best, compare, figure, missing, run_program
from image_stages.warp import tan_wcs
from mpidriver.store import MaskedImageReader, write_masked_image
from mpidriver.tasks.coadd import coadd_blocks
from mpidriver.tasks.image import MASK_PLANES

__all__ = ["run"]

SIZES = {"small": 1000, "full": 4000}
N_FRAMES = 20
SKY_SIGMA = 10.0
N_STARS = 200
#: Runs in a process of its own, so that its peak of memory is the coadd's.
PEAK = """
import sys
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
from image_stages.coadd import stack_files
stack_files(Path({folder!r}), [{name!r}] * {count})
lines = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would be that of the process that began it
print(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20)
"""


def run(size, folder, repeats):
    """Print the section."""
    pixels = SIZES[size]
    wcs = tan_wcs((pixels, pixels))
    print(f"clipped coadd of {N_FRAMES} frames of {pixels} x {pixels} px, one thread")
    names = []
    truth = _sky(pixels)
    for number in range(N_FRAMES):
        image = _frame(truth, number)
        names.append(f"warp{number:02d}.fits")
        variance = np.full(image.shape, SKY_SIGMA**2, np.float32)
        mask = np.zeros(image.shape, np.int32)
        write_masked_image(folder / names[-1], image, variance, mask, wcs=wcs, mask_planes=MASK_PLANES)
        header = wcs.to_header()
        fits.writeto(folder / f"swarp{number:02d}.fits", image, header, overwrite=True)
        fits.writeto(folder / f"swarp{number:02d}.weight.fits", 1 / variance, header, overwrite=True)
    stack_files(folder, names)
    for statistic in ("mean", "median", "epochs", "clipped"):
        ours, stacked = best(lambda statistic=statistic: stack_files(folder, names, statistic), max(2, repeats // 2))
        figure(f"{statistic}, from files to a file", ours.cpu, "s")
    if not missing("SWarp"):
        swarp, _ = best(lambda: _swarp(folder), 1)
        compare("SWarp CLIPPED : ours clipped, from files to a file", swarp, ours, goal=10)
        theirs = fits.getdata(folder / "coadd.fits")
        figure("SWarp: rms error of the pixels, of the noise of a plain mean", _error(theirs, truth), "")
    figure("ours: the same", _error(stacked.image, truth), "")
    figure("ours by epochs: the same", _error(stack_files(folder, names, "epochs").image, truth), "")
    figure("peak memory of 20 frames", _peak_gib(folder, names[0], N_FRAMES), "GiB", 1.0)
    figure("peak memory of 200 frames", _peak_gib(folder, names[0], 10 * N_FRAMES), "GiB", 1.0)


def stack_files(folder, names, statistic="clipped"):
    """Do what the driver does: read by rows, stack, write."""
    readers = [MaskedImageReader(folder / name) for name in names]

    def fill(number, rows, block):
        readers[number].read_into(rows, block.image, block.variance, block.mask)
        return True

    shape = readers[0].shape
    stacked = coadd_blocks(fill, np.ones(len(names)), shape, statistic=statistic, byte_order=">")
    write_masked_image(
        folder / "stack.fits", stacked.image, stacked.variance, stacked.mask, wcs=readers[0].wcs_header,
        mask_planes=MASK_PLANES, extra={"NIMAGE": stacked.n_image},
    )  # fmt: skip
    return stacked


def _sky(pixels):
    """Return stars of 100 to 1,000 times the noise at their peaks."""
    rng = np.random.default_rng(0)
    image = np.zeros((pixels, pixels), np.float32)
    rows, cols = np.mgrid[-12:13, -12:13]
    for x, y in rng.uniform(20, pixels - 20, (N_STARS, 2)).astype(int):
        star = np.exp(-0.5 * (rows**2 + cols**2) / 1.7**2)
        image[y - 12 : y + 13, x - 12 : x + 13] += 10 ** rng.uniform(3, 4) * star
    return image


def _frame(truth, number):
    """Return one frame with noise, 1e-4 of its pixels hit by cosmic rays and a satellite's trail."""
    rng = np.random.default_rng(100 + number)
    image = truth + rng.normal(0, SKY_SIGMA, truth.shape).astype(np.float32)
    hit = rng.random(truth.shape) < 1e-4
    rows = np.arange(truth.shape[0])
    cols = (rng.uniform(0, truth.shape[1]) + rng.uniform(-1, 1) * rows).astype(int)
    inside = (cols >= 0) & (cols < truth.shape[1] - 2)
    for width in range(3):
        hit[rows[inside], cols[inside] + width] = True
    image[hit] += 300.0
    return image


def _error(image, truth):
    return float(np.sqrt(np.nanmean((image - truth) ** 2)) / (SKY_SIGMA / np.sqrt(N_FRAMES)))


def _swarp(folder):
    run_program(
        [
            "SWarp", *sorted(path.name for path in folder.glob("swarp??.fits")), "-IMAGEOUT_NAME", "coadd.fits",
            "-WEIGHTOUT_NAME", "coadd.weight.fits", "-WEIGHT_TYPE", "MAP_WEIGHT", "-RESAMPLE", "N",
            "-COMBINE_TYPE", "CLIPPED", "-CLIP_SIGMA", "4.0", "-CLIP_AMPFRAC", "0.3", "-SUBTRACT_BACK", "N",
            "-NTHREADS", "1", "-VERBOSE_TYPE", "QUIET", "-WRITE_XML", "N", "-MEM_MAX", "2000", "-VMEM_MAX", "20000",
        ],
        folder,
    )  # fmt: skip


def _peak_gib(folder, name, count):
    code = PEAK.format(benchmarks=sys.path[0], folder=str(folder), name=name, count=count)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
