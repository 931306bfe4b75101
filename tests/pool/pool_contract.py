"""What every pool must do, whatever the number of ranks: one function a sentence, each takes the main program's pool.

pytest runs them on the pool of one process, and `run` under mpirun on ranks.
"""

import ctypes
import faulthandler
import gc
import operator
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import executor_contract
import numpy as np
import sky_correction
from raising import raises

from mpidriver.errors import PoolClosedError, PoolError, TaskError
from mpidriver.pool import LearnedCosts, Outcome, Pool, Terms, current_pool, launch

SIZE_OF_BIG = 8 << 20
"""Elements of 64 MB."""


def square(x):
    return x * x


def uneven(x):
    """Take long for early items."""
    time.sleep(0.01 if x % 4 == 0 else 0.0)
    return x


def stay_until(flag):
    """Return as soon as a file appears."""
    while not flag.exists():
        time.sleep(1e-3)


def sum_of_squares(count):
    return sum(current_pool().map(square, range(count)))


def tree(depth, start):
    """Nest three deep; every node is a map."""
    if depth == 0:
        return start
    return sum(current_pool().map(tree, [depth - 1] * 3, range(start, start + 3)))


def serial_tree(depth, start):
    return start if depth == 0 else sum(serial_tree(depth - 1, start + i) for i in range(3))


