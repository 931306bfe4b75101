"""Faraday spectra of catalogued sources, cut from the cubes of the patches that hold them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.report._faraday_spectra import FaradaySpectrum
from mpidriver.report._inventory import stored
from mpidriver.store import read_header, read_image, read_table, wcs_from_header

if TYPE_CHECKING:
    from mpidriver.store import Repository

__all__ = ["brightest_spectra", "position_name"]


def brightest_spectra(repo: "Repository", sources: np.ndarray, count: int) -> list[FaradaySpectrum]:
    """Return the spectra of the sources of the highest polarised intensity.

    Parameters
    ----------
    repo
        The repository.
    sources : structured ndarray
        RM catalogue with ``ra``, ``dec`` (deg), ``rm``, ``rm_err`` (rad/m**2) and ``polint``.
    count
        How many at most; a source that lies in no patch with cubes is passed over.
    """
    maps = [path for _, path in stored(repo, "faraday", name="FDF_real_dirty")]
    spectra: list[FaradaySpectrum] = []
    intensity = np.asarray(sources["polint"], dtype=float)
    for number in np.argsort(-np.where(np.isfinite(intensity), intensity, -np.inf), kind="stable"):
        if len(spectra) == count or not np.isfinite(intensity[number]):
            break
        place = _place(maps, float(sources["ra"][number]), float(sources["dec"][number]))
        if place is not None:
            spectra.append(_spectrum(sources[number], *place))
    return spectra


def _place(maps: Sequence[Path], ra: float, dec: float) -> tuple[Path, int, int] | None:
    """Return the folder of the patch that holds a position farthest from its edge, with row and column."""
    best: tuple[int, Path, int, int] | None = None
    for path in maps:
        header = read_header(path)
        wcs = wcs_from_header(header).celestial
        x, y = wcs.wcs_world2pix(ra, dec, 0)
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        col, row = round(float(x)), round(float(y))
        margin = min(row, col, header["NAXIS2"] - 1 - row, header["NAXIS1"] - 1 - col)
        if margin >= 0 and (best is None or margin > best[0]):
            best = (margin, path.parent, row, col)
    return best[1:] if best else None


def _spectrum(source: np.void, folder: Path, row: int, col: int) -> FaradaySpectrum:
    real, header = _along(folder / "FDF_real_dirty.fits", row, col)
    imaginary, _ = _along(folder / "FDF_im_dirty.fits", row, col)
    freq_hz, q, u = _channels(folder, row, col)
    lag, transfer = _transfer(folder)
    return FaradaySpectrum(
        name=position_name(float(source["ra"]), float(source["dec"])),
        phi_radm2=_depth_axis(header, len(real)),
        fdf=real + 1j * imaginary,
        freq_hz=freq_hz,
        q=q,
        u=u,
        rmtf_phi_radm2=lag,
        rmtf=transfer,
        rm_radm2=float(source["rm"]),
        rm_err_radm2=float(source["rm_err"]),
    )


def _along(path: Path, row: int, col: int) -> tuple[np.ndarray, Any]:
    """Return one pixel of a cube along its first axis."""
    block, header = read_image(path, rows=slice(row, row + 1))
    return np.asarray(block).reshape(-1, block.shape[-1])[:, col], header


def _channels(folder: Path, row: int, col: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frequencies, Q and U of a pixel; empty if the cubes were not kept."""
    paths = folder / "channels.fits", folder / "cube-Q.fits", folder / "cube-U.fits"
    if not all(path.exists() for path in paths):
        return (np.zeros(0),) * 3
    freq_hz = np.asarray(read_table(paths[0])["freq"], dtype=float)
    return freq_hz, _along(paths[1], row, col)[0], _along(paths[2], row, col)[0]


def _transfer(folder: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return Faraday depths and values of a patch's transfer function, nothing if there is none."""
    try:
        real, header = read_image(folder / "RMSF_real.fits")
        imaginary, _ = read_image(folder / "RMSF_im.fits")
    except DataError:
        return None, None
    return _depth_axis(header, real.size), real.ravel() + 1j * imaginary.ravel()


def _depth_axis(header: Any, length: int) -> np.ndarray:
    """Return the Faraday depths of the axis of type FDEP."""
    for axis in range(1, int(header["NAXIS"]) + 1):
        if str(header.get(f"CTYPE{axis}", "")).strip() == "FDEP":
            first = header[f"CRVAL{axis}"] + (1.0 - header[f"CRPIX{axis}"]) * header[f"CDELT{axis}"]
            return first + header[f"CDELT{axis}"] * np.arange(length)
    raise DataError(f"no axis of CTYPE FDEP among {[header.get(f'CTYPE{n}') for n in range(1, header['NAXIS'] + 1)]}")


def position_name(ra: float, dec: float) -> str:
    """Return a position as people write it, to a second of time and an arcsecond."""
    from astropy.coordinates import Angle

    hours = Angle(ra, "deg").to_string("hourangle", sep=":", precision=0, pad=True)
    return f"{hours} {Angle(dec, 'deg').to_string('deg', sep=':', precision=0, pad=True, alwayssign=True)}"
