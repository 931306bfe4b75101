"""Completeness, false detections and errors of RMs against signal to noise, of surveys simulated from the sky on.

    python benchmarks/faraday_survey.py [--surveys 4] [--sources 500] [--plot faraday_survey.png]

Each survey goes from channel images to the RM table by the command line: point sources of known rotation measure, two
in five of them without polarisation, in noise that is correlated like the beam. Printed and drawn are, for bins of the
true S/N in the Faraday spectrum, the scatter of the RM over the Cramér-Rao limit and over its own error, and the part
of sources that are found (S/N of 8 or more, RM within one FWHM of the truth) beside what noise allows at best; and for
each threshold the part of unpolarised sources above it, with the limit below which the true part lies at 95 %.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import beta, ncx2

from mpidriver.cli import main as mpidriver
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import read_table
from mpidriver.tasks.faraday import lambda_sq

SIMULATION = """
[simulation]
seed = {seed}
exposures_per_band = 0
[simulation.radio]
n_beams = 1
image_shape = [640, 640]
n_channels = {channels}
noise_jy = 3e-4
n_sources = {sources}
flux_range_jy = [0.003, 0.05]
fraction_range = [0.01, 0.2]
unpolarised = 0.4
two_component = 0.0
slab = 0.0
"""
CHANNELS, LOW_HZ, HIGH_HZ = 48, 744e6, 1032e6
THRESHOLD = 8.0
BINS = np.array([0, 3, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200], float)
THRESHOLDS = np.arange(3.0, 8.1, 0.5)
WITHIN = 1.10
"""Of the Cramér-Rao limit, for all sources above the threshold together."""


def measured_survey(folder, seed, sources):
    """Simulate and measure a survey; return its RM table and, row by row, the true sources."""
    config, root = folder / f"{seed}.toml", folder / f"survey-{seed}"
    config.write_text(SIMULATION.format(seed=seed, channels=CHANNELS, sources=sources))
    for command in (
        ["simulate", root, "--config", config],
        ["catalogue", root, root / "truth" / "radio_sources.fits"],
        ["sources", root, "--no-pictures"],
    ):
        if mpidriver([*map(str, command), "--quiet"]) != 0:
            raise SystemExit(f"mpidriver {command[0]} failed")
    table = read_table(open_context(str(root)).repository.path("rm_table"))
    truth = {str(row["id"]): row for row in read_table(root / "truth" / "radio_sources.fits")}
    return table, np.array([truth[name] for name in table["cat_id"].tolist()])


def true_intensity(table, truth):
    """Return the true polarised intensity of each source at the frequency to which its row refers, Jy."""
    middle_hz = 0.5 * (LOW_HZ + HIGH_HZ)
    return truth["i_jy"] * (table["reffreq_pol"] / middle_hz) ** truth["spectral_index"] * truth["fraction_1"]


def limit_of(snr):
    """Return the Cramér-Rao limit of the RM of a source of a S/N in the Faraday spectrum."""
    freq_hz = LOW_HZ + (HIGH_HZ - LOW_HZ) * (np.arange(CHANNELS) + 0.5) / CHANNELS
    return 1.0 / (2.0 * snr * lambda_sq(freq_hz).std())


def compare(table, truth):
    """Return true S/N, error over the limit and over its own error, and whether found, of polarised sources."""
    polarised = truth["fraction_1"] > 0
    snr = true_intensity(table, truth)[polarised] / table["fdf_noise_th"][polarised]
    error = table["rm"][polarised] - truth["rm_1_radm2"][polarised]
    near = np.abs(error) < table["rmsf_fwhm"][polarised]
    found = near & (table["snr_polint"][polarised] >= THRESHOLD)
    return snr, error / limit_of(snr), error / table["rm_err"][polarised], near, found


def binned(snr, over_limit, over_error, near, found):
    """Return for each bin of S/N: mean S/N, number, scatter over limit and error, parts near and found, best part."""
    rows = []
    for low, high in itertools.pairwise(BINS):
        inside = (snr >= low) & (snr < high)
        if not inside.any():
            continue
        good = inside & near
        scatter = [np.sqrt(np.mean(values[good] ** 2)) if good.any() else np.nan for values in (over_limit, over_error)]
        best = ncx2.sf(THRESHOLD**2, 2, snr[inside] ** 2).mean()
        rows.append((snr[inside].mean(), inside.sum(), *scatter, near[inside].mean(), found[inside].mean(), best))
    return np.array(rows)


def report(rows, thresholds, false, count):
    """Print the figures."""
    names = ("true S/N", "sources", "RM/limit", "+-", "RM/error", "near", "found", "at best")
    print("".join(f"{name:>9s}" for name in names))
    for snr, number, limit, error, near, found, best in rows:
        spread = limit / np.sqrt(2.0 * max(number * near, 1.0))
        print(f"{snr:9.1f}{number:9.0f}{limit:9.3f}{spread:9.3f}{error:9.3f}{near:9.3f}{found:9.3f}{best:9.3f}")
    print(f"\nof {count} sources without polarisation have a S/N above  (at most, 95 %)")
    for threshold, part, most in zip(thresholds, false, upper_limit(false, count), strict=True):
        print(f"{threshold:9.1f}{part:9.4f}{most:9.4f}")


def upper_limit(part, count):
    """Return below which the true part lies at 95 %, of what was found in `count` trials (Clopper and Pearson 1934)."""
    found = np.rint(part * count)
    return beta.ppf(0.95, found + 1, np.maximum(count - found, 1e-9))


def draw(path, rows, thresholds, false, count):
    """Draw the figures against S/N."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    snr, number, limit, error, near, found, best = rows.T
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    spread = 1.0 / np.sqrt(2.0 * np.maximum(number * near, 1.0))
    left.axhline(1.0, color="grey", lw=1)
    left.axvline(THRESHOLD, color="grey", lw=1, ls=":")
    left.errorbar(snr, limit, limit * spread, fmt="o-", label="over the Cramér-Rao limit")
    left.errorbar(snr, error, error * spread, fmt="s--", label="over its own error")
    left.set(xscale="log", xlabel="true S/N in the Faraday spectrum", ylabel="scatter of the RM", ylim=(0, 3))
    middle.plot(snr, best, color="grey", lw=1, label="what noise allows")
    middle.errorbar(snr, found, np.sqrt(found * (1 - found) / number), fmt="o", label=f"S/N > {THRESHOLD:.0f} and near")
    middle.plot(snr, near, "s", mfc="none", label="within a FWHM of the true RM")
    middle.set(xscale="log", xlabel="true S/N in the Faraday spectrum", ylabel="completeness", ylim=(-0.03, 1.06))
    most = upper_limit(false, count)
    right.semilogy(thresholds, np.where(false > 0, false, np.nan), "o-", label=f"of {count} sources")
    right.semilogy(thresholds, most, "v", mfc="none", label="at most, 95 %")
    right.set(xlabel="threshold of S/N", ylabel="part of unpolarised sources above it", ylim=(0.3 * most.min(), 1.5))
    for axes in (left, middle, right):
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    print(f"drawn in {path}")


