"""The stages of the survey by task name, and the digest of the code behind them."""

import functools
import hashlib
from pathlib import Path

import mpidriver
from mpidriver.drivers import (
    calibs,
    coadd,
    cube,
    faraday,
    mosaic,
    multiband,
    single_frame,
    sources,
)
from mpidriver.drivers._stage import Stage

__all__ = ["DRIVERS", "STAGES", "code_digest"]

STAGES: dict[str, Stage] = {
    **calibs.STAGES,
    **single_frame.STAGES,
    **mosaic.STAGES,
    **coadd.STAGES,
    **multiband.STAGES,
    **cube.STAGES,
    **faraday.STAGES,
    **sources.STAGES,
}

#: What a frame of the sky needs is made with it; fringe patterns come from many frames of the sky, when asked for.
CALIBRATION_TASKS = tuple(task for task in calibs.STAGES if task not in calibs.KINDS["fringe"])

#: Verb to the tasks that it runs.
DRIVERS: dict[str, tuple[str, ...]] = {
    "calibs": tuple(calibs.STAGES),
    "single-frame": (*CALIBRATION_TASKS, *single_frame.STAGES),
    "mosaic": tuple(mosaic.STAGES),
    "coadd": tuple(coadd.STAGES),
    "multiband": tuple(multiband.STAGES),
    "faraday": (*cube.STAGES, *faraday.STAGES),
    "sources": ("channel_frame", *sources.STAGES),
    "rm-table": ("rm_table",),
    "pipeline": tuple(task for task in STAGES if task not in calibs.KINDS["fringe"]),
}


@functools.cache
def code_digest() -> str:
    """Return a digest of the sources that products depend on, so that new code makes new products."""
    root = Path(mpidriver.__file__).parent
    sources = sorted(path for room in ("tasks", "drivers", "store") for path in (root / room).rglob("*.py"))
    total = hashlib.sha256()
    for path in sources:
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
