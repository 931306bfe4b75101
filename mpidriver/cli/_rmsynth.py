"""The verb `rmsynth`: RM synthesis of whole cubes, file to file."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_limits, add_memory, add_verb, positive

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers.rmsynth import SynthesisOptions, SynthesisReport
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]

EPILOG = """\
Cubes are FITS, HDF5 or CASA images with any order of axes. The products have the names and headers of RM-Tools:
FDF_{real,im,tot}_dirty, RMSF_{real,im,tot}, RMSF_FWHM, FDF_maxPI, FDF_peakRM. They appear when all is done; the same
command goes on where the last one was stopped or killed.
"""


def add_arguments(verbs: "Verbs") -> None:
    """Add `rmsynth` to the command line."""
    summary = "transform cubes of Stokes Q and U to Faraday depth"
    parser = add_verb(verbs, "rmsynth", summary, run_on_pool=rmsynth, epilog=EPILOG)
    parser.add_argument("q", metavar="CUBE_Q", help="cube of Stokes Q, or one with a STOKES axis")
    parser.add_argument("u", metavar="CUBE_U", nargs="?", help="cube of Stokes U")
    parser.add_argument("--stokes-i", metavar="CUBE_I", help="divide Q and U by this cube of (a model of) Stokes I")
    channels = parser.add_argument_group("channels")
    channels.add_argument("--freq", metavar="FILE", help="frequencies, a Hz a line or a table (default: the header's)")
    channels.add_argument("--any-order", action="store_true", help="accept frequencies that neither rise nor fall")
    channels.add_argument("--noise", metavar="FILE", help="noise of the channels: their weights are 1/noise^2")
    channels.add_argument("--weights", metavar="FILE", help="weights of the channels (default: equal)")
    channels.add_argument("--lambda0", type=float, metavar="M2", help="lambda^2_0 in m^2 (default: weighted mean)")
    depths = parser.add_argument_group("Faraday depths")
    depths.add_argument("--phi-max", type=float, metavar="RAD/M2", help="largest depth")
    depths.add_argument("--d-phi", type=float, metavar="RAD/M2", help="step in depth")
    depths.add_argument("--samples", type=float, default=5.0, help="samples across the RMSF (default: 5)")
    products = parser.add_argument_group("products")
    products.add_argument("-o", "--output", metavar="FOLDER", help="where to write (default: beside CUBE_Q)")
    products.add_argument("--prefix", default="", help="begins the names of the products")
    products.add_argument("--format", choices=("fits", "hdf5"), default="fits")
    products.add_argument(
        "--rmsf",
        choices=("common", "pixel"),
        default="common",
        help="one transfer function for all, or cubes with that of each pixel's own flags (default: common)",
    )
    products.add_argument("--double", action="store_true", help="compute and write in float64")
    products.add_argument("--pictures", action="store_true", help="draw maps and spectra into FOLDER/pictures")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of a rank (default: 1)")
    add_memory(parser)
    add_limits(parser)


def rmsynth(pool: "Pool", options: argparse.Namespace) -> int:
    """Transform cubes and say what came of it."""
    from mpidriver.cli._logging import shown_progress
    from mpidriver.drivers.rmsynth import CubePaths, synthesise_cubes

    paths = CubePaths(options.q, options.u, options.stokes_i, options.freq, options.noise, options.weights)
    folder = Path(options.output) if options.output else Path(options.q).resolve().parent
    started = time.monotonic()
    with shown_progress(pool, options, "rmsynth", noun="pixels") as progress:
        report = synthesise_cubes(pool, paths, folder, _synthesis_options(options), observer=progress)
    if not options.quiet:
        _say(report, folder, time.monotonic() - started)
    if options.pictures:
        _draw(report, folder, options)
    return 0


def _synthesis_options(options: argparse.Namespace) -> "SynthesisOptions":
    from mpidriver.drivers.rmsynth import SynthesisOptions

    return SynthesisOptions(
        phi_max_radm2=options.phi_max,
        dphi_radm2=options.d_phi,
        samples=options.samples,
        lambda0_sq_m2=options.lambda0,
        rmsf=options.rmsf,
        double=options.double,
        any_order=options.any_order,
        suffix={"fits": ".fits", "hdf5": ".h5"}[options.format],
        prefix=options.prefix,
        memory_bytes=options.memory,
        threads=options.threads,
    )


def _say(report: "SynthesisReport", folder: Path, seconds: float) -> None:
    if report.filled.was_done:
        print(f"{folder}: done before, nothing to do")
        return
    phi = report.phi_radm2
    print(f"{folder}: {len(report.filled.files)} products, {len(phi)} depths from {phi[0]:.6g} to {phi[-1]:.6g} rad/m2")
    channels = f"{report.unused_channels} of {len(report.freq_hz)} channels unused"
    print(f"lambda0^2 = {report.lambda0_sq_m2:.6g} m2, {channels}, {report.blank_pixels} pixels blank")
    print(f"{report.pixels} pixels in {seconds:.1f} s, {report.pixels / seconds:.3g} pixels/s")
    if report.flagged_pixels and not report.rmsf_a_pixel:
        share = f"{report.flagged_pixels} pixels lack channels that others have"
        print(f"mpidriver: {share}: the common RMSF is not theirs; --rmsf pixel writes each its own", file=sys.stderr)


def _draw(report: "SynthesisReport", folder: Path, options: argparse.Namespace) -> None:
    from mpidriver.report import draw_cube_pictures

    cubes = options.q, options.u or options.q
    suffix = report.filled.files[0].suffix
    drawn = draw_cube_pictures(folder, *cubes, report.freq_hz, prefix=options.prefix, suffix=suffix)
    if not options.quiet:
        print(f"pictures: {', '.join(map(str, drawn))}")
