"""RM synthesis against other codes and against the machine: pixels a second, ratios and errors.

    pip install --target PEERS --no-deps rm-tools rm-lite finufft deprecation polars polars-runtime-32 dask zarr
    PYTHONPATH=PEERS python benchmarks/faraday.py [--cases possum,quocka] [--threads 1,2] [--repeats 5] [--parts cubes]

Ours is called as users call it, from float32 cubes (chan, row, col) to a freshly allocated complex64 (phi, row, col).
Beside it: a complex matrix product by BLAS; finufft, RM-Tools and rm-lite where they can be imported; and the layout
limit, which reads and writes the same bytes in the same tiles without arithmetic. Times are the shortest of some
repeats. Errors are the largest difference to a float64 direct transform of 48 pixels, over the largest |F|. Set
OMP_NUM_THREADS to the number of threads for the peers; other work on the machine spoils everything.
"""

import argparse
import logging
import os
import time

import numpy as np

from mpidriver.tasks.faraday import (
    analyse_spectra,
    double_phi_grid,
    find_peaks,
    lambda_sq,
    rm_clean,
    rm_synthesis,
    rmtf,
    rmtf_fwhm,
)
from mpidriver.tasks.faraday._reference import reference_rm_synthesis

CASES = {
    # name: (frequencies, depths, rows and columns)
    "possum": (np.linspace(800e6, 1088e6, 288), np.arange(-2000.0, 2001.0, 10.0), 256),
    "possum-fine": (np.linspace(800e6, 1088e6, 288), np.arange(-2000.0, 2001.0, 5.0), 256),
    "quocka": (np.r_[1.1:3.1:250j, 4.5:6.5:250j, 6.5:8.5:250j] * 1e9, np.arange(-5000.0, 5001.0, 5.0), 128),
    "vlass": (np.linspace(2e9, 4e9, 125), np.arange(-20000.0, 20001.0, 20.0), 128),
}
CHECKED_PIXELS = 48


def make_cube(freq_hz, phi_radm2, size, flagged=0.0):
    """Return q and u (chan, row, col), a thin source of unit flux in every pixel, in noise of the same size."""
    rng = np.random.default_rng(1)
    rm = rng.uniform(phi_radm2[0], phi_radm2[-1], (size, size))
    cubes = np.empty((2, freq_hz.size, size, size), np.float32)
    for chan, lambda_sq_m2 in enumerate(lambda_sq(freq_hz)):
        cubes[:, chan] = np.cos(2 * rm * lambda_sq_m2), np.sin(2 * rm * lambda_sq_m2)
        cubes[:, chan] += rng.standard_normal((2, size, size), np.float32)
    if flagged:
        cubes[0][rng.random(cubes[0].shape, np.float32) < flagged] = np.nan
    return cubes


def ours(q, u, freq_hz, phi_radm2, threads):
    """Transform by `rm_synthesis`."""
    return lambda: rm_synthesis(q, u, freq_hz, phi_radm2, threads=threads)


def blas(q, u, freq_hz, phi_radm2, threads):
    """Multiply by the complex matrix of exponentials; threads as BLAS was told."""
    lambda_sq_m2 = lambda_sq(freq_hz)
    x = lambda_sq_m2 - lambda_sq_m2.mean()
    matrix = (np.exp(-2j * np.outer(phi_radm2, x)) / freq_hz.size).astype(np.complex64)

    def run():
        p = np.empty(q.shape, np.complex64)
        p.real, p.imag = np.nan_to_num(q), np.nan_to_num(u)
        return (matrix @ p.reshape(freq_hz.size, -1)).reshape(phi_radm2.size, *q.shape[1:])

    return run


