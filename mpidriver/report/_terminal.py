"""Whether people look on, and how wide their window is.

Below mpirun a rank cannot know: Open MPI gives it a pseudo-terminal for standard output and a pipe for standard error,
whatever its own are. So whoever starts the ranks says it in the environment.
"""

import os
import shutil
import sys
from typing import TextIO

__all__ = ["TERMINAL_VARIABLE", "own_terminal", "terminal_columns"]

#: Columns of the terminal that sees the ranks' progress, 0 if none does; unset: look at the stream.
TERMINAL_VARIABLE = "MPIDRIVER_TERMINAL"
#: The same of what they write to standard output.
OUTPUT_VARIABLE = "MPIDRIVER_TERMINAL_OUTPUT"
#: Set for a rank of Open MPI's mpirun, whose standard output looks like a terminal even where it ends in a file.
PSEUDO_TERMINAL_VARIABLE = "OMPI_COMM_WORLD_RANK"


def terminal_columns(stream: TextIO) -> int:
    """Return the width of the terminal behind `stream`, 0 if there is none, or none that can draw."""
    if os.environ.get("TERM") == "dumb":
        return 0
    told = os.environ.get(OUTPUT_VARIABLE if stream is sys.stdout else TERMINAL_VARIABLE, "")
    if told.isdigit():
        return int(told)
    if PSEUDO_TERMINAL_VARIABLE in os.environ:
        return 0
    return shutil.get_terminal_size().columns if stream.isatty() else 0


def own_terminal(errors: TextIO, output: TextIO) -> dict[str, str]:
    """Return what to add to the environment of ranks whose output this process lets pass to these streams."""
    return {TERMINAL_VARIABLE: str(terminal_columns(errors)), OUTPUT_VARIABLE: str(terminal_columns(output))}
