"""RM synthesis of whole cubes, file to file: `mpidriver rmsynth`.

Look for channels without data; scatter regions of the sky; each rank transforms its regions and writes them to their
places in the products. Names and headers of the products are those of RM-Tools.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mpidriver
from mpidriver.drivers._cubes._channels import channel_frequencies, channel_weights, used_channels
from mpidriver.drivers._cubes._regions import MIB, Filled, PixelObserver, cut_regions, fill_cubes
from mpidriver.drivers._cubes._synthesis import Synthesis
from mpidriver.errors import ConfigError, DataError
from mpidriver.options import digest
from mpidriver.pool import Pool
from mpidriver.store import CubeSource, NewCube, depth_cards, open_cube

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "CubePaths",
    "SynthesisOptions",
    "SynthesisReport",
    "make_synthesis",
    "synthesis_products",
    "synthesise_cubes",
]

VERB = "rmsynth"


@dataclass(frozen=True)
class CubePaths:
    """What goes in."""

    q: str
    """Cube of Stokes Q, or one with a STOKES axis."""
    u: str | None = None
    """Cube of Stokes U; the first one if unset."""
    i: str | None = None
    """Cube of Stokes I by which Q and U are divided."""
    frequencies: str | None = None
    """Text or table of frequencies in Hz, if the header does not have them."""
    noise: str | None = None
    """Text or table of the channels' noise, whose inverse squares are the weights."""
    weights: str | None = None
    """Text or table of the channels' weights."""


@dataclass(frozen=True)
class SynthesisOptions:
    """How cubes are transformed."""

    phi_max_radm2: float | None = None
    """Largest Faraday depth; unset: as `mpidriver.tasks.faraday.phi_grid` says."""
    dphi_radm2: float | None = None
    """Step in Faraday depth; unset: FWHM/samples."""
    samples: float = 5.0
    """Samples across the FWHM of the RMTF."""
    lambda0_sq_m2: float | None = None
    """λ²_0; unset: the weighted mean over the channels that are not blank everywhere."""
    rmsf: str = "common"
    """``common``: one RMSF of the channels' weights for all; ``pixel``: one for each pixel's own flags."""
    double: bool = False
    """Compute and write in float64."""
    any_order: bool = False
    """Accept frequencies that do not rise or fall from channel to channel."""
    suffix: str = ".fits"
    """``.fits`` or ``.h5``."""
    prefix: str = ""
    """Begins the names of the products."""
    memory_bytes: int = 1024 * MIB
    """Memory of a rank."""
    threads: int = 1
    """Threads of a rank."""


@dataclass(frozen=True)
class SynthesisReport:
    """What came of it."""

    filled: Filled
    """Products, and whether there was anything to do."""
    freq_hz: "np.ndarray"
    """Frequencies of the channels."""
    phi_radm2: "np.ndarray"
    """Faraday depths."""
    lambda0_sq_m2: float
    """λ²_0."""
    unused_channels: int
    """Channels of weight 0 or blank everywhere."""
    pixels: int
    """Pixels of the sky."""
    rmsf_a_pixel: bool
    """Whether each has a transfer function of its own."""

    @property
    def blank_pixels(self) -> int:
        """Pixels without any channel."""
        return sum(blank for blank, _ in self.filled.values)

    @property
    def flagged_pixels(self) -> int:
        """Pixels that lack some of the channels that others have."""
        return sum(flagged for _, flagged in self.filled.values)


def synthesise_cubes(
    pool: Pool,
    paths: CubePaths,
    folder: str | os.PathLike[str],
    options: SynthesisOptions | None = None,
    *,
    observer: PixelObserver | None = None,
) -> SynthesisReport:
    """Transform cubes of Stokes Q and U to Faraday depth, file to file.

    Parameters
    ----------
    pool
        The ranks that share the sky.
    paths
        Cubes and what is known of their channels.
    folder
        Where the products are written.
    options
        How.
    observer
        Is told of pixels.

    Raises
    ------
    DataError
        If cubes do not fit each other, or frequencies are missing, not in Hz, or not as many as channels.
    """
    options = options or SynthesisOptions()
    q, u, i = _open(paths)
    freq_hz = channel_frequencies(q, paths.frequencies, any_order=options.any_order)
    weights = channel_weights(q.shape[0], noise=paths.noise, weights=paths.weights)
    weights = weights * used_channels(pool, q, u, weights, memory_bytes=options.memory_bytes)
    work = make_synthesis(q, u, i, freq_hz, weights, options)
    cubes = synthesis_products(work, Path(folder), options)
    regions = cut_regions(
        q.shape[1:],
        granularity=q.granularity,
        bytes_a_pixel=work.bytes_a_pixel,
        memory_bytes=options.memory_bytes,
    )
    sources = [source.identity() for source in (q, u, i) if source is not None]
    facts = (sources, freq_hz.tolist(), weights.tolist(), len(regions), mpidriver.__version__)
    filled = fill_cubes(
        pool,
        work.fill,
        regions,
        cubes,
        verb=VERB,
        digest=digest(dataclasses.replace(options, threads=1), *facts),
        finish=work.finish,
        observer=observer,
    )
    return SynthesisReport(
        filled,
        freq_hz,
        work.phi_radm2,
        work.lambda0_sq_m2,
        unused_channels=int((weights == 0).sum()),
        pixels=q.shape[1] * q.shape[2],
        rmsf_a_pixel=work.rmsf_a_pixel,
    )


