"""What isolated tasks leave behind: nothing; and where child processes come from."""

import gc
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_contract import run_on_ranks

from mpidriver.errors import TaskError
from mpidriver.pool import Pool, Terms, current_pool

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def without_mpi(monkeypatch):
    """Let child processes be forked as in a process that has not loaded MPI, which a test before may have done."""
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)


def square(x):
    return x * x


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def family(_):
    """Return the numbers of this process and of its parent."""
    return os.getpid(), os.getppid()


def descriptors():
    gc.collect()  # what other tests have left open closes when it is found
    return len(os.listdir("/proc/self/fd"))


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def wait_for_end(pid):
    """Wait until a process is gone; fail after a while."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(process):
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(20_000), f"process {pid} is still there"


def test_nothing_is_left_of_many_that_died():
    others = children()
    with Pool() as pool:
        pool.map(square, range(3), isolate=True)
        before = descriptors()
        outcomes = pool.map(die, [1] * 40, isolate=True, retries=0, on_error="return")
        assert {outcome.error.kind for outcome in outcomes} == {"killed"}
        assert pool.map(square, range(3), isolate=True) == [0, 1, 4]
        assert descriptors() == before
        assert len(set(children()) - set(others)) == 1
        (_, zygote), *_ = pool.map(family, [0], isolate=True)
        assert len(Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()) == 1


def test_all_are_gone_when_the_pool_is():
    before = descriptors()
    with Pool() as pool:
        ((child, zygote),) = pool.map(family, [0], isolate=True)
        assert str(zygote) in children()
    assert str(zygote) not in children()
    wait_for_end(child)
    assert descriptors() == before


def test_a_pool_without_isolated_tasks_starts_nothing():
    others = children()
    with Pool() as pool:
        pool.map(square, range(3))
        assert children() == others


ORPHANS = """
import os, signal
from mpidriver.pool import Pool
pool = Pool()
def family(_):
    return os.getpid(), os.getppid()
def wait(family):
    print(*family, flush=True)
    signal.pause()
families = pool.map(family, [0], isolate=True)
pool.map(wait, families, isolate=True)
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_all_are_gone_when_the_rank_is_killed(how):
    program = ORPHANS if how == "busy" else ORPHANS.replace("wait, families, isolate=True", "wait, families")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as rank:
        family = [int(word) for word in rank.stdout.readline().split()]
        assert len(family) == 2
        rank.kill()
        for pid in family:
            wait_for_end(pid)


def test_a_zygote_that_was_killed_is_replaced():
    with Pool() as pool:
        ((_, zygote),) = pool.map(family, [0], isolate=True)
        os.kill(zygote, signal.SIGKILL)
        assert pool.map(square, range(3), isolate=True) == [0, 1, 4]


def test_a_child_that_was_killed_meanwhile_is_replaced_without_a_try():
    with Pool() as pool:
        ((child, _),) = pool.map(family, [0], isolate=True)
        os.kill(child, signal.SIGKILL)
        wait_for_end(child)
        assert pool.map(square, range(3), isolate=True, retries=0) == [0, 1, 4]


def test_beside_other_threads_a_fresh_interpreter_is_started():
    """Forking would copy locks that other threads hold."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        with Pool() as pool:
            ((child, zygote),) = pool.map(lambda _: (os.getpid(), os.getppid()), [0], isolate=True)
            assert Path(f"/proc/{zygote}/cmdline").read_bytes().split(b"\0")[1] == b"-c"
            assert pool.map(lambda x: current_pool().map(abs, [x]), [-2], isolate=True) == [[2]]
            with pytest.raises(TaskError, match="SIGKILL"):
                pool.map(lambda _: os.kill(os.getpid(), signal.SIGKILL), [1], isolate=True)
        wait_for_end(zygote)
        wait_for_end(child)
    finally:
        leave.set()
        thread.join()


def test_output_of_isolated_tasks_is_seen_in_its_order(capfd):
    with Pool() as pool:
        pool.map(print, ["one", "two"], isolate=True)
        os.write(1, b"three\n")
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_files_stay_open_and_connections_do_not(tmp_path):
    """A log that was opened before is written to; a socket of the rank's is not kept alive."""
    reading, writing = os.pipe()
    with open(tmp_path / "log", "a") as log, Pool() as pool:

        def write(text):
            os.write(log_number, text.encode())
            return os.readlink(f"/proc/self/fd/{writing}")

        log_number = log.fileno()
        assert pool.map(write, ["hello"], isolate=True) == [os.devnull]
    assert (tmp_path / "log").read_text() == "hello"
    os.close(reading)
    os.close(writing)


