"""The exceptions of mpidriver.

::

    MpidriverError
    ├── ConfigError (ValueError)            survey.toml or the command line is wrong
    ├── DataError (ValueError)              an input file or array cannot be used
    ├── RepositoryError (OSError)           a repository is missing, damaged or held by another run
    ├── StagingError (OSError)              files cannot be brought in from a remote or out to it
    └── PoolError (RuntimeError)
        ├── LaunchError                     the ranks could not be started as asked
        ├── PoolClosedError                 a pool was used after it was closed
        ├── PoolStopped                     a signal or the time limit ended the run; what ran was finished
        ├── LeaderLostError                 the rank that waits for this task has died
        └── TaskError                       a task raised; carries item, rank, host and remote traceback

Errors cross ranks by pickle, so each keeps its raw arguments in ``args`` and makes its text in ``__str__``.
A message says where, what was got and what would do.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "LaunchError",
    "LeaderLostError",
    "MpidriverError",
    "PoolClosedError",
    "PoolError",
    "PoolStopped",
    "RepositoryError",
    "StagingError",
    "TaskError",
]


class MpidriverError(Exception):
    """Root of every error that mpidriver raises on purpose."""


class ConfigError(MpidriverError, ValueError):
    """A configuration value or command-line option is wrong: names file, table, key and what would do."""


class DataError(MpidriverError, ValueError):
    """An input file or array cannot be used: names it, what was found and what was expected."""


class RepositoryError(MpidriverError, OSError):
    """A repository is missing, damaged, not writable or held by another run."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StagingError(MpidriverError, OSError):
    """Files cannot be brought in from a remote or out to it: names the remote and the cause."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class PoolError(MpidriverError, RuntimeError):
    """The pool itself could not do what was asked."""


class LaunchError(PoolError):
    """The ranks could not be started as asked."""


class PoolClosedError(PoolError):
    """A pool was used after it was closed."""


class PoolStopped(PoolError):
    """The run was ended early: what ran was finished, what was not begun stays undone.

    Parameters
    ----------
    reason
        What ended it, as ``SIGUSR1`` or ``the walltime of 3600 s``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"stopped by {self.reason}"


class LeaderLostError(PoolError):
    """The rank that waits for this task, or for one above it, has died: nobody wants its result any more."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "a rank that waits for this task has died; its result is not wanted"


class TaskError(PoolError):
    """A task raised.

    Parameters
    ----------
    item
        What the task was called with.
    rank
        Rank that ran it.
    host
        Name of that rank's host.
    cause
        Type and text of the remote exception, one line.
    remote_traceback
        The traceback as it was printed where it happened.
    failed
        How many items of the same call failed in all.
    kind
        "raised"; or, of a task that was not to blame for how it ended: "killed" (its child process died), "memory"
        (it outgrew its limit), "timeout" or "lost" (its rank died).
    """

    def __init__(
        self,
        item: object,
        rank: int,
        host: str,
        cause: str,
        remote_traceback: str,
        failed: int = 1,
        kind: str = "raised",
    ) -> None:
        super().__init__(item, rank, host, cause, remote_traceback, failed, kind)
        self.item = item
        self.rank = rank
        self.host = host
        self.cause = cause
        self.remote_traceback = remote_traceback
        self.failed = failed
        self.kind = kind

    def __str__(self) -> str:
        shown = repr(self.item)
        if len(shown) > 200:
            shown = shown[:200] + "…"
        others = f" ({self.failed - 1} more failed)" if self.failed > 1 else ""
        return f"task on {shown}, rank {self.rank} of {self.host}: {self.cause}{others}\n\n{self.remote_traceback}"
