"""The verb `cutout`: squares of pixels about positions."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_verb
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers._cutout_images import CutoutImage
    from mpidriver.drivers._positions import Positions
    from mpidriver.drivers.cutout import CutoutReport
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]

_SHOWN = 10


def add_arguments(verbs: "Verbs") -> None:
    """Add `cutout` to the command line."""
    summary = "cut squares about positions out of frames, coadds and cubes, or out of any FITS files"
    parser = add_verb(verbs, "cutout", summary, run_on_pool=cutout)
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository whose images hold the positions")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--at", action="append", metavar="RA,DEC", help="a position, deg or hh:mm:ss,dd:mm:ss; repeatable"
    )
    where.add_argument("--catalogue", metavar="FILE", help="positions in a FITS, CSV, ECSV or VOTable file")
    where.add_argument("--columns", metavar="RA,DEC[,NAME]", help="its columns, deg (default: the usual names)")
    of_what = parser.add_argument_group("of what")
    of_what.add_argument(
        "--dataset",
        nargs="+",
        choices=("frames", "coadds", "cubes", "raw"),
        default=["coadds"],
        help="images of the repository (default: coadds)",
    )
    for name, example, of in (
        ("--bands", "g^r", "bands; of cubes, Stokes parameters"),
        ("--exposure", "1204..1210", "exposures"),
        ("--detector", "0..49^62", "detectors"),
        ("--tract", "9813", "tracts"),
        ("--patch", "2,5^3,5", "patches"),
    ):
        of_what.add_argument(name, default="", metavar=example, help=f"only these {of}")
    of_what.add_argument(
        "--files", nargs="+", metavar="FILE", help="instead of REPO: FITS files, folders, globs, or @list"
    )
    of_what.add_argument("--hdu", metavar="N|NAME", help="of FILE (default: each image that has coordinates)")
    parser.add_argument("--size", type=float, default=20.0, metavar="SIDE", help="side of the square (default: 20)")
    parser.add_argument("--unit", choices=("pixel", "arcsec"), default="pixel", help="unit of SIDE (default: pixel)")
    parser.add_argument("--image-only", action="store_true", help="leave out variance, mask and other planes")
    parser.add_argument("--packed", action="store_true", help="one file a position with all of its cutouts")
    parser.add_argument("--out", metavar="DIR", help="where they go (default: REPO/cutouts, or cutouts)")


def cutout(pool: "Pool", options: argparse.Namespace) -> int:
    """Cut positions out of images."""
    from mpidriver.drivers.cutout import CutoutShape, cut_out

    _check(options)
    positions = _positions(options)
    root = Path(options.repo or ".").absolute()
    report = cut_out(
        _images(options, positions),
        positions,
        Path(options.out).absolute() if options.out else root / "cutouts",
        shape=CutoutShape(options.size, options.unit, options.image_only, options.packed),
        root=root,
        pool=pool,
    )
    if not options.quiet:
        print(_summary(report))
    for path, reason in report.failures:
        print(f"mpidriver: not cut: {reason if path in reason else f'{path}: {reason}'}", file=sys.stderr)
    return 1 if report.failures else 0


def _check(options: argparse.Namespace) -> None:
    if bool(options.at) == bool(options.catalogue):
        raise ConfigError("cutout: give positions by one of --at RA,DEC and --catalogue FILE")
    if bool(options.repo) == bool(options.files):
        raise ConfigError("cutout: give one of REPO and --files FILE")
    if options.unit == "pixel" and (options.size < 1 or options.size != int(options.size)):
        raise ConfigError(f"--size: expected a whole number of pixels of at least 1, got {options.size:g}")
    if not 0 < options.size < 1e6:
        raise ConfigError(f"--size: expected a positive number, got {options.size:g}")


def _positions(options: argparse.Namespace) -> "Positions":
    from mpidriver.drivers._positions import positions_at, read_catalogue

    return positions_at(options.at) if options.at else read_catalogue(options.catalogue, options.columns)


def _images(options: argparse.Namespace, positions: "Positions") -> "list[CutoutImage]":
    from mpidriver.drivers._cutout_images import images_of_files, images_of_survey

    if options.files:
        from mpidriver.drivers.ingest import expand

        hdu = int(options.hdu) if options.hdu and options.hdu.isdecimal() else options.hdu
        return images_of_files(expand(options.files), positions, hdu)
    from mpidriver.drivers._selection import Selection
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    selection = Selection(options.tract, options.patch, options.exposure, options.detector, options.bands)
    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        return images_of_survey(context, state, positions, options.dataset, selection.compiled())


def _summary(report: "CutoutReport") -> str:
    cut = report.count("whole") + report.count("partial")
    partial = f", {report.count('partial')} of them partial" if report.count("partial") else ""
    lines = [f"{cut} cutouts{partial}; table: {report.path}"]
    off = report.names("off")
    if off:
        more = " … (status 'off' in the table)" if len(off) > _SHOWN else ""
        lines.append(f"{len(off)} positions on no image: {', '.join(off[:_SHOWN])}{more}")
    return "\n".join(lines)
