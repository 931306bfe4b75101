"""The verb `status`: what is done, how fast the rest gets done, and what failed."""

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mpidriver.cli._arguments import add_json, add_repo, add_verb

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.report._pace import Pace
    from mpidriver.store import StateDatabase

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `status` to the command line."""
    summary = "show how many quanta of each stage are done, failed, blocked or left, and the pace of the run that is on"
    parser = add_verb(verbs, "status", summary, run=status)
    add_repo(parser)
    parser.add_argument("--failed", action="store_true", help="show what failed by cause, with the line that raised it")
    add_json(parser)


def status(options: argparse.Namespace) -> int:
    """Show stage × state and the pace, or the failures by cause."""
    from mpidriver.report import failures_page, group_failures, status_table
    from mpidriver.store import Repository, open_state

    with open_state(Repository.open(options.repo), readonly=True) as state:
        if options.failed:
            groups = group_failures(state.quanta(status="failed"))
            _print([dataclasses.asdict(group) for group in groups] if options.json else failures_page(groups))
            return 0
        counts = state.counts()
        pace = _pace(state, counts)
        if options.json:
            _print({"stages": counts, "run": None if pace is None else dataclasses.asdict(pace)})
        else:
            _print(status_table(counts, state.quanta(status="failed"), pace=pace))
    return 0


def _pace(state: "StateDatabase", counts: Mapping[str, Mapping[str, int]]) -> "Pace | None":
    """Return the pace of the newest run that has not ended, none if there is none."""
    from mpidriver.report import pace_of_run

    run = next((run for run in reversed(state.runs()) if run.status == "running"), None)
    if run is None:
        return None
    return pace_of_run(run, counts, state.timings(), state.timings(run.run_id), now=time.time())


def _print(what: Any) -> None:
    print(json.dumps(what, indent=2) if isinstance(what, (dict, list)) else what)
