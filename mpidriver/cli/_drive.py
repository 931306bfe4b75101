"""The verbs that scatter work over ranks; each runs on the root with the pool and returns the exit code."""

import argparse
import functools
import shlex
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import mpidriver
from mpidriver.cli._logging import is_talkative, through_progress
from mpidriver.cli._parser import DRIVER_VERBS
from mpidriver.drivers._selection import Selection
from mpidriver.drivers.pipeline import DriverRun, open_context, plan_driver, run_driver
from mpidriver.errors import ConfigError, PoolStopped, RepositoryError
from mpidriver.report import FailedQuantum, Progress, RunSummary, StageSummary, print_summary
from mpidriver.store import open_state

if TYPE_CHECKING:
    from mpidriver.drivers._stage import Context
    from mpidriver.pool import Pool
    from mpidriver.store import StateDatabase

__all__ = ["run_verb"]

#: The exit code that the pool's `launch` uses too: run the same command again.
EXIT_STOPPED = 75


def drive(verb: str, pool: "Pool", options: argparse.Namespace) -> int:
    """Run a driver, show its progress and close with its table."""
    context = open_context(options.repo)
    selection = Selection(options.tract, options.patch, options.exposure, options.detector, options.band)
    if options.dry_run:
        return _list_quanta(context, verb, selection)
    started = time.monotonic()
    with open_state(context.repository) as state:
        run = state.begin_run(" ".join(sys.argv[1:]), pool.size, mpidriver.__version__, socket.gethostname())
        context.repository.remove_partials()
        ended = "failed"
        try:
            plain = pool.size > 1 and is_talkative()  # the lines of other ranks would tear the bar
            progress = Progress(0, quiet=options.quiet, label=verb, plain=plain)
            with progress, through_progress(None if options.quiet else progress):
                driven = run_driver(
                    context,
                    verb,
                    pool=pool,
                    state=state,
                    selection=selection,
                    observer=progress,
                    clobber=options.clobber,
                    fail_fast=options.fail_fast,
                    isolate=options.isolate,
                )
            ended = "stopped" if driven.result.stopped else "done"
        finally:
            state.end_run(run, ended)
        skips_pictures = getattr(options, "no_pictures", True) or pool.stopping is not None
        pictures = [] if skips_pictures else _draw(context, state, pool)
    if not options.quiet:
        print_summary(_summary(verb, driven, pool, time.monotonic() - started, pictures))
    elif driven.result.failures:
        print(f"mpidriver: {_quiet_failures(driven, options.repo)}", file=sys.stderr)
    if driven.result.refusal:
        raise RepositoryError(f"{driven.result.refusal}, then run the same command to go on")
    if driven.result.stopped:
        raise PoolStopped(driven.result.stopped)
    return 0 if driven.result.complete else 1


def _quiet_failures(driven: DriverRun, repo: str) -> str:
    failures = driven.result.failures
    key, cause = failures[0]
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"failed: {key}: {cause}{more}; `mpidriver status {repo}` names all"


def _list_quanta(context: "Context", verb: str, selection: Selection) -> int:
    with open_state(context.repository, readonly=True) as state:
        plan, own = plan_driver(context, state, verb, selection)
    for quantum in own:
        print(quantum.key)
    for note in plan.notes:
        print(f"# {note}")
    return 0


def _draw(context: "Context", state: "StateDatabase", pool: "Pool") -> list[Path]:
    from mpidriver.report import draw_all

    return draw_all(context.repository, state, pool=pool)


def _summary(verb: str, driven: DriverRun, pool: "Pool", wall_s: float, pictures: list[Path]) -> RunSummary:
    counts, seconds = driven.result.counts, driven.result.seconds
    stages = [
        StageSummary(
            stage,
            done=count["done"],
            skipped=count["unchanged"],
            failed=count["failed"],
            blocked=count["blocked"],
            seconds=seconds[stage],
        )
        for stage, count in counts.items()
    ]
    drawn = sorted({str(path.parent) for path in pictures})
    usage = pool.usage
    return RunSummary(
        command=verb,
        stages=stages,
        wall_s=wall_s,
        ranks=pool.size,
        efficiency=usage.busy,
        idle={
            "while the root computed": usage.serial,
            "waiting for inputs": usage.dependency,
            "last tasks": usage.straggler,
            "latency": usage.latency,
        },
        products=[*driven.products, *drawn],
        left=sum(count["left"] for count in counts.values()),
        failures=[FailedQuantum(key, cause) for key, cause in driven.result.failures],
        notes=driven.notes,
    )


def ingest(pool: "Pool", options: argparse.Namespace) -> int:
    """Enter raw frames into a repository."""
    from mpidriver.drivers.ingest import expand
    from mpidriver.drivers.ingest import ingest as ingest_files

    context = open_context(options.repo)
    files = expand(options.files)
    with open_state(context.repository) as state:
        report = ingest_files(context.repository, context.config, state, files, pool=pool, copy=options.copy)
    if not options.quiet:
        print(f"{context.root}: {report.new} frames entered, {report.known} known already, from {len(files)} files")
    for path, reason in report.rejected:
        print(f"mpidriver: not entered: {path}: {reason}", file=sys.stderr)
    return 1 if report.rejected else 0


def simulate(pool: "Pool", options: argparse.Namespace) -> int:
    """Make the repository of a simulated survey."""
    from mpidriver.cli._simulation import simulation_options
    from mpidriver.drivers.ingest import ingest as ingest_files
    from mpidriver.drivers.simulate import simulate as simulate_survey

    root = Path(options.repo).absolute()
    config, files = simulate_survey(root, simulation_options(options), pool=pool)
    context = open_context(str(root))
    with open_state(context.repository) as state:
        report = ingest_files(context.repository, config, state, files, pool=pool)
    if not options.quiet:
        next_step = f"mpidriver pipeline {shlex.quote(options.repo)}"
        print(f"{options.repo}: {report.new} raw frames, their truth in truth/; next: {next_step}")
    if report.rejected:
        raise ConfigError(f"the simulated frame {report.rejected[0][0]} was rejected: {report.rejected[0][1]}")
    return 0


def run_verb(pool: "Pool", options: argparse.Namespace) -> int:
    """Run a verb and return its exit code, also when a signal or the time limit stops the pool."""
    try:
        return VERBS[options.verb](pool, options)
    except PoolStopped as stopped:
        print(f"mpidriver: {stopped}; what is done is recorded, run the same command to go on", file=sys.stderr)
        return EXIT_STOPPED


VERBS: dict[str, Callable[["Pool", argparse.Namespace], int]] = {
    **{verb: functools.partial(drive, verb) for verb in DRIVER_VERBS},
    "ingest": ingest,
    "simulate": simulate,
}
