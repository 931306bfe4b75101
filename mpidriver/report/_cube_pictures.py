"""Pictures of the products of `mpidriver rmsynth`: maps of the peaks, and the spectra of the brightest pixels."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpidriver.report._faraday_loading import position_name
from mpidriver.report._faraday_maps import draw_faraday_maps
from mpidriver.report._faraday_spectra import FaradaySpectrum, draw_faraday_spectra
from mpidriver.store import depth_axis, open_cube, read_map, wcs_from_header

if TYPE_CHECKING:
    from mpidriver.store import CubeSource

__all__ = ["brightest_pixels", "draw_cube_pictures"]

SPECTRA = 6
"""Pixels whose spectra are drawn."""
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

    def product(name: str) -> Path:
        return folder / f"{prefix}{name}{suffix}"

    cubes = {name: open_cube(product(name)) for name in ("FDF_real_dirty", "FDF_im_dirty", "RMSF_real", "RMSF_im")}
    real = cubes["FDF_real_dirty"]
    everywhere = slice(0, real.shape[1]), slice(0, real.shape[2])
    peak_pi, peak_rm = (read_map(product(name), *everywhere) for name in ("FDF_maxPI", "FDF_peakRM"))
    wcs = wcs_from_header(real.header)
    wcs = wcs if wcs.has_celestial else None
    unit = str(real.header.get("BUNIT", "")).replace("/RMSF", "") or "Jy/beam"
    stokes = open_cube(cube_q, stokes="Q"), open_cube(cube_u, stokes="U")
    spectra = [
        _spectrum(cubes, stokes, freq_hz, row, col, wcs, float(peak_rm[row, col]))
        for row, col in brightest_pixels(peak_pi)
    ]
    maps, spectra_path = (folder / "pictures" / f"{prefix}{name}.png" for name in ("peaks", "spectra"))
    draw_faraday_maps(maps, peak_rm, peak_pi, wcs, unit=f"{unit}/RMTF", title="Peaks of the Faraday spectra")
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


def _spectrum(cubes, stokes, freq_hz, row, col, wcs, rm_radm2):
    real = cubes["FDF_real_dirty"]
    transfer = cubes["RMSF_real"]
    at = (0, 0) if transfer.shape[1:] == (1, 1) else (row, col)
    name = f"pixel {col + 1}, {row + 1}"
    if wcs is not None:
        name = position_name(*(float(angle) for angle in wcs.celestial.wcs_pix2world(col, row, 0)))
    return FaradaySpectrum(
        name=name,
        phi_radm2=_depths(real),
        fdf=_along(real, row, col) + 1j * _along(cubes["FDF_im_dirty"], row, col),
        freq_hz=np.asarray(freq_hz),
        q=_along(stokes[0], row, col),
        u=_along(stokes[1], row, col),
        rmtf_phi_radm2=_depths(transfer),
        rmtf=_along(transfer, *at) + 1j * _along(cubes["RMSF_im"], *at),
        rm_radm2=rm_radm2,
    )


def _depths(cube: "CubeSource") -> np.ndarray:
    return depth_axis(dict(cube.spectral_header), cube.shape[0], cube.path)


def _along(cube: "CubeSource", row: int, col: int) -> np.ndarray:
    return np.asarray(cube.read(slice(row, row + 1), slice(col, col + 1)), dtype=float)[:, 0, 0]
