"""The catalogue of a reduced simulated survey against its truth: what is found, and how right fluxes are.

    python benchmarks/catalogue.py [REPO]

Without a repository it simulates and reduces one of the default size on two ranks. Prints, for each band, completeness
and purity, and for stars and galaxies, alone and in blends
of which both are found, the median of flux over truth and the width of the pulls
(error over its standard error); then seconds of each multiband task a patch.
"""

import argparse

import numpy as np
from reduced_survey import reduced_survey
from scipy.spatial import cKDTree

from mpidriver.sphere import unit_vectors
from mpidriver.store import open_state, read_table

#: Objects this close to a true source are it; sources this close to another one are blended.
MATCH_ARCSEC, BLEND_ARCSEC = 0.8, 3.0
#: Signal-to-noise ratio from which fluxes are compared, and at which completeness is given.
LEAST_SNR, COMPLETE_SNR = 10.0, (5, 7, 10, 20, 50)
FLUXES = ("psf", "model", "auto")


def chord(arcsec):
    return np.radians(arcsec / 3600.0)


def read_truth(repository):
    """Return positions, magnitudes and kind of all true sources, and the number of a close neighbour or -1."""
    tables = [read_table(repository.root / "truth" / f"{name}.fits") for name in ("stars", "galaxies")]
    bands = [name[4:] for name in tables[0].dtype.names if name.startswith("mag_")]
    mags = {band: np.concatenate([table[f"mag_{band}"] for table in tables]) for band in bands}
    ra, dec = (np.concatenate([table[name] for table in tables]) for name in ("ra", "dec"))
    galaxy = np.repeat([False, True], [len(table) for table in tables])
    vectors = unit_vectors(ra, dec)
    distance, neighbour = cKDTree(vectors).query(vectors, k=2)
    return ra, dec, mags, galaxy, np.where(distance[:, 1] < chord(BLEND_ARCSEC), neighbour[:, 1], -1)


def matches(objects, ra, dec, brightness):
    """Return for each true source the row of its object, -1 without one; the brightest takes an object first."""
    tree = cKDTree(unit_vectors(objects["ra"], objects["dec"]))
    distance, row = tree.query(unit_vectors(ra, dec))
    row = np.where(distance < chord(MATCH_ARCSEC), row, -1)
    taken = set()
    for i in np.argsort(brightness, kind="stable"):
        if row[i] in taken:
            row[i] = -1
        elif row[i] >= 0:
            taken.add(row[i])
    return row


def completeness(repository, objects, band, truth):
    """Print which part of the true stars/galaxies of an S/N (as point sources) has an object, away from the edges."""
    ra, dec, mags, galaxy, _ = truth
    row = matches(objects, ra, dec, mags[band])
    inside = covered(objects, ra, dec)
    noise = np.nanmedian(objects[f"flux_psf_{band}_err"])
    snr = 10 ** (-0.4 * (mags[band] - 31.4)) / noise
    found = [
        f"{percent(row[chosen & ~galaxy] >= 0)}/{percent(row[chosen & galaxy] >= 0)} % at S/N {low:g}"
        for low in COMPLETE_SNR
        if (chosen := inside & (snr > low) & (snr < 1.5 * low)).sum() > 10
    ]
    strong = objects[f"snr_{band}"] > LEAST_SNR
    real = cKDTree(unit_vectors(ra, dec)).query(unit_vectors(objects["ra"], objects["dec"]))[0] < 1.5 * chord(
        MATCH_ARCSEC
    )
    print(f"{band}: complete {', '.join(found)}; pure {100 * real[strong].mean():.1f} % at S/N > {LEAST_SNR:g}")


def percent(found):
    """Return the share of what is true as text."""
    return f"{100 * found.mean():.0f}" if found.size else "-"


def covered(objects, ra, dec):
    """Tell which positions lie well within the box that the objects fill."""
    inner = np.ones(ra.size, dtype=bool)
    for name, values in (("ra", ra), ("dec", dec)):
        low, high = np.percentile(objects[name], [3, 97])
        inner &= (values > low) & (values < high)
    return inner


def fluxes(objects, band, truth):
    """Print bias and pulls of the kinds of fluxes."""
    ra, dec, mags, galaxy, nearest = truth
    row = matches(objects, ra, dec, mags[band])
    blended = nearest >= 0
    parted = blended & (row[nearest] >= 0)
    true = 10 ** (-0.4 * (mags[band] - 31.4))
    for name, kind in (("stars", ~galaxy), ("galaxies", galaxy)):
        for label, crowd in (("alone", ~blended), ("parted", parted)):
            chosen = kind & crowd & (row >= 0)
            chosen[chosen] = objects[f"snr_{band}"][row[chosen]] > LEAST_SNR
            found = objects[row[chosen]]
            parts = []
            for flux in FLUXES:
                value, error = found[f"flux_{flux}_{band}"], found[f"flux_{flux}_{band}_err"]
                ratio, pull = value / true[chosen] - 1, (value - true[chosen]) / error
                width = 1.4826 * np.nanmedian(np.abs(pull - np.nanmedian(pull)))
                parts.append(f"{flux} {100 * np.nanmedian(ratio):+5.1f} %, pulls {width:.2f}")
            print(f"   {name:9}{label:8} ({chosen.sum():4d}): " + "; ".join(parts))


def seconds(repository):
    """Print what a quantum of each multiband task takes, with the number of objects."""
    tasks = ("detect", "detect_combined", "merge_detections", "measure", "merge_measurements", "forced", "light_curves")
    with open_state(repository) as state:
        for task in tasks:
            taken = [record.seconds for record in state.quanta(task=task, status="done") if record.seconds]
            if taken:
                print(f"{task:20} {np.median(taken):7.2f} s a quantum ({len(taken)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repo", nargs="?")
    options = parser.parse_args()
    with reduced_survey(options.repo) as repository:
        objects, truth = read_table(repository.path("survey_catalogue")), read_truth(repository)
        for band in truth[2]:
            completeness(repository, objects, band, truth)
            fluxes(objects, band, truth)
        seconds(repository)


if __name__ == "__main__":
    main()
