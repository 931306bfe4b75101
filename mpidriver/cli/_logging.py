"""What `--verbose`, `--log-level` and `--log-dir` do: the standard logging of every rank."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.report import Progress

__all__ = ["is_first_rank", "set_up_logging", "shown_progress"]

#: Where launchers write a rank's number; read here, because a rank that logs may not have begun with MPI yet.
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")


class RankHandler(logging.StreamHandler):
    """Writes lines to standard error, or above the progress bar as long as there is one."""

    progress: "Progress | None" = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self.progress is None:
            super().emit(record)
        else:
            self.progress.write(self.format(record))


def set_up_logging(options: argparse.Namespace) -> None:
    """Log what the command line asks for, each line with its rank; warnings and errors if it says nothing."""
    logger = logging.getLogger("mpidriver")
    if logger.handlers:
        return
    handler = RankHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s rank {_rank()} %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    )
    handler.setLevel(options.log_level or ("INFO" if options.verbose else "WARNING"))
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    if options.log_dir is not None:
        _log_into_files(logger, Path(options.log_dir))


def _log_into_files(logger: logging.Logger, folder: Path) -> None:
    from mpidriver.cli._rank_log import JsonHandler, name_of_run

    logger.addHandler(JsonHandler(folder / name_of_run(os.environ) / f"rank-{_rank()}.jsonl", int(_rank())))
    logger.setLevel(min(logger.level, logging.INFO))


def _is_talkative() -> bool:
    """Tell whether so much is printed that a progress bar would be torn by the lines of other ranks."""
    handlers = logging.getLogger("mpidriver").handlers
    return any(isinstance(handler, RankHandler) and handler.level <= logging.INFO for handler in handlers)


@contextmanager
def shown_progress(pool: "Pool", options: argparse.Namespace, label: str, **how: Any) -> "Iterator[Progress]":
    """Yield the progress of a verb, which this rank's log lines leave alone.

    Parameters
    ----------
    pool
        Its ranks.
    options
        Whether anything is to be shown.
    label, how
        For `mpidriver.report.Progress`.
    """
    from mpidriver.report import Progress

    plain = pool.size > 1 and _is_talkative()  # the lines of other ranks would tear the bar
    progress = Progress(0, quiet=options.quiet, label=label, plain=plain, **how)
    with progress, _through_progress(None if options.quiet else progress):
        yield progress


@contextmanager
def _through_progress(progress: "Progress | None") -> Iterator[None]:
    """Write this rank's lines above the bar while it is on the screen; without one, as ever."""
    handlers = [handler for handler in logging.getLogger("mpidriver").handlers if isinstance(handler, RankHandler)]
    for handler in handlers:
        handler.progress = progress
    try:
        yield
    finally:
        for handler in handlers:
            handler.progress = None


def is_first_rank() -> bool:
    """Tell whether all that speak of this rank's number call it the first, also where it sees no other."""
    return all(os.environ.get(name, "0") == "0" for name in _RANK_VARIABLES)


def _rank() -> str:
    return next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0")