def test_the_standard_input_stays_the_ranks():
    with Pool() as pool:
        assert pool.map(os.readlink, ["/proc/self/fd/0"], isolate=True) == [os.devnull]


def test_limits_end_with_their_task():
    def limits(_):
        import resource

        return resource.getrlimit(resource.RLIMIT_DATA)

    with Pool() as pool:
        free = pool.map(limits, [0], isolate=True)[0]
        limited = pool.map(limits, [0], isolate=True, memory="1 GiB")[0]
        assert limited != free
        assert pool.map(limits, [0], isolate=True)[0] == free


class Unreadable:
    """A function that pickles but does not unpickle."""

    def __reduce__(self):
        return (int, ("no number",))

    def __call__(self, item):
        return item


def test_a_function_that_cannot_be_read_fails_each_item_and_no_process():
    with Pool() as pool:
        outcomes = pool.map(Unreadable(), range(3), isolate=True, on_error="return")
        assert {outcome.error.kind for outcome in outcomes} == {"raised"}
        assert all("cannot be unpickled: ValueError" in outcome.error.cause for outcome in outcomes)


def test_a_function_is_sent_once_and_forgotten_after_its_call():
    with Pool() as pool:
        sent = []
        for factor in range(3):
            assert pool.map(lambda x, factor=factor: factor * x, range(3), isolate=True)[2] == 2 * factor
            (child,) = pool._engine.isolation._children._all
            sent.append(len(child._known))
        assert sent == [1, 1, 1]


def test_memory_is_given_back_when_arrays_are_dropped():
    import numpy as np

    with Pool() as pool:
        before = descriptors()
        results = pool.map(np.negative, [np.ones(100_000)] * 100, isolate=True)
        assert descriptors() - before < 80
        assert all((result == -1).all() for result in results)
        del results
        pool.map(np.negative, [np.ones(100_000)] * 3, isolate=True)
        assert descriptors() - before < 20


LAUNCHED = """
import os, sys
from mpidriver.pool import current_pool, launch

def where(_):
    loaded = {"colorsys", "mpi4py.MPI"} & set(sys.modules)
    variables = [name for name in os.environ if name.startswith(("OMPI_COMM", "PMI", "PMIX"))]
    return current_pool().rank, os.getpid(), sorted(loaded), variables

def main(pool):
    return pool.map(where, range(20), isolate=True)

places = launch(main, preload=["colorsys", "no_such_module"])
if places is not None:
    assert all(loaded == ["colorsys"] and not variables for _, _, loaded, variables in places), places
    assert len({rank for rank, *_ in places}) == len({pid for _, pid, *_ in places}), places
    print("done")
"""


@pytest.mark.mpi
@pytest.mark.parametrize("first", ["", "from mpi4py import MPI\n"], ids=["plain", "MPI loaded before"])
def test_below_ranks_children_know_nothing_of_mpi(first, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(first + LAUNCHED)
    finished = run_on_ranks(2, script)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "done\n"
    assert finished.stderr.count("preloading no_such_module for isolated tasks failed") == 2


def test_terms_of_a_submitted_task():
    with Pool() as pool:
        future = pool.submit(signal.pause, terms=Terms(isolate=True, timeout=0.1, retries=0))
        assert future.exception().kind == "timeout"
