"""Pictures of the RM table: what is matched and drawn, and that nothing at all can be drawn too."""

import numpy as np
import pytest
from astropy.table import Table

from mpidriver.errors import DataError
from mpidriver.report import draw_rm_comparison, draw_rm_table, published_rms
from mpidriver.report._rm_sources import match_published
from mpidriver.tasks.polarisation import RM_TABLE_DTYPE

PNG = b"\x89PNG\r\n\x1a\n"


def rows(n):
    rng = np.random.default_rng(0)
    table = np.zeros(n, RM_TABLE_DTYPE)
    table["ra"], table["dec"] = (359.0 + rng.uniform(0, 2, n)) % 360.0, rng.uniform(-1, 1, n)
    table["rm"], table["rm_err"] = rng.normal(0, 50, n), 1.0
    table["stokesI"], table["stokesI_err"] = rng.uniform(0.01, 1, n), 1e-4
    table["fracpol"] = 0.05
    table["polint"], table["beamdist"] = 0.05 * table["stokesI"], rng.uniform(0, 1, n)
    table["leakage"] = 0.002
    return table


@pytest.mark.parametrize("n", [0, 1, 80])
def test_a_table_of_any_length_is_drawn_the_same_twice(tmp_path, n):
    for name in ("a.png", "b.png"):
        draw_rm_table(tmp_path / name, rows(n), title="RM table")
    assert (tmp_path / "a.png").read_bytes()[:8] == PNG
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_sources_are_matched_to_the_nearest_published_within_15_arcsec():
    table = rows(50)
    published = table[["ra", "dec", "rm", "rm_err"]][[7, 3, 20]].copy()
    published["ra"][0] = (published["ra"][0] + 10 / 3600) % 360.0
    published["dec"][1] += 20 / 3600
    own, theirs = match_published(table, published)
    assert sorted(zip(own.tolist(), theirs.tolist(), strict=True)) == [(7, 0), (20, 2)]
    assert match_published(table[:0], published)[0].size == 0


def test_a_comparison_is_drawn_with_and_without_sources_in_common(tmp_path):
    table = rows(50)
    published = table[["ra", "dec", "rm", "rm_err"]][:20].copy()
    published["rm_err"][:3] = np.nan
    draw_rm_comparison(tmp_path / "a.png", table, published)
    published["dec"] += 5.0
    draw_rm_comparison(tmp_path / "b.png", table, published)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_published_tables_need_positions_and_rms(tmp_path, data):
    assert len(published_rms(data / "rmcat" / "VanEck2011.fits")) == 194
    Table({"ra": [1.0], "dec": [1.0]}).write(tmp_path / "a.fits")
    with pytest.raises(DataError, match="no column 'rm'; it has ra, dec"):
        published_rms(tmp_path / "a.fits")
    Table({"ra": [1.0], "dec": [1.0], "rm": [5.0]}).write(tmp_path / "b.fits")
    assert np.isnan(published_rms(tmp_path / "b.fits")["rm_err"][0])
