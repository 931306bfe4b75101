"""What cannot be right, of every function that takes spectra: a clear error, or NaN as documented; never a number."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import (
    analyse_spectra,
    double_phi_grid,
    find_peaks,
    fit_qu,
    lambda_sq,
    measure_faraday,
    rm_clean,
    rm_synthesis,
    rmtf,
)

FREQ_HZ = np.linspace(800e6, 1088e6, 24)
PHI = np.arange(-100.0, 101.0, 10.0)
RM, SIGMA = 30.0, 0.05


def spectra():
    """Return Q and U (chan, source) of three thin sources in noise."""
    noise = SIGMA * np.random.default_rng(1).normal(size=(2, FREQ_HZ.size, 3))
    p = np.exp(2j * RM * lambda_sq(FREQ_HZ))[:, None]
    return p.real + noise[0], p.imag + noise[1]


def peak(freq_hz, q, u, sigma=SIGMA):
    spectrum = rm_synthesis(q, u, freq_hz, PHI, weights=np.full(len(freq_hz), float(sigma > 0)))
    return np.where(np.isnan(spectrum[0]), np.nan, PHI[np.abs(spectrum).argmax(axis=0)])


def analysed(freq_hz, q, u, sigma=SIGMA):
    return analyse_spectra(freq_hz, None, q.T, u.T, None, sigma, sigma).table["clean_rm_radm2"]


def measured(freq_hz, q, u, sigma=SIGMA):
    return measure_faraday(q.T, u.T, None, freq_hz, sigma, sigma)["rm"]


def fitted(freq_hz, q, u, sigma=SIGMA):
    fits = [fit_qu(freq_hz, *one, sigma, sigma, models=["thin"])["thin"] for one in zip(q.T, u.T, strict=True)]
    return np.array([fit.parameters["rm_radm2"] for fit in fits])


FUNCTIONS = [peak, analysed, measured, fitted]
Q, U = spectra()
WRONG = {
    "no frequencies": ((FREQ_HZ[:0], Q[:0], U[:0]), "at least one frequency"),
    "too few frequencies": ((FREQ_HZ[1:], Q, U), r"as freq_hz|of freq_hz"),
    "frequencies of two axes": ((FREQ_HZ[None], Q, U), "along one axis"),
    "a frequency that is none": ((np.append(FREQ_HZ[1:], np.nan), Q, U), "not finite"),
    "MHz": ((FREQ_HZ / 1e6, Q, U), "multiply MHz by 1e6 and GHz by 1e9"),
    "GHz": ((FREQ_HZ / 1e9, Q, U), "multiply MHz by 1e6 and GHz by 1e9"),
    "negative frequencies": ((-FREQ_HZ, Q, U), "expected Hz"),
    "other channels in U": ((FREQ_HZ, Q, U[1:]), r"same shape|channels of freq_hz|as freq_hz"),
    "P as Q": ((FREQ_HZ, Q + 1j * U, U), "q: expected real numbers, got complex ones; .* give the real part as Q"),
    "frequencies as text": ((FREQ_HZ.astype(str), Q, U), "freq_hz: expected real numbers, got text"),
    "U as text": ((FREQ_HZ, Q, U.astype(str)), "u: expected real numbers, got text"),
    "Q of objects": ((FREQ_HZ, Q.astype(object), U), "q: expected real numbers, got objects"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_frequencies_and_shapes_are_named(function, wrong):
    arguments, message = WRONG[wrong]
    with pytest.raises(DataError, match=message):
        function(*arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_channels_come_in_any_order(function):
    order = np.random.default_rng(2).permutation(FREQ_HZ.size)
    found = function(FREQ_HZ[order], Q[order], U[order])
    assert found == pytest.approx(function(FREQ_HZ, Q, U), abs=1e-3)
    assert found == pytest.approx(RM, abs=2.0)


@pytest.mark.parametrize("function", [peak, analysed, measured])
def test_a_source_without_data_is_blank(function):
    q = Q.copy()
    q[:, 1] = np.nan
    found = function(FREQ_HZ, q, U)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(function(FREQ_HZ, q * np.nan, U)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_masked_voxels_are_flagged(function):
    hidden = np.arange(FREQ_HZ.size) % 5 == 0
    wild, blank = np.where(hidden[:, None], 1e6, Q), np.where(hidden[:, None], np.nan, Q)
    masked = np.ma.masked_array(wild, np.broadcast_to(hidden[:, None], Q.shape))
    if function is peak:
        assert np.array_equal(rm_synthesis(masked, U, FREQ_HZ, PHI), rm_synthesis(blank, U, FREQ_HZ, PHI))
    assert np.array_equal(function(FREQ_HZ, masked, U), function(FREQ_HZ, blank, U))


def test_rows_of_different_lengths_are_named():
    with pytest.raises(DataError, match="q: expected an array of real numbers, got rows of different lengths"):
        rm_synthesis([[1.0, 2.0], [1.0]], [[1.0, 2.0], [1.0, 2.0]], FREQ_HZ[:2], PHI)


def test_what_is_no_spectrum_is_not_searched_for_peaks_nor_cleaned():
    transfer = rmtf(FREQ_HZ, double_phi_grid(PHI))
    spectrum = rm_synthesis(Q, U, FREQ_HZ, PHI)
    with pytest.raises(DataError, match=r"fdf: expected complex numbers with 21 Faraday depths .*, got float32"):
        find_peaks(np.abs(spectrum), PHI)
    with pytest.raises(DataError, match="rmtf: expected complex numbers, got <U"):
        rm_clean(spectrum, transfer.astype(str), PHI, 60.0, cutoff=0.1)
    with pytest.raises(DataError, match="flags: expected real numbers, got text"):
        rmtf(FREQ_HZ, PHI, flags=FREQ_HZ.astype(str))


@pytest.mark.parametrize("function", [analysed, measured])
def test_errors_of_zero_flag_everything(function):
    assert np.isnan(function(FREQ_HZ, Q, U, 0.0)).all()


@pytest.mark.parametrize("function", [rm_synthesis, rmtf])
@pytest.mark.parametrize(
    ("weights", "message"),
    [(0.0, "at least one channel must have a positive weight"), (-1.0, "at least 0"), (np.nan, "positive weight")],
)
def test_weights_of_zero_are_named(function, weights, message):
    arguments = (Q, U) if function is rm_synthesis else ()
    with pytest.raises(DataError, match=message):
        function(*arguments, FREQ_HZ, PHI, weights=np.full(FREQ_HZ.size, weights))


def test_a_fit_needs_data():
    for arguments in ((Q[:, 0] * np.nan, U[:, 0], SIGMA, SIGMA), (Q[:, 0], U[:, 0], 0.0, 0.0)):
        with pytest.raises(DataError, match="at least two usable channels, got 0 of 24"):
            fit_qu(FREQ_HZ, *arguments)


def test_one_channel_is_flat_and_has_no_rotation_measure():
    one = FREQ_HZ[:1], Q[:1], U[:1]
    spectrum = rm_synthesis(*one[1:], one[0], PHI)
    assert np.ptp(np.abs(spectrum), axis=0) == pytest.approx(0.0, abs=1e-6)
    for function in (analysed, measured):
        with pytest.raises(DataError, match="no resolution in Faraday depth"):
            function(*one)
    with pytest.raises(DataError, match="at least two usable channels, got 1"):
        fitted(*one)
    row = measure_faraday(Q[:1].T, U[:1].T, None, one[0], SIGMA, SIGMA, phi_radm2=PHI)
    assert np.isnan(row["rm_err"]).all()


def test_blank_spectra_are_not_cleaned():
    transfer = rmtf(FREQ_HZ, double_phi_grid(PHI))
    blank = rm_synthesis(Q * np.nan, U, FREQ_HZ, PHI)
    result = rm_clean(blank, transfer, PHI, 60.0, cutoff=0.1)
    assert np.isnan(result.cleaned).all()
    assert result.iterations.tolist() == [0, 0, 0]
