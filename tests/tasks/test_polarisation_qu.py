"""QU fits of catalogued sources: which model is preferred, and what the RM table says of it."""

import numpy as np
import pytest

from mpidriver.errors import ConfigError
from mpidriver.tasks.faraday import QU_MODELS, lambda_sq
from mpidriver.tasks.polarisation import (
    QU_COLUMNS,
    QU_UNITS,
    RM_TABLE_DTYPE,
    QUFittingOptions,
    fill_qu_columns,
    fit_component,
    qu_table,
)

FREQ_HZ = np.linspace(800e6, 1088e6, 36)
SIGMA = 2e-4
OPTIONS = QUFittingOptions(models=tuple(QU_MODELS), phi_max_radm2=300.0)


def spectrum(fraction):
    """Return the spectra of a source of 0.1 Jy and a complex polarised fraction (chan,), and its Stokes I."""
    rng = np.random.default_rng(3)
    row = np.zeros(
        (), [("freq", "f8", 36), *((f"stokes{name}", "f4", 36) for name in ("Q", "U", "Q_error", "U_error"))]
    )
    stokes_i = 0.1 * (FREQ_HZ / 940e6) ** -0.7
    row["freq"], row["stokesQ_error"], row["stokesU_error"] = FREQ_HZ, SIGMA, SIGMA
    row["stokesQ"] = stokes_i * fraction.real + SIGMA * rng.normal(size=36)
    row["stokesU"] = stokes_i * fraction.imag + SIGMA * rng.normal(size=36)
    return row, stokes_i


def thin(fraction, rm, angle_deg):
    return fraction * np.exp(2j * (np.deg2rad(angle_deg) + rm * lambda_sq(FREQ_HZ)))


def test_the_model_that_made_the_spectrum_is_preferred_and_its_parameters_are_found():
    sources = {
        "one": thin(0.1, 40.0, 30.0),
        "pair": thin(0.1, 40.0, 30.0) + thin(0.07, -80.0, 100.0),
        "deep": thin(0.1, 27.5, 30.0) * np.sinc(15.0 * lambda_sq(FREQ_HZ) / np.pi),
    }
    fits = [fit_component(OPTIONS, *spectrum(fraction)) for fraction in sources.values()]
    for criterion in ("aic", "evidence", "bic"):
        table = qu_table(list(sources), fits, criterion=criterion)
        assert table["qu_model"][1:].tolist() == ["two", "slab"]
        assert (table["qu_margin"] > 0).all()
    assert table["qu_model"][0] == "thin"
    expected = {
        "amplitude": [0.1, 0.1, 0.1],
        "angle0_deg": [30.0, 30.0, 30.0],
        "rm_radm2": [40.0, 40.0, 20.0],
        "depth_radm2": [np.nan, np.nan, 15.0],
        "rm_radm2_2": [np.nan, -80.0, np.nan],
    }
    for name, values in expected.items():
        difference = table[f"qu_{name}"] - values
        assert np.array_equal(np.isnan(difference), np.isnan(values)), name
        assert np.nanmax(np.abs(difference / table[f"qu_{name}_err"])) < 4.0, name
    assert np.isfinite(table["slab_chi_sq"]).all()


def test_rows_take_the_fits_of_their_sources_and_others_stay_blank():
    fits = [fit_component(QUFittingOptions(models=("thin",)), *spectrum(thin(0.1, 40.0, 30.0))), {}]
    fitted = qu_table(["a", "failed"], fits, criterion="bic")
    rows = np.zeros(3, RM_TABLE_DTYPE)
    rows["cat_id"] = ["other", "a", "failed"]
    fill_qu_columns(rows, fitted)
    assert rows["qu_model"].tolist() == ["", "thin", ""]
    assert rows["qu_rm_radm2"][1] == pytest.approx(40.0, abs=1.0)
    assert np.isnan(rows["qu_margin"][1])
    assert rows["qu_rm_radm2"][0] == 0.0
    assert set(QU_COLUMNS) <= set(QU_UNITS)


def test_models_are_named():
    assert tuple(QU_MODELS) == ("thin", "two", "slab")
    with pytest.raises(ConfigError, match="expected some of thin, two, slab, got 'burn'"):
        QUFittingOptions(models=("burn",))