def finufft_type3(q, u, freq_hz, phi_radm2, threads):
    """Transform by a finufft plan of type 3 for many vectors."""
    import finufft

    lambda_sq_m2 = lambda_sq(freq_hz)
    plan = finufft.Plan(3, 1, n_trans=q[0].size, eps=1e-6, isign=-1, dtype="complex64", nthreads=threads)
    x = (lambda_sq_m2 - lambda_sq_m2.mean()).astype(np.float32)
    plan.setpts(x, s=(2.0 * phi_radm2).astype(np.float32))

    def run():
        p = np.ascontiguousarray((np.nan_to_num(q) + 1j * np.nan_to_num(u)).reshape(freq_hz.size, -1).T, np.complex64)
        return (plan.execute(p).T / freq_hz.size).reshape(phi_radm2.size, *q.shape[1:])

    return run


def rm_tools(q, u, freq_hz, phi_radm2, threads):
    """Transform by RM-Tools' `do_rmsynth_planes`."""
    from RMutils.util_RM import do_rmsynth_planes

    def run():
        return do_rmsynth_planes(q, u, lambda_sq(freq_hz), phi_radm2, log=lambda *_: None).FDFcube

    return run


def rm_lite(q, u, freq_hz, phi_radm2, threads):
    """Transform by rm-lite's `rmsynth_nufft`."""
    from rm_lite.utils.synthesis import rmsynth_nufft

    lambda_sq_m2 = lambda_sq(freq_hz)
    weights = np.ones(freq_hz.size)

    def run():
        p = (q + 1j * u).astype(np.complex64)
        return rmsynth_nufft(p, lambda_sq_m2, phi_radm2, weights, float(lambda_sq_m2.mean()), nthreads=threads)

    return run


def layout_limit(q, u, freq_hz, phi_radm2, threads):
    """Read and write the same bytes in tiles of 512 pixels; one thread."""
    import numba

    tile = 512
    out = np.empty((phi_radm2.size, 2 * q[0].size), np.float32)
    planes = [cube.reshape(freq_hz.size, -1) for cube in (q, u)]

    @numba.njit(nogil=True)
    def add(a, b, total):
        for lane in range(total.size):
            total[lane] += a[lane] + b[lane]

    @numba.njit(nogil=True)
    def spread(total, row):
        for lane in range(total.size):
            row[2 * lane] = total[lane]
            row[2 * lane + 1] = total[lane]

    @numba.njit(nogil=True)
    def move(q, u, out):
        total = np.zeros(tile, np.float32)
        for start in range(0, q.shape[1], tile):
            for chan in range(q.shape[0]):
                add(q[chan, start : start + tile], u[chan, start : start + tile], total)
            for phi in range(out.shape[0]):
                spread(total, out[phi, 2 * start : 2 * (start + tile)])

    return lambda: move(*planes, out)


CODES = {
    "ours": ours,
    "BLAS matrix": blas,
    "finufft": finufft_type3,
    "RM-Tools": rm_tools,
    "rm-lite": rm_lite,
    "layout limit": layout_limit,
}


def largest_error(fdf, q, u, freq_hz, phi_radm2):
    """Return the largest error of some pixels over the largest |F|, NaN where there is no result."""
    if fdf is None:
        return np.nan
    pixels = np.random.default_rng(2).choice(q[0].size, CHECKED_PIXELS, replace=False)
    picked = [cube.reshape(freq_hz.size, -1)[:, pixels] for cube in (q, u)]
    lambda0 = lambda_sq(freq_hz).mean()
    expected = reference_rm_synthesis(*picked, freq_hz, phi_radm2, lambda0_sq_m2=lambda0)
    return np.abs(fdf.reshape(phi_radm2.size, -1)[:, pixels] - expected).max() / np.abs(expected).max()


def compare(case, threads, repeats):
    """Print one table: every code on one case."""
    freq_hz, phi_radm2, size = CASES[case]
    q, u = make_cube(freq_hz, phi_radm2, size)
    print(f"\n{case}: {freq_hz.size} channels, {phi_radm2.size} depths, {size} x {size} pixels, {threads} thread(s)")
    print(f"{'':14s}{'kpix/s':>10s}{'ours is':>10s}{'error':>10s}")
    rates = {}
    for name, make in CODES.items():
        try:
            seconds, fdf = fastest(make(q, u, freq_hz, phi_radm2, threads), repeats)
        except ImportError as error:
            print(f"{name:14s}{'-':>10s}{'-':>10s}{'-':>10s}  ({error})")
            continue
        rates[name] = q[0].size / seconds / 1e3
        error = largest_error(fdf, q, u, freq_hz, phi_radm2)
        print(f"{name:14s}{rates[name]:10.1f}{rates['ours'] / rates[name]:9.2f}x{error:10.1e}")


