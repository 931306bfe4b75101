"""Faraday spectra of the brightest sources: dispersion function, its transfer function, Q and U against wavelength."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidriver.report._figure import CATEGORY_COLOURS, INK, picture, say

__all__ = ["FaradaySpectrum", "draw_faraday_spectra"]

#: Sources that find room below each other.
MOST_SPECTRA = 6
LIGHT_SPEED_M_S = 299_792_458.0
BLUE, ORANGE = CATEGORY_COLOURS[0], CATEGORY_COLOURS[5]


@dataclass(frozen=True)
class FaradaySpectrum:
    """One source as the picture needs it; every array may hold NaN."""

    name: str
    """Heading of its row."""
    phi_radm2: np.ndarray
    """Shape (phi,), Faraday depths."""
    fdf: np.ndarray
    """Shape (phi,), complex Faraday dispersion function, Jy/beam/RMTF."""
    freq_hz: np.ndarray
    """Shape (chan,), frequencies of the channels; may be empty."""
    q: np.ndarray
    """Shape (chan,), Stokes Q, Jy/beam."""
    u: np.ndarray
    """Shape (chan,), Stokes U, Jy/beam."""
    rmtf_phi_radm2: np.ndarray | None = None
    """Shape (lag,), Faraday depths of the transfer function."""
    rmtf: np.ndarray | None = None
    """Shape (lag,), complex RMTF, 1 at 0."""
    clean: np.ndarray | None = None
    """Shape (phi,), complex cleaned spectrum."""
    rm_radm2: float = np.nan
    """Rotation measure; the depth of the highest value if NaN."""
    rm_err_radm2: float = np.nan
    """Its standard error."""


def draw_faraday_spectra(path, spectra: Sequence[FaradaySpectrum], *, unit="Jy/beam", title=""):
    """Draw, a row a source, the Faraday spectrum with the RMTF under its peak, and Q and U against lambda squared.

    The curves through Q and U are those of a single Faraday-thin source of the drawn rotation measure, fitted in
    complex amplitude. Where no source has channels there is no column for them.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    spectra : sequence of FaradaySpectrum
        The first `MOST_SPECTRA` are drawn.
    unit : str
    title : str
    """
    spectra = list(spectra)[:MOST_SPECTRA]
    with picture(path, title, width_in=11.5, height_in=2.75 * max(len(spectra), 1) + 0.6) as figure:
        if not spectra:
            say(figure.subplots(), "no polarised source")
            return
        have_channels = any(np.size(spectrum.freq_hz) for spectrum in spectra)
        widths = (1.25, 1.0) if have_channels else (1.0,)
        rows = figure.subplots(len(spectra), len(widths), squeeze=False, width_ratios=widths)
        for row, spectrum in zip(rows, spectra, strict=True):
            factor, prefix = _prefix(spectrum)
            _dispersion(row[0], spectrum, factor, f"|F| ({prefix}{unit}/RMTF)")
            if have_channels:
                _stokes(row[1], spectrum, factor, f"Stokes Q, U ({prefix}{unit})")
        for axes, label in zip(rows[-1], ("Faraday depth φ (rad m$^{-2}$)", "λ² (m²)"), strict=False):
            axes.set_xlabel(label)


def _prefix(spectrum):
    """Return the factor and unit prefix that make the values of a row easy to read."""
    values = np.concatenate([np.abs(spectrum.fdf), np.abs(spectrum.q), np.abs(spectrum.u)])
    values = values[np.isfinite(values)]
    largest = float(np.percentile(values, 99.0)) if values.size else 0.0
    for factor, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ")):
        if largest * factor >= 1.0:
            return factor, prefix
    return 1.0, ""


def _peak(spectrum):
    """Return depth and height of the highest value of |F|, NaN if there is none."""
    height = np.abs(spectrum.fdf if spectrum.clean is None else spectrum.clean)
    if not np.isfinite(height).any():
        return np.nan, np.nan
    at = int(np.nanargmax(height))
    rm = spectrum.rm_radm2 if np.isfinite(spectrum.rm_radm2) else float(spectrum.phi_radm2[at])
    return rm, float(height[at])


def _dispersion(axes, spectrum, factor, label):
    rm, height = _peak(spectrum)
    axes.set_title(_heading(spectrum, rm))
    axes.set_ylabel(label)
    if not np.isfinite(height):
        say(axes)
        return
    axes.grid(True)
    phi = np.asarray(spectrum.phi_radm2)
    if spectrum.rmtf is not None and spectrum.rmtf_phi_radm2 is not None:
        beam = factor * height * np.abs(spectrum.rmtf)
        axes.fill_between(spectrum.rmtf_phi_radm2 + rm, beam, color="#D9D9D9", lw=0, label="RMTF at the peak")
    axes.plot(phi, factor * np.abs(spectrum.fdf), color=BLUE, lw=1.3, label="dirty")
    if spectrum.clean is not None:
        axes.plot(phi, factor * np.abs(spectrum.clean), color=ORANGE, lw=1.3, label="cleaned")
    axes.axvline(rm, color=INK, lw=0.8, ls="--")
    axes.set_xlim(phi.min(), phi.max() if phi.max() > phi.min() else phi.min() + 1.0)
    axes.set_ylim(0.0, 1.25 * factor * max(height, float(np.nanmax(np.abs(spectrum.fdf)))) or 1.0)
    axes.legend(loc="upper right", ncols=2)


def _heading(spectrum, rm):
    if not np.isfinite(rm):
        return spectrum.name
    error = spectrum.rm_err_radm2
    decimals = int(np.clip(1 - np.floor(np.log10(error)), 0, 4)) if np.isfinite(error) and error > 0 else 1
    value = f"{rm:.{decimals}f}" + (f" ± {error:.{decimals}f}" if np.isfinite(error) else "")
    return f"{spectrum.name}   RM = {value.replace('-', '−')} rad m$^{{-2}}$"


def _stokes(axes, spectrum, factor, label):
    axes.set_ylabel(label)
    freq_hz = np.asarray(spectrum.freq_hz, dtype=float)
    usable = np.isfinite(spectrum.q) & np.isfinite(spectrum.u) if freq_hz.size else np.zeros(0, dtype=bool)
    if not usable.any():
        say(axes, "no channels")
        return
    axes.grid(True)
    lambda_sq_m2 = (LIGHT_SPEED_M_S / freq_hz[usable]) ** 2
    polarisation = factor * (np.asarray(spectrum.q)[usable] + 1j * np.asarray(spectrum.u)[usable])
    style = {"ls": "none", "ms": float(np.clip(60.0 / np.sqrt(usable.sum()), 2.0, 4.5)), "alpha": 0.75}
    axes.plot(lambda_sq_m2, polarisation.real, marker="o", mew=0, color=BLUE, label="Q", **style)
    axes.plot(lambda_sq_m2, polarisation.imag, marker="s", mew=0, color=ORANGE, label="U", **style)
    _thin_model(axes, lambda_sq_m2, polarisation, _peak(spectrum)[0])
    low, high = np.percentile(np.concatenate([polarisation.real, polarisation.imag]), [0.5, 99.5])
    margin = 0.3 * (high - low) or 1.0
    axes.set_ylim(low - 0.5 * margin, high + margin)
    axes.legend(loc="upper right", ncols=3)


def _thin_model(axes, lambda_sq_m2, polarisation, rm):
    """Draw A exp(2 i RM lambda^2) with the complex A of least squares."""
    if not np.isfinite(rm):
        return
    amplitude = np.mean(polarisation * np.exp(-2j * rm * lambda_sq_m2))
    grid = np.linspace(lambda_sq_m2.min(), lambda_sq_m2.max(), 1500)
    model = amplitude * np.exp(2j * rm * grid)
    axes.plot(grid, model.real, color=BLUE, lw=1.0, label="thin source")
    axes.plot(grid, model.imag, color=ORANGE, lw=1.0)
