"""One radio channel of one beam: Stokes I, Q, U images of point sources with noise."""

import dataclasses
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.frequencies import SPEED_OF_LIGHT_M_S
from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.simulate._options import RadioOptions, SimulationOptions
from mpidriver.tasks.simulate._polarisation import stokes_spectra
from mpidriver.tasks.simulate._radio import channel_frequencies, reference_frequency
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._tangent import tangent_wcs
from mpidriver.tasks.simulate._truth import Truth

__all__ = ["SimulatedChannel", "simulate_channel"]

#: Full width at half maximum of a Gaussian of unit standard deviation.
_FWHM = float(np.sqrt(8.0 * np.log(2.0)))


@dataclasses.dataclass(frozen=True)
class SimulatedChannel:
    """Images of one beam in one channel."""

    image: np.ndarray
    """Stokes I, Q, U in Jy/beam, float32, shape (stokes = 3, row, col)."""
    header: dict[str, Any]
    """EXPID, BEAM, CHANNEL, FREQ (Hz), NOISE (Jy/beam), BMAJ, BMIN, BPA (deg), BUNIT; without the WCS."""
    wcs: Any
    """`astropy.wcs.WCS` of rows and columns (TAN); it is exact."""


def simulate_channel(truth: Truth, options: SimulationOptions, beam: int, channel: int) -> SimulatedChannel:
    """Return the images of one beam in one channel.

    A source of S Jy is a circular Gaussian with a peak of S Jy/beam. The noise has the same rms everywhere and is
    correlated like the beam, as in an image made from visibilities.

    Parameters
    ----------
    truth
        From `make_truth` of the same options.
    options
    beam, channel
        Their numbers, from 0.
    """
    radio = options.radio
    if not 0 <= channel < radio.n_channels:
        raise DataError(f"simulated survey: no channel {channel}; known: 0 to {radio.n_channels - 1}")
    freq_hz = channel_frequencies(options)[channel]
    wcs = beam_wcs(options, truth.beam(beam))
    stokes_jy = stokes_spectra(truth.radio_sources, options, freq_hz)[:, :, 0]
    stokes_jy = _through_ionosphere(stokes_jy, radio, freq_hz)
    stokes_jy = stokes_jy * _primary_response(options, truth.beam(beam), truth.radio_sources, freq_hz)
    x, y = wcs.wcs_world2pix(truth.radio_sources["ra"], truth.radio_sources["dec"], 0)
    fwhm_arcsec = synthesised_fwhm_arcsec(options, beam, freq_hz)
    sigma_px = fwhm_arcsec / radio.pixel_scale_arcsec / _FWHM
    image = _point_sources(radio, x, y, stokes_jy, sigma_px)
    image += _beam_noise(radio, generator(options.seed, Stream.CHANNEL_NOISE, beam, channel), sigma_px)
    return SimulatedChannel(image.astype(np.float32), _header(options, beam, channel, freq_hz, fwhm_arcsec), wcs)


def beam_wcs(options: SimulationOptions, beam):
    """Return the WCS of a beam's images from its row of `Truth.beams`."""
    n_rows, n_cols = options.radio.image_shape
    scale_deg = options.radio.pixel_scale_arcsec / 3600.0
    return tangent_wcs(
        beam["ra"],
        beam["dec"],
        reference_px=((n_cols - 1) / 2, (n_rows - 1) / 2),
        cd_deg=np.diag([-scale_deg, scale_deg]),
        shape=options.radio.image_shape,
    )


def synthesised_fwhm_arcsec(options: SimulationOptions, beam: int, freq_hz: float) -> float:
    """Return the FWHM of a beam's synthesised beam at a frequency."""
    radio = options.radio
    stretch = reference_frequency(options) / freq_hz if radio.chromatic else 1.0
    return float(radio.beam_fwhm_arcsec * (1.0 + radio.beam_growth * beam) * stretch)


