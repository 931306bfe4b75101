"""How fast catalogued components become spectra and RMs on one thread, RM-Tools on the same spectra beside it.

    python benchmarks/sources.py [--sources 60] [--channels 96]

RM-Tools is looked for where Python finds it: pip install --target DIR rm-tools, then PYTHONPATH=DIR.
"""

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

from mpidriver.cli import main
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state, read_table
from mpidriver.tasks.faraday import FaradayOptions
from mpidriver.tasks.polarisation import analyse_components

SIMULATION = """
[simulation]
exposures_per_band = 0
[simulation.radio]
n_beams = 3
image_shape = [256, 256]
beam_growth = 0.1
chromatic = true
primary_fwhm_arcsec = 1600.0
ionosphere_radm2 = [-2.0, 1.5]
n_channels = {channels}
noise_jy = 2e-4
n_sources = {sources}
"""
REPEATS = 3


def measured_survey(folder, sources, channels):
    """Measure a simulated survey from its images and return its folder."""
    (folder / "simulation.toml").write_text(SIMULATION.format(sources=sources, channels=channels))
    root = str(folder / "repo")
    commands = (
        ["simulate", root, "--config", str(folder / "simulation.toml"), "--quiet"],
        ["catalogue", root, f"{root}/truth/radio_sources.fits", "--quiet"],
        ["sources", root, "--quiet", "--no-pictures"],
        ["sources", root, "--quiet", "--no-pictures", "--clobber"],  # once more, with compiled kernels
    )
    for command in commands:
        if main(command) != 0:
            raise SystemExit(f"mpidriver {' '.join(command)} failed")
    return root


def cutout_rate(root):
    """Return components x images a second of the stage from images to spectra."""
    context = open_context(root)
    with open_state(context.repository, readonly=True) as state:
        seconds = sum(record.seconds for record in state.quanta("source_spectra"))
        cells = [record.data_id["cell"] for record in state.quanta("source_spectra")]
    tables = [read_table(context.repository.path("source_spectra", cell=int(cell))) for cell in cells]
    return sum(int(table["n_images"].sum()) for table in tables) / seconds, tables


def best(function, repeats=REPEATS):
    """Return the least seconds of several calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def rmtools_seconds(table):
    """Return RM-Tools' seconds a source of synthesis and CLEAN, or none without it."""
    if importlib.util.find_spec("RMtools_1D") is None:
        return None
    from RMtools_1D.do_RMclean_1D import run_rmclean
    from RMtools_1D.do_RMsynth_1D import run_rmsynth

    columns = ("stokesI", "stokesQ", "stokesU", "stokesI_error", "stokesQ_error", "stokesU_error")

    def analyse(row):
        data = [row["freq"], *(row[name].astype(float) for name in columns)]
        summary, arrays = run_rmsynth(data, polyOrd=1, phiMax_radm2=None, nSamples=10.0, verbose=False)
        run_rmclean(summary, arrays, -5.0, verbose=False)

    good = [row for row in table if np.isfinite(row["stokesQ"]).all()][:5]
    return best(lambda: [analyse(row) for row in good]) / len(good)


def report():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=60)
    parser.add_argument("--channels", type=int, default=96)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rate, tables = cutout_rate(measured_survey(Path(folder), options.sources, options.channels))
        table = max(tables, key=len)
        many = np.concatenate([table] * (1 + 1000 // len(table)))[:1000]
        ours = best(lambda: analyse_components(many, FaradayOptions())) / len(many)
        print(f"images to spectra: {rate:,.0f} component images a second (cut, turned, smoothed, joined, extracted)")
        print(f"spectra to RMs, clean and parameters: {1e6 * ours:,.0f} µs a source")
        theirs = rmtools_seconds(table)
        if theirs is not None:
            print(f"RM-Tools run_rmsynth + run_rmclean:   {1e6 * theirs:,.0f} µs a source, {theirs / ours:,.0f} x ours")


if __name__ == "__main__":
    report()
