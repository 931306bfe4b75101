"""Cross-talk between amplifiers and detectors."""

import dataclasses

import numpy as np
import pytest

from mpidriver.drivers._raw import _couplings
from mpidriver.errors import DataError
from mpidriver.store import write_table
from mpidriver.tasks.calibs import coupling_sums
from mpidriver.tasks.single_frame import Calibrations, Coupling, RawFrame, crosstalk, signal_counts

LEFT, RIGHT, RIGHT_MIRRORED = "[1:4,1:3]", "[5:8,1:3]", "[8:5,1:3]"


def counts(seed=0):
    return np.random.default_rng(seed).uniform(0, 1000, (3, 8)).astype(np.float32)


def test_a_mirrored_amplifier_adds_its_pixels_in_the_order_of_readout():
    source = counts()
    added = crosstalk([Coupling(3, 1e-3, RIGHT_MIRRORED, LEFT)], {3: source}, (3, 8))
    assert added[:, :4] == pytest.approx(1e-3 * source[:, :3:-1])
    assert not added[:, 4:].any()


def test_upside_down_down_to_the_first_row():
    source = counts()
    assert crosstalk([Coupling(3, 1e-3, "[1:8,3:1]")], {3: source}, (3, 8)) == pytest.approx(1e-3 * source[::-1])


def test_sources_add_up_and_absent_ones_and_missing_pixels_add_nothing():
    sources = {1: counts(1), 2: counts(2)}
    sources[1][0, 0] = np.nan
    added = crosstalk([Coupling(1, 1e-3), Coupling(2, -2e-3), Coupling(9, 0.05)], sources, (3, 8))
    expected = 1e-3 * np.nan_to_num(sources[1]) - 2e-3 * sources[2]
    assert added == pytest.approx(expected, abs=1e-5)


def test_a_detector_is_freed_of_its_own_amplifiers_and_of_the_others_before_its_gain():
    true, bias = counts(), np.full((3, 8), 100, np.float32)
    coupling = Coupling(4, 1e-3, RIGHT_MIRRORED, LEFT)
    seen = true + crosstalk([coupling], {4: true}, true.shape) + counts(5) * 1e-3 + bias
    calibrations = Calibrations(bias=bias, detector=4, couplings=(coupling,), spill=counts(5) * np.float32(1e-3))
    assert signal_counts(RawFrame(seen), calibrations) == pytest.approx(true, abs=2e-3)
    with pytest.raises(DataError, match="spill has the shape"):
        signal_counts(RawFrame(seen), dataclasses.replace(calibrations, spill=np.zeros((3, 4), np.float32)))


@pytest.mark.parametrize(
    ("coupling", "words"),
    [
        (("0.2",), "below 0.1, got 0.2"),
        (("nan",), "below 0.1, got nan"),
        (("1e-3", "[0:4,1:3]"), r"like \[1:1024"),
        (("1e-3", "1:4"), r"like \[1:1024"),
    ],
)
def test_nonsense_is_refused_with_its_row(tmp_path, coupling, words):
    dtype = [("victim", "i4"), ("source", "i4"), ("coefficient", "f8"), ("source_section", "U16")]
    section = coupling[1] if len(coupling) > 1 else ""
    table = np.array([(1, 2, 1e-4, ""), (1, 3, float(coupling[0]), section)], dtype)
    write_table(tmp_path / "t.fits", table)
    with pytest.raises(DataError, match=f"t.fits, row 2: .*{words}"):
        _couplings(str(tmp_path / "t.fits"))


def test_a_table_without_coefficients_is_refused(tmp_path):
    write_table(tmp_path / "t.fits", np.array([(1, 2)], [("victim", "i4"), ("source", "i4")]))
    with pytest.raises(DataError, match=r"t\.fits: columns victim, source and coefficient are needed"):
        _couplings(str(tmp_path / "t.fits"))


@pytest.mark.parametrize(
    ("sections", "words"),
    [(("[1:9,1:3]", LEFT), r"source 3 is not within its 3 x 8"), ((RIGHT, "[1:3,1:3]"), r"\(3, 3\), .*\(3, 4\)")],
)
def test_sections_that_do_not_fit_are_refused(sections, words):
    with pytest.raises(DataError, match=words):
        crosstalk([Coupling(3, 1e-3, *sections)], {3: counts()}, (3, 8))


@pytest.mark.parametrize("true", [2e-3, -5e-4, 0.0])
def test_a_coefficient_is_measured_among_the_victims_own_sources(true):
    rng = np.random.default_rng(11)
    victim, source = rng.normal(200, 12, (2, 128, 128)).astype(np.float32)
    for image, count in ((victim, 60), (source, 30)):
        rows, cols = rng.integers(4, 124, (2, count))
        for row, col in zip(rows, cols, strict=True):
            image[row - 3 : row + 4, col - 3 : col + 4] += rng.uniform(4e3, 5e4)
    source[5, 5] = np.nan
    coupling = Coupling(2, 1e-3, "[128:1,1:128]")
    victim += true * np.nan_to_num(source[:, ::-1])
    squares, products, pixels = coupling_sums(coupling, victim, source, least_adu=5000.0)
    assert pixels > 500
    assert products / squares == pytest.approx(true, abs=5 * squares**-0.5)
    assert squares**-0.5 < 5e-5


@pytest.mark.parametrize("fill", [np.nan, 100.0])
def test_without_bright_pixels_nothing_is_measured(fill):
    empty = np.full((64, 64), fill, np.float32)
    assert not coupling_sums(Coupling(2, 1e-3), empty, empty, least_adu=5000.0).any()
