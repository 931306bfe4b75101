"""How verbs add their arguments: what several of them share.

A verb has a file of its own, `cli/_<verb>.py`, with `add_arguments`, which adds its parser, beside the function that
runs it. Every rank imports all of these files for the parser, so they import nothing heavy before they run.
"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpidriver.pool import Pool

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_json", "add_limits", "add_memory", "add_ranks", "add_repo", "add_talk", "add_verb", "positive"]


def add_verb(
    verbs: "Verbs",
    name: str,
    summary: str,
    *,
    run: Callable[[argparse.Namespace], int] | None = None,
    run_on_pool: "Callable[[Pool, argparse.Namespace], int] | None" = None,
    **more: Any,
) -> argparse.ArgumentParser:
    """Add a verb and return its parser.

    Parameters
    ----------
    verbs
        Where verbs are added.
    name
        The verb.
    summary
        What it does, a phrase that begins with a small letter.
    run
        Runs it in this process and returns the exit code.
    run_on_pool
        Instead of `run`: runs it on the root of a pool, which the other ranks serve.
    more
        Passed on to `add_parser`.
    """
    parser = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".", **more)
    parser.allow_abbrev = False
    parser.set_defaults(run=run, run_on_pool=run_on_pool)
    if run_on_pool is not None:
        add_ranks(parser, default=argparse.SUPPRESS)
        add_talk(parser)
    return parser


def add_repo(parser: argparse.ArgumentParser) -> None:
    """Add the repository, which nearly every verb works on."""
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def add_ranks(parser: argparse.ArgumentParser, default: object) -> None:
    """Add the number of ranks to start."""
    parser.add_argument(
        "-n",
        "--ranks",
        type=positive,
        default=default,
        metavar="N",
        help="start N ranks on this machine (default: this process alone, or the ranks of mpirun or srun)",
    )


def add_talk(parser: argparse.ArgumentParser) -> None:
    """Add how much is printed and logged."""
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="no progress, no closing table")
    talk.add_argument("-v", "--verbose", action="store_true", help="log at level INFO")
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), help="what is logged")
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        help="also log each rank, at level INFO or the one asked for, as JSON lines: DIR/<run>/rank-<number>.jsonl",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the time limit of a run and its trace."""
    parser.add_argument(
        "--walltime",
        type=_walltime,
        metavar="TIME",
        help="time limit of the job as Slurm's --time, 90 (minutes) or 1:30:00: stop early enough for what runs to end",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write which rank ran what when, as JSON for ui.perfetto.dev or chrome://tracing",
    )


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add the memory of a rank."""
    parser.add_argument(
        "--memory",
        type=_size,
        default="1GiB",
        metavar="SIZE",
        help="memory of a rank, as 1GiB or 800MiB (default: 1GiB)",
    )


def positive(text: str) -> int:
    """Return a whole number of at least 1, as a type of argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return number


def _walltime(text: str) -> float:
    from mpidriver.pool import read_walltime

    try:
        return read_walltime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    from mpidriver.drivers.advise import size_in_bytes

    try:
        return size_in_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
