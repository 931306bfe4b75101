"""Entering catalogues of components: what is new, known or rejected."""

import pytest
from astropy.table import Table
from survey import digests, run

from mpidriver.drivers.catalogue import CATALOGUE, load_components
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state


@pytest.fixture
def root(tmp_path):
    assert run("init", tmp_path / "repo").code == 0
    return tmp_path / "repo"


def test_real_tables_of_racs_are_entered_once(root, data):
    files = sorted((data / "racs").glob("*_RACS_1237*.fits"))
    ended = run("catalogue", root, *files)
    assert (ended.code, "3 components and 1 islands entered, 0 known already" in ended.text) == (0, True), ended.text
    before = digests(root)
    assert set(before) == {"catalogues/components.fits", "catalogues/islands.fits"}
    ended = run("catalogue", root, *files)
    assert "0 components and 0 islands entered, 4 known already" in ended.text
    assert digests(root) == before
    context = open_context(str(root))
    with open_state(context.repository, readonly=True) as state:
        assert {product.path for product in state.products(key=CATALOGUE.key)} == set(before)
        assert [run.status for run in state.runs()] == ["done", "done"]
    assert set(load_components(context)["source_name"]) == {"RACS-DR1 J123049.4+122322"}


def test_other_values_under_a_known_name_reject_the_file_and_nothing_else(root, tmp_path):
    Table({"name": ["a", "b"], "ra": [1.0, 2.0], "dec": [0.0, 0.0]}).write(tmp_path / "first.fits")
    Table({"name": ["b", "c"], "ra": [2.5, 3.0], "dec": [0.0, 0.0]}).write(tmp_path / "other.fits")
    Table({"name": ["b", "d"], "ra": [2.0, 4.0], "dec": [0.0, 0.0]}).write(tmp_path / "more.csv")
    ended = run("catalogue", root, tmp_path / "first.fits", tmp_path / "other.fits", tmp_path / "more.csv")
    assert ended.code == 1
    assert "not entered" in ended.text
    assert "'b' and 0 others are there already" in ended.text
    assert load_components(open_context(str(root)))["cat_id"].tolist() == ["a", "b", "d"]
