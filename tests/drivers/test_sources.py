"""From catalogue to RM table: absolute flux and angle through beams, ionosphere and resolution; faults; ranks."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from survey import digests, run, run_in_turn

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._sources._qu import fit_cell
from mpidriver.drivers.pipeline import open_context
from mpidriver.pool import Pool
from mpidriver.store import open_state, read_table
from mpidriver.tasks.polarisation import analyse_components

C_M_S = 299792458.0
SIMULATION = """
[simulation]
exposures_per_band = 0
[simulation.radio]
n_beams = 2
image_shape = [72, 72]
beam_growth = 0.15
chromatic = true
primary_fwhm_arcsec = 600.0
ionosphere_radm2 = [-2.0, 1.5]
n_channels = 16
noise_jy = 1e-4
n_sources = 8
flux_range_jy = [0.02, 0.3]
unpolarised = 0.0
two_component = 0.0
slab = 0.0
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A simulated radio survey of two beams with its components entered."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "simulation.toml").write_text(SIMULATION)
    root = folder / "repo"
    ended = run_in_turn(
        ("simulate", root, "--config", folder / "simulation.toml", "--quiet"),
        ("catalogue", root, root / "truth" / "radio_sources.fits"),
    )
    assert (ended.code, "8 components" in ended.text) == (0, True), ended.text
    return root


@pytest.fixture(scope="module")
def measured(raw, tmp_path_factory):
    """The same, measured by one rank in one process."""
    root = tmp_path_factory.mktemp("measured") / "repo"
    shutil.copytree(raw, root)
    ended = run("sources", root, "--no-pictures")
    assert ended.code == 0, ended.text
    return root


def with_truth(root):
    """Return the RM table and, row by row, the true source and its Stokes I and Q + iU at the reference frequency."""
    table = read_table(root / "catalogues" / "rmtable.fits")
    truth = {str(row["id"]): row for row in read_table(root / "truth" / "radio_sources.fits")}
    rows = np.array([truth[name] for name in table["cat_id"].tolist()])
    freq_hz = table["reffreq_pol"].astype(float)
    stokes_i = rows["i_jy"] * (freq_hz / 888e6) ** rows["spectral_index"]
    angle = np.radians(rows["angle_1_deg"]) + rows["rm_1_radm2"] * (C_M_S / freq_hz) ** 2
    return table, rows, stokes_i, stokes_i * rows["fraction_1"] * np.exp(2j * angle)


def test_fluxes_angles_and_rms_are_the_true_ones_within_their_errors(measured):
    table, rows, stokes_i, polarisation = with_truth(measured)
    assert len(table) == 8
    assert set(table["n_images"]) == {16, 32}
    np.testing.assert_allclose(table["stokesI"], stokes_i, rtol=4e-3)
    np.testing.assert_allclose(
        table["polint"] / np.abs(polarisation), 1.0, atol=6 * (table["polint_err"] / np.abs(polarisation)).max()
    )
    turned = (table["derot_polangle"] - rows["angle_1_deg"] + 90.0) % 180.0 - 90.0
    pulls = {
        "I": (table["stokesI"] - stokes_i) / np.hypot(table["stokesI_err"], 5e-4 * stokes_i),
        "Q": (table["stokesQ"] - polarisation.real) / table["stokesQ_err"],
        "U": (table["stokesU"] - polarisation.imag) / table["stokesU_err"],
        "rm": (table["rm"] - rows["rm_1_radm2"]) / table["rm_err"],
        "angle": turned / table["derot_polangle_err"],
    }
    for name, pull in pulls.items():
        assert np.abs(pull).max() < 4.5, name
        assert np.sqrt(np.mean(pull**2)) < 1.8, name
        assert abs(pull.mean()) < 1.2, name


