"""The verbs of the drivers: each runs its stages of the survey on the pool."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_limits, add_repo, add_verb
from mpidriver.cli._logging import shown_progress
from mpidriver.cli._recorded_run import recorded_run
from mpidriver.cli._staging import add_staging, with_staging
from mpidriver.errors import ConfigError, PoolStopped, RepositoryError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers._selection import Selection
    from mpidriver.drivers._stage import Context
    from mpidriver.drivers.pipeline import DriverRun
    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["add_arguments"]

#: Verb of a driver to what it does.
DRIVER_VERBS = {
    "calibs": "combine raw bias, dark and flat frames, and the sky's patterns, to calibration frames",
    "single-frame": "reduce raw frames to calibrated frames and source catalogues",
    "mosaic": "solve astrometry and photometry of each tract over all its frames",
    "coadd": "warp frames to patches and stack them",
    "multiband": "detect and measure objects over all bands, make the catalogues",
    "faraday": "make Stokes cubes of patches, RM synthesis and the RM catalogue",
    "sources": "measure polarisation and RM of the catalogue's components, make the RM table",
    "pipeline": "all of these in one run, each quantum as soon as its inputs are there",
}

#: Drivers whose products are shown in pictures at the end.
_DRAWING = {"pipeline", "multiband", "faraday", "sources"}

#: Drivers that measure objects, and what these do only when asked to, by the name of the option.
_MEASURING = {"pipeline", "multiband"}
ON_DEMAND_HELP = {
    "light_curves": "also measure every object on each single frame, a table a patch",
    "fakes": "also add known sources to the coadds, find and measure them, and tell what came of them",
}


def add_arguments(verbs: "Verbs") -> None:
    """Add the drivers to the command line."""
    for verb, summary in DRIVER_VERBS.items():
        _add_driver(verbs, verb, summary)


def _add_driver(verbs: "Verbs", verb: str, summary: str) -> None:
    epilog = "selections: numbers, lists and ranges as 1..9^12 or 0..100:10"
    parser = add_verb(verbs, verb, summary, run_on_pool=with_staging(drive), epilog=epilog)
    add_repo(parser)
    if verb == "calibs":
        parser.add_argument(
            "tasks",
            nargs="*",
            type=_tasks_of_kind,
            metavar="KIND",
            help="bias, dark, flat, defects; fringe, sky, crosstalk by frames of the sky (default: all but these)",
        )
    for name, example in (
        ("exposure", "1204..1210"),
        ("detector", "0..49^62"),
        ("band", "g^r"),
        ("tract", "9813"),
        ("patch", "2,5^3,5"),
    ):
        parser.add_argument(f"--{name}", default="", metavar=example, help=f"work on no other {name}")
    parser.add_argument("--dry-run", action="store_true", help="list the quanta that would run, and leave")
    if verb in _MEASURING:
        for name, summary in ON_DEMAND_HELP.items():
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=summary)
    _add_repeats(parser)
    parser.add_argument("--fail-fast", action="store_true", help="hand out nothing more after the first failure")
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run each quantum in a child process of its rank, so that one that crashes costs itself alone",
    )
    parser.add_argument(
        "--memory", type=_memory, metavar="SIZE", help="with --isolate: the most that one quantum may take, as 4GiB"
    )
    add_limits(parser)
    if verb in _DRAWING:
        parser.add_argument("--no-pictures", action="store_true", help="draw no pictures at the end")
    add_staging(parser)


def _tasks_of_kind(text: str) -> tuple[str, ...]:
    from mpidriver.drivers.calibs import KINDS

    if text not in KINDS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(KINDS)}, got {text!r}")
    return KINDS[text]


def _chosen_tasks(options: argparse.Namespace) -> list[str] | None:
    """Return the tasks to run of those of the verb, none for all."""
    asked_for = [name for name in ON_DEMAND_HELP if getattr(options, name, False)]
    if asked_for:
        from mpidriver.drivers._stages import usual_tasks

        return list(usual_tasks(options.verb, asked_for=asked_for))
    if options.verb != "calibs":
        return None
    from mpidriver.drivers.calibs import KINDS, ON_REQUEST

    kinds = options.tasks or [tasks for tasks in KINDS.values() if not set(tasks) & set(ON_REQUEST)]
    return [task for tasks in kinds for task in tasks]


def _add_repeats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retry",
        nargs="?",
        const="",
        default=None,
        action="append",
        type=_not_a_repository,
        metavar="TASK|TEXT",
        help="try failed quanta again: all, those of a task, or those whose error contains a text; may be repeated",
    )
    parser.add_argument(
        "--clobber",
        nargs="?",
        const="",
        default=None,
        action="append",
        type=_not_a_repository,
        metavar="TASK,TASK",
        help="run also what is done and unchanged: all, or these tasks and what hangs on them",
    )


def _not_a_repository(text: str) -> str:
    """Return the value of an option that may stand alone; the repository must not be taken for it."""
    if (Path(text) / "survey.toml").is_file():
        raise argparse.ArgumentTypeError(f"{text} is a repository: write it before this option")
    return text


def _memory(text: str) -> str:
    from mpidriver.pool import Terms

    try:
        Terms(isolate=True, memory=text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def drive(pool: "Pool", options: argparse.Namespace) -> int:
    """Run a driver, show its progress and close with its table."""
    from mpidriver.cli._closing import closing_summary, quiet_failures
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.report import print_summary
    from mpidriver.store import open_state

    verb = options.verb
    if options.memory is not None and not options.isolate:
        raise ConfigError("--memory limits child processes: it needs --isolate")
    context = open_context(options.repo)
    if options.dry_run:
        return _list_quanta(context, options)
    started = time.monotonic()
    with open_state(context.repository) as state:
        driven = _reduce(context, state, pool, options)
        if getattr(options, "fakes", False):
            driven.notes.extend(_told_of_fakes(context))
        skips_pictures = getattr(options, "no_pictures", True) or pool.stopping is not None
        pictures = [] if skips_pictures else _draw(context, state, pool)
    if not options.quiet:
        print_summary(closing_summary(verb, driven, pool, wall_s=time.monotonic() - started, pictures=pictures))
    elif driven.result.failures:
        print(f"mpidriver: {quiet_failures(driven, options.repo)}", file=sys.stderr)
    if driven.result.refusal:
        raise RepositoryError(f"{driven.result.refusal}, then run the same command to go on")
    if driven.result.stopped:
        raise PoolStopped(driven.result.stopped)
    return 0 if driven.result.complete else 1


def _reduce(context: "Context", state: "StateDatabase", pool: "Pool", options: argparse.Namespace) -> "DriverRun":
    """Run the driver as a recorded run."""
    from mpidriver.drivers._campaign._again import Again
    from mpidriver.drivers.pipeline import run_driver

    again = Again(_words(options.retry), _words(options.clobber))
    selection = _selection(options)
    with recorded_run(state, pool) as run, shown_progress(pool, options, options.verb) as progress:
        if not state.other_runs():  # what others are just writing is not left over
            context.repository.remove_partials()
        driven = run_driver(
            context,
            options.verb,
            pool=pool,
            state=state,
            selection=selection,
            tasks=_chosen_tasks(options),
            observer=progress,
            again=again,
            fail_fast=options.fail_fast,
            isolate=options.isolate,
            memory=options.memory,
        )
        run.status = "stopped" if driven.result.stopped else "done"
    return driven


def _selection(options: argparse.Namespace) -> "Selection":
    from mpidriver.drivers._selection import Selection

    return Selection(options.tract, options.patch, options.exposure, options.detector, options.band)


def _words(given: list[str] | None) -> tuple[str, ...]:
    """Return what an option that may be repeated names: tasks joined by commas, or one text."""
    from mpidriver.drivers._stages import STAGES

    words: list[str] = []
    for text in given or ():
        parts = [part.strip() for part in text.split(",")]
        words += parts if STAGES.keys() >= set(parts) else [text]
    return tuple(words)


def _list_quanta(context: "Context", options: argparse.Namespace) -> int:
    from mpidriver.drivers.planning import plan_driver, unplanned
    from mpidriver.store import open_state

    with open_state(context.repository, readonly=True) as state:
        plan = plan_driver(context, state, options.verb, _selection(options), tasks=_chosen_tasks(options))
        gone = unplanned(plan.graph, state.quanta(), options.verb)
    for quantum in plan.own:
        print(quantum.key)
    if gone:
        print(
            f"# {len(gone)} quanta that the survey no longer plans would be removed with their products, as {gone[0]}"
        )
    for note in plan.notes:
        print(f"# {note}")
    return 0


def _told_of_fakes(context: "Context") -> list[str]:
    from mpidriver.report import fakes_notes
    from mpidriver.store import read_table

    path = context.repository.path("fakes_summary")
    return fakes_notes(read_table(path)) if path.exists() else []


def _draw(context: "Context", state: "StateDatabase", pool: "Pool") -> list[Path]:
    from mpidriver.report import draw_all

    return draw_all(context.repository, state, pool=pool)
