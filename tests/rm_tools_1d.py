"""Write rm_tools_1d.json beside this file: spectra and what RM-Tools 1.5 reports of them.

    pip install --no-deps --target PEERS rm-tools==1.5.0 finufft deprecation tqdm
    PYTHONPATH=PEERS python tests/rm_tools_1d.py

Each case holds the input rounded to six digits, the options, and the results of `run_rmsynth` and `run_rmclean` in
float64 under RM-Tools' own names.
"""

import json
import math
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("rm_tools_1d.json")
CASES = {
    "possum": {"freq_hz": np.linspace(800e6, 1088e6, 72), "options": {}},
    "aic": {"freq_hz": np.linspace(800e6, 1088e6, 72), "options": {"polyOrd": -3}},
    "polynomial": {"freq_hz": np.linspace(1.3e9, 3.0e9, 50), "options": {"polyOrd": 3, "fit_function": "linear"}},
    "uniform": {"freq_hz": np.linspace(1.3e9, 3.0e9, 50), "options": {"weightType": "uniform", "nSamples": 5.0}},
    "window": {"freq_hz": np.linspace(800e6, 1088e6, 72), "options": {"phiMax_radm2": 500.0, "dPhi_radm2": 4.0}},
    "no Stokes I": {"freq_hz": np.linspace(800e6, 1088e6, 72), "options": {"phiMax_radm2": 1000.0}},
}


def make_spectra(rng, freq_hz):
    """Return I, Q, U, dI, dQ, dU (chan,) of a source with a second component, in Jy, rounded as they are stored."""
    x, lambda_sq_m2 = freq_hz / freq_hz.mean(), (299792458.0 / freq_hz) ** 2
    stokes_i = rng.uniform(0.02, 0.2) * x ** (rng.uniform(-1.2, 0.2) + rng.uniform(-0.5, 0.5) * np.log10(x))
    p = np.zeros(freq_hz.size, complex)
    for fraction in (rng.uniform(0.05, 0.3), rng.uniform(0.0, 0.05)):
        p += fraction * np.exp(2j * (rng.uniform(0, np.pi) + rng.uniform(-150, 150) * lambda_sq_m2))
    errors = rng.uniform(3e-4, 9e-4, (3, freq_hz.size)) * [[3.0], [1.0], [1.0]]
    noise = errors * rng.normal(size=errors.shape)
    spectra = np.add([stokes_i, stokes_i * p.real, stokes_i * p.imag], noise)
    return [[float(f"{value:.6g}") for value in row] for row in (*spectra, *errors)]


def run(freq_hz, spectra, options):
    """Return what RM-Tools reports of a spectrum, in float64."""
    from RMtools_1D.do_RMclean_1D import run_rmclean
    from RMtools_1D.do_RMsynth_1D import run_rmsynth

    quiet = {"log": lambda *_, **__: None, "nBits": 64}
    synthesis, arrays = run_rmsynth([freq_hz, *map(np.array, spectra)], **options, **quiet)
    clean, _ = run_rmclean(synthesis, arrays, -3.0, **quiet)
    return {"synthesis": _plain(synthesis), "clean": _plain(clean)}


def _plain(results):
    plain = {}
    for name, value in results.items():
        if name in ("polyCoeffs", "polyCoefferr"):
            plain[name] = [float(number) for number in value.split(",")]
        elif not isinstance(value, str) and math.isfinite(value):
            plain[name] = float(value)
    return plain


def main():
    """Write the file."""
    rng = np.random.default_rng(2026)
    cases = []
    for name, case in CASES.items():
        freq_hz = case["freq_hz"]
        spectra = make_spectra(rng, freq_hz)
        used = spectra if name != "no Stokes I" else [*spectra[1:3], *spectra[4:6]]
        results = run(freq_hz, used, case["options"])
        cases.append(
            {"name": name, "options": case["options"], "freq_hz": freq_hz.tolist(), "spectra": used, **results}
        )
    PATH.write_text(json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
