"""Whether people look on, and how wide their window is.

Below mpirun a rank cannot know: Open MPI gives it a pseudo-terminal for standard output and a pipe for standard error,
whatever its own are. So whoever starts the ranks says it in the environment.
"""

import os
import shutil
from typing import TextIO

__all__ = ["TERMINAL_VARIABLE", "own_terminal", "terminal_columns"]

#: Columns of the terminal that sees the ranks' output, 0 if none does; unset: look at the stream.
TERMINAL_VARIABLE = "MPIDRIVER_TERMINAL"


def terminal_columns(stream: TextIO) -> int:
    """Return the width of the terminal behind `stream`, 0 if there is none."""
    told = os.environ.get(TERMINAL_VARIABLE, "")
    if told.isdigit():
        return int(told)
    return shutil.get_terminal_size().columns if stream.isatty() else 0


def own_terminal(stream: TextIO) -> dict[str, str]:
    """Return what to add to the environment of ranks that this process starts."""
    return {TERMINAL_VARIABLE: str(terminal_columns(stream))}
