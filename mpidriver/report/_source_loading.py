"""Faraday spectra of the RM table's sources, from the files of their cells."""

from typing import TYPE_CHECKING

import numpy as np

from mpidriver.report._faraday_spectra import FaradaySpectrum
from mpidriver.store import read_table, read_table_header

if TYPE_CHECKING:
    from mpidriver.store import Repository

__all__ = ["brightest_components"]


def brightest_components(repo: "Repository", rows: np.ndarray, count: int) -> list[FaradaySpectrum]:
    """Return the spectra of the sources of the highest polarised intensity.

    Parameters
    ----------
    repo
        The repository.
    rows : structured ndarray
        The RM table.
    count
        How many at most.
    """
    intensity = np.where(np.isfinite(rows["polint"]), rows["polint"], -np.inf)
    order = np.argsort(-intensity, kind="stable")[:count]
    return [_spectrum(repo, row) for row in rows[order]]


def _spectrum(repo: "Repository", row: np.void) -> FaradaySpectrum:
    cell = int(row["cell"])
    path = repo.path("source_fdf", cell=cell)
    faraday, header = _own(read_table(path), row), read_table_header(path)
    stokes = _own(read_table(repo.path("source_spectra", cell=cell)), row)
    phi = header["PHI0"] + header["DPHI"] * np.arange(header["NPHI"])
    transfer = faraday["rmtf_real"] + 1j * faraday["rmtf_imag"]
    return FaradaySpectrum(
        name=str(row["cat_id"]),
        phi_radm2=phi,
        fdf=faraday["dirty_real"] + 1j * faraday["dirty_imag"],
        freq_hz=stokes["freq"],
        q=stokes["stokesQ"],
        u=stokes["stokesU"],
        rmtf_phi_radm2=header["DPHI"] * (np.arange(len(transfer)) - len(transfer) // 2),
        rmtf=transfer,
        clean=faraday["clean_real"] + 1j * faraday["clean_imag"],
        rm_radm2=float(row["rm"]),
        rm_err_radm2=float(row["rm_err"]),
    )


def _own(table: np.ndarray, row: np.void) -> np.void:
    return table[np.flatnonzero(table["cat_id"] == row["cat_id"])[0]]
