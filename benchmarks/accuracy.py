"""Accuracy of the reduced simulated survey against its written truth.

    python benchmarks/accuracy.py [REPO]

Without a repository it simulates and reduces one of the default size on two ranks. Prints one line a figure, with the
limit that it must keep; `--json` prints them as one object.
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
from reduced_survey import reduced_survey
from scipy.spatial import cKDTree

from mpidriver.drivers._solutions import read_solutions
from mpidriver.sphere import unit_vectors
from mpidriver.store import read_table, wcs_from_header

MAS = np.degrees(1.0) * 3.6e6


@dataclass(frozen=True)
class Figure:
    """One measured figure and its limit."""

    name: str
    value: float
    limit: float
    unit: str
    count: int


def match(ra, dec, truth, radius_arcsec):
    """Return indices of positions and of the nearest true ones within a radius."""
    tree = cKDTree(unit_vectors(truth["ra"], truth["dec"]))
    distance, index = tree.query(unit_vectors(ra, dec))
    near = np.flatnonzero(distance < np.radians(radius_arcsec / 3600))
    return near, index[near]


def frame_stars(repository):
    """Yield the bright stars of each frame with the mosaic's positions, its zero point and the frame's band."""
    for path in sorted((repository.root / "mosaic").glob("[0-9]????.fits")):
        bands = {(int(row["exposure"]), int(row["detector"])): row["band"] for row in read_table(path)}
        for (exposure, detector), solution in read_solutions(path).items():
            sources = read_table(repository.path("frame_catalogue", exposure=exposure, detector=detector))
            bright = sources[sources["star"] & (sources["snr"] > 100)]
            ra, dec = wcs_from_header(solution.wcs_header).all_pix2world(bright["x"], bright["y"], 0)
            band = bands[exposure, detector]
            yield (exposure, detector), band, ra, dec, solution.zero_point_mag


def astrometry(repository, stars):
    """Return the repeatability of positions over frames and their error against the truth, both an axis."""
    found = {}
    for _, _, ra, dec, _ in frame_stars(repository):
        near, index = match(ra, dec, stars, 0.5)
        for position, star in zip(unit_vectors(ra[near], dec[near]), index, strict=True):
            found.setdefault(star, []).append(position)
    several = {star: np.array(seen) for star, seen in found.items() if len(seen) >= 3}
    scatter = np.concatenate([seen - seen.mean(axis=0) for seen in several.values()])
    freedom = 2 * sum(len(seen) - 1 for seen in several.values())
    truth = unit_vectors(stars["ra"], stars["dec"])
    errors = np.array([seen.mean(axis=0) - truth[star] for star, seen in several.items()])
    relative = np.sqrt(np.sum(scatter**2) / freedom) * MAS
    absolute = np.sqrt(np.mean(np.sum(errors**2, axis=1)) / 2) * MAS
    return [
        Figure("relative astrometry of bright stars, rms an axis", relative, 10.0, "mas", len(several)),
        Figure("mean positions of bright stars against truth, rms an axis", absolute, 10.0, "mas", len(several)),
    ]


def zero_points(repository, exposures, detectors):
    """Return the error of the mosaic's zero points."""
    true = {
        (int(visit["exposure"]), int(chip["detector"])): visit["zero_point_mag"] + chip["zero_point_offset_mag"]
        for visit in exposures
        for chip in detectors
    }
    errors = np.array([zero_point - true[key] for key, _, _, _, zero_point in frame_stars(repository)])
    return [Figure("zero points against truth, rms", 1000 * np.sqrt(np.mean(errors**2)), 5.0, "mmag", len(errors))]


def coadd_fluxes(repository, stars, bands):
    """Return the bias of forced coadd fluxes of stars of S/N > 50."""
    objects = read_table(repository.path("survey_catalogue"))
    near, index = match(objects["ra"], objects["dec"], stars, 0.4)
    figures = []
    for band in bands:
        flux, error = objects[f"flux_psf_{band}"][near], objects[f"flux_psf_{band}_err"][near]
        true = 10 ** (-0.4 * (stars[f"mag_{band}"][index] - 31.4))
        good = (flux > 50 * error) & np.isfinite(flux)
        bias = abs(np.median(flux[good] / true[good]) - 1)
        figures.append(Figure(f"coadd fluxes of stars in {band}, bias", 100 * bias, 1.0, "%", int(good.sum())))
    return figures


def rotation_measures(repository, sources):
    """Return the largest RM error in units of its standard error, for single sources of S/N > 20."""
    rows = read_table(repository.path("rm_survey_catalogue"))
    kinds = np.char.decode(sources["kind"]) if sources["kind"].dtype.kind == "S" else sources["kind"]
    single = sources[np.isin(np.char.strip(kinds), ["thin", "slab"])]
    near, index = match(rows["ra"], rows["dec"], single, 4.0)
    true = single["rm_1_radm2"]
    strong = rows["polint"][near] > 20 * rows["polint_err"][near]
    pulls = (rows["rm"][near] - true[index])[strong] / rows["rm_err"][near][strong]
    return [
        Figure("RM of sources of S/N > 20, largest |error|/sigma", np.max(np.abs(pulls)), 3.0, "sigma", len(pulls)),
        Figure("RM of sources of S/N > 20, rms of error/sigma", np.sqrt(np.mean(pulls**2)), 1.5, "sigma", len(pulls)),
    ]


def compare(repository):
    """Return every figure of a reduced simulated survey."""
    truth = {path.stem: read_table(path) for path in sorted((repository.root / "truth").glob("*.fits"))}
    bands = [name[4:] for name in truth["stars"].dtype.names if name.startswith("mag_")]
    return [
        *astrometry(repository, truth["stars"]),
        *zero_points(repository, truth["exposures"], truth["detectors"]),
        *coadd_fluxes(repository, truth["stars"], bands),
        *rotation_measures(repository, truth["radio_sources"]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repo", nargs="?")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with reduced_survey(options.repo) as repository:
        figures = compare(repository)
    if options.json:
        print(json.dumps([vars(figure) for figure in figures]))
    else:
        for figure in figures:
            kept = "kept" if figure.value <= figure.limit else "MISSED"
            print(
                f"{figure.name:62} {figure.value:8.3f} {figure.unit:6} limit {figure.limit:g}: {kept} ({figure.count})"
            )
    return 0 if all(figure.value <= figure.limit for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
