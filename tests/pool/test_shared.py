"""Shared values: between hosts, where memory cannot be mapped, and in child processes of a rank."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from test_contract import run_on_ranks

from mpidriver.errors import PoolError
from mpidriver.pool import Pool
from mpidriver.pool._transport import _messages as kind
from mpidriver.pool._values._node_memory import attach, keep, keep_blob, read
from mpidriver.pool._values._read_only import read_only
from mpidriver.pool._values._shared import WANTS, SharedName, SharedValues

VALUES = {"big": np.arange(1e5), "small": np.arange(3), "strided": np.arange(20)[::2], "text": "x", "none": None}


def equal(one, other):
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def test_memory_is_read_as_it_was_written():
    """Arrays start at cache lines and cannot be made writeable."""
    kept = keep(VALUES, "here")
    values = read(kept.memory)
    assert equal(values, VALUES)
    for name in ("big", "small"):
        assert values[name].ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            values[name].flags.writeable = True
    kept.close()


def test_memory_is_found_by_its_place_while_it_is_kept():
    kept = keep_blob(keep(VALUES, "there").memory, "here")
    place = kept.place
    assert place.host == "here"
    assert equal(read(attach(place)), VALUES)
    assert attach(place._replace(token=b"x" * 16)) is None
    kept.close()
    assert attach(place) is None


def test_without_memfd_memory_has_no_place(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    kept = keep(VALUES, "here")
    assert kept.place is None
    assert equal(read(kept.memory), VALUES)


def test_read_only_looks_into_containers_and_leaves_the_original():
    array = np.zeros(3)
    value = {"a": [array, (array, 1)], "b": "text"}
    frozen = read_only(value)
    assert not frozen["a"][0].flags.writeable
    assert not frozen["a"][1][0].flags.writeable
    assert array.flags.writeable
    untouched = [1, {"b": (2, "c")}]
    assert read_only(untouched) is untouched


def test_a_child_process_finds_them_by_the_handle_alone():
    program = "import pickle, sys; flat = pickle.load(sys.stdin.buffer).flat; print(flat.sum(), flat.flags.writeable)"
    with Pool() as pool:
        shared = pool.share(flat=np.arange(5.0))
        sent = pickle.dumps(shared)
        done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
        assert done.stdout.split() == [b"10.0", b"False"]
        assert pickle.loads(sent) == shared
    with pytest.raises(PoolError, match="as long as the handle"):
        _ = shared.flat
    with pytest.raises(PoolError, match="as long as the handle"):
        _ = pickle.loads(sent).flat


class Letters:
    """A post of rank 0 that keeps what is sent."""

    rank, size, host = 0, 4, "here"

    def __init__(self):
        self.sent, self.dead = [], set()

    def send(self, rank, message, *fields):
        self.sent.append((rank, message, *fields))


class Rank:
    """As much of an engine as shared values need."""

    lock = threading.RLock()

    def __init__(self, then):
        self.then = then
        self.waiting = self

    def driving(self, done):
        self.then()
        assert done()


def test_values_are_sent_again_if_the_rank_dies_that_was_to_keep_them_for_its_host():
    post = Letters()
    values = SharedValues(Rank(None), post)
    shared = values.share((0, 1), {"flat": np.arange(5)})
    for rank in (1, 2):
        values.handlers[kind.ATTACH](shared._name, rank, "there", WANTS, 10 * rank)
    assert [(rank, fields[0]) for rank, _, *fields in post.sent] == [(1, 10)]
    values.lost(1)
    assert [(rank, fields[0]) for rank, _, *fields in post.sent] == [(1, 10), (2, 20)]
    assert post.sent[1][-1] is not None
    values.close()


def test_whoever_waits_for_a_rank_that_dies_is_told():
    values = SharedValues(Rank(lambda: values.lost(3)), Letters())
    with pytest.raises(PoolError, match="of rank 3 are not there"):
        values.find(SharedName(3, 1, ("flat",)), None)


def test_a_rank_that_hears_of_a_death_tells_its_shared_values(monkeypatch):
    heard = []
    monkeypatch.setattr(SharedValues, "lost", lambda self, rank: heard.append(rank))
    with Pool() as pool:
        pool._engine.wire.hosts += ["there"] * 3
        pool._engine.traffic.handlers[kind.LOST](3)
    assert heard == [3]


SEVERAL_HOSTS = """
import os, socket, sys, time
import numpy as np
import mpidriver.pool._values._shared as shared_values
from mpidriver.pool import current_pool, launch

how, rank = sys.argv[1], int(os.environ["OMPI_COMM_WORLD_RANK"])
HOST = socket.gethostname()
if "hosts" in how:
    socket.gethostname = lambda: f"{HOST}-{rank % 2}"
if "unmapped" in how and rank in (1, 2):
    shared_values.attach = lambda place: None
if "without memfd" in how:
    del os.memfd_create

def look(shared, i):
    time.sleep(0.005)
    with open("/proc/self/maps") as file:
        inodes = {line.split()[4] for line in file if "memfd:mpidriver-shared" in line}
    assert not shared.big.flags.writeable and not shared.small.flags.writeable
    return shared.big.sum() + shared.small[1], current_pool().rank, inodes

def lead(i):
    shared = current_pool().share(big=np.full(100_000, i), small=np.arange(3))
    return [value for value, *_ in current_pool().map(look, [shared] * 10, range(10))]

def main(pool):
    for turn in range(3):
        shared = pool.share(big=np.full(100_000, turn), small=np.arange(3))
        seen = pool.map(look, [shared] * 60, range(60))
        assert {value for value, *_ in seen} == {100_000 * turn + 1}
        assert {rank for _, rank, _ in seen} == set(range(pool.size))
        later = pool.map(look, [shared] * 60, range(60))
        if how == "hosts":
            for even in (0, 1):
                assert len(set().union(*(inodes for _, rank, inodes in later if rank % 2 == even))) == 1
        assert pool.map(lead, range(5)) == [[100_000 * i + 1] * 10 for i in range(5)]
        del shared
    print("all done")

launch(main)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("how", ["hosts", "unmapped", "hosts, unmapped", "without memfd", "hosts, without memfd"])
def test_between_hosts(how, tmp_path):
    """Each host has one copy; ranks that cannot map it have their own."""
    script = tmp_path / "hosts.py"
    script.write_text(SEVERAL_HOSTS)
    finished = run_on_ranks(5, script, how)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout == "all done\n"