class StubbornError(Exception):
    """An exception that pickles but does not unpickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Unreadable:
    """An object that pickles but does not unpickle."""

    def __reduce__(self):
        return (fail_to_read, ())


class LeavesWhenRead:
    """An object that ends the process that unpickles it, if that lets it."""

    def __reduce__(self):
        return (sys.exit, (3,))


def fail_to_read():
    raise RuntimeError("I do not unpickle")


def rank_sum(comm, factor=1):
    """Add up the ranks of a communicator by MPI."""
    return factor * comm.allreduce(comm.rank), comm.size


def gang(item):
    """Use the ranks of a gang together, one by one, and together again."""
    pool = current_pool()
    everybody = pool.spmd(rank_sum, factor=item)
    squares = pool.map(square, range(item))
    return item, pool.size, everybody, sum(squares), pool.comm.size, pool.spmd(rank_sum) == pool.spmd(rank_sum)


def expected_gang(item, ranks):
    pairs = ranks * (ranks - 1) // 2
    return item, ranks, [(item * pairs, ranks)] * ranks, sum(i * i for i in range(item)), ranks, True


def gangs_inside(count, ranks):
    """Map gangs from a task that has no ranks of its own."""
    return current_pool().map(gang, range(count), ranks=ranks)


def gang_of_gangs(count, ranks):
    pool = current_pool()
    inner = pool.map(gang, range(count), ranks=ranks)
    return pool.size, inner, pool.spmd(rank_sum)[0]


def fail_together(comm):
    raise ValueError(comm.rank)


def misbehave(how):
    match how:
        case "raise":
            raise ValueError("on purpose")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "stubborn":
            raise StubbornError(1, 2)
        case "unpicklable":
            return threading.Lock()
        case "unreadable":
            return Unreadable()
    return how


def wander(seed, depth):
    """Do a little of everything, by a seed: work, map, stream, submit, leave, fail."""
    source = random.Random(seed)
    total = source.randrange(100)
    pool = current_pool()
    for _ in range(source.randrange(3) if depth else 0):
        seeds = [source.randrange(10**6) for _ in range(source.choice([0, 1, 2, 5, 9]))]
        deeper = [depth - 1] * len(seeds)
        match source.randrange(5):
            case 0:
                total += sum(pool.map(wander, seeds, deeper))
            case 1:
                outcomes = pool.map(wander_or_fail, seeds, deeper, on_error="return", cost=seeds)
                total += sum(outcome.value or 1 for outcome in outcomes)
            case 2:
                total += sum(outcome.value for outcome in pool.stream(wander, seeds, deeper, buffersize=3))
            case 3:
                futures = [pool.submit(wander, *args) for args in zip(seeds, deeper, strict=True)]
                pool.wait(futures, "FIRST_COMPLETED")
                total += sum(future.result() for future in futures[::2])
            case 4:
                next(pool.stream(wander, seeds, deeper), None)
        time.sleep(source.choice([0, 0, 0, 0.001, 0.003]))
    return total


def wander_or_fail(seed, depth):
    total = wander(seed, depth)
    if seed % 5 == 0:
        raise ValueError(seed)
    return total


def count_functions(_):
    from mpidriver.pool._rank._context import active_contexts  # a global would travel with this function

    time.sleep(0.002)
    return len(active_contexts[-1].engine._worker._functions)


def where(_):
    time.sleep(0.02)
    return current_pool().rank, os.getpid()


def plus_one(array):
    return array + 1


def keywords(a, *, b=2):
    return a, b


def submit_more(count):
    """Submit and wait inside a task."""
    pool = current_pool()
    futures = [pool.submit(square, i) for i in range(count)]
    done, not_done = pool.wait(futures)
    assert not not_done
    return sum(future.result() for future in done)


def leave_behind(_):
    """Submit and return without waiting, and break off a stream."""
    pool = current_pool()
    pool.submit(time.sleep, 0.01)
    return next(pool.stream(square, range(1000))).value in {i * i for i in range(1000)}


def fail_in_the_middle(x):
    pool = current_pool()
    pool.submit(time.sleep, 0.01)
    if x == 1:
        pool.map(misbehave, ["ok", "raise"])
    return pool.map(square, range(x))[-1:]


LEFT_BEHIND = []


def leave_behind_rarely(x):
    """Be short, but submit something now and then; whoever comes next must find it done."""
    assert all(future.done() for future in LEFT_BEHIND)
    LEFT_BEHIND.clear()
    if x % 500 == 7:
        LEFT_BEHIND.append(current_pool().submit(square, x))
    return x


def fail_rarely(x):
    if x % 1000 == 8:
        raise IndexError(x)
    if x % 1000 == 9:
        raise StopIteration
    return x


def check_map_is_the_builtin_map(pool):
    """Also for none, one and several iterables of unequal length, fewer items than ranks and one more."""
    for count in (0, 1, pool.size - 1, pool.size, pool.size + 1, 100):
        assert pool.map(square, range(count)) == list(map(square, range(count)))
    assert pool.map(operator.add, [1, 2, 3], (4, 5)) == [5, 7]
    assert pool.map(square, iter([3])) == [9]
    with raises(TypeError):
        pool.map(square)


def check_many_short_items(pool):
    """Also such that scatter or fail now and then, in whichever way ends a loop."""
    for items in (range(5, 30_005), [0.5 * i for i in range(20_000)], [(i, (str(i), [i])) for i in range(2000)]):
        assert pool.map(repr, items) == list(map(repr, items))
    assert pool.map(operator.mul, range(9000), range(9000)) == [i * i for i in range(9000)]
    assert pool.map(leave_behind_rarely, range(3000)) == list(range(3000))
    with raises(TaskError) as caught:
        pool.map(fail_rarely, range(5010))
    assert (caught.value.item, caught.value.failed) == (8, 12)
    assert "IndexError" in caught.value.cause
    with raises(TaskError, match="StopIteration"):
        pool.map(fail_rarely, range(9, 1008))


def check_order_is_kept_under_uneven_times(pool):
    assert pool.map(uneven, range(40)) == list(range(40))
    costs = [(7 * i) % 11 for i in range(40)]
    assert pool.map(uneven, range(40), cost=costs) == list(range(40))
    assert pool.map(uneven, range(40), cost=float) == list(range(40))


def check_a_cost_for_each_item(pool):
    with raises(ValueError, match="2 numbers for 3 items"):
        pool.map(square, [1, 2, 3], cost=[1.0, 2.0])


def check_costs_are_learned(pool):
    """By map, stream and submit; an item that fails teaches nothing."""
    costs = LearnedCosts()
    assert pool.map(square, range(50), cost=costs) == [i * i for i in range(50)]
    assert sorted(outcome.value for outcome in pool.stream(uneven, range(8), cost=costs)) == list(range(8))
    assert pool.submit(misbehave, "sleep", cost=costs).result() == "sleep"
    pool.map(misbehave, ["raise", "return"], cost=costs, on_error="return", name="some fail")
    assert {float(costs.of("square")(i)) == 1.0 for i in range(50)} == {False}
    learned = costs.of("uneven")
    assert min(learned(0), learned(4)) >= 0.01
    assert learned.knows(7)
    assert costs.of("misbehave").knows("sleep")
    assert costs.of("some fail").knows("return")
    assert not costs.of("some fail").knows("raise")


def check_nested_maps(pool):
    assert pool.map(sum_of_squares, range(20)) == [sum(i * i for i in range(n)) for n in range(20)]
    assert pool.map(tree, [3] * 4, range(4)) == [serial_tree(3, i) for i in range(4)]


def check_lambdas_and_closures(pool):
    offset = 5
    assert pool.map(lambda x: x + offset, range(5)) == [5, 6, 7, 8, 9]
    assert pool.map(lambda x: sum(current_pool().map(lambda y: x * y, range(4))), range(3)) == [0, 6, 12]
    assert pool.submit(lambda: offset).result() == 5


def check_many_short_tasks(pool):
    assert pool.map(square, range(50_000)) == [i * i for i in range(50_000)]


def check_failures_do_not_take_the_others_along(pool):
    hows = ["fine", "raise", "exit", "interrupt", "stubborn", "good"]
    outcomes = pool.map(misbehave, hows, on_error="return")
    assert [outcome.item for outcome in outcomes] == hows
    causes = [outcome.error and outcome.error.cause for outcome in outcomes]
    assert causes[0] is causes[5] is None
    assert [outcomes[0].value, outcomes[5].result()] == ["fine", "good"]
    texts = ("ValueError: on purpose", "SystemExit: 3", "KeyboardInterrupt", "1 and 2")
    assert all(text in cause for cause, text in zip(causes[1:5], texts, strict=True))
    assert "misbehave" in outcomes[1].error.remote_traceback
    assert outcomes[1].error.host == hosts(pool)[outcomes[1].error.rank]
    with raises(TaskError, match="on purpose"):
        outcomes[1].result()


def check_map_raises_one_error_after_the_rest_are_done(pool):
    with raises(TaskError) as caught:
        pool.map(misbehave, ["a", "exit", "raise", "b"])
    assert (caught.value.item, caught.value.failed) == ("exit", 2)
    assert isinstance(caught.value.__cause__, SystemExit) == (pool.size == 1)
    with raises(ValueError, match="on_error"):
        pool.map(square, [1], on_error="ignore")


def check_what_cannot_travel_fails_alone(pool):
    """On ranks, whoever would have run it; in one process nothing travels."""
    outcomes = pool.map(misbehave, ["fine", "unpicklable", "good"] * 3, on_error="return")
    assert [outcome.error is None for outcome in outcomes] == [True, pool.size == 1, True] * 3
    items = [1, threading.Lock(), 2] * 3
    outcomes = pool.map(type, items, on_error="return")
    assert [outcome.error is None for outcome in outcomes] == [True, pool.size == 1, True] * 3
    if pool.size > 1:
        lock = threading.Lock()
        with raises(PoolError, match="cannot be sent"):
            pool.map(lambda x: lock, range(3))


def check_what_cannot_be_read_fails_alone(pool):
    outcomes = pool.map(misbehave, ["fine", "unreadable"] * 4, on_error="return")
    assert [outcome.value for outcome in outcomes[::2]] == ["fine"] * 4
    for outcome in outcomes[1::2]:
        assert outcome.error is None or "I do not unpickle" in outcome.error.cause
    for outcome in pool.map(type, [Unreadable(), 1] * 4, on_error="return"):
        assert outcome.error is None or "I do not unpickle" in outcome.error.cause


def check_what_exits_when_it_is_read_fails_alone(pool):
    outcomes = pool.map(type, [LeavesWhenRead(), 1] * 4, on_error="return")
    assert [outcome.value for outcome in outcomes[1::2]] == [int] * 4
    assert all(outcome.error is None or "SystemExit: 3" in outcome.error.cause for outcome in outcomes)


def check_outcomes_say_what_they_cost(pool):
    began = time.time()
    outcomes = pool.map(uneven, range(8), on_error="return")
    assert [outcome.index for outcome in outcomes] == list(range(8))
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        assert 0 <= outcome.rank < pool.size
        assert outcome.seconds >= (0.01 if outcome.item % 4 == 0 else 0.0)
        assert began - 0.1 < outcome.started < time.time() + 0.1
        assert 1e6 < outcome.peak_rss_bytes < 1e12
        assert outcome.name == "uneven"
    assert [outcome.name for outcome in pool.map(abs, [1], on_error="return", name="mine")] == ["mine"]
    assert [outcome.name for outcome in pool.stream(abs, [1], name="mine")] == ["mine"]
    future = pool.submit(square, 1)
    pool.wait([future])
    assert future.outcome.name == "square"


def check_every_rank_works(pool):
    places = pool.map(where, range(8 * pool.size))
    assert {rank for rank, _ in places} == set(range(pool.size))
    assert len({pid for _, pid in places}) == pool.size


def check_large_arrays(pool):
    """On two ranks so large that they are not all received at once."""
    size = SIZE_OF_BIG if pool.size == 2 else SIZE_OF_BIG // 8
    arrays = [np.full(size, float(i)) for i in range(3)]
    for i, array in enumerate(pool.map(plus_one, arrays)):
        assert array.shape == (size,)
        assert (array == i + 1).all()
        array[0] = 7.0  # results may be written to
    strided = np.arange(100_000.0).reshape(100, 1000)[:, ::2]
    assert (pool.map(plus_one, [strided] * 2)[1] == strided + 1).all()


def check_submit(pool):
    futures = [pool.submit(square, i) for i in range(30)]
    assert [future.result() for future in futures] == [i * i for i in range(30)]
    assert pool.submit(keywords, 1, b=3).result() == (1, 3)
    assert pool.submit(keywords, 1).result() == (1, 2)
    failed = pool.submit(misbehave, "raise", cost=3.0)
    assert isinstance(failed.exception(), TaskError)
    assert failed.outcome.error.item == "raise"
    assert futures[3].outcome.value == 9


def check_a_future_that_is_gone_keeps_nothing(pool):
    """At once, not when the garbage is next collected: arguments may be large."""

    class Item:
        pass

    item = Item()
    reference = weakref.ref(item)
    future = pool.submit(type, item)
    assert future.result() is not None
    pool.wait([future])
    assert future.outcome.item is item
    del future, item
    assert reference() is None


def check_wait(pool):
    futures = [pool.submit(uneven, i) for i in range(8)]
    done, not_done = pool.wait(futures, "FIRST_COMPLETED")
    assert done
    assert done | not_done == set(futures)
    done, not_done = pool.wait(futures)
    assert not not_done
    assert pool.wait([]) == (set(), set())
    slow = [pool.submit(time.sleep, 0.1) for _ in range(3 * pool.size)]
    done, not_done = pool.wait(slow, timeout=0.01)
    assert not_done
    pool.wait(slow, return_when="FIRST_EXCEPTION")
    assert all(future.done() for future in slow)
    with raises(ValueError, match="return_when"):
        pool.wait(slow, "SOMETIME")


def check_callbacks_may_submit(pool):
    """A chain of tasks, each submitted when the one before is done, also while the main thread runs a task."""
    links, ended = [], threading.Event()

    def next_link(future):
        links.append(future.result())
        if len(links) == 50:
            ended.set()
            return
        pool.submit(square, len(links)).add_done_callback(next_link)

    pool.submit(square, 0).add_done_callback(next_link)
    while not ended.is_set():
        pool.wait([pool.submit(time.sleep, 0.005)])
    assert links == [i * i for i in range(50)]


def check_callbacks_run_while_the_main_thread_computes(pool):
    """Pure Python that never waits: other ranks go on all the same."""
    if pool.size == 1:
        return
    ended, links = threading.Event(), []

    def next_link(future):
        links.append(future.outcome.rank)
        if len(links) < 20:
            pool.submit(square, 1).add_done_callback(next_link)
        else:
            ended.set()

    pool.submit(square, 0).add_done_callback(next_link)
    give_up = time.monotonic() + 20
    while not ended.is_set():
        assert time.monotonic() < give_up, links
    assert pool.rank not in links


def check_functions_are_forgotten(pool):
    """A rank keeps no function of a call that is over, but the importable ones."""
    for i in range(50):
        assert pool.map(lambda x, i=i: x + i, range(2 * pool.size)) == list(range(i, i + 2 * pool.size))
    kept = pool.map(count_functions, range(4 * pool.size))
    assert max(kept) <= 25


def check_callbacks_may_not_wait(pool):
    errors = []

    def wait_inside(future):
        try:
            pool.map(square, range(3))
        except PoolError as error:
            errors.append(error)

    with tempfile.TemporaryDirectory() as folder:
        flag = Path(folder) / "may end"  # or the future might be done already, and its callback be called here and now
        future = pool.submit(stay_until, flag)
        future.add_done_callback(wait_inside)
        flag.touch()
        pool.wait([future])
    assert len(errors) == 1


def check_submitted_tasks_can_be_cancelled(pool):
    futures = [pool.submit(time.sleep, 0.02) for _ in range(5 * pool.size)]
    assert futures[-1].cancel()
    assert futures[-1].cancelled()
    pool.wait(futures)
    assert sum(future.cancelled() for future in futures) == 1
    assert not futures[0].cancel()


def check_nested_submit(pool):
    assert pool.map(submit_more, range(10)) == [sum(i * i for i in range(n)) for n in range(10)]


def check_a_little_of_everything(pool):
    """The same sums as in this process alone."""
    with Pool() as alone:
        expected = alone.map(wander, range(30), [2] * 30)
    assert pool.map(wander, range(30), [2] * 30) == expected
    assert pool.map(wander, range(30), [2] * 30) == expected


def check_nothing_outlives_its_task(pool):
    assert pool.map(leave_behind, range(4)) == [True] * 4
    outcomes = pool.map(fail_in_the_middle, [1, 2, 3, 1], on_error="return")
    assert [outcome.value for outcome in outcomes] == [None, [1], [4], None]
    assert "on purpose" in outcomes[0].error.remote_traceback


def check_stream(pool):
    assert sorted(outcome.value for outcome in pool.stream(square, range(500))) == [i * i for i in range(500)]
    ordered = [outcome.index for outcome in pool.stream(uneven, range(30), ordered=True, buffersize=7)]
    assert ordered == list(range(30))
    assert list(pool.stream(square, [])) == []
    assert {outcome.value for outcome in pool.stream(operator.add, "ab", "cd", cost=lambda a, b: 1.0)} == {"ac", "bd"}
    failed = [outcome.item for outcome in pool.stream(misbehave, ["a", "raise", "b"]) if outcome.error]
    assert failed == ["raise"]


def check_a_stream_looks_ahead_only_a_little(pool):
    read = []

    def items():
        for i in range(10_000):
            read.append(i)
            yield i

    for seen, _ in enumerate(pool.stream(square, items(), buffersize=5)):
        assert len(read) <= seen + 6
        if seen == 100:
            break
    assert len(pool.map(square, range(10))) == 10


def check_a_stream_keeps_nothing(pool):
    class Item:
        pass

    def items():
        for _ in range(300):
            item = Item()
            alive.add(item)
            yield item

    alive = weakref.WeakSet()
    most = 0
    for _ in pool.stream(type, items(), buffersize=4):
        most = max(most, len(alive))
    assert most <= 20


def check_maps_may_be_interleaved(pool):
    stream = pool.stream(uneven, range(20))
    first = next(stream)
    assert pool.map(square, range(20)) == [i * i for i in range(20)]
    assert len([first, *stream]) == 20


def check_a_pool_travels_as_a_name(pool):
    assert pool.map(lambda x: sum(pool.map(square, range(x))), range(5)) == [0, 0, 1, 5, 14]


def check_threads_of_the_program_may_use_the_pool(pool):
    results = []
    thread = threading.Thread(target=lambda: results.append([pool.submit(square, i).result() for i in range(10)]))
    thread.start()
    while thread.is_alive():
        pool.wait([pool.submit(time.sleep, 0.001)])
    thread.join()
    assert results == [[i * i for i in range(10)]]


def rank_of_task(_):
    time.sleep(0.002)
    return current_pool().rank


def make(i):
    time.sleep(0.001 * (i % 3))
    return np.full(1000, i, np.float32)


def plus(array, i):
    time.sleep(0.001 * ((7 * i) % 4))
    return array + i


def count_held(_):
    """Return how many values this rank holds."""
    from mpidriver.pool._rank._context import active_contexts

    time.sleep(0.003)
    return len(active_contexts[-1].engine.held._values)


def write_to(array):
    array[0] = 1


def deep_use(held, parent, depth):
    """Use a handle of the parent's, captured, and values and handles of this task's own."""
    pool = current_pool()
    own = pool.scatter(lambda i: i * 10, range(3))
    assert pool.gather(own) == [0, 10, 20]
    assert held == 5
    if depth:
        return sum(pool.map(lambda i, value: deep_use(i, parent, depth - 1) + value, [held] * 2, own[:2]))
    return sum(pool.gather([parent, *own]))


def scatter_and_leave(i):
    return current_pool().scatter(abs, [i])[0]


def look_at(shared, i):
    """Look at shared values, one of which may not be written to."""
    with raises(ValueError, match="read-only"):
        shared.flat[i] = 7.0
    with raises(ValueError, match="read-only"):
        shared["more"]["small"][0] = 7
    return float(shared.flat[i]), int(shared.more["small"].sum()), shared["name"]


def deep_look(shared, depth, i):
    if depth == 0:
        return float(shared.flat[i])
    return sum(current_pool().map(deep_look, [shared] * 2, [depth - 1] * 2, [i, i + 1]))


def mapped_inodes(_=None):
    """Return the files of shared values that this process has mapped."""
    time.sleep(0.005)
    with open("/proc/self/maps") as file:
        return {line.split()[4] for line in file if "memfd:mpidriver-shared" in line}


def share_and_leave(i):
    """Share inside a task; the handle outlives the values."""
    shared = current_pool().share(flat=np.full(1000, i))
    assert current_pool().map(lambda j: int(shared.flat[j]), range(10)) == [i] * 10
    return shared


def check_held_values(pool):
    """A task gets the value wherever the handle stands; the values come back in order."""
    held = pool.scatter(square, range(10))
    assert pool.gather(held) == [i * i for i in range(10)]
    assert pool.gather(held[:3][::-1]) == [4, 1, 0]
    assert pool.map(operator.add, held, range(10)) == [i * i + i for i in range(10)]
    assert pool.map(sum, [held[:3], tuple(held[3:5])]) == [5, 25]
    assert pool.map(lambda named: named["a"][1], [{"a": (0, one)} for one in held]) == [i * i for i in range(10)]
    assert sorted(outcome.value for outcome in pool.stream(operator.neg, held)) == sorted(-i * i for i in range(10))
    assert pool.submit(operator.sub, held[9], held[1]).result() == 80
    assert pool.submit(keywords, held[2], b=held[3]).result() == (4, 9)
    assert pool.map(lambda i: current_pool().gather([held[i]])[0], range(10)) == [i * i for i in range(10)]
    assert pool.scatter(square, []) == pool.gather([]) == []
    with raises(TypeError, match="got int"):
        pool.gather([1])


def check_held_values_stay(pool):
    """Tasks that wait for nobody run where their values are."""
    held = pool.scatter(rank_of_task, range(4 * pool.size))
    ranks = pool.gather(held)
    assert set(ranks) == set(range(pool.size))
    seen = pool.map(lambda value: (value, current_pool().rank), held)
    assert [value for value, _ in seen] == ranks
    assert sum(value == rank for value, rank in seen) >= 3 * pool.size


def check_held_values_are_never_stale(pool):
    """The values of the last of several maps of uneven tasks, again and again."""
    for turn in range(8):
        held = pool.scatter(make, range(turn, turn + 7))
        for again in range(1, 3):
            held = pool.scatter(plus, held, [again + turn] * 7)
        values = pool.gather(held)
        assert [value[0] for value in values] == [turn + i + 2 * turn + 3 for i in range(7)]
        assert all((value == value[0]).all() for value in values)


def check_held_values_are_read_only(pool):
    """Else whether a change is seen would depend on which rank runs what."""
    held = pool.scatter(make, range(3))
    outcomes = pool.map(write_to, held, on_error="return")
    assert all("read-only" in outcome.error.cause for outcome in outcomes)
    assert not any(value.flags.writeable for value in pool.gather(held))


def check_held_values_are_released(pool):
    """With their handles; what was computed from them stays."""
    gc.collect()  # failures of other checks have frames, and these have handles
    held = pool.scatter(make, range(10))
    later = pool.scatter(plus, held, [1] * 10)
    assert sum(pool.map(lambda value, other: value[0] + other[0], held, held[::-1])) == 90
    del held
    assert [value[0] for value in pool.gather(later)] == list(range(1, 11))
    del later
    assert max(pool.map(count_held, range(6 * pool.size))) == 0
    pool.reduce(operator.add, make, range(50))
    assert max(pool.map(count_held, range(6 * pool.size))) == 0


def check_held_values_end_with_their_task(pool):
    left = pool.map(scatter_and_leave, range(2 * pool.size))
    with raises(PoolError, match="it is released"):
        pool.gather(left)
    with raises(PoolError, match="it is released"):
        pool.map(abs, left)


def check_held_values_in_nested_tasks(pool):
    (parent,) = pool.scatter(abs, [5])
    assert pool.map(lambda i: deep_use(5, parent, 0), range(3)) == [35] * 3
    assert pool.map(lambda value: deep_use(value, parent, 2), [parent] * 2) == [4 * 35 + 3 * 10] * 2


def brackets(left, right):
    """Show the tree."""
    time.sleep(0.0003 * (len(left) % 3))
    return f"({left}{right})"


def reduced_alone(op, values):
    """Combine neighbours, then pairs of neighbours and so on."""
    while len(values) > 1:
        pairs = [op(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = pairs + values[len(values) & ~1 :]
    return values[0]


def fail_on_five(left, right):
    if right == "5":
        raise ValueError("five")
    return left + right


def check_reduce_is_the_same_tree_everywhere(pool):
    """Fewer items than ranks, powers of two and others; sums of floats to the last bit."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for count in (1, 2, 3, 5, 8, 13, 26):
        assert pool.reduce(brackets, str, letters[:count]) == reduced_alone(brackets, list(letters[:count]))
    for count in (99, 1000):
        names = [f"{i}," for i in range(count)]
        assert pool.reduce(operator.add, str, names) == "".join(names)
        floats = [random.Random(i).gauss(0, 10.0 ** (i % 9)) for i in range(count)]
        assert pool.reduce(operator.add, float, floats) == reduced_alone(operator.add, floats)
    assert pool.reduce(operator.add, operator.mul, range(1000), range(1000)) == sum(i * i for i in range(1000))
    assert pool.reduce(operator.add, sum_of_squares, range(10)) == sum(i * i for n in range(10) for i in range(n))


