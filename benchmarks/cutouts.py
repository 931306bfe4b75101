"""1,000 cutouts of 20 px from 100 frames: one call of `mpidriver cutout` against 1,000 of sky2xy and astcrop.

    apt-get install --no-install-recommends wcstools gnuastro
    python benchmarks/cutouts.py [FRAMES] [POSITIONS A FRAME]

The peers are run by one shell script, as one would write it: sky2xy tells where a position lies, the shell makes the
section of 20 x 20 pixels about it, astcrop cuts it (its --width=20 would cut 21 x 21). Both are run in turn, three
times; the best times count, and all pixels are compared.
"""

import csv
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from mpidriver.store import read_image, write_image

SHAPE = (1024, 2048)
SIZE = 20
RUNS = 3

#: Section of the image from where a position lies on it, both from 1.
SECTION = """\
function ceil(v) {{ c = int(v); return c < v ? c + 1 : c }}
{{ x = ceil($1 - {half}); y = ceil($2 - {half}); print x ":" x + {last} "," y ":" y + {last} }}
"""

CUT_ONE = """\
cut() {{  # FILE RA DEC OUTPUT
  set -- "$1" "$4" $(sky2xy -n 6 "$1" "$2" "$3")
  case "$*" in *off*) return;; esac
  section=$(echo "$7 $8" | awk -f section.awk)
  astcrop -q -h0 --mode=img --section="$section" "$1" --output="$2"
}}
"""


def make_frames(folder: Path, frames: int, each: int) -> list[tuple[str, float, float]]:
    """Write frames beside each other on the sky and return positions on them: file, ra, dec."""
    rng = np.random.default_rng(1)
    positions = []
    for number in range(frames):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval = 150.0 + 0.2 * (number % 10), 2.0 + 0.2 * (number // 10)
        wcs.wcs.crpix = SHAPE[1] / 2, SHAPE[0] / 2
        wcs.wcs.cd = np.array([[-7.3e-5, 1e-6], [1e-6, 7.3e-5]])
        path = folder / f"frame-{number:03d}.fits"
        write_image(path, rng.normal(100.0, 10.0, SHAPE).astype("f4"), wcs=wcs)
        x = rng.uniform(SIZE, SHAPE[1] - SIZE, each)
        y = rng.uniform(SIZE, SHAPE[0] - SIZE, each)
        positions += [(path.name, ra, dec) for ra, dec in zip(*map(list, wcs.all_pix2world(x, y, 0)), strict=True)]
    return positions


def write_inputs(folder: Path, positions: list[tuple[str, float, float]]) -> tuple[Path, Path]:
    """Write the catalogue for one and the script for the other."""
    catalogue, script = folder / "positions.csv", folder / "peers.sh"
    lines = [f"{number},{ra:.9f},{dec:.9f}" for number, (_, ra, dec) in enumerate(positions)]
    catalogue.write_text("id,ra,dec\n" + "\n".join(lines) + "\n")
    calls = [f"cut {file} {ra:.9f} {dec:.9f} peers/{number}.fits" for number, (file, ra, dec) in enumerate(positions)]
    (folder / "section.awk").write_text(SECTION.format(half=SIZE / 2, last=SIZE - 1))
    script.write_text(CUT_ONE.format() + "\n".join(calls) + "\n")
    return catalogue, script


def timed(command: list[str], folder: Path, made: Path) -> float:
    """Run a command in a folder and return its seconds; what an earlier run made is removed."""
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(folder: Path, count: int) -> int:
    """Return how many cutouts have the same pixels, bit for bit."""
    same = 0
    with open(folder / "ours" / "cutouts.csv", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        ours, _ = read_image(folder / "ours" / row["cutout"])
        peer = fits.getdata(folder / "peers" / f"{row['name']}.fits")
        same += ours.shape == (SIZE, SIZE) and np.array_equal(ours, peer)
    return same


def main() -> None:
    """Run with numbers of frames and of positions a frame from the command line."""
    frames, each = [int(text) for text in sys.argv[1:3]] or [100, 10]
    if missing := [tool for tool in ("sky2xy", "astcrop") if shutil.which(tool) is None]:
        sys.exit(f"not installed: {', '.join(missing)}; apt-get install --no-install-recommends wcstools gnuastro")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        positions = make_frames(folder, frames, each)
        catalogue, script = write_inputs(folder, positions)
        images = sorted(path.name for path in folder.glob("frame-*.fits"))
        ours = [sys.executable, "-m", "mpidriver", "cutout", "--catalogue", catalogue.name, "--out", "ours"]
        ours += ["--size", str(SIZE), "--quiet", "--files", *images]
        seconds = [
            (timed(ours, folder, folder / "ours"), timed(["sh", script.name], folder, folder / "peers"))
            for _ in range(RUNS)
        ]
        own, peers = (min(times) for times in zip(*seconds, strict=True))
        same = compare(folder, len(positions))
    count = len(positions)
    print(f"mpidriver cutout, one call        {own:8.2f} s  {count / own:8,.0f} /s")
    print(f"sky2xy + astcrop, {count:5d} calls   {peers:8.2f} s  {count / peers:8,.0f} /s")
    print(f"ratio {peers / own:.1f}; the same pixels in {same} of {count}")
    if same != count or not math.isfinite(peers):
        sys.exit(1)


if __name__ == "__main__":
    main()