def test_the_table_has_what_the_analysis_of_the_spectra_reports(measured):
    table = read_table(measured / "catalogues" / "rmtable.fits")
    options = open_context(str(measured)).config.faraday
    for cell in np.unique(table["cell"]).tolist():
        spectra = read_table(measured / f"faraday/cells/{cell:07d}/spectra.fits")
        analysed = analyse_components(spectra, options).table
        rows = table[[table["cat_id"].tolist().index(name) for name in spectra["cat_id"].tolist()]]
        for name in analysed.dtype.names:
            if name.startswith(("clean_", "dirty_", "sigma_add")) and name in table.dtype.names:
                np.testing.assert_allclose(rows[name], analysed[name], rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(rows["stokesI_model_coef"], analysed["stokes_i_coefficients"])
        np.testing.assert_array_equal(rows["stokesI_model_coef"][:, -1].astype("f4"), rows["stokesI"])
    votable = parse_single_table(measured / "catalogues" / "rmtable.xml").array
    np.testing.assert_array_equal(votable["stokesI_model_coef_err"].data, table["stokesI_model_coef_err"])


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_number_of_ranks_gives_the_same_products_bit_for_bit(raw, measured, tmp_path, ranks):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    ended = run("-n", ranks, "sources", root, "--no-pictures")
    assert ended.code == 0, ended.text
    assert digests(root) == digests(measured)


def test_a_second_run_changes_nothing_and_a_new_component_is_measured_with_its_cell(measured, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(measured, root)
    ended = run("sources", root, "--no-pictures")
    assert ended.code == 0
    assert " done " not in ended.text.splitlines()[1]
    assert digests(root) == digests(measured)
    first = read_table(root / "catalogues" / "components.fits")[0]
    Table({"cat_id": ["new"], "ra": [first["ra"]], "dec": [first["dec"] + 4 / 3600]}).write(tmp_path / "new.csv")
    assert run("catalogue", root, tmp_path / "new.csv").code == 0
    assert run("sources", root, "--no-pictures").code == 0
    table = read_table(root / "catalogues" / "rmtable.fits")
    assert len(table) == 9
    blended = table[table["is_blended_flag"]]
    assert set(blended["cat_id"]) == {"new", first["cat_id"]}
    assert np.isfinite(blended["N_blended"]).all()


def test_models_of_q_and_u_are_fitted_if_asked_for_and_one_that_fails_stops_no_other(measured, tmp_path, monkeypatch):
    root = tmp_path / "repo"
    shutil.copytree(measured, root)
    config = root / "survey.toml"
    config.write_text(config.read_text().replace("models = []", 'models = ["thin", "slab"]'))
    ended = run("sources", root, "--no-pictures")
    assert ended.code == 0, ended.text
    table, rows, _, _ = with_truth(root)
    assert set(table["qu_model"]) <= {"thin", "slab"}
    thin = table["qu_model"] == "thin"
    assert thin.sum() >= 6
    assert (np.abs(table["qu_rm_radm2"] - rows["rm_1_radm2"])[thin] < 5 * table["qu_rm_radm2_err"][thin]).all()
    np.testing.assert_allclose(table["qu_amplitude"][thin], rows["fraction_1"][thin], rtol=0.05)
    state = open_state(open_context(str(root)).repository, readonly=True)
    assert state.counts()["qu_fit"] == {"done": 8}
    assert state.counts()["source_rm"] == state.counts()["source_qu"]

    from mpidriver.tasks import polarisation

    def failing(options, spectrum, model):
        if spectrum["cat_id"] == table["cat_id"][0]:
            raise ArithmeticError("no fit")
        return fit(options, spectrum, model)

    fit = polarisation.fit_component
    monkeypatch.setattr(polarisation, "fit_component", failing, raising=False)
    with Pool():
        record = fit_cell(open_context(str(root)), Quantum("source_qu", DataId(cell=int(table["cell"][0]))))
    reasons = {part.quantum.data_id.source: part.error for part in record.parts}
    assert [name for name, reason in reasons.items() if reason] == [table["cat_id"][0]]
    assert "ArithmeticError: no fit" in reasons[table["cat_id"][0]]


def test_every_source_has_its_record(measured):
    state = open_state(open_context(str(measured)).repository, readonly=True)
    assert state.counts()["source"] == {"done": 8}
    record = state.quanta("source")[0]
    assert record.key == f"source{{cell={record.data_id['cell']}, source={record.data_id['source']}}}"
    recorded = {product.path for product in state.products()}
    assert recorded == set(digests(measured))


def test_the_table_is_the_standards_in_fits_and_votable(measured, data):
    import json

    standard = json.loads((data / "rmcat" / "column_standard_v1.3.json").read_text())
    entries = json.loads((data / "rmcat" / "entries_standard_v1.3.json").read_text())
    names = [name for name, words in standard.items() if isinstance(words, dict)]
    with fits.open(measured / "catalogues" / "rmtable.fits") as hdus:
        columns, rows = hdus[1].columns, hdus[1].data
        assert columns.names[:58] == names
        assert rows["telescope"].tolist() == ["Unknown"] * 8
    votable = parse_single_table(measured / "catalogues" / "rmtable.xml")
    assert [field.name for field in votable.fields] == columns.names
    for field in votable.fields[:58]:
        assert field.description == standard[field.name]["description"]
        if field.name not in ("stokesV", "stokesV_err"):  # the standard gives them the UCD of Stokes U
            assert field.ucd == standard[field.name]["ucd"]
        kind = field.converter.format if field.datatype != "char" else "U"
        expected = {"f8": "double", "f4": "float", "i4": "int"}.get(standard[field.name]["dtype"], "unicodeChar")
        assert field.datatype == expected, (field.name, kind)
    lists = {"complex_test": "complexity_test"}
    for column in ("rm_method", "pol_bias", "flux_type", "complex_test", "ionosphere", "telescope"):
        assert set(rows[column]) <= set(entries[lists.get(column, column)])
    for name in names:
        limits = standard[name].get("limits")
        if limits and rows[name].dtype.kind == "f":
            good = rows[name][np.isfinite(rows[name])]
            assert ((good >= limits[0]) & (good <= limits[1])).all(), name


def test_the_table_is_written_again_with_pictures(measured, tmp_path, data):
    root = tmp_path / "repo"
    shutil.copytree(measured, root)
    config = root / "survey.toml"
    config.write_text(config.read_text().replace('telescope = "Unknown"', 'telescope = "ASKAP"'))
    ended = run("catalogue", root, "--write", "--published", data / "rmcat" / "VanEck2011.fits")
    assert ended.code == 0, ended.text
    for name in ("rm-sources.png", "source-spectra.png", "rm-published.png"):
        assert (root / "reports" / name).is_file()
    table = read_table(root / "catalogues" / "rmtable.fits")
    assert set(table["telescope"]) == {"ASKAP"}
    spectra = "faraday/cells/{:07d}/spectra.fits".format(table["cell"][0])
    assert digests(root)[spectra] == digests(measured)[spectra]


def test_there_is_no_table_of_what_was_not_measured(raw):
    ended = run("catalogue", raw, "--write")
    assert (ended.code, "measure the components first with `mpidriver sources`" in ended.text) == (1, True), ended.text
    assert run("catalogue", raw).code == 2
    assert run("catalogue", raw, "--published", "x.fits", "y.fits").code == 2


def test_spectra_are_in_the_polspectra_format(measured):
    spectra = read_table(measured / "catalogues" / "polspectra.fits")
    table = read_table(measured / "catalogues" / "rmtable.fits")
    assert spectra["cat_id"].tolist() == table["cat_id"].tolist()
    assert spectra["freq"].shape == spectra["stokesQ"].shape == (8, 16)
    assert (spectra["Nchan"] == 16).all()
    lambda_sq = (C_M_S / spectra["freq"]) ** 2
    model = np.abs(table["polint"])[:, None] * np.exp(
        2j * (np.radians(table["derot_polangle"])[:, None] + table["rm"][:, None] * lambda_sq)
    )
    shape = (spectra["freq"] / table["reffreq_I"][:, None]) ** table["spectral_index"][:, None]
    residual = spectra["stokesQ"] + 1j * spectra["stokesU"] - model * shape
    chi = np.sqrt(np.nanmean(np.abs(residual / spectra["stokesQ_error"]) ** 2 / 2))
    assert 0.8 < chi < 1.5


def test_a_blank_region_and_a_bad_channel_cost_their_source_and_channel_alone(raw, measured, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    target = read_table(root / "catalogues" / "components.fits")[2]
    from mpidriver.store import wcs_from_header

    for path in sorted((root / "raw").glob("stokes-*.fits")):
        with fits.open(path, mode="update") as hdus:
            x, y = wcs_from_header(hdus[0].header).celestial.wcs_world2pix(target["ra"], target["dec"], 0)
            col, row = round(float(x)), round(float(y))
            if 0 <= row < 72 and 0 <= col < 72:
                hdus[0].data[..., max(row - 4, 0) : row + 5, max(col - 4, 0) : col + 5] = np.nan
            if path.name.endswith("-0007.fits"):
                hdus[0].data[:] = np.nan
    Table({"name": ["afar", "near"], "ra": [10.0, target["ra"]], "dec": [-80.0, target["dec"]]}).write(
        tmp_path / "x.csv"
    )
    assert run("catalogue", root, tmp_path / "x.csv").code == 0
    ended = run("sources", root, "--no-pictures")
    assert ended.code == 1, ended.text
    assert "1 of 10 components lie in no channel image" in ended.text
    assert "blank in all 15 channels" in ended.text
    state = open_state(open_context(str(root)).repository, readonly=True)
    failed = {record.data_id["source"]: record.error for record in state.quanta("source", status="failed")}
    assert set(failed) == {str(target["cat_id"]), "near"}
    assert state.counts()["channel_frame"] == {"done": 30, "failed": 2}
    table = read_table(root / "catalogues" / "rmtable.fits")
    assert len(table) == 7
    assert (table["Nchan"] <= 15).all()
    whole = read_table(measured / "catalogues" / "rmtable.fits")
    whole = whole[np.isin(whole["cat_id"], table["cat_id"])]
    pulls = (table["rm"] - whole["rm"]) / table["rm_err"]
    assert np.abs(pulls).max() < 2.0


def test_without_components_or_beams_the_driver_says_what_would_do(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    (root / "catalogues" / "components.fits").rename(tmp_path / "kept.fits")
    ended = run("sources", root)
    assert ended.code == 2
    assert "no components yet; enter a source finder's tables with `mpidriver catalogue" in ended.text
    (tmp_path / "kept.fits").rename(root / "catalogues" / "components.fits")
    config = root / "survey.toml"
    text = config.read_text()
    config.write_text(text.replace("resolution_arcsec = []", "resolution_arcsec = [10.0, 10.0]"))
    ended = run("sources", root, "--no-pictures")
    assert ended.code == 1
    assert "cannot be smoothed to 10.00 x 10.00 arcsec" in ended.text


def test_cubes_are_written_when_asked_for_and_without_the_ionosphere_the_rm_is_off_by_its_mean(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    config = root / "survey.toml"
    text = config.read_text().replace("cubes = false", "cubes = true")
    config.write_text(text.replace('kind = "series"', 'kind = "none"'))
    assert run("sources", root, "--quiet", "--no-pictures").code == 0
    table, rows, stokes_i, _ = with_truth(root)
    offset = np.average(table["rm"] - rows["rm_1_radm2"], weights=table["rm_err"] ** -2.0)
    assert offset == pytest.approx(-0.25, abs=0.05)
    assert set(table["ionosphere"]) == {"None"}
    with fits.open(next(path for path in (root / "cutouts").iterdir() if "fdf" not in path.name)) as hdus:
        assert {hdu.name for hdu in hdus[1:]} == set(table["cat_id"])
        for row, flux in zip(table, stokes_i, strict=True):
            cube = hdus[row["cat_id"]].data
            assert cube.shape[:2] == (3, 16)
            middle = cube.shape[-1] // 2
            assert np.nanmean(cube[0, :, middle, middle]) == pytest.approx(flux, rel=0.05)
    with fits.open(next((root / "cutouts").glob("*-fdf.fits"))) as hdus:
        for row in table:
            for name in (row["cat_id"], f"{row['cat_id']}_CLEAN"):
                header, cube = hdus[name].header, hdus[name].data
                assert (header["CTYPE3"], header["CTYPE4"], len(cube)) == ("FDEP", "COMPLEX", 2)
                middle = cube.shape[-1] // 2
                along = np.hypot(*cube[:, :, middle, middle])
                depth = header["CRVAL3"] + header["CDELT3"] * (along.argmax() + 1 - header["CRPIX3"])
                assert depth == pytest.approx(row["rm"], abs=header["CDELT3"])
                assert along.max() == pytest.approx(row["polint"], rel=0.05)


def test_one_channel_has_spectra_and_no_rotation_measures(tmp_path):
    simulation = SIMULATION.replace("n_channels = 16", "n_channels = 1").replace("n_sources = 8", "n_sources = 2")
    (tmp_path / "simulation.toml").write_text(simulation)
    root = tmp_path / "repo"
    ended = run_in_turn(
        ("simulate", root, "--config", tmp_path / "simulation.toml", "--quiet"),
        ("catalogue", root, root / "truth" / "radio_sources.fits"),
        ("sources", root, "--no-pictures"),
    )
    assert ended.code == 1
    assert "rotation measures need two channels or more, got one frequency, 8.88e+08 Hz" in ended.text
    assert len(list((root / "faraday" / "cells").glob("*/spectra.fits"))) == 1
