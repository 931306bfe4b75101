"""The verb `cutout`: squares of pixels about positions."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_verb
from mpidriver.cli._staging import add_staging, bring_in, bring_out
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers._cutouts._images import CutoutImage
    from mpidriver.drivers._cutouts._positions import Positions
    from mpidriver.drivers.cutout import CutoutReport
    from mpidriver.pool import Pool
    from mpidriver.site import StorageOptions

__all__ = ["add_arguments"]

_SHOWN = 10


def add_arguments(verbs: "Verbs") -> None:
    """Add `cutout` to the command line."""
    summary = "cut squares about positions out of frames, coadds and cubes, or out of any FITS files"
    parser = add_verb(verbs, "cutout", summary, run_on_pool=cutout)
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository whose images hold the positions")
    _add_positions(parser)
    _add_images(parser)
    parser.add_argument("--size", type=float, default=20.0, metavar="SIDE", help="side of the square (default: 20)")
    parser.add_argument("--unit", choices=("pixel", "arcsec"), default="pixel", help="unit of SIDE (default: pixel)")
    parser.add_argument("--image-only", action="store_true", help="leave out variance, mask and other planes")
    parser.add_argument("--packed", action="store_true", help="one file a position with all of its cutouts")
    parser.add_argument("--out", metavar="DIR", help="where they go (default: REPO/cutouts, or cutouts)")
    parser.add_argument(
        "--locate-only", action="store_true", help="of --files and --messages: write where positions lie, cut nothing"
    )
    add_staging(parser)


def _add_positions(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where")
    where.add_argument(
        "--at", action="append", metavar="RA,DEC", help="a position, deg or hh:mm:ss,dd:mm:ss; repeatable"
    )
    where.add_argument("--catalogue", metavar="FILE", help="positions in a FITS, CSV, ECSV or VOTable file")
    where.add_argument("--columns", metavar="RA,DEC[,NAME]", help="its columns, deg (default: the usual names)")
    where.add_argument(
        "--messages",
        metavar="FILE",
        help='JSON lines or a list of {"file": …, "ra": …, "dec": …}: each out of its file',
    )
    where.add_argument("--pixels", metavar="FILE", help="the table that --locate-only has written")


def _add_images(parser: argparse.ArgumentParser) -> None:
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
    of_what.add_argument(
        "--from", dest="folder", metavar="DIR", help="where files of messages lie (default: REPO/raw, or this folder)"
    )
    of_what.add_argument("--hdu", metavar="N|NAME", help="of FILE (default: each image that has coordinates)")


def cutout(pool: "Pool", options: argparse.Namespace) -> int:
    """Cut positions out of images."""
    from mpidriver.drivers.cutout import CutoutShape, cut_out

    _check(options)
    positions = _positions(options)
    root = Path(options.repo or ".").absolute()
    folder = Path(options.out).absolute() if options.out else root / "cutouts"
    storage = _storage(options)
    failed = False
    if options.stage_in is not None:
        staged = bring_in(storage, options.stage_in, _raw(options), _files(positions), quiet=options.quiet)
        failed = bool(staged.failures)
    shape = CutoutShape(options.size, options.unit, options.image_only, options.packed, options.locate_only)
    report = cut_out(_images(options, positions), positions, folder, shape=shape, root=root, pool=pool)
    _tell(report, quiet=options.quiet)
    if options.stage_out is not None:
        made = sorted({row.cutout for row in report.rows if row.cutout}) if not options.locate_only else []
        staged = bring_out(storage, options.stage_out, folder, [*made, report.path.name], quiet=options.quiet)
        failed = failed or bool(staged.failures)
    asked_for_files = positions.files is not None and report.count("off") > 0
    return int(failed or bool(report.failures) or report.count("failed") > 0 or asked_for_files)


def _check(options: argparse.Namespace) -> None:
    given = [value for value in (options.at, options.catalogue, options.messages, options.pixels) if value]
    if len(given) != 1:
        raise ConfigError("cutout: give positions by one of --at, --catalogue, --messages and --pixels")
    names_files = bool(options.messages or options.pixels)
    if not names_files and bool(options.repo) == bool(options.files):
        raise ConfigError("cutout: give one of REPO and --files FILE")
    if names_files and options.files:
        raise ConfigError("cutout: messages and pixels name their files themselves; leave out --files")
    if options.stage_in is not None and not options.messages:
        raise ConfigError("cutout: --stage-in brings in the files of --messages; for others use `mpidriver stage in`")
    if options.locate_only and not (options.messages or options.files):
        raise ConfigError("cutout: --locate-only is for --messages and --files")
    if options.packed and (options.pixels or options.locate_only):
        raise ConfigError("cutout: --packed does not go with --pixels and --locate-only")
    if options.unit == "pixel" and (options.size < 1 or options.size != int(options.size)):
        raise ConfigError(f"--size: expected a whole number of pixels of at least 1, got {options.size:g}")
    if not 0 < options.size < 1e6:
        raise ConfigError(f"--size: expected a positive number, got {options.size:g}")


def _positions(options: argparse.Namespace) -> "Positions":
    from mpidriver.drivers._cutouts import _positions

    if options.at:
        return _positions.positions_at(options.at)
    if options.messages:
        return _positions.read_messages(options.messages)
    if options.pixels:
        return _positions.read_pixels(options.pixels)
    return _positions.read_catalogue(options.catalogue, options.columns)


def _storage(options: argparse.Namespace) -> "StorageOptions":
    """Return the table [storage] of the repository, or the defaults without one."""
    from mpidriver.site import StorageOptions

    if not options.repo or (options.stage_in is None and options.stage_out is None):
        return StorageOptions()
    from mpidriver.drivers.config import load_config
    from mpidriver.store import Repository

    return load_config(Repository.open(options.repo).config_path).storage


def _raw(options: argparse.Namespace) -> Path:
    """Return the folder where the files of messages lie."""
    if options.folder:
        return Path(options.folder).absolute()
    return Path(options.repo).absolute() / "raw" if options.repo else Path.cwd()


def _files(positions: "Positions") -> list[str]:
    return list(dict.fromkeys(positions.files or ()))


def _images(options: argparse.Namespace, positions: "Positions") -> "list[CutoutImage]":
    from mpidriver.drivers._cutouts import _images as images

    hdu = int(options.hdu) if options.hdu and options.hdu.isdecimal() else options.hdu
    if options.messages:
        return images.images_of_messages(_raw(options), positions, hdu)
    if options.pixels:
        return images.images_of_pixels(Path(options.repo or ".").absolute(), positions)
    if options.files:
        from mpidriver.drivers.ingest import expand

        return images.images_of_files(expand(options.files), positions, hdu)
    from mpidriver.drivers._selection import Selection
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    selection = Selection(options.tract, options.patch, options.exposure, options.detector, options.bands)
    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        return images.images_of_survey(context, state, positions, options.dataset, selection.compiled())


def _tell(report: "CutoutReport", *, quiet: bool) -> None:
    if not quiet:
        print(_summary(report))
    for path, reason in report.failures:
        print(f"mpidriver: not cut: {reason if path in reason else f'{path}: {reason}'}", file=sys.stderr)


def _summary(report: "CutoutReport") -> str:
    cut = report.count("whole") + report.count("partial")
    partial = f", {report.count('partial')} of them partial" if report.count("partial") else ""
    lines = [f"{cut} cutouts{partial}; table: {report.path}"]
    off = report.names("off")
    if off:
        more = " … (status 'off' in the table)" if len(off) > _SHOWN else ""
        lines.append(f"{len(off)} positions on no image: {', '.join(off[:_SHOWN])}{more}")
    return "\n".join(lines)