def other_parts(repeats):
    """Print what flags, transfer functions, peaks and sources cost."""
    freq_hz, phi_radm2, size = CASES["possum"]
    plain, flagged = (make_cube(freq_hz, phi_radm2, size // 2, flagged=share) for share in (0.0, 0.1))
    pixels = plain[0, 0].size
    seconds, fdf = fastest(ours(*plain, freq_hz, phi_radm2, 1), repeats)
    with_flags, _ = fastest(ours(*flagged, freq_hz, phi_radm2, 1), repeats)
    transfer, _ = fastest(lambda: rmtf(freq_hz, phi_radm2, flags=np.isnan(flagged[0])), repeats)
    few = np.isnan(flagged[0])[:, :, :8].repeat(size // 16, axis=2)
    repeated, _ = fastest(lambda: rmtf(freq_hz, phi_radm2, flags=few), repeats)
    own, _ = fastest(lambda: rm_synthesis(*flagged, freq_hz, phi_radm2, lambda0_sq_m2="pixel"), repeats)
    peaks, _ = fastest(lambda: find_peaks(fdf, phi_radm2), repeats)
    print(f"\nrandom flags in 10 % of the voxels: {with_flags / seconds:.2f} x the time")
    print(f"RMTF of every pixel beside it: {(with_flags + transfer) / seconds:.2f} x")
    print(f"the same where one pattern in {size // 16} is new: {(with_flags + repeated) / seconds:.2f} x")
    print(f"with the λ²_0 of every pixel: {own / seconds:.2f} x")
    print(f"find_peaks: {pixels / peaks / 1e3:.0f} kpix/s")


def fastest(run, repeats):
    """Return the shortest time of some calls after a first one that compiles, and the last result."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


def compare_clean(repeats, count=10_000, checked=200):
    """Print RM-CLEAN of spectra of two sources of S/N 5 to 200: ours of all, the peers' of some, on one thread."""
    freq_hz, phi_radm2, _ = CASES["possum"]
    rng = np.random.default_rng(3)
    sigma, fwhm = 1.0 / np.sqrt(freq_hz.size), rmtf_fwhm(freq_hz)
    rm, angle, snr = (rng.uniform(*limits, (2, 1, count)) for limits in ((-1000, 1000), (0, np.pi), (5, 200)))
    lambda_sq_m2 = lambda_sq(freq_hz)
    p = (snr * sigma * np.exp(2j * (angle + rm * lambda_sq_m2[:, None]))).sum(axis=0)
    p += rng.standard_normal(p.shape) + 1j * rng.standard_normal(p.shape)
    phi2 = double_phi_grid(phi_radm2)
    fdf, response = rm_synthesis(p.real, p.imag, freq_hz, phi_radm2), rmtf(freq_hz, phi2)
    seconds, clean = fastest(lambda: rm_clean(fdf, response, phi_radm2, fwhm, cutoff=3 * sigma), repeats)
    ours_each = seconds / count
    print(
        f"\nRM-CLEAN, {count} spectra of {phi_radm2.size} depths, {clean.iterations.mean():.1f} iterations, one thread"
    )
    print(f"ours       {ours_each * 1e6:9.1f} us a spectrum")
    some, copies = fdf[:, :checked], np.repeat(response[:, None], checked, axis=1)
    try:
        from RMutils.util_RM import do_rmclean_hogbom
    except ImportError as error:
        print(f"RM-Tools   - ({error})")
    else:
        peak = np.abs(some).max(axis=0)
        for kind in (np.complex64, np.complex128):
            arguments = some.astype(kind), phi_radm2, copies.astype(kind), phi2, np.full(checked, fwhm), 3 * sigma
            each, theirs = fastest(lambda a=arguments: do_rmclean_hogbom(*a, window=np.inf), 1)
            same = np.mean(theirs.iterCountArr == clean.iterations[:checked])
            worst = (np.abs(theirs.ccArr - clean.components[:, :checked]) / peak).max()
            ratio = each / checked / ours_each
            print(f"RM-Tools   {each / checked * 1e6:9.1f} us in {np.dtype(kind)}, ours is {ratio:.0f} x")
            print(f"           {100 * same:.1f} % have our iterations, components within {worst:.0e} of the peak")
    try:
        each, _ = fastest(lambda: _rm_lite_clean(some, phi_radm2, response, phi2, fwhm, 3 * sigma), 1)
    except ImportError as error:
        print(f"rm-lite    - ({error})")
    else:
        print(f"rm-lite    {each / checked * 1e6:9.1f} us, ours is {each / checked / ours_each:.0f} x")


def _rm_lite_clean(spectra, phi_radm2, response, phi2, fwhm, cutoff):
    from rm_lite.utils.clean import RMCleanOptions, RMSynthArrays, rmclean

    for spectrum in spectra.T:
        arrays = RMSynthArrays(spectrum, phi_radm2, phi2, response, np.array(fwhm))
        rmclean(arrays, RMCleanOptions(mask=cutoff, threshold=cutoff))


def compare_analysis(repeats, count=10_000, checked=5):
    """Print the complete analysis of single spectra beside RM-Tools' functions called in a loop, on one thread."""
    freq_hz, _, _ = CASES["possum"]
    rng = np.random.default_rng(4)
    lambda_sq_m2, x = lambda_sq(freq_hz), freq_hz / freq_hz.mean()
    flux, alpha = rng.uniform(0.005, 0.1, (count, 1)), rng.uniform(-1.2, 0.2, (count, 1))
    rm, angle, fraction = (rng.uniform(*limits, (count, 1)) for limits in ((-300, 300), (0, np.pi), (0.02, 0.3)))
    i = flux * x**alpha
    p = i * fraction * np.exp(2j * (angle + rm * lambda_sq_m2))
    errors = 3e-4 * rng.uniform(0.8, 1.2, (3, count, freq_hz.size))
    spectra = [
        part + sigma * rng.standard_normal(part.shape) for part, sigma in zip((i, p.real, p.imag), errors, strict=True)
    ]
    seconds, analysis = fastest(lambda: analyse_spectra(freq_hz, *spectra, *errors), min(repeats, 2))
    each = seconds / count
    print(f"\nComplete 1-D analysis, {count} sources, {freq_hz.size} channels, {analysis.phi_radm2.size} depths")
    print(f"ours       {each * 1e6:9.1f} us a source")
    try:
        from RMtools_1D.do_RMclean_1D import run_rmclean
        from RMtools_1D.do_RMsynth_1D import run_rmsynth
    except ImportError as error:
        print(f"RM-Tools   - ({error})")
        return
    quiet = {"log": lambda *_, **__: None}

    def theirs():
        for k in range(checked):
            synthesis, arrays = run_rmsynth([freq_hz, *(part[k] for part in (*spectra, *errors))], **quiet)
            run_rmclean(synthesis, arrays, -3.0, **quiet)

    seconds, _ = fastest(theirs, 1)
    print(f"RM-Tools   {seconds / checked * 1e6:9.1f} us, ours is {seconds / checked / each:.0f} x")


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(CASES), help="some of " + ", ".join(CASES))
    parser.add_argument("--threads", default="1", help="numbers of threads, as 1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", default="cubes,other,clean,analysis", help="what to measure")
    arguments = parser.parse_args()
    logging.disable()  # rm-lite reports each call
    parts = arguments.parts.split(",")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, load {os.getloadavg()[0]:.1f}")
    if "cubes" in parts:
        for threads in map(int, arguments.threads.split(",")):
            for case in arguments.cases.split(","):
                compare(case, threads, arguments.repeats)
    for part, measure in (("other", other_parts), ("clean", compare_clean), ("analysis", compare_analysis)):
        if part in parts:
            measure(arguments.repeats)


if __name__ == "__main__":
    main()
