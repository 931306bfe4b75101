"""Component and island tables: what each source finder's columns become."""

import numpy as np
import pytest
from astropy.table import Table

from mpidriver.errors import DataError
from mpidriver.store import COMPONENT_DTYPE, read_components
from mpidriver.store._components._tables import position_name


def write(path, **columns):
    Table(columns).write(path)
    return path


def test_real_components_of_racs_in_jy_and_degrees(data):
    read = read_components(data / "racs" / "gaussians_RACS_1237+12A_3165.fits")
    assert (read.layout, read.islands, read.dropped) == ("RACS components (Hale et al. 2021)", False, 0)
    assert read.rows.dtype == COMPONENT_DTYPE
    first = read.rows[0]
    assert first["cat_id"] == "RACS_1237+12A_3630"
    assert first["source_id"] == "RACS_1237+12A_3165"
    assert first["sbid"] == "13586"
    assert first["N_Gaus"] == 3
    np.testing.assert_allclose(
        [first[name] for name in ("ra", "dec", "ra_err", "total_I_flux", "peak_I_flux", "maj_axis", "dc_pa")],
        [187.711018, 12.386291, 0.12 / 3600, 25.908131, 16.01455, 38.72 / 3600, 15.61],
        rtol=1e-12,
    )


def test_real_islands_of_racs(data):
    read = read_components(data / "racs" / "source_RACS_1237+12A_3165.fits")
    assert read.islands
    assert read.rows["cat_id"].tolist() == read.rows["source_id"].tolist() == ["RACS_1237+12A_3165"]
    assert read.rows["source_name"][0] == "RACS-DR1_J123049.4+122322".replace("_", " ")
    np.testing.assert_allclose(read.rows["total_I_flux"], 186.673179)


def test_real_components_of_aegean_where_errors_of_minus_one_mean_not_fitted(data):
    read = read_components(data / "racs" / "SB38959.RACS_1357-18.noselfcal.linmos_comp.fits")
    assert read.layout == "Aegean components"
    assert len(read.rows) == 7225
    assert len(set(read.rows["cat_id"])) == 7225
    assert read.rows["source_id"][0].endswith(":1")
    assert np.isnan(read.rows["maj_axis_err"][0])
    np.testing.assert_allclose(read.rows["maj_axis"][0], 14.300478 / 3600, rtol=1e-6)
    assert not np.any(read.rows["ra_err"] < 0)


@pytest.mark.parametrize("ending", ["xml", "csv", "ecsv", "fits"])
def test_selavy_components_of_every_format(tmp_path, ending):
    path = tmp_path / f"selavy.components.{ending}"
    columns = {
        "col_island_id": ["SB1_island_7", "SB1_island_7"],
        "col_component_id": ["SB1_component_7a", "SB1_component_7b"],
        "col_component_name": ["J1+1", "J1+2"],
        "col_ra_deg_cont": [359.999, 10.0],
        "col_dec_deg_cont": [-30.0, -30.1],
        "col_flux_peak": [5.5, 2.0],
        "col_flux_int": [6.0, 2.5],
        "col_maj_axis": [15.0, 16.0],
    }
    Table(columns).write(path, format={"xml": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(ending))
    rows = read_components(path).rows
    assert rows["cat_id"].tolist() == ["SB1_component_7a", "SB1_component_7b"]
    assert rows["source_id"].tolist() == ["SB1_island_7"] * 2
    np.testing.assert_allclose(rows["peak_I_flux"], [5.5e-3, 2e-3])
    np.testing.assert_allclose(rows["maj_axis"], [15 / 3600, 16 / 3600])
    assert np.isnan(rows["pa"]).all()


def test_a_published_rm_catalogue_is_a_table_of_unknown_origin(data):
    rows = read_components(data / "rmcat" / "Vanderwoude2024.fits").rows
    assert rows["cat_id"][0] == "SB10635_component_1011a"
    np.testing.assert_allclose((rows["ra"][0], rows["dec"][0]), (329.3936, -52.0387))


def test_columns_may_be_named_and_their_own_units_count(tmp_path):
    table = Table({"Where": [10.0, 20.0], "South": [-1.0, 1.0], "S1400": [1500.0, np.nan], "Who": ["a b", "c,d"]})
    table["S1400"].unit = "uJy"
    table.write(tmp_path / "any.fits")
    names = {"ra": "Where", "dec": "South", "total_I_flux": "S1400", "cat_id": "Who"}
    rows = read_components(tmp_path / "any.fits", columns=names).rows
    assert rows["cat_id"].tolist() == ["a_b", "c_d"]
    np.testing.assert_allclose(rows["total_I_flux"], [1.5e-3, np.nan])


def test_rows_without_a_position_are_left_out_and_counted(tmp_path):
    path = write(tmp_path / "some.fits", ra=[1.0, np.nan, 3.0], dec=[2.0, 2.0, 95.0])
    read = read_components(path)
    assert read.dropped == 2
    assert read.rows["cat_id"].tolist() == [position_name(1.0, 2.0)] == ["J000400.00+020000.0"]


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (0.0, 0.0, "J000000.00+000000.0"),
        (359.99999, -89.99999, "J235959.99-895959.9"),
        (187.711018, 12.386291, "J123050.64+122310.6"),
        (360.0, -0.5, "J000000.00-003000.0"),
    ],
)
def test_names_of_positions_are_cut_not_rounded(ra, dec, name):
    assert position_name(ra, dec) == name


def test_what_cannot_be_used_says_what_would_do(tmp_path):
    with pytest.raises(DataError, match=r"no column for ra.*it has x, dec.*\[sources.columns\]"):
        read_components(write(tmp_path / "a.fits", x=[1.0], dec=[1.0]))
    with pytest.raises(DataError, match="no rows"):
        read_components(write(tmp_path / "b.fits", ra=np.zeros(0), dec=np.zeros(0)))
    with pytest.raises(DataError, match="none of its 1 rows has a position"):
        read_components(write(tmp_path / "c.fits", ra=[np.nan], dec=[1.0]))
    with pytest.raises(DataError, match="2 rows have the identifier 'a'"):
        read_components(write(tmp_path / "d.fits", ra=[1.0, 2.0], dec=[1.0, 1.0], name=["a", "a"]))
    with pytest.raises(DataError, match="expected numbers"):
        read_components(write(tmp_path / "e.fits", ra=["1h", "2h"], dec=[1.0, 1.0]))
    with pytest.raises(DataError, match=r"\[sources.columns\]: 'dce' is no column"):
        read_components(write(tmp_path / "f.fits", ra=[1.0]), columns={"dce": "x"})
    with pytest.raises(DataError, match="no such file"):
        read_components(tmp_path / "none.fits")
    with pytest.raises(DataError, match="must end in one of"):
        read_components(tmp_path / "table.txt")
    (tmp_path / "garbage.xml").write_text("<VOTABLE><RES")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_components(tmp_path / "garbage.xml")
    wrong = Table({"ra": [1.0], "dec": [1.0], "flux": [1.0]})
    wrong["flux"].unit = "K"
    wrong.write(tmp_path / "kelvin.fits")
    with pytest.raises(DataError, match="expected a unit like Jy, got K"):
        read_components(tmp_path / "kelvin.fits")
