"""RM synthesis file to file against moving the same bytes: what share of the disk's speed is left.

    python benchmarks/cubes.py [--gigabytes 2] [--ranks 2] [--repeats 2] [--folder DIR]

Makes cubes of Stokes Q and U of so many gigabytes together (288 channels; 401 Faraday depths come out, 2.1 times as
many bytes), and runs by turns

    copy      as many processes as ranks read the cubes and write as many bytes as the products have, each its share,
              4 MiB at a time, and sync their files: dd without arithmetic
    rmsynth   `mpidriver -n RANKS rmsynth` with a memory of 1 GiB a rank, start of the ranks included

and prints the ratio of the shortest times, and the largest resident memory of any process that rmsynth has started.
Modules and kernels are compiled by a first run on a small cube; the cubes' cached pages are dropped before each run.
The folder needs five times the gigabytes; all is removed at the end.
`--spectra` stores the cubes with frequency as their first axis.
"""

import argparse
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

CHANNELS, COLUMNS, PHI_MAX, PHI_STEP = 288, 1024, 2000.0, 10.0
PIECE = 4 << 20
DEPTHS = 2 * round(PHI_MAX / PHI_STEP) + 1

COPY = """
import os, sys
pieces, out, share = sys.argv[1].split(","), sys.argv[2], [int(word) for word in sys.argv[3:]]
begin, end, size = share
buffer = bytearray({piece})
sources = [os.open(path, os.O_RDONLY) for path in pieces]
for source in sources:
    for offset in range(begin, end, len(buffer)):
        os.preadv(source, [memoryview(buffer)[: min(len(buffer), end - offset)]], offset)
target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for offset in range(0, size, len(buffer)):
    os.pwrite(target, memoryview(buffer)[: min(len(buffer), size - offset)], offset)
os.fsync(target)
"""


def make_cubes(folder, rows, *, spectra):
    """Make the cubes of Q and U."""
    folder.mkdir(exist_ok=True)
    cubes = [folder / f"{stokes}.fits" for stokes in "QU"]
    for cube in cubes:
        make_cube(cube, cube.stem, rows, spectra=spectra)
    return cubes


def make_cube(path, stokes, rows, *, spectra):
    """Write a cube whose planes, or rows of spectra, all hold the same noise."""
    axes = [("RA---SIN", 10.0, -1e-3, "deg"), ("DEC--SIN", -30.0, 1e-3, "deg"), ("FREQ", 8e8, 1e6, "Hz")]
    lengths = [COLUMNS, rows, CHANNELS]
    if spectra:
        axes, lengths = [axes[2], *axes[:2]], [lengths[2], *lengths[:2]]
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3)])
    header.update({f"NAXIS{number}": length for number, length in enumerate(lengths, start=1)})
    for number, (kind, value, step, unit) in enumerate(axes, start=1):
        header.update({f"CTYPE{number}": kind, f"CRVAL{number}": value, f"CDELT{number}": step})
        header.update({f"CRPIX{number}": 1.0, f"CUNIT{number}": unit})
    header["BUNIT"] = "Jy/beam"
    rng = np.random.default_rng({"Q": 1, "U": 2}[stokes])
    block = rng.standard_normal(lengths[0] * lengths[1], dtype=np.float32).astype(">f4")
    with open(path, "wb") as file:
        file.write(header.tostring().encode("ascii"))
        for _ in range(lengths[2]):
            file.write(block.data)
        file.write(bytes(-file.tell() % 2880))
        file.flush()
        os.fsync(file.fileno())


def forget(paths):
    """Drop the cached pages of files, so that they are read from the disk."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def copy_seconds(folder, cubes, ranks, out_bytes):
    """Return how long it takes to read the cubes and to write as many bytes as the products have."""
    size = min(cube.stat().st_size for cube in cubes)
    script = COPY.format(piece=PIECE)
    forget(cubes)
    start = time.perf_counter()
    bounds = [size * rank // ranks for rank in range(ranks + 1)]
    shared = ",".join(map(str, cubes))
    processes = []
    for rank, (begin, end) in enumerate(itertools.pairwise(bounds)):
        shares = [str(number) for number in (begin, end, out_bytes // ranks)]
        command = [sys.executable, "-c", script, shared, str(folder / f"copy-{rank}"), *shares]
        processes.append(subprocess.Popen(command))
    if any(process.wait() for process in processes):
        raise SystemExit("the copy has failed")
    seconds = time.perf_counter() - start
    for path in folder.glob("copy-*"):
        path.unlink()
    return seconds


def rmsynth_seconds(folder, cubes, ranks):
    """Return how long rmsynth takes; modules are compiled into the folder, in case the environment forbids it."""
    out = folder / "out"
    depths = ["--phi-max", str(PHI_MAX), "--d-phi", str(PHI_STEP)]
    command = [sys.executable, "-m", "mpidriver", "-n", str(ranks), "rmsynth", *map(str, cubes), *depths]
    forget(cubes)
    start = time.perf_counter()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "modules")
    subprocess.run([*command, "--memory", "1GiB", "-q", "-o", str(out)], check=True, env=environment)
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of Q and U together (default: 2)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", help="where to make the cubes (default: a temporary folder)")
    parser.add_argument("--spectra", action="store_true", help="frequency is the first axis of the cubes")
    arguments = parser.parse_args()
    rows = max(1, round(arguments.gigabytes * 1e9 / (2 * 4 * CHANNELS * COLUMNS)))
    pixels = rows * COLUMNS
    in_bytes, out_bytes = 8 * CHANNELS * pixels, 12 * DEPTHS * pixels
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        rmsynth_seconds(folder, make_cubes(folder / "first", 2, spectra=arguments.spectra), arguments.ranks)
        cubes = make_cubes(folder, rows, spectra=arguments.spectra)
        print(f"{pixels} pixels: {in_bytes / 1e9:.2f} GB in, {out_bytes / 1e9:.2f} GB out; {arguments.ranks} ranks")
        copies, ours = [], []
        for _ in range(arguments.repeats):
            copies.append(copy_seconds(folder, cubes, arguments.ranks, out_bytes))
            ours.append(rmsynth_seconds(folder, cubes, arguments.ranks))
            print(f"copy {copies[-1]:.2f} s, rmsynth {ours[-1]:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{pixels / min(ours) / 1e3:.0f} kpix/s; {(in_bytes + out_bytes) / min(ours) / 1e9:.2f} GB/s")
    print(f"share of the copy's speed: {min(copies) / min(ours):.2f} (goal 0.70)")
    print(f"largest memory of a process: {peak_mib:.0f} MiB (goal 1024)")


if __name__ == "__main__":
    main()