def check_reduce_of_held_values_and_arrays(pool):
    held = pool.scatter(make, range(20))
    total = pool.reduce(operator.add, np.float64, held)
    assert total.shape == (1000,)
    assert (total == 190).all()
    assert not total.flags.writeable
    assert pool.gather(held)[3][0] == 3
    with raises(TaskError, match="read-only"):
        pool.reduce(np.ndarray.__iadd__, make, range(3))


def check_reduce_with_initial_and_without_items(pool):
    with raises(TypeError, match="initial"):
        pool.reduce(operator.add, str, [])
    assert pool.reduce(operator.add, str, [], initial="x") == "x"
    assert pool.reduce(operator.add, str, "abc", initial="x") == "xabc"
    assert pool.reduce(operator.add, str, "a") == "a"


def in_a_pool_of_its_own(i):
    """Use values of the pool outside beside those of a pool that has the same names for others."""
    outer = current_pool().scatter(abs, [i, i + 1])
    shared = current_pool().share(flat=[i])
    with Pool() as alone:
        inner = alone.scatter(abs, [-100, -200])
        other = alone.share(flat=[-i])
        assert alone.gather([*outer, *inner]) == [i, i + 1, 100, 200]
        return alone.map(lambda a, b: a + b + shared.flat[0] + other.flat[0], outer, inner)


