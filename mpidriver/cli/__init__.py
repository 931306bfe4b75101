"""The command line: one verb a driver; the only place that composes pool, store, drivers, batch and report."""

from mpidriver.cli._main import main

__all__ = ["main"]
