"""What is particular to MongoDB: passwords, several runs, dead ones, a server that goes away and comes back."""

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from mongo import emptied, nx_server, wait_until
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure

from mpidriver.errors import RepositoryError
from mpidriver.store import MongoState, QuantumUpdate, StateOptions
from mpidriver.store._mongo._connection import MongoConnection, is_duplicate

from .test_state import KEYS, StateContract

SECRET = "s3cret/päss"

RUN = """
import sys
from pathlib import Path
from mpidriver.store import MongoState, QuantumUpdate, StateOptions
state = MongoState(StateOptions(url=sys.argv[1]), Path(sys.argv[2]))
run = state.begin_run("pipeline repo", 2, "0.1.0")
claimed = [record.key for record in state.quanta() if state.claim(record.key) is not None]
state.record([QuantumUpdate(key, "running", started=1.0) for key in claimed[:1]])
print(run, *claimed, sep=";", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def options(mongo_server):
    return emptied(StateOptions(url=mongo_server.url))


@pytest.fixture
def opened(options, tmp_path):
    """Return a function that opens the database once more, with other options if any are given."""
    states = []

    def open_again(**changes):
        states.append(MongoState(StateOptions(**{**vars(options), **changes}), tmp_path))
        return states[-1]

    yield open_again
    for state in states:
        state.close()


@pytest.fixture
def other_run(options, tmp_path):
    """Return a function that starts a run in a process of its own; it claims all that is free."""
    processes = []

    def start():
        command = [sys.executable, "-c", RUN, options.url, tmp_path]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        run, *claimed = processes[-1].stdout.readline().strip().split(";")
        return processes[-1], int(run), claimed

    yield start
    for process in processes:
        process.kill()
        process.communicate()


class TestMongoWithLostAnswers(StateContract):
    """The contract where the connection breaks after each change, before its answer: all of them are made twice."""

    @pytest.fixture
    def state(self, options, tmp_path, monkeypatch):
        change = MongoConnection.change

        def losing(connection, action, *arguments):
            lost = []

            def once_more(database, *values):
                result = action(database, *values)
                if not lost:
                    lost.append(result)
                    raise AutoReconnect("connection closed")
                return result

            return change(connection, once_more, *arguments)

        monkeypatch.setattr(MongoConnection, "change", losing)
        monkeypatch.setattr("mpidriver.store._mongo._connection.PAUSE_SECONDS", 0.0)
        with MongoState(options, tmp_path) as state:
            yield state


def test_two_runs_share_the_quanta_and_see_each_other(opened, other_run):
    state = opened()
    state.plan((key, "warp", {}) for key in KEYS[:3])
    process, run, claimed = other_run()
    mine = state.begin_run("pipeline", 1, "0.1.0")
    assert claimed == KEYS[:3]
    assert [(other.run_id, other.pid) for other in state.other_runs()] == [(run, process.pid)]
    state.plan((key, "warp", {}) for key in KEYS)
    assert [state.claim(key) is not None for key in KEYS] == [False, False, False, True, True]
    assert state.held(KEYS) == set(claimed)
    state.record([QuantumUpdate(KEYS[0], "done"), QuantumUpdate(KEYS[3], "done")])
    assert state.quantum(KEYS[0]).status == "running"  # an outcome of what another run holds is passed over
    state.end_run(mine, "done")
    assert state.counts() == {"warp": {"ready": 3, "running": 1, "done": 1}}


def test_what_a_killed_run_held_is_free_at_once_on_this_machine(opened, other_run):
    state = opened()
    state.plan((key, "warp", {}) for key in KEYS)
    process, _, claimed = other_run()
    state.begin_run("pipeline", 1, "0.1.0")
    assert state.claim(KEYS[4]) is None
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken
    assert state.held(claimed) == set()
    assert state.counts() == {"warp": {"ready": 5}}
    assert state.claim(KEYS[4]) is not None
    assert [run.status for run in state.runs()] == ["died", "running"]


def test_a_run_elsewhere_counts_as_dead_without_a_sign_of_life(opened, monkeypatch):
    state, other = opened(expiry_s=60.0), opened()
    state.plan((key, "warp", {}) for key in KEYS)
    elsewhere = other.begin_run("pipeline", 1, "0.1.0")
    assert other.claim(KEYS[0]) is not None
    state.begin_run("pipeline", 1, "0.1.0")
    monkeypatch.setattr("mpidriver.store._mongo._runs._begun_here", {state._runs._token})

    def silent(seconds):
        run = {"machine": "another", "heartbeat": state._connection.clock() - seconds, "status": "running"}
        state._connection.call(lambda database: database.runs.update_one({"_id": elsewhere}, {"$set": run}))

    silent(50.0)
    assert state.claim(KEYS[0]) is None
    silent(70.0)
    assert state.claim(KEYS[0]) is None  # the server may have been away: the other run is given time to say so
    state._connection.steady_since -= 30.0
    assert state.claim(KEYS[0]) is not None
    assert state.runs()[0].status == "died"


def test_a_run_that_was_taken_for_dead_keeps_what_nobody_has_taken(opened, monkeypatch):
    state, other = opened(), opened(expiry_s=1.0)
    state.plan((key, "warp", {}) for key in KEYS)
    slept = other.begin_run("pipeline", 1, "0.1.0")
    assert all(other.claim(key) for key in KEYS[:2])
    state.begin_run("pipeline", 1, "0.1.0")
    (run,) = state._runs._find({"_id": slept})
    run["machine"] = "another"
    monkeypatch.setattr(state._runs, "_is_alive", lambda run, now: False)
    monkeypatch.setattr(state._runs, "_bury", lambda run: True)
    assert state.claim(KEYS[0]) is not None
    other.record([QuantumUpdate(KEYS[0], "done", started=1.0), QuantumUpdate(KEYS[1], "done", started=1.0)])
    state.record([QuantumUpdate(KEYS[0], "done", started=2.0)])
    assert [(record.status, record.attempt) for record in state.quanta()[:2]] == [("done", 1), ("done", 1)]
    assert state.quantum(KEYS[0]).started == 2.0


def test_a_sign_of_life_is_given_again_and_again(opened):
    state = opened(expiry_s=1.0)
    state.begin_run("pipeline", 1, "0.1.0")
    first = state.runs()[0].heartbeat
    wait_until(lambda: state.runs()[0].heartbeat > first)


def test_of_many_that_claim_at_once_one_gets_each(opened, options, tmp_path):
    planner = opened()
    planner.plan((f"t{{{n}}}", "t", {}) for n in range(40))
    states = [opened() for _ in range(4)]
    for state in states:
        state.begin_run("pipeline", 1, "0.1.0")

    def claim_all(state):
        return [key for key in (f"t{{{n}}}" for n in range(40)) if state.claim(key) is not None]

    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(claim_all, states))
    assert sorted(key for keys in claimed for key in keys) == sorted(f"t{{{n}}}" for n in range(40))


def test_two_that_plan_the_same_at_once_plan_it_once(opened):
    states = [opened() for _ in range(3)]
    keys = [f"t{{{n}}}" for n in range(300)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda state: state.plan((key, "t", {}) for key in keys), states))
    assert [record.key for record in states[0].quanta()].count(keys[0]) == 1
    assert sorted(record.key for record in states[0].quanta()) == sorted(keys)
    assert states[0].counts() == {"t": {"ready": 300}}


@pytest.mark.parametrize(
    ("error", "duplicate"),
    [
        (DuplicateKeyError("E11000 duplicate key error", 11000), True),
        (BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 11000}]}), True),
        (BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 121}]}), False),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), False),
        (OperationFailure("UNIQUE constraint failed: quanta._id"), True),
        (OperationFailure("not authorized", 13), False),
    ],
)
def test_refusals_for_duplicates_are_told_from_others(error, duplicate):
    assert is_duplicate(error) is duplicate


def test_a_server_that_goes_away_and_comes_back_is_waited_for(tmp_path, caplog):
    with nx_server(tmp_path) as server, MongoState(StateOptions(url=server.impatient_url), tmp_path) as state:
        state.plan((key, "warp", {}) for key in KEYS)
        state.begin_run("pipeline", 1, "0.1.0")
        server.kill()
        recording = threading.Thread(target=state.record, args=([QuantumUpdate(KEYS[0], "done", started=1.0)],))
        recording.start()
        wait_until(lambda: "does not answer" in caplog.text)
        server.start()
        recording.join()
        assert state.quantum(KEYS[0]).attempt == 1
        assert state.counts() == {"warp": {"ready": 4, "done": 1}}
    assert re.search(r"test: the database does not answer \(.*\); waiting for it up to \d+ s", caplog.text)
    assert "the database answers again after" in caplog.text
    assert caplog.text.count("does not answer") == 1


def test_a_server_that_stays_away_is_an_error_after_the_stated_time(tmp_path):
    with nx_server(tmp_path) as server:
        state = MongoState(StateOptions(url=server.impatient_url, patience_s=0.1), tmp_path)
        server.kill()
        with pytest.raises(RepositoryError, match=r"does not answer \(\d+ s by now\): .*run the same command to go on"):
            state.plan([(KEYS[0], "warp", {})])
        state.close()
        with pytest.raises(RepositoryError, match="was it closed"):
            state.counts()


def test_a_refused_user_is_told_where_to_look(opened):
    def refuse(database):
        raise OperationFailure("Authentication failed.", 18)

    with pytest.raises(RepositoryError, match=r"failed\.; check user and authSource in \[state\] url, and .*_PASSWORD"):
        opened()._connection.call(refuse)


def test_who_only_looks_changes_nothing(options, tmp_path):
    with MongoState(options, tmp_path, readonly=True) as state:
        assert state.counts() == {}
        assert state.frames() == state.runs() == []
        with pytest.raises(RepositoryError, match="opened only to look"):
            state.plan([(KEYS[0], "warp", {})])
        assert state._connection.call(lambda database: database.meta.find_one({})) is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_belongs_to_one_repository_wherever_that_lies(options, tmp_path):
    with MongoState(options, tmp_path / "first") as state:
        state.plan([(KEYS[0], "warp", {})])
    (tmp_path / "first").rename(tmp_path / "moved")
    for readonly in (False, True):
        with MongoState(options, tmp_path / "moved", readonly=readonly) as state:
            assert state.counts() == {"warp": {"ready": 1}}
        with pytest.raises(RepositoryError, match=r"test: keeps the state of another repository than .*/second"):
            MongoState(options, tmp_path / "second", readonly=readonly)


def test_runs_that_are_known_to_be_over_are_taken_over_at_once(opened):
    state, other = opened(), opened()
    state.plan((key, "warp", {}) for key in KEYS)
    over = other.begin_run("pipeline", 1, "0.1.0")
    assert other.claim(KEYS[0]) is not None
    state.begin_run("pipeline", 1, "0.1.0", dead=[over])
    assert state.claim(KEYS[0]) is not None
    assert [run.status for run in state.runs()] == ["died", "running"]


def test_a_state_of_another_version_is_named(options, tmp_path):
    def write(database, schema):
        database.meta.update_one({"_id": "state"}, {"$set": {"schema": schema}})

    with MongoState(options, tmp_path) as state:
        state._connection.call(write, 7)
        try:
            with pytest.raises(RepositoryError, match="schema version 7, this mpidriver knows 1"):
                MongoState(options, tmp_path)
        finally:
            state._connection.call(write, 1)