def check_values_of_one_pool_in_another(pool):
    assert pool.map(in_a_pool_of_its_own, range(4)) == [[100 + i, 201 + i] for i in range(4)]
    held, shared = pool.scatter(abs, range(4)), pool.share(flat=[7])
    with Pool() as alone:
        assert alone.map(lambda value: value + shared.flat[0], held) == [7, 8, 9, 10]
    with pool.executor() as executor:
        assert list(executor.map(operator.add, held, held)) == [0, 2, 4, 6]
        assert executor.submit(sum, held).result() == 6


def check_what_fails_in_a_reduction(pool):
    with raises(TaskError, match="on purpose") as caught:
        pool.reduce(operator.add, misbehave, ["a", "b", "c", "raise", "d"])
    assert caught.value.item == "raise"
    with raises(TaskError, match="five") as caught:
        pool.reduce(fail_on_five, str, range(7))
    assert caught.value.item == range(4, 6)


def check_held_and_shared_values_in_isolated_tasks(pool):
    held = pool.scatter(make, range(4), isolate=True)
    assert [value[0] for value in pool.gather(held)] == [0, 1, 2, 3]
    assert pool.map(plus, held, range(4), isolate=True)[3][0] == 6
    assert pool.map(lambda both: float(both[0][0]), [[one, 0] for one in held], isolate=True) == [0, 1, 2, 3]
    shared = pool.share(flat=np.arange(1000.0))
    assert pool.map(lambda i: float(shared.flat[i]), range(4), isolate=True) == [0, 1, 2, 3]
    assert pool.map(operator.getitem, [shared] * 2, ["flat"] * 2, isolate=True)[1][7] == 7


