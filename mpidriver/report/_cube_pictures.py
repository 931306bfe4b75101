"""Pictures of cubes of Faraday spectra, dirty or cleaned: maps of the peaks, and spectra of the brightest pixels."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpidriver.report._faraday_loading import position_name
from mpidriver.report._faraday_maps import draw_faraday_maps
from mpidriver.report._faraday_spectra import FaradaySpectrum, draw_faraday_spectra
from mpidriver.store import depth_axis, open_cube, read_map, wcs_from_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpidriver.store import CubeSource

__all__ = ["brightest_pixels", "draw_clean_pictures", "draw_cube_pictures"]

DIRTY = ("FDF_real_dirty", "FDF_im_dirty", "RMSF_real", "RMSF_im")
CLEAN = ("FDF_clean_real", "FDF_clean_im", "FDF_clean_tot")
MAD_TO_SIGMA = 1.4826
SPECTRA = 6
"""Pixels whose spectra are drawn."""
PLANES = 16
"""Faraday depths whose noise is measured."""
APART = 8
"""Rows or columns by which they differ at least, so that one source is not drawn six times."""


def draw_cube_pictures(
    folder: str | os.PathLike[str],
    cube_q: str | os.PathLike[str],
    cube_u: str | os.PathLike[str],
    freq_hz: np.ndarray,
    *,
    prefix: str = "",
    suffix: str = ".fits",
) -> list[Path]:
    """Draw the peaks of a synthesis as maps and the spectra of its brightest pixels, and return the pictures.

    Parameters
    ----------
    folder
        Folder of the products; the pictures go into ``pictures`` there.
    cube_q, cube_u
        Cubes of Stokes Q and U.
    freq_hz : (chan,) Hz
        Their frequencies.
    prefix, suffix
        Of the products' names.
    """
    folder = Path(folder)
    cubes = _open_products(folder, DIRTY, prefix, suffix)
    real = cubes["FDF_real_dirty"]
    everywhere = slice(0, real.shape[1]), slice(0, real.shape[2])
    peak_pi, peak_rm = (
        read_map(folder / f"{prefix}{name}{suffix}", *everywhere) for name in ("FDF_maxPI", "FDF_peakRM")
    )
    cubes |= {"Q": open_cube(cube_q, stokes="Q"), "U": open_cube(cube_u, stokes="U")}
    noise = _noise(cubes["FDF_real_dirty"], cubes["FDF_im_dirty"])
    title = "Peaks of the Faraday spectra"
    return _draw(folder / "pictures", prefix, cubes, freq_hz, peak_pi, peak_rm, noise, title=title)


def draw_clean_pictures(
    dirty: str | os.PathLike[str], folder: str | os.PathLike[str], *, prefix: str = "", suffix: str = ".fits"
) -> list[Path]:
    """Draw the peaks of cleaned spectra as maps, and the brightest pixels' spectra before and after RM-CLEAN.

    Parameters
    ----------
    dirty
        Folder of the dirty cubes and their transfer functions.
    folder
        Folder of the cleaned cubes; the pictures go into ``pictures`` there.
    prefix, suffix
        Of the products' names.
    """
    folder = Path(folder)
    cubes = _open_products(Path(dirty), DIRTY, prefix, suffix)
    cubes |= _open_products(folder, CLEAN, prefix, suffix)
    peak_pi, peak_rm = _highest(cubes["FDF_clean_tot"])
    pictures, title = folder / "pictures", "Peaks of the cleaned Faraday spectra"
    noise = _noise(cubes["FDF_clean_real"], cubes["FDF_clean_im"])
    return _draw(pictures, f"{prefix}clean-", cubes, np.zeros(0), peak_pi, peak_rm, noise, title=title)


def _open_products(folder: Path, names: "Sequence[str]", prefix: str, suffix: str) -> "dict[str, CubeSource]":
    return {name: open_cube(folder / f"{prefix}{name}{suffix}") for name in names}


def _noise(real: "CubeSource", imaginary: "CubeSource") -> float:
    """Return the noise of spectra, of the quietest of some depths: what fills the sky does not fill all depths."""
    sky = slice(0, real.shape[1]), slice(0, real.shape[2])
    numbers = np.unique(np.linspace(0, real.shape[0] - 1, PLANES).astype(int))
    planes = (np.abs(cube.read(*sky, slice(at, at + 1))) for at in numbers for cube in (real, imaginary))
    medians = [float(np.median(plane[np.isfinite(plane)])) for plane in planes if np.isfinite(plane).any()]
    return MAD_TO_SIGMA * min(medians, default=0.0)


def _highest(cube: "CubeSource") -> tuple[np.ndarray, np.ndarray]:
    """Return the largest value of each pixel of a cube and its depth, NaN where there is none; read plane by plane."""
    sky = slice(0, cube.shape[1]), slice(0, cube.shape[2])
    value, depth = np.full((2, *cube.shape[1:]), np.nan)
    for number, phi in enumerate(_depths(cube)):
        plane = np.asarray(cube.read(*sky, slice(number, number + 1)), dtype=float)[0]
        higher = plane > np.where(np.isnan(value), -np.inf, value)
        value[higher], depth[higher] = plane[higher], phi
    return value, depth


def _draw(
    pictures: Path,
    prefix: str,
    cubes: "dict[str, CubeSource]",
    freq_hz: np.ndarray,
    peak_pi: np.ndarray,
    peak_rm: np.ndarray,
    noise: float,
    *,
    title: str,
) -> list[Path]:
    real = cubes["FDF_real_dirty"]
    wcs = wcs_from_header(real.header)
    wcs = wcs if wcs.has_celestial else None
    unit = str(real.header.get("BUNIT", "")).replace("/RMSF", "") or "Jy/beam"
    spectra = [
        _spectrum(cubes, freq_hz, row, col, wcs, float(peak_rm[row, col])) for row, col in brightest_pixels(peak_pi)
    ]
    maps, spectra_path = (pictures / f"{prefix}{name}.png" for name in ("peaks", "spectra"))
    draw_faraday_maps(maps, peak_rm, peak_pi, wcs, noise=noise, unit=f"{unit}/RMTF", title=title)
    draw_faraday_spectra(spectra_path, spectra, unit=unit, title="Brightest pixels")
    return [maps, spectra_path]


def brightest_pixels(image: np.ndarray, *, count: int = SPECTRA, apart: int = APART) -> list[tuple[int, int]]:
    """Return rows and columns of the brightest pixels that are not neighbours, the brightest first.

    Parameters
    ----------
    image : (row, col)
        NaN where there is nothing.
    count
        How many at most.
    apart
        Rows or columns by which they differ at least.
    """
    left = np.where(np.isfinite(image), image, -np.inf)
    found = []
    while len(found) < count:
        row, col = (int(place) for place in np.unravel_index(np.argmax(left), left.shape))
        if not np.isfinite(left[row, col]):
            break
        found.append((row, col))
        left[max(row - apart, 0) : row + apart + 1, max(col - apart, 0) : col + apart + 1] = -np.inf
    return found


def _spectrum(cubes, freq_hz, row, col, wcs, rm_radm2):
    real = cubes["FDF_real_dirty"]
    transfer = cubes["RMSF_real"]
    at = (0, 0) if transfer.shape[1:] == (1, 1) else (row, col)
    name = f"pixel {col + 1}, {row + 1}"
    if wcs is not None:
        name = position_name(*(float(angle) for angle in wcs.celestial.wcs_pix2world(col, row, 0)))
    return FaradaySpectrum(
        name=name,
        phi_radm2=_depths(real),
        fdf=_complex(cubes, "FDF_{}_dirty", row, col),
        freq_hz=np.asarray(freq_hz),
        q=_along(cubes["Q"], row, col) if "Q" in cubes else np.zeros(0),
        u=_along(cubes["U"], row, col) if "U" in cubes else np.zeros(0),
        rmtf_phi_radm2=_depths(transfer),
        rmtf=_complex(cubes, "RMSF_{}", *at),
        clean=_complex(cubes, "FDF_clean_{}", row, col) if "FDF_clean_real" in cubes else None,
        rm_radm2=rm_radm2,
    )


def _depths(cube: "CubeSource") -> np.ndarray:
    return depth_axis(dict(cube.spectral_header), cube.shape[0], cube.path)


def _complex(cubes: "dict[str, CubeSource]", name: str, row: int, col: int) -> np.ndarray:
    real, imaginary = (_along(cubes[name.format(part)], row, col) for part in ("real", "im"))
    joined: np.ndarray = real + 1j * imaginary
    return joined


def _along(cube: "CubeSource", row: int, col: int) -> np.ndarray:
    return np.asarray(cube.read(slice(row, row + 1), slice(col, col + 1)), dtype=float)[:, 0, 0]
