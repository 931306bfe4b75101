"""What a rank may take while its main thread is between two tasks.

Its leader hears of the end of a task, or that nothing of a batch will be run, before the main thread has left it, and
may have given the rank to another scope by then. A batch refused in this moment takes the rank away from its scope.
"""

import pytest

from mpidriver.pool._rank._context import Context, MainThread
from mpidriver.pool._rank._work import Work, WorkSpan
from mpidriver.pool._transport._messages import Standing

ROOT, CHILD, OTHER = (0, 1), (1, 1), (2, 1)


@pytest.fixture
def main():
    made = MainThread()
    yield made
    for context in reversed(list(made.contexts)):
        made.leaves(context)


def begin(main, scope):
    """Let the main thread begin a batch of a scope."""
    context = Context(None, Work(scope, 1, [WorkSpan(1, [(1,)])], Standing((), 3, False, False, (0,))))
    main.enters(context)
    return context


def end(context):
    context.work.is_over = True


def give_back(context):
    assert context.work.trim() == [0]


@pytest.mark.parametrize("spend", [end, give_back])
def test_a_rank_whose_task_is_over_takes_work_of_another_scope(main, spend):
    task = begin(main, CHILD)
    assert main.may_take(CHILD)
    assert not main.may_take(ROOT)
    spend(task)
    assert main.may_take(ROOT)


@pytest.mark.parametrize("spend", [end, give_back])
def test_it_takes_what_the_wait_below_may_take(main, spend):
    waiting = begin(main, ROOT)
    waiting.scope = object()
    task = begin(main, CHILD)
    assert not main.may_take(OTHER)
    spend(task)
    assert main.may_take(OTHER)
    assert not main.may_take(ROOT)