def main():
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surveys", type=int, default=4)
    parser.add_argument("--sources", type=int, default=500, help="of each survey")
    parser.add_argument("--plot", default="faraday_survey.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        surveys = [measured_survey(Path(folder), seed, options.sources) for seed in range(1, options.surveys + 1)]
    polarised = [np.concatenate(parts) for parts in zip(*(compare(*survey) for survey in surveys), strict=True)]
    spurious = np.concatenate([table["snr_polint"][truth["fraction_1"] == 0] for table, truth in surveys])
    false = np.array([(spurious >= threshold).mean() for threshold in THRESHOLDS])
    rows = binned(*polarised)
    report(rows, THRESHOLDS, false, spurious.size)
    snr, over_limit, over_error, near, _ = polarised
    bright = (snr > THRESHOLD) & near
    scatter, pull = (np.sqrt(np.mean(values[bright] ** 2)) for values in (over_limit, over_error))
    verdict = "within" if scatter <= WITHIN else "NOT within"
    print(
        f"\nabove S/N {THRESHOLD:.0f}: {bright.sum()} sources, RM scatter {scatter:.3f} of the limit, {verdict} "
        f"{WITHIN:.2f}, and {pull:.3f} of its own error; {(snr > THRESHOLD).sum() - bright.sum()} RMs are wrong"
    )
    draw(options.plot, rows, THRESHOLDS, false, spurious.size)


if __name__ == "__main__":
    main()
