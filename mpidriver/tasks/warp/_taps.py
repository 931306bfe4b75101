"""Weights of the interpolation kernels, tabulated over the sub-pixel phase.

Tap ``k`` of a position ``x`` with phase ``t = x - floor(x)`` belongs to the input pixel ``floor(x) - 2 + k``.

A B-spline does not interpolate pixels but coefficients, which a recursive filter makes of them. What one pixel
contributes to a position, its *cardinal* weight, is therefore another than the tap: it is the tap convolved with that
filter's response. The cardinal weights say which pixels' mask bits reach a position, and the sum of their squares by
how much interpolation lowers the noise.
"""

import dataclasses
import functools

import numpy as np

from mpidriver.errors import ConfigError

__all__ = ["KERNELS", "LANES", "N_PHASES", "TAPS", "Taps", "taps_of"]

#: Taps of every table along one axis.
TAPS = 6
#: Columns of a table: taps 6 and 7 are zero and fill a vector register.
LANES = 8
#: Steps of the table over one pixel; between them weights are interpolated linearly (error below 1e-6).
N_PHASES = 1024
#: Lanczos taps interpolate polynomials up to this degree without error.
_LANCZOS_DEGREE = 3
#: Pixels over which a spline's filter is evaluated; the response of the quintic has fallen to 1e-12 after 32.
_FILTER_PIXELS = 128


@dataclasses.dataclass(frozen=True)
class Taps:
    """One kernel."""

    values: np.ndarray
    """float32, shape (N_PHASES + 1, LANES): weights of the pixels, or of the spline's coefficients."""
    variances: np.ndarray
    """The same of the pixels' variances."""
    pixels: np.ndarray
    """The same of the pixels, for mask bits."""
    poles: tuple[float, ...] = ()
    """Of the recursive filter that makes the coefficients; none if pixels are interpolated themselves."""


def taps_of(kernel: str) -> Taps:
    """Return the taps of a kernel by its name.

    Raises
    ------
    ConfigError
        If there is no such kernel.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"warp: kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    return KERNELS[kernel]()


@functools.cache
def lanczos3() -> Taps:
    """Return the Lanczos-3 taps, with unit sum and exact for cubic polynomials.

    The raw taps ``sinc(x) sinc(x/3)`` sum to 1 only within 1 %, which would print the phase pattern on the sky; and
    even with unit sum they move a slope by up to 0.02 px back and forth with the phase, which shifts stars of FWHM
    4 px by 0.007 px and changes their flux by 2 mmag where the pixel scale changes by 2 %. The smallest change of the
    taps (least squares) that makes moments 1 to 3 vanish takes the shift to 0.0001 px and that flux error away, at the
    same noise. What remains is the alias of a scale that differs by 15 %: up to 1.5 mmag at FWHM 4 px (5 without).
    """
    distance = _distances()
    taps = np.where(np.abs(distance) < 3.0, np.sinc(distance) * np.sinc(distance / 3.0), 0.0)
    powers = distance[:, None, :] ** np.arange(_LANCZOS_DEGREE + 1)[None, :, None]
    missing = np.eye(_LANCZOS_DEGREE + 1)[0] - np.einsum("nkt,nt->nk", powers, taps)
    multipliers = np.linalg.solve(powers @ powers.transpose(0, 2, 1), missing[:, :, None])
    taps = taps + np.einsum("nkt,nk->nt", powers, multipliers[:, :, 0])
    taps[0], taps[-1] = np.eye(TAPS)[2], np.eye(TAPS)[3]
    return Taps(_table(taps), _table(taps**2), _table(taps))


@functools.cache
def bilinear() -> Taps:
    """Return the taps of bilinear interpolation."""
    taps = _linear()
    return Taps(_table(taps), _table(taps**2), _table(taps))


@functools.cache
def spline(degree: int) -> Taps:
    """Return the taps of the interpolating B-spline of degree 3 or 5.

    The variances' taps are those of bilinear interpolation times the sum of squared cardinal weights: a sum of many
    small terms in place of which two suffice where the variance changes slowly (predicted over empirical: 1.000).
    """
    values = basis(degree, _distances()) * filter_gain(degree)
    cardinal = cardinal_weights(degree, _phases())
    noise = np.sum(cardinal**2, axis=1)
    middle = cardinal.shape[1] // 2
    return Taps(
        _table(values),
        _table(_linear() * noise[:, None]),
        _table(cardinal[:, middle - 2 : middle + TAPS - 2]),
        POLES[degree],
    )


#: Poles of the B-splines' filters (Unser, Aldroubi & Eden 1993, IEEE Trans. Signal Process. 41, 834).
POLES = {
    3: (float(np.sqrt(3.0) - 2.0),),
    5: tuple(
        float(np.sqrt(a / 2.0 + sign * np.sqrt(b / 4.0)) + c)
        for a, b, sign, c in (
            (135.0, 17745.0, -1, np.sqrt(105.0 / 4.0) - 6.5),
            (135.0, 17745.0, 1, -np.sqrt(105.0 / 4.0) - 6.5),
        )
    ),
}

KERNELS = {
    "bspline3": functools.partial(spline, 3),
    "bspline5": functools.partial(spline, 5),
    "lanczos3": lanczos3,
    "bilinear": bilinear,
}


def filter_gain(degree: int) -> float:
    """Return the factor that the recursive filter, run without it, leaves to be applied along each axis."""
    return float(np.prod([(1.0 - pole) * (1.0 - 1.0 / pole) for pole in POLES[degree]]))


def basis(degree: int, x: np.ndarray) -> np.ndarray:
    """Return the B-spline of a degree at distances `x` from its middle."""
    if degree == 0:
        return np.where((x >= -0.5) & (x < 0.5), 1.0, 0.0)
    half = (degree + 1) / 2.0
    return ((half + x) * basis(degree - 1, x + 0.5) + (half - x) * basis(degree - 1, x - 0.5)) / degree


def cardinal_weights(degree: int, phase: np.ndarray) -> np.ndarray:
    """Return what pixels ``-64 … 63`` about the floor of a position contribute to it, shape (phase, 128)."""
    offsets = np.arange(_FILTER_PIXELS) - _FILTER_PIXELS // 2
    samples = np.fft.ifftshift(basis(degree, offsets.astype(float)))
    response = np.fft.ifft(1.0 / np.fft.fft(samples)).real
    taps = basis(degree, offsets[None, :] - phase[:, None])
    return np.fft.ifft(np.fft.fft(taps, axis=1) * np.fft.fft(response), axis=1).real


def _phases() -> np.ndarray:
    return np.arange(N_PHASES + 1) / N_PHASES


def _distances() -> np.ndarray:
    """Return the distance of each tap's pixel from the position, shape (phase, tap)."""
    return np.arange(TAPS)[None, :] - 2.0 - _phases()[:, None]


def _linear() -> np.ndarray:
    taps = np.zeros((N_PHASES + 1, TAPS))
    taps[:, 2], taps[:, 3] = 1.0 - _phases(), _phases()
    return taps


def _table(taps: np.ndarray) -> np.ndarray:
    table = np.zeros((N_PHASES + 1, LANES), np.float32)
    table[:, :TAPS] = taps
    table.setflags(write=False)
    return table
