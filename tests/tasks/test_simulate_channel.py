"""Simulated radio channels: beams, noise and polarised spectra are what the truth says."""

import dataclasses

import numpy as np
import pytest

from mpidriver.tasks import simulate
from mpidriver.tasks.simulate import SimulationOptions

SMALL = SimulationOptions.small()
C_M_S = 299792458.0
DTYPE = simulate.make_truth(SMALL).radio_sources.dtype


@pytest.fixture(scope="module")
def truth():
    return simulate.make_truth(SMALL)


def sources(**columns):
    """Return one source, polarised by a tenth, with some columns set."""
    table = np.zeros(1, dtype=DTYPE)
    for name, value in ({"i_jy": 1.0, "fraction_1": 0.1} | columns).items():
        table[name] = value
    return table


def test_channels_do_not_depend_on_order(truth):
    first = [simulate.simulate_channel(truth, SMALL, 0, channel) for channel in range(3)]
    again = [simulate.simulate_channel(truth, SMALL, 0, channel) for channel in (2, 1, 0)][::-1]
    assert [c.image.tobytes() for c in first] == [c.image.tobytes() for c in again]
    assert len({c.image.tobytes() for c in first}) == 3
    assert first[0].image.dtype == np.float32
    assert first[0].image.shape == (3, 48, 48)


def test_frequencies_fill_the_band(truth):
    freq_hz = simulate.channel_frequencies(SMALL)
    low, high = SMALL.radio.freq_range_hz
    header = simulate.simulate_channel(truth, SMALL, 0, 5).header
    assert header["FREQ"] == freq_hz[5]
    assert freq_hz[0] - header["CHANWID"] / 2 == pytest.approx(low)
    assert freq_hz[-1] + header["CHANWID"] / 2 == pytest.approx(high)
    assert header["EXPID"] == SMALL.radio_exposure
    assert header["BMAJ"] == pytest.approx(16.0 / 3600.0)


def test_noise_has_the_rms_of_the_header_and_the_beams_correlation():
    radio = dataclasses.replace(SMALL.radio, n_sources=0)
    options = dataclasses.replace(SMALL, radio=radio)
    truth = simulate.make_truth(options)
    cube = np.stack([simulate.simulate_channel(truth, options, 0, c).image for c in range(24)])
    beams = cube.size / (np.pi * 4.0**2 / (4.0 * np.log(2.0)))
    assert np.std(cube) == pytest.approx(radio.noise_jy, rel=4.0 / np.sqrt(beams))
    # The autocorrelation of noise smoothed by a Gaussian of FWHM b falls to 1/2 at b / sqrt(2).
    shifted = np.mean(cube[..., :-4] * cube[..., 4:]) / np.var(cube)
    assert shifted == pytest.approx(np.exp(-4.0 * np.log(2.0) / 2.0), abs=0.03)


def test_spectra_at_the_sources_agree_with_the_model_within_the_noise(truth):
    """Every Stokes parameter, source and channel: pulls of the pixel next to the source have unit variance."""
    freq_hz = simulate.channel_frequencies(SMALL)
    model = simulate.stokes_spectra(truth.radio_sources, SMALL, freq_hz)
    pulls = []
    for channel in range(SMALL.radio.n_channels):
        made = simulate.simulate_channel(truth, SMALL, 0, channel)
        x, y = made.wcs.world_to_pixel_values(truth.radio_sources["ra"], truth.radio_sources["dec"])
        col, row = np.rint(x).astype(int), np.rint(y).astype(int)
        fall = np.exp(-4.0 * np.log(2.0) * ((x - col) ** 2 + (y - row) ** 2) / 4.0**2)
        neighbours = made.image[:, row, col] - model[:, :, channel] * fall
        pulls.append(neighbours / made.header["NOISE"])
    pulls = np.array(pulls)
    assert pulls.shape == (24, 3, 5)
    assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * pulls.size))


def test_a_source_has_the_same_flux_in_both_beams_that_see_it():
    radio = dataclasses.replace(SMALL.radio, n_beams=2, beam_spacing_arcsec=40.0, noise_jy=0.0)
    options = dataclasses.replace(SMALL, radio=radio)
    truth = simulate.make_truth(options)
    made = [simulate.simulate_channel(truth, options, beam, 0) for beam in (0, 1)]
    east, west = made[0].image, made[1].image
    np.testing.assert_allclose(east[:, :, 10:], west[:, :, :-10], atol=2e-4 * east.max())
    assert made[0].wcs.wcs.crval[0] > made[1].wcs.wcs.crval[0]


def test_a_thin_source_turns_with_its_rotation_measure():
    freq_hz = np.linspace(744e6, 1032e6, 200)
    lambda_sq = (C_M_S / freq_hz) ** 2
    fraction = simulate.polarised_fraction(sources(rm_1_radm2=42.0, angle_1_deg=25.0), freq_hz)[0]
    np.testing.assert_allclose(np.abs(fraction), 0.1)
    slope, angle = np.polyfit(lambda_sq, np.unwrap(np.angle(fraction)) / 2.0, 1)
    assert slope == pytest.approx(42.0)
    assert np.degrees(angle) % 180.0 == pytest.approx(25.0)


def test_a_slab_is_the_mean_of_thin_screens_over_its_depth():
    freq_hz = np.linspace(744e6, 1032e6, 7)
    slab = simulate.polarised_fraction(sources(rm_1_radm2=-30.0, slab_radm2=35.0, angle_1_deg=70.0), freq_hz)[0]
    depths = -30.0 + 35.0 * ((np.arange(4000) + 0.5) / 4000 - 0.5)
    screens = [simulate.polarised_fraction(sources(rm_1_radm2=d, angle_1_deg=70.0), freq_hz)[0] for d in depths]
    np.testing.assert_allclose(slab, np.mean(screens, axis=0), atol=1e-8)


def test_slabs_of_the_survey_peak_at_their_middle():
    """The Faraday spectrum of each slab, by the plain sum over channels, has its peak at the truth's RM."""
    options = SimulationOptions()
    table = simulate.make_truth(options).radio_sources
    slabs = table[table["kind"] == "slab"]
    freq_hz = simulate.channel_frequencies(options)
    lambda_sq = (C_M_S / freq_hz) ** 2
    phi_radm2 = np.arange(-200.0, 200.5, 0.5)
    turns = np.exp(-2j * phi_radm2[:, None] * lambda_sq)
    spectra = np.abs(turns @ simulate.polarised_fraction(slabs, freq_hz).T)
    np.testing.assert_allclose(phi_radm2[spectra.argmax(axis=0)], slabs["rm_1_radm2"], atol=0.26)


def test_two_components_add():
    freq_hz = np.linspace(744e6, 1032e6, 7)
    first = simulate.polarised_fraction(sources(rm_1_radm2=10.0, angle_1_deg=5.0), freq_hz)
    second = simulate.polarised_fraction(sources(fraction_1=0.04, rm_1_radm2=-80.0, angle_1_deg=95.0), freq_hz)
    both = sources(rm_1_radm2=10.0, angle_1_deg=5.0, fraction_2=0.04, rm_2_radm2=-80.0, angle_2_deg=95.0)
    np.testing.assert_allclose(simulate.polarised_fraction(both, freq_hz), first + second, atol=1e-15)


def test_stokes_i_is_a_power_law_through_the_middle_of_the_band():
    spectrum = simulate.stokes_spectra(sources(i_jy=0.3, spectral_index=-0.8), SMALL, [888e6, 888e6 / 2])[0, 0]
    np.testing.assert_allclose(spectrum, [0.3, 0.3 * 2.0**0.8])
