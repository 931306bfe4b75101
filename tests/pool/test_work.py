"""A batch, as the thread that runs it and the one that gives it back see it."""

from mpidriver.pool._rank._work import Work, WorkSpan
from mpidriver.pool._transport._messages import Standing

ALONE = Standing((), 1, is_firm=False, is_together=False, leaders=())


def test_a_batch_that_is_given_back_before_its_first_item_has_no_outcome():
    """Its leader has taken all of it back: it knows no such batch any more."""
    work = Work((0, 1), 7, [WorkSpan(1, None), WorkSpan(2, None)], ALONE)
    work.begin_span(["a", "b"])
    assert work.trim() == [0, 0]
    assert work.is_gone
    assert work.next_span() is None


def test_what_is_begun_of_a_batch_stays():
    work = Work((0, 1), 7, [WorkSpan(1, None), WorkSpan(2, None)], ALONE)
    work.begin_span(["a", "b", "c"]).popleft()
    assert work.trim() == [1, 0]
    assert not work.is_gone
    assert work.trim() is None
