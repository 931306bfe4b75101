"""What is tried again: one death counts once, though it may cost an item twice before its leader hears of it."""

from types import SimpleNamespace

from mpidriver.pool._rank._calls import Call, Report
from mpidriver.pool._rank._retrying import retry
from mpidriver.pool._scheduling._backlog import Span
from mpidriver.pool._terms import Terms
from mpidriver.pool._transport._codec import Failure

SPAN = Span(1, 1, [5], None)


class Scheduler:
    """Notes what is put back."""

    def __init__(self):
        self.added = []

    def add(self, call, function, indexes, costs, places, *, ranks):
        self.added += indexes


def lose(call, *gang):
    """Let a gang lose an item; return whether it is tried again."""
    functions = {1: SimpleNamespace(terms=Terms(ranks=2))}
    scope = SimpleNamespace(functions=functions, reach=4, scheduler=Scheduler())
    report = Report([Failure("a rank has died", "", kind="lost")], 0.0, [0.0, 1.0], 0, gang[0], "host", True)
    kept, _ = retry(scope, call, SPAN, report, frozenset(gang))
    assert (kept == []) == (scope.scheduler.added == [5])
    return kept == []


def test_an_item_is_lost_for_good_when_a_second_gang_dies_of_it():
    call = Call(1)
    assert lose(call, 1, 2)
    assert not lose(call, 3, 4)


def test_a_death_that_its_leader_has_not_heard_of_costs_an_item_no_second_try():
    """The dead rank is sent it again, in a new gang."""
    call = Call(1)
    assert lose(call, 1, 2)
    assert lose(call, 2, 3)
    assert not lose(call, 3, 4)
