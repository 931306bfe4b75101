"""RM synthesis against other codes and against the machine: pixels a second, ratios and errors.

    python benchmarks/faraday.py [--cases possum,quocka] [--threads 1,2] [--repeats 5]

Ours is called as users call it, from float32 cubes (chan, row, col) to a freshly allocated complex64 (phi, row, col).
Beside it: a complex matrix product by BLAS; finufft, RM-Tools and rm-lite where they can be imported (`pip install
mpidriver[bench]`); and the layout limit, which reads and writes the same bytes in the same tiles without arithmetic.
Errors are the largest difference to a float64 direct transform of 48 pixels, over the largest |F|. Set OMP_NUM_THREADS
to the number of threads for the peers; other work on the machine spoils everything.
"""

import argparse
import os
import time

import numpy as np

from mpidriver.tasks.faraday import find_peaks, lambda_sq, measure_faraday, rm_synthesis, rmtf
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


def median_seconds(run, repeats):
    """Return the median time of some calls after a first one that compiles and touches memory, and the last result."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), result


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
            seconds, fdf = median_seconds(make(q, u, freq_hz, phi_radm2, threads), repeats)
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
    seconds, fdf = median_seconds(ours(*plain, freq_hz, phi_radm2, 1), repeats)
    with_flags, _ = median_seconds(ours(*flagged, freq_hz, phi_radm2, 1), repeats)
    transfer, _ = median_seconds(lambda: rmtf(freq_hz, phi_radm2, flags=np.isnan(flagged[0])), repeats)
    peaks, _ = median_seconds(lambda: find_peaks(fdf, phi_radm2), repeats)
    print(f"\nrandom flags in 10 % of the voxels: {with_flags / seconds:.2f} x the time")
    print(f"RMTF of every pixel beside it: {(with_flags + transfer) / seconds:.2f} x")
    print(f"find_peaks: {pixels / peaks / 1e3:.0f} kpix/s")
    spectra = [cube.reshape(freq_hz.size, -1)[:, :2000].T for cube in plain]
    sources, _ = median_seconds(
        lambda: measure_faraday(*spectra, None, freq_hz, 1.0, 1.0, phi_radm2=phi_radm2), repeats
    )
    print(f"measure_faraday: {sources / 2000 * 1e6:.0f} us a source")


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(CASES), help="some of " + ", ".join(CASES))
    parser.add_argument("--threads", default="1", help="numbers of threads, as 1,2")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, load {os.getloadavg()[0]:.1f}")
    for threads in map(int, arguments.threads.split(",")):
        for case in arguments.cases.split(","):
            compare(case, threads, arguments.repeats)
    other_parts(arguments.repeats)


if __name__ == "__main__":
    main()
