"""Ending ranks, and MPI itself, where ranks outlive each other."""

import os
import signal
import sys
import threading
from typing import NoReturn

__all__ = ["die", "die_with_the_launcher", "end_mpi", "flush"]

_OPEN_MPI = "libmpi.so.40"
"""The library of Open MPI 5, the only MPI whose ranks outlive the death of others."""
_PATIENCE_SECONDS = 2.0
"""How long MPI may take to end when a rank has died."""
_PR_SET_PDEATHSIG = 1


def end_mpi() -> None:
    """End MPI, but do not wait for long: it may hang, and then would do so for ever at the end of the process.

    mpi4py would keep the interpreter's lock meanwhile, so the library itself is called; it is loaded already.
    """
    import ctypes

    library = ctypes.CDLL(_OPEN_MPI, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    ending = threading.Thread(target=library.MPI_Finalize, name="mpidriver-end", daemon=True)
    ending.start()
    ending.join(_PATIENCE_SECONDS)


def die_with_the_launcher() -> None:
    """Let the kernel end this rank when the launcher ends: it leaves ranks behind if these may outlive each other."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def flush() -> None:
    """Let out what was printed: nothing does so at a sudden end."""
    sys.stdout.flush()
    sys.stderr.flush()


def die() -> NoReturn:
    """End this rank at once, as if it had been killed: only of such an end the others are told."""
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)
