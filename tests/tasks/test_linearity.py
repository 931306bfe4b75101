"""Counts that are not in proportion to the light, brought back by a polynomial or a table."""

import numpy as np
import pytest

from mpidriver.drivers._raw import _linearity
from mpidriver.errors import DataError
from mpidriver.store import write_table
from mpidriver.tasks.single_frame import Calibrations, Linearity, RawFrame, signal_counts
from mpidriver.tasks.single_frame._linearity import linearise
from mpidriver.tasks.single_frame._signature import remove_signature

TRUE = np.linspace(-20.0, 60_000.0, 300).reshape(15, 20)
BIAS = 1000.0


def seen(true):
    """Return what a detector gives that loses 3 % at 60,000 counts: the inverse of counts + 5e-7 counts**2."""
    c = 5e-7
    return (np.sqrt(1 + 4 * c * true) - 1) / (2 * c)


def table():
    counts = np.linspace(100.0, 60_000.0, 400)
    return Linearity(counts=counts, corrected=counts + 5e-7 * counts**2)


@pytest.mark.parametrize("linearity", [Linearity(coefficients=np.array([5e-7])), table()], ids=["polynomial", "table"])
def test_light_is_found_again_above_the_bias_and_before_gain_and_dark(linearity):
    raw = RawFrame((seen(TRUE) + BIAS).astype(np.float32), gain=2.0, exptime_s=10.0, saturation=70_000)
    planes = {"bias": np.full(TRUE.shape, BIAS), "dark": np.full(TRUE.shape, 3.0)}
    calibrations = Calibrations(**planes, linearity=linearity)
    tolerance = {"rel": 2e-6, "abs": 0.02}
    assert signal_counts(raw, calibrations) == pytest.approx(TRUE - 30, **tolerance)
    assert remove_signature(raw, calibrations).image == pytest.approx(2 * (TRUE - 30), rel=2e-6, abs=0.04)


def test_terms_of_higher_order_are_powers_of_the_counts():
    counts = np.array([[0.0, 1.0, 1e4, np.nan]], dtype=np.float32)
    linear = linearise(counts, Linearity(coefficients=np.array([1e-6, -2e-11])))
    np.testing.assert_allclose(linear, counts * (1 + 1e-6 * counts - 2e-11 * counts**2), rtol=1e-6)


def test_beyond_the_ends_of_a_table_its_last_ratio_holds():
    linearity = Linearity(counts=np.array([10.0, 100.0]), corrected=np.array([11.0, 120.0]))
    counts = np.array([[-5.0, 5.0, 55.0, 1000.0]], dtype=np.float32)
    assert linearise(counts, linearity) == pytest.approx(np.array([[-5.5, 5.5, 55 * 1.15, 1200.0]]), rel=1e-6)


def test_a_file_gives_either(tmp_path):
    write_table(tmp_path / "p.fits", np.array([(5e-7,), (1e-12,)], dtype=[("coefficient", "f8")]))
    write_table(tmp_path / "t.fits", np.array([(1.0, 1.1), (2.0, 2.4)], dtype=[("counts", "f4"), ("corrected", "f4")]))
    assert _linearity(str(tmp_path / "p.fits")).coefficients.tolist() == [5e-7, 1e-12]
    assert _linearity(str(tmp_path / "t.fits")).corrected == pytest.approx([1.1, 2.4])


def test_what_cannot_be_a_correction_is_refused_by_name(tmp_path):
    for wrong in (
        {},
        {"counts": np.ones(2)},
        {"coefficients": np.array([np.nan])},
        {"counts": np.array([2.0, 1.0]), "corrected": np.array([2.0, 1.0])},
        {"counts": np.array([0.0, 1.0]), "corrected": np.array([0.0, 1.0])},
    ):
        with pytest.raises(DataError, match="linearity"):
            Linearity(**wrong)
    write_table(tmp_path / "w.fits", np.array([(1.0,)], dtype=[("adu", "f8")]))
    with pytest.raises(DataError, match=r"w\.fits: a column coefficient is needed.* has adu"):
        _linearity(str(tmp_path / "w.fits"))
