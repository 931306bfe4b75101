"""Errors, completeness and false detections of Faraday-thin sources against signal to noise.

    python benchmarks/faraday_accuracy.py [--sources 2000] [--plot faraday_accuracy.png]

Sources of known rotation measure at many S/N, and spectra of noise alone, go through `analyse_spectra` as those of a
survey do (POSSUM's band in 72 channels). Printed and drawn are, for each S/N, the scatter of the rotation measure over
the Cramér-Rao limit, the part found within one FWHM of the truth, above S/N 8 too, and the part of spectra of noise
that pass a threshold of that S/N.
"""

import argparse

import numpy as np

from mpidriver.tasks.faraday import AnalysisOptions, analyse_spectra, lambda_sq, rmtf_fwhm

FREQ_HZ = np.linspace(800e6, 1088e6, 72)
OPTIONS = AnalysisOptions(phi_max_radm2=1000.0)
SNR = np.array([2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200], float)
THRESHOLD = 8.0
WITHIN = 1.10
"""Of the limit, for every S/N above the threshold."""


def simulate(rng, snr, count):
    """Return the table of sources of one S/N in the Faraday spectrum (0: noise alone), and their rotation measures."""
    rm, angle = rng.uniform(-800, 800, (count, 1)), rng.uniform(0, np.pi, (count, 1))
    sigma = np.sqrt(FREQ_HZ.size)
    p = snr * np.exp(2j * (angle + rm * lambda_sq(FREQ_HZ)))
    q, u = p.real + sigma * rng.standard_normal(p.shape), p.imag + sigma * rng.standard_normal(p.shape)
    return analyse_spectra(FREQ_HZ, None, q, u, None, sigma, sigma, options=OPTIONS).table, rm[:, 0]


def measure(rng, snr, count):
    """Return scatter over the limit, and the parts that are found near the truth, and there above the threshold."""
    table, rm = simulate(rng, snr, count)
    limit = 1.0 / (2.0 * snr * lambda_sq(FREQ_HZ).std())
    error = table["clean_rm_radm2"] - rm
    near = np.abs(error) < rmtf_fwhm(FREQ_HZ)
    scatter = np.sqrt(np.mean(error[near] ** 2)) / limit if near.any() else np.nan
    return scatter, near.mean(), (near & (table["clean_snr"] >= THRESHOLD)).mean()


def main():
    """Print the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=int, default=2000, help="at each S/N")
    parser.add_argument("--plot", default="faraday_accuracy.png")
    arguments = parser.parse_args()
    rng = np.random.default_rng(11)
    rows = np.array([measure(rng, snr, arguments.sources) for snr in SNR])
    noise, _ = simulate(rng, 0.0, 10 * arguments.sources)
    false = np.array([(noise["clean_snr"] >= snr).mean() for snr in SNR])
    print(f"{'S/N':>6s}{'RM scatter/limit':>18s}{'near the truth':>16s}{'and S/N > 8':>13s}{'noise above':>13s}")
    for snr, (scatter, near, found), spurious in zip(SNR, rows, false, strict=True):
        print(f"{snr:6.0f}{scatter:18.3f}{near:16.4f}{found:13.4f}{spurious:13.5f}")
    worst = rows[SNR > THRESHOLD, 0].max()
    verdict = "within" if worst <= WITHIN else "NOT within"
    print(f"above S/N {THRESHOLD:.0f} the scatter is at most {worst:.3f} of the limit, {verdict} {WITHIN:.2f}")
    draw(arguments.plot, rows, false)


def draw(path, rows, false):
    """Draw the figures against S/N."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.axhline(1.0, color="grey", lw=1)
    left.semilogx(SNR, rows[:, 0], "o-")
    left.set(xlabel="S/N in the Faraday spectrum", ylabel="RM scatter / Cramér-Rao limit", ylim=(0, None))
    right.semilogx(SNR, rows[:, 1], "o-", label="within one FWHM of the truth")
    right.semilogx(SNR, rows[:, 2], "s-", label=f"and S/N > {THRESHOLD:.0f}")
    right.semilogx(SNR, false, "x--", label="spectra of noise above S/N")
    right.set(xlabel="S/N in the Faraday spectrum", ylabel="part of all", ylim=(-0.03, 1.03))
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)
    print(f"drawn in {path}")


if __name__ == "__main__":
    main()
