"""Entry of the command line: reads the arguments, starts ranks if asked, runs the verb, turns errors into exit codes.

Every rank runs this file, so it imports next to nothing.

Exit codes
----------
===  =======================================================================
0    all done
1    some quanta or files failed; everything else was finished
2    usage or configuration is wrong; nothing was run
3    the repository cannot be used: missing, damaged, full or held by another run
4    the ranks could not be started, or the pool failed
70   an error in mpidriver itself
75   stopped by a signal or the time limit; what ran was finished, the same command goes on
130  interrupted by a second Ctrl-C
===  =======================================================================
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidriver.cli._logging import is_first_rank
from mpidriver.cli._parser import build_parser
from mpidriver.errors import (
    ConfigError,
    DataError,
    LaunchError,
    PoolError,
    PoolStopped,
    RepositoryError,
    StagingError,
    TaskError,
)

if TYPE_CHECKING:
    from mpidriver.pool import Pool

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REPOSITORY = 3
EXIT_POOL = 4
EXIT_BUG = 70
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130

#: Errors that somebody else can mend, and their exit codes.
EXIT_CODES = {
    ConfigError: EXIT_USAGE,
    DataError: EXIT_USAGE,
    RepositoryError: EXIT_REPOSITORY,
    StagingError: EXIT_FAILED,
    PoolError: EXIT_POOL,
}

#: What isolated quanta need sooner or later, loaded once for all child processes of a rank.
_PRELOADED = ("mpidriver.drivers.pipeline", "astropy.wcs", "astropy.table")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = build_parser().parse_args(arguments)
    _limit_threads()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale that lacks a letter must not end a run
    code = _run(options, arguments)
    if options.run_on_pool is not None and is_first_rank():
        from mpidriver.pool import leave_code

        leave_code(code)
    return code


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    try:
        return _dispatch(options, arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    except LaunchError as error:
        return _complain(str(error), EXIT_POOL) if is_first_rank() else EXIT_POOL  # the others would say the same
    except TaskError as error:
        return _complain_of_task(error)
    except Exception as error:
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), None)
        return _confess() if code is None else _complain(str(error), code)


def _dispatch(options: argparse.Namespace, arguments: list[str]) -> int:
    ranks = getattr(options, "ranks", None)
    if options.run_on_pool is None:
        return options.run(options)
    from mpidriver.pool import find_launcher, launch

    launcher = find_launcher(os.environ)
    if ranks is not None and ranks > 1 and (launcher is None or launcher.ranks == 1):
        from mpidriver.batch import run_ranks
        from mpidriver.report import own_terminal

        os.environ.update(own_terminal(sys.stderr, sys.stdout))
        if options.log_dir is not None:
            from mpidriver.cli._rank_log import RUN_VARIABLE, name_of_run

            os.environ[RUN_VARIABLE] = name_of_run(os.environ)
        code = run_ranks(ranks, [sys.executable, "-P", "-m", "mpidriver", *arguments])
        return _interrupted() if code == EXIT_INTERRUPTED else code
    from mpidriver.cli._logging import set_up_logging

    set_up_logging(options)
    walltime = getattr(options, "walltime", None)
    trace = getattr(options, "trace", None)
    preload = _PRELOADED if getattr(options, "isolate", False) else ()
    code = launch(
        _run_on_pool, options, ranks=ranks, walltime=walltime, trace=trace, drains_on_ctrl_c=True, preload=preload
    )
    return 0 if code is None else code


def _run_on_pool(pool: "Pool", options: argparse.Namespace) -> int:
    """Run a verb and return its exit code, also when a signal or the time limit stops the pool."""
    try:
        return options.run_on_pool(pool, options)
    except PoolStopped as stopped:
        return _complain(f"{stopped}; what is done is recorded, run the same command to go on", EXIT_STOPPED)


def _limit_threads() -> None:
    """Give each rank one thread of the linear-algebra libraries, whatever the batch system has set.

    Ranks are the parallelism; and a sum split over other numbers of threads differs in its last bits.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _complain(text: str, code: int) -> int:
    print(f"mpidriver: {text}", file=sys.stderr)
    return code


def _complain_of_task(error: TaskError) -> int:
    """Say what ended a task; its traceback is for errors of mpidriver alone."""
    for kind, code in EXIT_CODES.items():
        start = f"{kind.__module__}.{kind.__name__}: "
        if error.cause.startswith(start):
            return _complain(error.cause.removeprefix(start), code)
    return _complain(f"an error in mpidriver itself: {error}", EXIT_BUG)


def _confess() -> int:
    import traceback

    traceback.print_exc()
    return _complain("an error in mpidriver itself; please report it with the lines above", EXIT_BUG)


def _interrupted() -> int:
    return _complain("interrupted; what is done is recorded, run the same command to go on", EXIT_INTERRUPTED)
