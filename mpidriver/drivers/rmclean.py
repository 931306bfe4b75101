"""RM-CLEAN of whole cubes of Faraday spectra, file to file: `mpidriver rmclean`.

Scatter regions of the sky; each rank cleans its regions and writes them to their places in the products. Names of what
goes in and comes out are those of RM-Tools.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import mpidriver
from mpidriver.drivers._cubes._cleaning import Cleaning
from mpidriver.drivers._cubes._regions import MIB, Filled, PixelObserver, cut_regions, fill_cubes
from mpidriver.errors import ConfigError, DataError
from mpidriver.options import digest
from mpidriver.pool import Pool
from mpidriver.store import NewCube, depth_axis, depth_cards, open_cube

if TYPE_CHECKING:
    from mpidriver.store import CubeSource

__all__ = ["CleanOptions", "CleanReport", "clean_cubes"]

VERB = "rmclean"
_DIRTY = re.compile(r"(?P<prefix>.*)FDF_(?:real|im|tot)_dirty(?P<suffix>\.fits|\.h5)")


@dataclass(frozen=True)
class CleanOptions:
    """How spectra are cleaned."""

    cutoff: float = 3.0
    """Where a spectrum is clean: in standard deviations, or in the unit of the spectra if not `in_sigma`."""
    window_cutoff: float | None = None
    """Lower cutoff of the second search, around the components of the first."""
    in_sigma: bool = True
    noise: float | str | None = None
    """Standard deviation of a spectrum's parts, or a map of it; unset: each spectrum's own, by its median deviation."""
    gain: float = 0.1
    max_iterations: int = 1000
    memory_bytes: int = 1024 * MIB
    """Memory of a rank."""
    threads: int = 1
    """Threads of a rank."""

    def __post_init__(self) -> None:
        if not 0 < self.gain <= 1:
            raise ConfigError(f"--gain: expected more than 0 and at most 1, got {self.gain:g}")
        if not self.cutoff > 0 or (self.window_cutoff is not None and not self.window_cutoff > 0):
            raise ConfigError(f"cutoffs must be positive, got {self.cutoff:g} and {self.window_cutoff}")


@dataclass(frozen=True)
class CleanReport:
    """What came of it."""

    filled: Filled
    """Products, and whether there was anything to do."""
    pixels: int
    """Pixels of the sky."""
    dirty: Path
    """Folder of the dirty cubes."""
    prefix: str
    """Begins the names of all cubes."""

    @property
    def iterations(self) -> int:
        """Components that were subtracted, of all spectra together."""
        return sum(iterations for iterations, _ in self.filled.values)

    @property
    def unfinished(self) -> int:
        """Spectra with data that did not come below their cutoff."""
        return sum(unfinished for _, unfinished in self.filled.values)


def clean_cubes(
    pool: Pool,
    dirty: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    options: CleanOptions | None = None,
    *,
    observer: PixelObserver | None = None,
) -> CleanReport:
    """Clean cubes of Faraday spectra, file to file.

    Parameters
    ----------
    pool
        The ranks that share the sky.
    dirty
        One of the cubes ``FDF_{real,im,tot}_dirty``, or the folder that holds them; their transfer functions
        ``RMSF_{real,im}`` and ``RMSF_FWHM`` lie beside them.
    folder
        Where the products are written; unset: beside the dirty cubes.
    options
        How.
    observer
        Is told of pixels.

    Raises
    ------
    DataError
        If a cube is missing or does not fit the others.
    """
    options = options or CleanOptions()
    base, prefix, suffix = _find_dirty(Path(dirty))
    work = _make_cleaning(base, prefix, suffix, options)
    sky = work.real.shape[1:]
    regions = cut_regions(
        sky,
        granularity=work.real.granularity,
        bytes_a_pixel=work.bytes_a_pixel,
        memory_bytes=options.memory_bytes,
    )
    sources = (work.real, work.imaginary, work.rmsf_real, work.rmsf_imaginary)
    facts = ([source.identity() for source in sources], len(regions), mpidriver.__version__)
    filled = fill_cubes(
        pool,
        work.fill,
        regions,
        _products(work, Path(folder) if folder else base, prefix, suffix),
        verb=VERB,
        digest=digest(replace(options, threads=1), *facts),
        observer=observer,
    )
    return CleanReport(filled, pixels=sky[0] * sky[1], dirty=base, prefix=prefix)


def _find_dirty(dirty: Path) -> tuple[Path, str, str]:
    """Return the folder of the dirty cubes, and prefix and suffix of their names."""
    if not dirty.is_dir():
        match = _DIRTY.fullmatch(dirty.name)
        if match is None:
            raise DataError(f"{dirty}: expected a folder, or a cube named FDF_real_dirty.fits, …_im_… or …_tot_…")
        return dirty.parent, match["prefix"], match["suffix"]
    found = [match for path in sorted(dirty.iterdir()) if (match := _DIRTY.fullmatch(path.name))]
    found = [match for match in found if not match["prefix"].startswith(".")]
    kinds = {(match["prefix"], match["suffix"]) for match in found}
    if len(kinds) != 1:
        names = ", ".join(match.string for match in found) or "none"
        raise DataError(
            f"{dirty}: expected one set of cubes FDF_real_dirty and FDF_im_dirty, found {names}; name a file"
        )
    return dirty, *kinds.pop()


def _make_cleaning(base: Path, prefix: str, suffix: str, options: CleanOptions) -> Cleaning:
    def beside(name: str) -> Path:
        return base / f"{prefix}{name}{suffix}"

    names = ("FDF_real_dirty", "FDF_im_dirty", "RMSF_real", "RMSF_im")
    real, imaginary, rmsf_real, rmsf_imaginary = (open_cube(beside(name)) for name in names)
    phi = depth_axis(dict(real.spectral_header), real.shape[0], real.path)
    _check_shapes(real, imaginary, rmsf_real, rmsf_imaginary)
    return Cleaning(
        real=real,
        imaginary=imaginary,
        rmsf_real=rmsf_real,
        rmsf_imaginary=rmsf_imaginary,
        fwhm_path=str(beside("RMSF_FWHM").resolve()),
        phi_radm2=phi,
        cutoff=options.cutoff,
        window_cutoff=options.window_cutoff,
        in_sigma=options.in_sigma,
        noise=str(Path(options.noise).resolve()) if isinstance(options.noise, str) else options.noise,
        gain=options.gain,
        max_iterations=options.max_iterations,
        threads=options.threads,
    )


def _check_shapes(real: "CubeSource", imaginary: "CubeSource", *transfer: "CubeSource") -> None:
    if imaginary.shape != real.shape:
        raise DataError(f"{imaginary.path}: expected shape {real.shape}, as {real.path}, got {imaginary.shape}")
    for cube in transfer:
        if cube.shape[1:] not in ((1, 1), real.shape[1:]) or cube.shape != transfer[0].shape:
            raise DataError(
                f"{cube.path}: expected transfer functions for {real.shape[1:]} pixels or one for all, "
                f"got shape {cube.shape}"
            )


def _products(work: Cleaning, folder: Path, prefix: str, suffix: str) -> dict[str, NewCube]:
    depths, *sky = work.real.shape
    dtype = "f8" if work.real.stored.endswith("f8") else "f4"
    axis = depth_cards(work.phi_radm2)
    parts = {"real": {"STOKES": "Q"}, "im": {"STOKES": "U"}, "tot": {}}
    products = {}
    for kind in ("clean", "CC"):
        for part, cards in parts.items():
            name = f"FDF_{kind}_{part}"
            header = work.real.header
            header.update({**axis, **cards})
            products[name] = NewCube(folder / f"{prefix}{name}{suffix}", (depths, *sky), dtype, header)
    header = work.real.header
    header["BUNIT"] = "Iterations"
    products["CLEAN_nIter"] = NewCube(folder / f"{prefix}CLEAN_nIter{suffix}", tuple(sky), "i4", header)
    return products