def _through_ionosphere(stokes_jy: np.ndarray, radio: RadioOptions, freq_hz: float) -> np.ndarray:
    """Return I, Q, U (stokes, source) turned by the ionosphere: its mean over the exposure, by the integral itself."""
    start, end = radio.ionosphere_radm2
    if start == end == 0.0:
        return stokes_jy
    lambda_sq = (SPEED_OF_LIGHT_M_S / freq_hz) ** 2
    turn = np.exp(1j * (start + end) * lambda_sq) * np.sinc((end - start) * lambda_sq / np.pi)
    turned = (stokes_jy[1] + 1j * stokes_jy[2]) * turn
    return np.stack([stokes_jy[0], turned.real, turned.imag])


def _primary_response(options: SimulationOptions, beam, sources: np.ndarray, freq_hz: float) -> np.ndarray:
    """Return the response of the primary beam at each source, (source,)."""
    fwhm_deg = options.radio.primary_fwhm_arcsec / 3600.0 * reference_frequency(options) / freq_hz
    if fwhm_deg == 0.0:
        return np.ones(len(sources))
    axis = unit_vectors(float(beam["ra"]), float(beam["dec"]))
    offset = angular_separation_deg(unit_vectors(sources["ra"], sources["dec"]), axis)
    return np.exp(-4.0 * np.log(2.0) * (offset / fwhm_deg) ** 2)


def _point_sources(radio: RadioOptions, x, y, stokes_jy: np.ndarray, sigma: float) -> np.ndarray:
    """Return circular Gaussians with peaks `stokes_jy`, shape (stokes, source), as (stokes, row, col)."""
    n_rows, n_cols = radio.image_shape
    in_rows = np.exp(-0.5 * ((np.arange(n_rows) - y[:, None]) / sigma) ** 2)
    in_cols = np.exp(-0.5 * ((np.arange(n_cols) - x[:, None]) / sigma) ** 2)
    return np.einsum("sk,kr,kc->src", stokes_jy, in_rows, in_cols, optimize=["einsum_path", (0, 1), (0, 1)])


def _beam_noise(radio: RadioOptions, rng: np.random.Generator, sigma_px: float) -> np.ndarray:
    """Return noise of rms `noise_jy` that is correlated like the beam, shape (stokes = 3, row, col)."""
    n_rows, n_cols = radio.image_shape
    white = rng.standard_normal((3, n_rows, n_cols))
    ky, kx = np.fft.fftfreq(n_rows)[:, None], np.fft.rfftfreq(n_cols)
    taper = np.exp(-2.0 * (np.pi * sigma_px) ** 2 * (kx * kx + ky * ky))
    kernel = np.fft.irfft2(taper, s=(n_rows, n_cols))
    spectrum = np.fft.rfft2(white, axes=(1, 2)) * taper
    smooth = np.fft.irfft2(spectrum, s=(n_rows, n_cols), axes=(1, 2))
    return smooth * (radio.noise_jy / np.sqrt(np.sum(kernel**2)))


def _header(options: SimulationOptions, beam: int, channel: int, freq_hz: float, fwhm_arcsec: float) -> dict[str, Any]:
    radio = options.radio
    width_hz = (radio.freq_range_hz[1] - radio.freq_range_hz[0]) / radio.n_channels
    return {
        "TELESCOP": "SIMULATED",
        "EXPID": int(options.radio_exposure),
        "BEAM": int(beam),
        "CHANNEL": int(channel),
        "FREQ": float(freq_hz),
        "CHANWID": float(width_hz),
        "NOISE": float(radio.noise_jy),
        "BMAJ": fwhm_arcsec / 3600.0,
        "BMIN": fwhm_arcsec / 3600.0,
        "BPA": 0.0,
        "BUNIT": "Jy/beam",
        "OBJECT": "FIELD",
        "MJD-OBS": float(options.mjd),
        "EXPTIME": radio.exptime_s,
    }
