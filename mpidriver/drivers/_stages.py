"""The stages of the survey by task name, and the digest of the code behind them."""

import functools
import hashlib
from collections.abc import Collection
from pathlib import Path

import mpidriver
from mpidriver.drivers import (
    _fakes,
    _light_curves,
    calibs,
    coadd,
    crosstalk,
    cube,
    faraday,
    matching,
    mosaic,
    multiband,
    single_frame,
    sky_correction,
    sources,
)
from mpidriver.drivers._stage import Stage

__all__ = ["DRIVERS", "ON_DEMAND", "STAGES", "code_digest", "usual_tasks"]

STAGES: dict[str, Stage] = {
    **calibs.STAGES,
    **crosstalk.MEASURING,
    **crosstalk.STAGES,
    **sky_correction.STAGES,
    **single_frame.STAGES,
    **mosaic.STAGES,
    **matching.STAGES,
    **coadd.STAGES,
    **multiband.STAGES,
    **_light_curves.STAGES,
    **_fakes.STAGES,
    **cube.STAGES,
    **faraday.STAGES,
    **sources.STAGES,
}

#: What a frame of the sky needs is made with it; patterns come from many frames of the sky, when asked for.
CALIBRATION_TASKS = tuple(task for task in calibs.STAGES if task not in calibs.PATTERNS)

#: Tasks that run only when they are asked for, by the option that does.
ON_DEMAND: dict[str, tuple[str, ...]] = {
    "light_curves": tuple(_light_curves.STAGES),
    "fakes": tuple(_fakes.STAGES),
}

#: Verb to the tasks that it may run; those of `ON_DEMAND` are among them.
DRIVERS: dict[str, tuple[str, ...]] = {
    "calibs": (*calibs.STAGES, *crosstalk.MEASURING),
    "single-frame": (*CALIBRATION_TASKS, *crosstalk.STAGES, *sky_correction.STAGES, *single_frame.STAGES),
    "mosaic": (*mosaic.STAGES, *matching.STAGES),
    "coadd": tuple(coadd.STAGES),
    "multiband": (*multiband.STAGES, *_light_curves.STAGES, *_fakes.STAGES),
    "faraday": (*cube.STAGES, *faraday.STAGES),
    "sources": ("channel_frame", *sources.STAGES),
    "rm-table": ("rm_table",),
    "pipeline": tuple(task for task in STAGES if task not in calibs.ON_REQUEST),
}


def usual_tasks(verb: str, *, asked_for: Collection[str] = ()) -> tuple[str, ...]:
    """Return the tasks of a verb without those of `ON_DEMAND` that nobody has asked for by their option's name."""
    left_out = {task for option, tasks in ON_DEMAND.items() if option not in asked_for for task in tasks}
    return tuple(task for task in DRIVERS[verb] if task not in left_out)


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
