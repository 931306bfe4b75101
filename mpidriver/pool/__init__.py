"""How work travels: nested scatter and gather over ranks, with MPI or without.

::

    def tract(number):
        warps = current_pool().map(warp, overlaps(number))      # scatter and gather inside a task
        return combine(warps)

    def main(pool):
        for outcome in pool.stream(tract, range(100)):
            print(outcome.item, outcome.seconds)

    launch(main)

Rooms, the ones that others stand on last::

    _pool, _stream            what users call
    _launch, _signals         is there a launcher, root or worker; what stops a run from outside
    _terms, _outcome          how items are to be run; what is known of a finished one
    _futures                  futures, and the pool as an executor of the standard library
    _rank                     one rank (_engine): what it was sent (_worker, _work) and what it leads (_leader, _scope)
    _values                   values that stay on ranks or are shared by all, and reductions of them
    _isolated                 items in child processes that may die
    _watching                 traces, idle times, progress, learned costs
    _scheduling               which rank does what next, without MPI and without clocks
    _simulation               the same schedulers on virtual ranks
    _transport                messages: MPI (_wire), what they mean (_messages), doorbells, memory, pickles
"""

from typing import TYPE_CHECKING

from mpidriver.lazy import loaded_on_use
from mpidriver.pool._launch import find_launcher, launch, leave_code
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._pool import Pool, current_pool
from mpidriver.pool._signals import read_walltime
from mpidriver.pool._simulation._workload import Job
from mpidriver.pool._terms import Terms
from mpidriver.pool._values._held import Held
from mpidriver.pool._values._shared import Shared
from mpidriver.pool._watching._learned import LearnedCosts
from mpidriver.pool._watching._usage import Usage

if TYPE_CHECKING:
    from mpidriver.pool._simulation._prediction import Prediction, StagePrediction
    from mpidriver.pool._simulation._simulator import simulate

_HOMES = {
    "Prediction": "_simulation._prediction",
    "StagePrediction": "_simulation._prediction",
    "simulate": "_simulation._simulator",
}

__all__ = [
    "Held",
    "Job",
    "LearnedCosts",
    "Outcome",
    "Pool",
    "Prediction",
    "Shared",
    "StagePrediction",
    "Terms",
    "Usage",
    "current_pool",
    "find_launcher",
    "launch",
    "leave_code",
    "read_walltime",
    "simulate",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
