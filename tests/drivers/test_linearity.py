"""A detector whose counts lag behind its light, from raw frames to the fluxes of stars."""

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from survey import run, run_in_turn

from mpidriver.store import Repository, read_table, write_table

SIMULATION = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "256", "--channels", "0"]
#: ``corrected = counts * (1 + LAG * counts)``, per ADU: 10 % of 10,000 counts.
LAG = 1e-5


def lagging(counts):
    """Return the counts that such a detector gives for light in proportion to `counts`."""
    return (np.sqrt(1.0 + 4.0 * LAG * np.maximum(counts, 0.0)) - 1.0) / (2.0 * LAG) + np.minimum(counts, 0.0)


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory):
    """Stars of a proportional detector, of one that lags, and of that one corrected."""
    folder = tmp_path_factory.mktemp("linearity")
    roots = {name: folder / name for name in ("proportional", "lagging", "corrected")}
    assert run("simulate", roots["proportional"], *SIMULATION, "--quiet").code == 0
    shutil.copytree(roots["proportional"], roots["lagging"])
    bias = fits.getdata(next(roots["lagging"].glob("calib/bias-*.fits")))
    for path in roots["lagging"].glob("raw/*.fits"):
        with fits.open(path, mode="update") as opened:
            opened[0].data = (bias + lagging(opened[0].data - bias)).astype(np.float32)
    shutil.copytree(roots["lagging"], roots["corrected"])
    write_table(roots["corrected"] / "calib" / "linearity.fits", np.array([(LAG,)], dtype=[("coefficient", "f8")]))
    config = roots["corrected"] / "survey.toml"
    config.write_text(
        re.sub(r"(?m)^(\[calibrations\])$", '\\1\nlinearity = "calib/linearity.fits"', config.read_text())
    )
    ended = run_in_turn(*(["single-frame", root] for root in roots.values()))
    assert ended.code == 0, ended.text
    return {name: stars(root) for name, root in roots.items()}


def stars(root):
    """Return the bright sources of a repository's only frame."""
    sources = read_table(next(Repository.open(root).root.glob("frames/*/*-cat.fits")))
    return sources[sources["snr"] > 50]


def ratios(catalogues, name):
    """Return by what factor fluxes differ from those of the proportional detector."""
    one, other = catalogues["proportional"], catalogues[name]
    apart = np.hypot(one["x"][:, None] - other["x"], one["y"][:, None] - other["y"])
    near = np.flatnonzero(apart.min(axis=1) < 1.0)
    assert len(near) > 5
    return other["flux_aper"][apart.argmin(axis=1)][near] / one["flux_aper"][near]


def test_fluxes_are_those_of_a_proportional_detector_once_counts_are_corrected(catalogues):
    assert ratios(catalogues, "corrected") == pytest.approx(1.0, abs=1e-3)
    assert np.min(ratios(catalogues, "lagging")) < 0.97