def check_what_fails_in_a_scatter(pool):
    with raises(TaskError, match="on purpose") as caught:
        pool.scatter(misbehave, ["a", "raise", "exit"])
    assert caught.value.failed == 2
    held = pool.scatter(misbehave, ["a", "raise", "b", "exit"], on_error="return")
    assert pool.gather(held[::2]) == ["a", "b"]
    with raises(TaskError, match="on purpose") as caught:
        pool.gather(held)
    assert (caught.value.item, caught.value.failed) == ("raise", 2)
    outcomes = pool.map(str.upper, held, on_error="return")
    assert [outcome.value for outcome in outcomes] == ["A", None, "B", None]
    assert "could not be computed: ValueError: on purpose" in outcomes[1].error.cause
    if pool.size > 1:
        with raises(TaskError, match="cannot be pickled"):
            pool.scatter(misbehave, ["unpicklable"] * 3)


def lose_values(_):
    """Forget what this rank holds, as a rank does that has died."""
    from mpidriver.pool._rank._context import active_contexts

    time.sleep(0.003)
    active_contexts[-1].engine.held._values.clear()


def check_held_values_are_computed_again(pool):
    """When their rank has none any more, with all that they were computed from."""
    held = pool.scatter(make, range(10))
    later = pool.scatter(plus, held, range(10))
    last = pool.scatter(operator.add, later, held)
    del later
    pool.map(lose_values, range(6 * pool.size))
    assert [value[0] for value in pool.gather(last)] == [3 * i for i in range(10)]
    assert [float(value) for value in pool.map(np.sum, last)] == [3000 * i for i in range(10)]
    pool.map(lose_values, range(6 * pool.size))
    assert [float(value) for value in pool.map(lambda one, other: (one + other)[0], last, held)] == [
        4 * i for i in range(10)
    ]


