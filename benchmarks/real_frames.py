"""Repeatability of bright isolated stars over the real SAAO frames, and the other real frames through the pipeline.

    python benchmarks/real_frames.py [--data FOLDER] [--keep FOLDER]

FOLDER (default: the environment's MPIDRIVER_DATA) holds `saao` (12 frames of one crowded field), `decam` and
`decam_grz`. Each set goes through `init`, `ingest` and `pipeline`; the figures are those after the mosaic. Others
reached 4.8 mmag and 4 mas (0.013 px) on 23 good-seeing frames of the SAAO set.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.drivers._solutions import read_solutions
from mpidriver.sphere import unit_vectors
from mpidriver.store import Repository, read_table, wcs_from_header

MAS = np.degrees(1.0) * 3.6e6

#: Set -> folder below the data, preset, and the tract that holds it.
SETS = {
    "saao": ("saao", "saao", "--centre=273.8708,-25.285", "--radius=0.025", "--pixel-scale=0.31", "--patch-size=300"),
    "decam": ("decam", "decam-cutout", "--centre=318.10827,-66.01566", "--radius=0.01", "--pixel-scale=0.27"),
    "decam_grz": (
        "decam_grz/images",
        "decam-legacy",
        "--centre=244.77965,12.07236",
        "--radius=0.0025",
        "--pixel-scale=0.262",
    ),
}

REFERENCE = {"repeatability of magnitudes": 4.8, "repeatability of positions, an axis": 4.0}


def reduce(name, data, scratch):
    """Take one set through init, ingest and pipeline; return its repository and the seconds of the pipeline."""
    folder, preset, *tract = SETS[name]
    root = Path(scratch) / name
    command = [sys.executable, "-m", "mpidriver"]
    subprocess.run([*command, "init", root, "--instrument", preset, *tract], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "ingest", root, data / folder, "--quiet"], check=True)
    started = time.perf_counter()
    subprocess.run([*command, "pipeline", root, "--quiet"], check=True)
    return Repository.open(root), time.perf_counter() - started


def measurements(repository):
    """Return every star measurement after the mosaic: unit vectors, magnitudes, S/N and frame numbers."""
    vectors, magnitudes, snr, frame = [], [], [], []
    for path in sorted((repository.root / "mosaic").glob("[0-9]????.fits")):
        for number, ((exposure, detector), solution) in enumerate(read_solutions(path).items()):
            sources = read_table(repository.path("frame_catalogue", exposure=exposure, detector=detector))
            stars = sources[sources["star"] & (sources["flux_aper"] > 0)]
            ra, dec = wcs_from_header(solution.wcs_header).all_pix2world(stars["x"], stars["y"], 0)
            vectors.append(unit_vectors(ra, dec))
            magnitudes.append(solution.zero_point_mag - 2.5 * np.log10(stars["flux_aper"]))
            snr.append(stars["snr"])
            frame.append(np.full(len(stars), number))
    return np.concatenate(vectors), np.concatenate(magnitudes), np.concatenate(snr), np.concatenate(frame)


def repeatability(repository, *, radius_arcsec=0.5, isolation_arcsec=4.0, min_frames=8, brightest=0.2):
    """Return median over stars of the scatter of magnitude (mmag) and of position (mas an axis), and how many stars.

    Stars count that are alone within `isolation_arcsec`, seen on `min_frames` frames and among the brightest share.
    """
    vectors, magnitudes, snr, frame = measurements(repository)
    anchors = vectors[frame == np.bincount(frame).argmax()]
    groups = cKDTree(vectors).query_ball_point(anchors, np.radians(radius_arcsec / 3600))
    crowd = cKDTree(anchors).query_ball_point(anchors, np.radians(isolation_arcsec / 3600), return_length=True)
    groups = [np.array(group) for group, near in zip(groups, crowd, strict=True) if near == 1]
    groups = [group for group in groups if len(np.unique(frame[group])) == len(group) >= min_frames]
    limit = np.quantile([np.median(snr[group]) for group in groups], 1 - brightest)
    bright = [group for group in groups if np.median(snr[group]) >= limit]
    scatter_mag = [1.4826 * np.median(np.abs(magnitudes[g] - np.median(magnitudes[g]))) for g in bright]
    offsets = [vectors[group] - np.median(vectors[group], axis=0) for group in bright]
    scatter_mas = [np.sqrt(np.sum(offset**2) / (2 * (len(offset) - 1))) * MAS for offset in offsets]
    return 1000 * float(np.median(scatter_mag)), float(np.median(scatter_mas)), len(bright)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MPIDRIVER_DATA"))
    parser.add_argument("--keep", help="folder in which the repositories stay")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of real frames with --data or MPIDRIVER_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            repository, seconds = reduce(name, Path(options.data).absolute(), options.keep or scratch)
            objects = read_table(repository.path("survey_catalogue"))
            print(f"{name}: {len(objects)} objects, pipeline {seconds:.1f} s on one rank")
            if name == "saao":
                mmag, mas, count = repeatability(repository)
                measured = dict(zip(REFERENCE, (mmag, mas), strict=True))
                for what, value in measured.items():
                    unit = "mmag" if "magnitudes" in what else "mas"
                    other = REFERENCE[what]
                    print(f"  {what}: {value:.1f} {unit} ({count} bright isolated stars)", end="; ")
                    print(f"others {other} {unit}, ratio {value / other:.2f}")


if __name__ == "__main__":
    main()
