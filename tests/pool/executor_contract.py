"""What every executor of a pool must do, whatever the number of ranks; run with `pool_contract`."""

import concurrent.futures
import functools
import itertools
import operator
import os
import threading
import time
import weakref

import numpy as np
from raising import raises

from mpidriver.errors import PoolError, TaskError
from mpidriver.pool import current_pool

SEEN = []
"""Weak references to arguments of tasks that ran in this process."""
SET_UP = []
"""What initializers have left in this process."""


def square(x):
    return x * x


def fail(text):
    raise ValueError(text)


class StubbornError(Exception):
    """An exception that pickles but does not unpickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_stubbornly():
    raise StubbornError(1, 2)


class Thing:
    """Something that can be referred to weakly."""


def see(thing):
    SEEN.append(weakref.ref(thing))


def count_alive(_):
    time.sleep(0.001)
    return sum(reference() is not None for reference in SEEN)


def set_up(word):
    SET_UP.append(word)


def what_was_set_up(_):
    time.sleep(0.001)
    return os.getpid(), tuple(SET_UP)


def wait_inside(count, how):
    """Use an executor in a task, and wait for it in ways of which some do not help."""
    with current_pool().executor() as executor:
        if how == "map":
            return sum(executor.map(square, range(count)))
        futures = [executor.submit(square, i) for i in range(count)]
        if how == "wait":
            concurrent.futures.wait(futures)
        elif how == "event":
            done = threading.Event()
            futures[-1].add_done_callback(lambda _: done.set())
            done.wait()
        elif how == "as_completed":
            futures = list(concurrent.futures.as_completed(futures))
        return sum(future.result() for future in futures)


def map_inside(count):
    return sum(current_pool().map(square, range(count)))


def began_and_ended(_):
    began = time.time()
    time.sleep(0.002)
    return began, time.time()


def leave_behind():
    """Submit and return without waiting: it is done when the task ends."""
    executor = current_pool().executor(max_workers=1)
    for i in range(5):
        executor.submit(square, i)


def check_an_executor_is_one_of_the_standard_library(pool):
    with pool.executor() as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(square, 3).result() == 9
        assert executor.submit(sorted, [1, 2], reverse=True).result() == [2, 1]
        assert list(executor.map(operator.add, range(50), range(50))) == [2 * i for i in range(50)]
        assert list(executor.map(square, range(50), chunksize=7)) == [i * i for i in range(50)]
        assert list(executor.map(square, range(50), buffersize=3)) == [i * i for i in range(50)]
        assert sorted(executor.map(square, range(50), unordered=True)) == [i * i for i in range(50)]
        assert list(executor.map(square, [])) == []
    with raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)
    with raises(ValueError, match="max_workers must be greater than 0"):
        pool.executor(max_workers=0)
    with raises(TypeError, match="initializer"):
        pool.executor(initializer=3)


def check_waits_of_the_standard_library_come_to_an_end(pool):
    with pool.executor() as executor:
        futures = [executor.submit(square, i) for i in range(40)]
        done, not_done = concurrent.futures.wait(futures)
        assert (done, not_done) == (set(futures), set())
        futures = [executor.submit(square, i) for i in range(40)]
        assert sorted(f.result() for f in concurrent.futures.as_completed(futures)) == [i * i for i in range(40)]
        called = threading.Event()
        executor.submit(square, 1).add_done_callback(lambda _: called.set())
        assert called.wait(20)
        assert executor.submit(square, 2).result(timeout=20) == 4
        assert pool.wait([executor.submit(square, 5)])[0].pop().result() == 25


def check_a_future_raises_what_its_task_has_raised(pool):
    with pool.executor() as executor:
        with raises(ValueError, match="on purpose") as caught:
            executor.submit(fail, "on purpose").result()
        if pool.size > 1:
            assert "in fail" in str(caught.value.__cause__)
        with raises(SystemExit):
            executor.submit(os.sys.exit, 3).result()
        stubborn = executor.submit(fail_stubbornly).exception()
        assert isinstance(stubborn, TaskError if pool.size > 1 else StubbornError)
        assert "1 and 2" in str(stubborn)
        results = executor.map(divmod, [6, 6, 6], [2, 0, 3])
        assert next(results) == (3, 0)
        with raises(ZeroDivisionError):
            next(results)


def check_what_an_executor_cannot_pickle_is_the_future_s_error(pool):
    if pool.size == 1:
        return
    with pool.executor() as executor:
        lock = threading.Lock()
        for future in (executor.submit(id, lock), executor.submit(lambda: lock), executor.submit(threading.Lock)):
            with raises(TypeError, match="cannot pickle"):
                future.result()


def check_executors_take_lambdas_and_arrays(pool):
    big = np.arange(50_000.0)
    with pool.executor() as executor:
        assert list(executor.map(lambda x: x + big[1], range(5))) == [1, 2, 3, 4, 5]
        assert (executor.submit(np.add, big, 1).result() == big + 1).all()
        assert executor.submit(functools.partial(operator.add, 2), 3).result() == 5


def check_executors_in_tasks(pool):
    """Also where all ranks wait in ways that do not help."""
    for how in ("map", "result", "wait", "as_completed", "event"):
        counts = range(1, pool.size + 2)
        expected = [sum(i * i for i in range(count)) for count in counts]
        assert pool.map(wait_inside, counts, [how] * len(counts)) == expected
    with pool.executor() as executor:
        assert list(executor.map(map_inside, range(6))) == [0, 0, 1, 5, 14, 30]
        assert executor.submit(wait_inside, 4, "wait").result() == 14
        assert executor.submit(leave_behind).result() is None


def check_executors_of_parts_of_a_pool(pool):
    """Also of the part that has nothing but this rank, which runs tasks while it waits only."""
    with pool.split(pool.size) as parts:
        executors = [part.executor() for part in parts]
        futures = [executor.submit(square, i) for executor in executors for i in range(3)]
        concurrent.futures.wait(futures)
        assert [future.result() for future in futures] == [0, 1, 4] * pool.size
        assert [executor.num_workers for executor in executors] == [1] * pool.size


def check_an_initializer_runs_once_in_each_process(pool):
    word = f"set up at {time.time()}"
    with pool.executor(initializer=set_up, initargs=(word,)) as executor:
        seen = [*executor.map(what_was_set_up, range(20 * pool.size))]
        seen += executor.map(what_was_set_up, range(20 * pool.size), chunksize=3)
    assert all(words.count(word) == 1 for _, words in seen)
    assert 1 <= len({pid for pid, _ in seen}) <= pool.size


def check_a_failing_initializer_breaks_its_executor_only(pool):
    executor = pool.executor(initializer=fail, initargs=("no data",))
    with raises(concurrent.futures.BrokenExecutor, match="ValueError: no data"):
        list(executor.map(square, range(20)))
    with raises(PoolError, match="no data"):
        executor.submit(square, 1)
    executor.shutdown()
    with pool.executor() as other:
        assert other.submit(square, 3).result() == 9


def check_futures_can_be_cancelled(pool):
    executor = pool.executor()
    futures = [executor.submit(time.sleep, 0.005) for _ in range(20 * pool.size)]
    assert futures[-1].cancel()
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    assert sum(future.cancelled() for future in futures) >= 10 * pool.size


def check_a_shutdown_that_does_not_wait(pool):
    executor = pool.executor()
    futures = [executor.submit(time.sleep, 0.002) for _ in range(3 * pool.size)]
    executor.shutdown(wait=False)
    concurrent.futures.wait(futures)
    assert not any(future.cancelled() for future in futures)


def check_max_workers(pool):
    """So many tasks at once, no more."""
    with pool.executor(max_workers=1) as executor:
        spans = list(executor.map(began_and_ended, range(10)))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def check_executors_keep_nothing(pool):
    """Neither arguments on the ranks, nor arguments and results here."""
    with pool.executor() as executor:
        things = [Thing() for _ in range(5 * pool.size)]
        futures = [executor.submit(see, thing) for thing in things]
        concurrent.futures.wait(futures)
        references = [weakref.ref(thing) for thing in things]
        things.clear()
        assert sum(executor.map(count_alive, range(10 * pool.size))) == 0
        assert [reference() for reference in references] == [None] * len(references)


def check_map_with_a_timeout(pool):
    with pool.executor() as executor:
        assert list(executor.map(time.sleep, [0, 0], timeout=60)) == [None, None]
        for unordered in (False, True):
            with raises(concurrent.futures.TimeoutError):
                next(executor.map(time.sleep, [0.2], timeout=0, unordered=unordered))


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]