def check_shared_values(pool):
    """By attribute, by name, as an argument, captured, in nested tasks and on the rank that shared them."""
    more = {"small": np.arange(3), "list": [1, 2]}
    shared = pool.share(flat=np.arange(1e5), more=more, name="flat field")
    expected = [(float(i), 3, "flat field") for i in range(4 * pool.size)]
    assert pool.map(look_at, [shared] * len(expected), range(len(expected))) == expected
    assert pool.map(lambda i: look_at(shared, i), range(len(expected))) == expected
    assert pool.map(deep_look, [shared] * 3, [3] * 3, range(3)) == [12.0, 20.0, 28.0]
    assert look_at(shared, 5) == (5.0, 3, "flat field")
    assert list(shared) == ["flat", "more", "name"]
    assert shared.more["list"] == [1, 2]
    with raises(AttributeError, match="flat, more, name"):
        _ = shared.dark
    with raises(TypeError):
        pool.share()


def check_shared_values_lie_once_on_a_node(pool):
    before = mapped_inodes()
    shared = pool.share(flat=np.zeros(1000))
    look = lambda i: (socket.gethostname(), shared.flat[0] + 0 or mapped_inodes())  # noqa: E731
    seen = {}
    for host, inodes in pool.map(look, range(6 * pool.size)):
        seen.setdefault(host, set()).update(inodes - before)
    assert {len(inodes) for inodes in seen.values()} == {int(pool.size > 1)}


def check_shared_values_are_released(pool):
    """With the handle, and with the task that shared them."""
    gc.collect()  # what `raises` has caught in other checks has frames, and these have handles
    shared = pool.share(flat=np.zeros(1000))
    assert sum(pool.map(lambda i: shared.flat[i], range(6 * pool.size))) == 0.0
    del shared
    for shared in pool.map(share_and_leave, range(2 * pool.size)):
        with raises(PoolError, match="as long as the handle"):
            _ = shared.flat
        with raises(PoolError, match="as long as the handle"):
            pool.map(lambda i, shared=shared: shared.flat[i], range(2))
    assert set().union(*pool.map(mapped_inodes, range(6 * pool.size))) == set()


def check_what_cannot_be_shared_is_refused(pool):
    if pool.size > 1:
        with raises(PoolError, match="the values a, lock cannot be sent"):
            pool.share(a=1, lock=threading.Lock())


def check_efficiency_is_a_share(pool):
    assert 0.0 < pool.efficiency <= 1.0


