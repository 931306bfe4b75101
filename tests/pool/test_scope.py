"""What a task scatters, as several threads see it."""

from mpidriver.pool._rank._calls import Call
from mpidriver.pool._rank._scope import Scope
from mpidriver.pool._scheduling._scheduler import Scheduler
from mpidriver.pool._terms import PLAIN


def test_calls_may_end_while_a_thread_asks_whether_results_are_awaited():
    """The progress thread drops what nobody wants any more, while the main thread asks without the lock."""

    class Ending(Call):
        @property
        def left(self):
            scope.end(other)
            return 0

        @left.setter
        def left(self, count):
            pass

    scope = Scope((0, 1), None, Scheduler(0), reach=1, leaders=(0,), travels=False)
    key = scope.function(abs, PLAIN)
    other = Call(key)
    for serial, call in enumerate([Ending(key), other, Call(key)]):
        scope.begin(call, serial)
    assert not scope.awaits_results
    assert len(scope.calls) == 2
