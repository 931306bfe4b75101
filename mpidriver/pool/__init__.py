"""How work travels: nested scatter and gather over ranks, with MPI or without.

::

    def tract(number):
        warps = current_pool().map(warp, overlaps(number))      # scatter and gather inside a task
        return combine(warps)

    def main(pool):
        for outcome in pool.stream(tract, range(100)):
            print(outcome.item, outcome.seconds)

    launch(main)

Layers, each knowing only those below it::

    _launch      is there a launcher; root or worker
    _pool        what users call                       _stream    items read while others run
    _signals     what stops it from outside           _stopping  nothing more is begun
    _executor    the same as an executor              _results   of an executor's map
    _runner      an executor's thread                 _errand    an executor's task as it travels
    _engine      a rank                                _progress  its thread while the main thread computes
    _leader      scopes, and doing what they decide    _worker    batches received: run, or given back
    _scope       what one task scatters                _context   tasks that are running
    _scheduler   which rank does what next             _work      a batch, item by item
    _backlog     what nobody runs yet                  _calls     where results go
    _gangs       items that want several ranks         _communicators, _groups: MPI of gangs
    _blocks      many short items at once              _learned   costs known from earlier outcomes
    _recovery    when a rank has died                  _farewell  how ranks part
    _terms       how items are to be run                _retrying  what is tried again
    _held_values values that stay                       _held, _scatter  their handles
    _reduce      values combined in a fixed tree       _placing   tasks that have a place
    _shared      values that all ranks look at          _node_memory  one copy of them a node
    _isolation   items in child processes              _deputy    and what those ask the pool for
    _children    child processes, from outside         _child, _standin   from inside
    _zygote      where they come from                  _link, _segments   how to talk to them
    _neighbours  which of them run at once
    _trace       what ran where when                    _usage     why ranks were idle
    _observing   how far a program is
    _post        messages out                          _callbacks, _when: futures
    _wire        MPI                                   _serial    nobody to talk to
    _bell        wakes a rank that sleeps              _idle      how a thread waits
    _buffers     memory for arrays that arrive         _groups    communicators of some ranks
    _codec, _instructions, _messages, _outcome

Beside it, the same schedulers on virtual ranks: _simulator, _virtual_ranks, _workload, _prediction.
"""

from typing import TYPE_CHECKING, Any

from mpidriver.pool._held import Held
from mpidriver.pool._launch import find_launcher, launch
from mpidriver.pool._learned import LearnedCosts
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._pool import Pool, current_pool
from mpidriver.pool._shared import Shared
from mpidriver.pool._signals import read_walltime
from mpidriver.pool._terms import Terms
from mpidriver.pool._usage import Usage
from mpidriver.pool._workload import Job

if TYPE_CHECKING:
    from mpidriver.pool._prediction import Prediction, StagePrediction
    from mpidriver.pool._simulator import simulate

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
    "read_walltime",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Load the simulator when it is used: ranks do without it."""
    if name == "simulate":
        from mpidriver.pool import _simulator

        return _simulator.simulate
    if name in ("Prediction", "StagePrediction"):
        from mpidriver.pool import _prediction

        return getattr(_prediction, name)
    raise AttributeError(f"module 'mpidriver.pool' has no attribute {name!r}")