def check_gangs(pool):
    """Any size up to that of the pool, from the main program and from tasks, and gangs of gangs."""
    for ranks in range(1, pool.size + 1):
        if ranks > 1:
            assert pool.map(gang, range(4), ranks=ranks) == [expected_gang(i, ranks) for i in range(4)]
            inner = [expected_gang(i, ranks) for i in range(3)]
            assert pool.map(gangs_inside, [3] * 4, [ranks] * 4) == [inner] * 4
            outer = (pool.size, inner, (pool.size * (pool.size - 1) // 2, pool.size))
            assert pool.map(gang_of_gangs, [3] * 2, [ranks] * 2, ranks=pool.size) == [outer] * 2
    with raises(PoolError, match=f"at most {pool.size} ranks"):
        pool.map(gang, [1], ranks=pool.size + 1)
    if pool.size > 2:
        with raises(TaskError, match="at most 2 ranks"):
            pool.map(gangs_inside, [3] * 4, [3] * 4, ranks=2)


def check_gangs_among_others(pool):
    """Single items, gangs and streams of gangs at the same time; the costliest first."""
    ranks = max(1, pool.size - 1)
    how = Terms(ranks=ranks)
    futures = [pool.submit(uneven, i, terms=how if i % 3 else Terms(), cost=i % 5) for i in range(12)]
    assert sorted(outcome.value for outcome in pool.stream(uneven, range(12), ranks=ranks)) == list(range(12))
    assert [future.result() for future in futures] == list(range(12))


def check_all_ranks_together(pool):
    pairs = pool.size * (pool.size - 1) // 2
    for _ in range(3):
        assert pool.spmd(rank_sum) == [(pairs, pool.size)] * pool.size
    assert pool.comm.size == pool.size
    with raises(TaskError, match="ValueError") as caught:
        pool.spmd(fail_together)
    assert caught.value.failed == pool.size
    if pool.size > 1:
        with raises(TaskError, match="needs ranks of the task's own"):
            pool.map(lambda _: current_pool().spmd(rank_sum), range(2))


def check_a_pool_can_be_split(pool):
    for count in range(1, pool.size + 1):
        with pool.split(count) as parts:
            assert sum(part.size for part in parts) == pool.size
            assert max(part.size for part in parts) - min(part.size for part in parts) <= 1
            futures = [part.submit(sum_of_squares, 5 + i) for i, part in enumerate(parts) for _ in range(3)]
            for part in parts:
                assert part.map(square, range(9)) == [i * i for i in range(9)]
                assert part.spmd(rank_sum) == [(part.size * (part.size - 1) // 2, part.size)] * part.size
            assert pool.map(square, range(3)) == [0, 1, 4]
            if pool.size > 1:
                with raises(PoolError, match="are split just now"):
                    pool.spmd(rank_sum)
        assert [future.result() for future in futures] == [
            sum(j * j for j in range(5 + i)) for i in range(count) for _ in range(3)
        ]
    with raises(PoolClosedError):
        parts[0].map(square, [1])
    with raises(PoolError, match="can be split into 1 to"), pool.split(pool.size + 1):
        pass
    assert pool.map(square, range(20)) == [i * i for i in range(20)]


def check_focal_plane_equals_the_serial_result(pool):
    """Visit-level sky: scatter CCDs, merge a model, scatter it to the images where they are, scale, again, write."""
    exposures = range(3)
    expected = [serial_sky_correction(exposure) for exposure in exposures]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder)] * len(exposures)
        assert pool.map(sky_correction.correct_exposure, exposures, folders) == [rms for rms, _ in expected]
        for exposure, (_, written) in zip(exposures, expected, strict=True):
            for ccd in sky_correction.CCDS:
                left = np.load(Path(folder) / f"sky-{exposure}-{ccd}.npy")
                assert np.array_equal(left, written[ccd])
    assert sky_correction.correct_exposure(7) == serial_sky_correction(7)[0]


def serial_sky_correction(exposure):
    images = [sky_correction.read_ccd(exposure, ccd) for ccd in sky_correction.CCDS]
    plane = sky_correction.fit_plane([float(np.median(image)) for image in images])
    scaled = [image * (sky_correction.plane_at(plane, ccd) / np.median(image)) for ccd, image in enumerate(images)]
    second = sky_correction.fit_plane([float(np.median(image)) for image in scaled])
    written = [image - sky_correction.plane_at(second, ccd) for ccd, image in enumerate(scaled)]
    return [float(np.std(left)) for left in written], written


def pid_of(_):
    return os.getpid()


def is_isolated(_):
    from mpidriver.pool._pool import stand_ins

    return bool(stand_ins)


def die(how):
    """Take the process down, or fail as no ``try`` can catch."""
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit now":
            os._exit(3)
        case "hang":
            signal.pause()
        case "grow":
            return len(np.ones(25_000_000))
        case "abort with children":
            subprocess.Popen(["sleep", "1000"])
            os.abort()
    return how


def nest(how, count):
    pool = current_pool()
    match how:
        case "map":
            return sum(pool.map(square, range(count)))
        case "map in the ranks":
            return sum(pool.map(square, range(count), isolate=False))
        case "map over two":
            return sum(pool.map(operator.mul, range(count), iter(range(count)))) + len(pool.map(square, []))
        case "tree":
            return sum(pool.map(nest, ["map", "map"], [count, 0], isolate=True))
        case "stream":
            return sum(outcome.value for outcome in pool.stream(square, (i for i in range(count)), buffersize=2))
        case "stream over two":
            return sum(outcome.result() for outcome in pool.stream(operator.mul, range(count), iter(range(count))))
        case "broken stream":
            return next(pool.stream(square, range(1, 1000))).value + len(pool.map(square, range(count)))
        case "submit":
            futures = [pool.submit(keywords, i, b=i) for i in range(count)]
            done, rest = pool.wait(futures[:1], "FIRST_COMPLETED")
            assert (done, rest) == ({futures[0]}, set())
            return sum(sum(future.result()) for future in futures)


def check_isolated_tasks_are_as_others(pool):
    assert pool.map(square, range(20), isolate=True) == [i * i for i in range(20)]
    offset = 5
    assert pool.map(lambda x: x + offset, range(5), isolate=True) == [5, 6, 7, 8, 9]
    assert pool.submit(keywords, 1, b=3, terms=Terms(isolate=True)).result() == (1, 3)
    assert sorted(outcome.value for outcome in pool.stream(square, range(9), isolate=True)) == [i * i for i in range(9)]
    hows = ["fine", "raise", "exit", "interrupt", "stubborn", "unpicklable", "unreadable", "good"]
    outcomes = pool.map(misbehave, hows, isolate=True, on_error="return")
    assert [outcomes[0].value, outcomes[-1].value] == ["fine", "good"]
    for text, outcome in zip(("ValueError: on purpose", "SystemExit", "KeyboardInterrupt"), outcomes[1:4], strict=True):
        assert text in outcome.error.cause
    assert "misbehave" in outcomes[1].error.remote_traceback
    assert "1 and 2" in outcomes[4].error.cause
    assert "cannot be pickled" in outcomes[5].error.cause
    assert "I do not unpickle" in outcomes[6].error.cause
    assert {outcome.error.kind for outcome in outcomes[1:-1]} == {"raised"}
    outcomes = pool.map(type, [1, threading.Lock(), Unreadable(), 1], isolate=True, on_error="return")
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]


def check_isolated_tasks_have_processes_of_their_own(pool):
    ranks = set(pool.map(pid_of, range(4 * pool.size)))
    outcomes = pool.map(pid_of, range(4 * pool.size), isolate=True, on_error="return")
    assert not ranks & {outcome.value for outcome in outcomes}
    assert len({outcome.value for outcome in outcomes}) == len({outcome.rank for outcome in outcomes})
    assert min(outcome.peak_rss_bytes for outcome in outcomes) > 1e6


def check_large_arrays_of_isolated_tasks(pool):
    arrays = [np.full(SIZE_OF_BIG // 8, float(i)) for i in range(3)]
    for _ in range(3):  # memory is used again
        for i, array in enumerate(pool.map(plus_one, arrays, isolate=True)):
            assert (array == i + 1).all()
            array[0] = 7.0
    held = pool.map(plus_one, [np.full(5000, float(i)) for i in range(100)], isolate=True)
    assert [float(array.sum()) for array in held] == [5000.0 * (i + 1) for i in range(100)]


def check_processes_that_die_take_nothing_along(pool):
    hows = ["a", "kill", "b", "segfault", "exit now", "c", "abort with children", "d"]
    terms = {"isolate": True, "on_error": "return", "retries": 0}
    outcomes = pool.map(die, hows, **terms)
    outcomes += pool.map(die, ["grow"], memory="60 MB", **terms)
    assert set(pool.map(die, "ab" * pool.size, isolate=True)) == {"a", "b"}  # who takes their places has imported all
    outcomes += pool.map(die, ["hang"], timeout=1.0, **terms)
    outcomes = {outcome.item: outcome for outcome in outcomes}
    assert [outcomes[how].value for how in "abcd"] == list("abcd")
    errors = {how: outcome.error for how, outcome in outcomes.items() if outcome.error}
    assert {how: error.kind for how, error in errors.items()} == {
        "kill": "killed",
        "segfault": "killed",
        "exit now": "killed",
        "hang": "timeout",
        "grow": "memory",
        "abort with children": "killed",
    }
    assert "SIGKILL" in errors["kill"].cause
    assert "SIGSEGV" in errors["segfault"].cause
    assert "in die" in errors["segfault"].remote_traceback
    assert "in die" in errors["hang"].remote_traceback
    assert "after 1 s" in errors["hang"].cause
    assert "MemoryError" in errors["grow"].cause
    assert pool.map(square, range(3), isolate=True) == [0, 1, 4]


def check_isolated_items_are_tried_again(pool):
    """The one that always dies so often as asked for, the others once."""
    with tempfile.TemporaryDirectory() as directory:

        def note_and_die(number):
            with open(f"{directory}/{number}", "a") as file:
                file.write("x")
            if number == 3:
                os._exit(1)
            return number

        outcomes = pool.map(note_and_die, range(6), isolate=True, retries=2, on_error="return")
        tries = [os.path.getsize(f"{directory}/{number}") for number in range(6)]
    assert tries == [1, 1, 1, 3, 1, 1]
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, None, 4, 5]
    assert outcomes[3].error.cause == "its process ended with exit code 1 (tried 3 times)"
    with raises(TaskError, match=r"exit code 1 \(tried 2 times\)"):
        pool.submit(os._exit, 1, terms=Terms(isolate=True)).result()


def check_what_ran_out_of_memory_gets_more(pool):
    assert pool.map(die, ["grow", "x"], isolate=True, memory="150 MB") == [25_000_000, "x"]
    with raises(TaskError, match=r"MemoryError.*tried 2 times") as caught:
        pool.map(die, ["grow"], isolate=True, memory="60 MB")
    assert caught.value.kind == "memory"


def check_what_ran_out_of_memory_is_tried_again_alone(pool):
    """Alone on its host, that is."""
    with tempfile.TemporaryDirectory() as directory:

        def note(letter):
            log = f"{directory}/{socket.gethostname()}"
            with open(log, "a") as file:
                file.write(letter)
            return log

        def crowd(number):
            log = note("(")
            try:
                if number == 5:
                    np.ones(25_000_000)
                    for _ in range(100):
                        with open(log) as file:
                            text = file.read()
                        assert text.count("(") == text.count(")") + 1
                time.sleep(0.001)
            finally:
                note(")")
            return number

        assert pool.map(crowd, range(40), isolate=True, memory="150 MB") == list(range(40))


def check_isolated_tasks_may_scatter(pool):
    hows = ["map", "map in the ranks", "map over two", "tree", "stream", "stream over two"]
    squares = sum(i * i for i in range(30))
    assert pool.map(nest, hows, [30] * len(hows), isolate=True) == [squares] * len(hows)
    assert pool.submit(nest, "submit", 10, terms=Terms(isolate=True)).result() == 90
    assert pool.map(nest, ["broken stream"], [10], isolate=True)[0] - 10 in {i * i for i in range(1, 1000)}
    assert pool.map(lambda _: current_pool().size, [1], isolate=True) == [pool.size]
    assert pool.map(lambda _: current_pool().map(is_isolated, range(9)), [1], isolate=True) == [[True] * 9]
    assert pool.map(lambda _: current_pool().map(is_isolated, [1], isolate=False), [1], isolate=True) == [[False]]
    assert pool.map(lambda x: sum(pool.map(square, range(x))), range(5), isolate=True) == [0, 0, 1, 5, 14]


def check_errors_within_isolated_tasks(pool):
    def fail_inside(number):
        with raises(TaskError, match="on purpose"):
            current_pool().map(misbehave, ["fine", "raise"])
        with raises(ValueError, match="buffersize"):
            current_pool().stream(square, [1], buffersize=0)

        def items():
            yield 1
            raise LookupError("of the generator")

        with raises(LookupError, match="of the generator"):
            list(current_pool().stream(square, items()))
        with raises(PoolError, match="the pool of an isolated task has map, stream, submit and wait only"):
            current_pool()._context  # noqa: B018
        return number

    assert pool.map(fail_inside, range(2), isolate=True) == [0, 1]


def hosts(pool):
    """Return where each rank is."""
    return pool.spmd(lambda comm: socket.gethostname())


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")] + executor_contract.CHECKS


def main(pool):
    for check in CHECKS:
        began = time.perf_counter()
        check(pool)
        print(f"{check.__name__}: {time.perf_counter() - began:.2f} s", flush=True)
    return pool


def run():
    """Run all checks on the ranks that were started."""
    faulthandler.dump_traceback_later(100, exit=True)
    closed = launch(main)
    if closed is not None:
        with raises(PoolClosedError):
            closed.map(square, [1])
        print("all done")


if __name__ == "__main__":
    run()
