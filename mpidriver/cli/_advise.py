"""The verb `advise`: what to ask the batch system for."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from mpidriver.cli._arguments import add_json, add_verb, positive
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs
    from mpidriver.drivers.advise import Advice, Workload
    from mpidriver.pool import Prediction

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `advise` to the command line."""
    summary = "predict wall time, efficiency and memory against the number of ranks, and recommend one"
    parser = add_verb(verbs, "advise", summary, run=advise)
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository: what is left to run of it")
    parser.add_argument("--table", metavar="FILE", help="CSV of task, seconds, count, spread, memory, needs")
    parser.add_argument("--trace", metavar="FILE", help="Chrome trace of an earlier run")
    parser.add_argument("--ranks", dest="rank_counts", metavar="12,112,448", help="numbers of ranks to try")
    parser.add_argument("--ranks-per-node", type=positive, metavar="N", help="ranks that share a node")
    parser.add_argument("--memory-per-node", metavar="SIZE", help="memory of a node, as 192GiB")
    parser.add_argument("--margin", type=float, metavar="SHARE", help="added to the time limit (default: 0.25)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times that are drawn")
    add_json(parser)


def advise(options: argparse.Namespace) -> int:
    """Simulate what there is to run on several numbers of ranks and say which is best."""
    from mpidriver.drivers import advise as advising

    advice = advising.advise(
        _workload(options),
        _rank_counts(options.rank_counts),
        ranks_per_node=options.ranks_per_node,
        memory_per_node=_memory(options.memory_per_node),
        margin=advising.MARGIN if options.margin is None else options.margin,
    )
    if options.json:
        print(json.dumps(_as_json(advice), indent=2))
    else:
        from mpidriver.report import advice_table

        print(advice_table(advice))
    return 0


def _workload(options: argparse.Namespace) -> "Workload":
    from mpidriver.drivers import advise as advising

    given = [value for value in (options.repo, options.table, options.trace) if value]
    if len(given) != 1:
        raise ConfigError("advise: give one of REPO, --table FILE and --trace FILE")
    if options.table:
        return advising.Workload(advising.read_task_table(options.table, seed=options.seed))
    if options.trace:
        return advising.Workload(advising.read_trace(options.trace), ["a trace does not say what waited for what"])
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        return advising.survey_workload(context, state, seed=options.seed)


def _rank_counts(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"--ranks: expected whole numbers as 12,112,448, got {text!r}") from None


def _memory(text: str | None) -> int | None:
    from mpidriver.drivers.advise import size_in_bytes

    if text is None:
        return None
    try:
        return size_in_bytes(text)
    except ValueError as error:
        raise ConfigError(f"--memory-per-node: {error}") from None


def _as_json(advice: "Advice") -> dict[str, Any]:
    best = advice.recommended
    return {
        "predictions": [_prediction_as_json(one, advice) for one in advice.predictions],
        "recommended": {
            "ranks": best.ranks,
            "nodes": advice.nodes(best.ranks),
            "time_limit_seconds": advice.time_limit_seconds,
            "margin": advice.margin,
            "fits_memory": advice.fits(best),
        },
        "notes": list(advice.notes),
    }


def _prediction_as_json(one: "Prediction", advice: "Advice") -> dict[str, Any]:
    derived = {name: getattr(one, name) for name in ("bound_seconds", "efficiency", "core_hours")}
    limiting = one.limiting.stage if one.limiting is not None else None
    return {**dataclasses.asdict(one), **derived, "nodes": advice.nodes(one.ranks), "limiting": limiting}