def _open(paths: CubePaths) -> tuple[CubeSource, CubeSource, CubeSource | None]:
    q = open_cube(paths.q, stokes="Q")
    u = open_cube(paths.u or paths.q, stokes="U")
    i = open_cube(paths.i, stokes="I") if paths.i is not None else None
    if q == u:
        other = "a second cube" if paths.u is None else "another cube"
        raise DataError(f"{paths.q}: expected a STOKES axis with Q and U, or {other} with Stokes U")
    for other in (u, i):
        if other is not None and other.shape != q.shape:
            raise DataError(
                f"{other.path}: expected the shape of {q.path}, {_sides(q.shape)}, got {_sides(other.shape)}"
            )
    if 0 in q.shape:
        raise DataError(f"{q.path}: the cube is empty, {_sides(q.shape)}")
    return q, u, i


def _sides(shape: tuple[int, ...]) -> str:
    return "{} channels of {} x {} pixels".format(*shape)


def make_synthesis(
    q: CubeSource,
    u: CubeSource,
    i: CubeSource | None,
    freq_hz: "np.ndarray",
    weights: "np.ndarray",
    options: SynthesisOptions,
) -> Synthesis:
    """Return the work that ranks do: with the grid of Faraday depths and λ²_0 that follow from the channels."""
    import numpy as np

    from mpidriver.tasks.faraday import phi_grid, reference_lambda_sq

    usable = weights > 0
    if not usable.any():
        raise DataError(f"{q.path}: no channel has both data and a positive weight")
    if np.ptp(freq_hz[usable]) == 0.0 and None in (options.phi_max_radm2, options.dphi_radm2):
        raise DataError(
            f"{q.path}: one frequency alone has no resolution in Faraday depth; give --phi-max and --d-phi if a flat "
            "spectrum is wanted"
        )
    phi = phi_grid(
        freq_hz[usable],
        phi_max_radm2=options.phi_max_radm2,
        dphi_radm2=options.dphi_radm2,
        samples=options.samples,
    )
    lambda0_sq_m2 = options.lambda0_sq_m2
    if lambda0_sq_m2 is None:
        lambda0_sq_m2 = float(reference_lambda_sq(freq_hz, weights=weights))
    elif not 0.0 <= lambda0_sq_m2 < np.inf:
        raise ConfigError(f"--lambda0: expected a number of m² of at least 0, got {lambda0_sq_m2:g}")
    return Synthesis(
        q=q,
        u=u,
        i=i,
        freq_hz=freq_hz,
        weights=weights,
        phi_radm2=phi,
        lambda0_sq_m2=lambda0_sq_m2,
        rmsf_a_pixel=options.rmsf == "pixel",
        double=options.double,
        threads=options.threads,
    )


def synthesis_products(work: Synthesis, folder: Path, options: SynthesisOptions) -> dict[str, NewCube]:
    """Return the products of a synthesis by their names: cubes, maps and transfer functions as RM-Tools has them."""
    dtype = "f8" if options.double else "f4"
    unit = str(work.q.header.get("BUNIT", "")).strip()
    sky = work.q.shape[1:]

    def product(name: str, shape: tuple[int, ...], bunit: str, **cards: Any) -> tuple[str, NewCube]:
        header = work.q.header.copy()
        header.update({"BUNIT": bunit, **cards})
        return name, NewCube(folder / f"{options.prefix}{name}{options.suffix}", shape, dtype, header)

    lambda0 = {"LAMSQ0": (work.lambda0_sq_m2, "Lambda^2_0, in m^2")}
    depth, spread = depth_cards(work.phi_radm2), depth_cards(work.rmsf_phi_radm2)
    single = {"CTYPE3": "DEGENERATE", "CRVAL3": float(work.phi_radm2[0]), "CRPIX3": 1.0, "CDELT3": 1.0}
    brightness = f"{unit}/RMSF"
    size, wide = len(work.phi_radm2), len(work.rmsf_phi_radm2)
    transfer = (wide, *(sky if work.rmsf_a_pixel else (1, 1)))
    parts = {"real": {"STOKES": "Q"}, "im": {"STOKES": "U"}, "tot": {}}
    products = [
        product(f"FDF_{part}_dirty", (size, *sky), brightness, **depth, **lambda0, **cards)
        for part, cards in parts.items()
    ]
    products += [product(f"RMSF_{part}", transfer, "", **spread, **lambda0, **cards) for part, cards in parts.items()]
    products += [
        product("RMSF_FWHM", sky, "rad/m^2"),
        product("FDF_maxPI", (1, *sky), unit, **single),
        product("FDF_peakRM", (1, *sky), "rad/m^2", BTYPE="FDEP", **single),
    ]
    return dict(products)
