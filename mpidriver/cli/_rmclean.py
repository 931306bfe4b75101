"""The verb `rmclean`: RM-CLEAN of whole cubes of Faraday spectra, file to file."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_limits, add_memory, add_verb, positive

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers.rmclean import CleanOptions, CleanReport
    from mpidriver.pool import Pool

__all__ = ["add_arguments"]

EPILOG = """\
RMSF_{real,im} and RMSF_FWHM must lie beside the dirty cubes. The products have the names of RM-Tools:
FDF_clean_{real,im,tot}, FDF_CC_{real,im,tot}, CLEAN_nIter. They appear when all is done; the same command goes on where
the last one was stopped or killed.
"""


def add_arguments(verbs: "Verbs") -> None:
    """Add `rmclean` to the command line."""
    summary = "clean cubes of Faraday spectra by RM-CLEAN"
    parser = add_verb(verbs, "rmclean", summary, run_on_pool=rmclean, epilog=EPILOG)
    parser.add_argument("dirty", metavar="FOLDER|FDF", help="folder of FDF_real_dirty and FDF_im_dirty, or one of them")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="where to write (default: beside the dirty cubes)")
    limits = parser.add_argument_group("where to stop")
    limits.add_argument("--sigma", type=float, default=3.0, metavar="N", help="in standard deviations (default: 3)")
    limits.add_argument("--cutoff", type=float, metavar="X", help="instead: in the unit of the spectra")
    limits.add_argument("--window", type=float, metavar="X", help="lower limit around components, in the same unit")
    limits.add_argument("--noise", metavar="X|MAP", help="standard deviation, or a map of it (default: measured)")
    limits.add_argument("--gain", type=float, default=0.1, help="share of the peak a step (default: 0.1)")
    limits.add_argument("--max-iterations", type=positive, default=1000, metavar="N", help="steps (default: 1000)")
    parser.add_argument("--pictures", action="store_true", help="draw maps and spectra into FOLDER/pictures")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of a rank (default: 1)")
    add_memory(parser)
    add_limits(parser)


def rmclean(pool: "Pool", options: argparse.Namespace) -> int:
    """Clean cubes and say what came of it."""
    from mpidriver.cli._logging import shown_progress
    from mpidriver.drivers.rmclean import clean_cubes

    how = _clean_options(options)
    folder = Path(options.output) if options.output else None
    started = time.monotonic()
    with shown_progress(pool, options, "rmclean", noun="pixels") as progress:
        report = clean_cubes(pool, options.dirty, folder, how, observer=progress)
    if not options.quiet:
        _say(report, how.max_iterations, time.monotonic() - started)
    if options.pictures:
        _draw(report, options)
    return 0


def _say(report: "CleanReport", max_iterations: int, seconds: float) -> None:
    where = report.filled.files[0].parent
    if report.filled.was_done:
        print(f"{where}: done before, nothing to do")
        return
    print(f"{where}: {len(report.filled.files)} products, {report.iterations} components subtracted")
    print(f"{report.pixels} pixels in {seconds:.1f} s, {report.pixels / seconds:.3g} pixels/s")
    if report.unfinished:
        print(f"{report.unfinished} spectra did not come below their limit in {max_iterations} steps")


def _draw(report: "CleanReport", options: argparse.Namespace) -> None:
    from mpidriver.report import draw_clean_pictures

    folder, suffix = report.filled.files[0].parent, report.filled.files[0].suffix
    drawn = draw_clean_pictures(report.dirty, folder, prefix=report.prefix, suffix=suffix)
    if not options.quiet:
        print(f"pictures: {', '.join(map(str, drawn))}")


def _clean_options(options: argparse.Namespace) -> "CleanOptions":
    from mpidriver.drivers.rmclean import CleanOptions

    return CleanOptions(
        cutoff=options.sigma if options.cutoff is None else options.cutoff,
        window_cutoff=options.window,
        in_sigma=options.cutoff is None,
        noise=_number_or_path(options.noise),
        gain=options.gain,
        max_iterations=options.max_iterations,
        memory_bytes=options.memory,
        threads=options.threads,
    )


def _number_or_path(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
