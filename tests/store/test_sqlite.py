"""What is particular to SQLite: other processes, dead runs, damaged files."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from mpidriver.errors import RepositoryError
from mpidriver.store import QuantumUpdate, Repository, SqliteState, open_state

RUN = """
import sys
from mpidriver.store import QuantumUpdate, SqliteState
state = SqliteState(sys.argv[1])
state.plan([("a{}", "a", {}), ("b{}", "a", {})])
state.begin_run("pipeline repo", 2, "0.1.0")
state.record([QuantumUpdate("a{}", "running", started=1.0), QuantumUpdate("b{}", "done", started=1.0)])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
def other_run(path):
    """A run in another process; yields the process."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdin=pipe, stdout=pipe, cwd=os.getcwd()) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_a_second_live_run_is_told_who_holds_the_repository(path, other_run):
    with SqliteState(path) as state, pytest.raises(RepositoryError) as raised:
        state.begin_run("coadd repo", 1, "0.1.0")
    text = str(raised.value)
    assert f"held by process {other_run.pid} on {os.uname().nodename} since 2" in text
    assert "'pipeline repo'" in text


def test_a_reader_sees_what_a_live_run_has_recorded(path, other_run):
    with SqliteState(path, readonly=True) as state:
        assert state.counts() == {"a": {"running": 1, "done": 1}}
        with pytest.raises(RepositoryError, match="readonly"):
            state.record([QuantumUpdate("a{}", "done")])


def test_a_killed_run_is_taken_over_and_its_running_quanta_are_ready(path, other_run):
    other_run.send_signal(signal.SIGKILL)
    other_run.wait()
    with SqliteState(path) as state:
        state.begin_run("pipeline repo", 1, "0.1.0")
        assert state.counts() == {"a": {"ready": 1, "done": 1}}
        assert [run.status for run in state.runs()] == ["died", "running"]


def test_a_killed_run_that_nobody_has_asked_after_is_taken_over_too(path, other_run):
    other_run.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other_run.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken
    with SqliteState(path) as state:
        state.begin_run("pipeline repo", 1, "0.1.0")
        assert [run.status for run in state.runs()] == ["died", "running"]


def test_closing_without_an_end_leaves_the_run_dead(path):
    with SqliteState(path) as state:
        state.begin_run("pipeline", 1, "0.1.0")
    with SqliteState(path) as state:
        assert [run.status for run in state.runs()] == ["died"]
        state.begin_run("pipeline", 1, "0.1.0")


@pytest.mark.parametrize(("silent_s", "taken"), [(20.0, False), (1000.0, True)])
def test_a_run_on_another_host_counts_by_its_last_sign_of_life(path, silent_s, taken):
    with SqliteState(path) as state:
        state.end_run(state.begin_run("pipeline", 1, "0.1.0"), "done")
    with sqlite3.connect(path) as raw:
        raw.execute(
            "UPDATE runs SET host = 'elsewhere', status = 'running', "
            "heartbeat = (julianday('now') - 2440587.5) * 86400 - ?",
            [silent_s],
        )
    raw.close()
    with SqliteState(path) as state:
        if taken:
            assert state.begin_run("pipeline", 1, "0.1.0") == 2
        else:
            with pytest.raises(RepositoryError, match=r"on elsewhere since .*last sign of life 2\d s ago"):
                state.begin_run("pipeline", 1, "0.1.0")


def test_a_run_that_is_known_to_be_dead_is_taken_over_at_once(path):
    with SqliteState(path) as state:
        state.end_run(state.begin_run("pipeline", 1, "0.1.0"), "done")
    with sqlite3.connect(path) as raw:
        beats = "heartbeat = (julianday('now') - 2440587.5) * 86400"
        raw.execute(f"UPDATE runs SET host = 'elsewhere', status = 'running', {beats}")
    raw.close()
    with SqliteState(path) as state:
        with pytest.raises(RepositoryError, match="on elsewhere"):
            state.begin_run("pipeline", 1, "0.1.0", dead=[7])
        assert state.begin_run("pipeline", 1, "0.1.0", dead=[1]) == 2
        assert [run.status for run in state.runs()] == ["died", "running"]


def test_a_transaction_of_a_killed_writer_is_undone_by_the_next_reader(path):
    killed = """
import os, signal, sqlite3, sys
from mpidriver.store import SqliteState
state = SqliteState(sys.argv[1])
state.plan([("a{}", "a", {})])
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("PRAGMA cache_size = 1")
raw.execute("BEGIN IMMEDIATE")
raw.executemany("INSERT INTO quanta (key, task, data_id, status) VALUES (?, 'b', ?, 'ready')",
    ((str(n), "x" * 4000) for n in range(500)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", killed, str(path)], cwd=os.getcwd(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("state.sqlite-journal").stat().st_size > 0
    with SqliteState(path, readonly=True) as state:
        assert state.counts() == {"a": {"ready": 1}}


def test_a_missing_database_looks_empty_to_a_reader_and_is_not_made(tmp_path):
    repository = Repository.create(tmp_path)
    with open_state(repository, readonly=True) as state:
        assert state.counts() == {}
        assert state.frames() == []
    assert not repository.state_path.exists()
    with open_state(repository) as state:
        assert state.frames() == []
    assert repository.state_path.exists()


def test_damaged_foreign_and_newer_databases_are_named(path):
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(RepositoryError, match=r"state\.sqlite: file is not a database; it is damaged"):
        SqliteState(path)
    path.unlink()
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE other (x)")
    raw.close()
    with pytest.raises(RepositoryError, match="another program"):
        SqliteState(path)
    path.unlink()
    SqliteState(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    with pytest.raises(RepositoryError, match="schema version 7, this mpidriver knows "):
        SqliteState(path)


def test_a_missing_folder_and_a_closed_database_are_named(tmp_path):
    with pytest.raises(RepositoryError, match="its directory must exist"):
        SqliteState(tmp_path / "no" / "state.sqlite")
    state = SqliteState(tmp_path / "state.sqlite")
    state.close()
    with pytest.raises(RepositoryError, match="was it closed"):
        state.counts()


def test_transactions_are_as_safe_as_claimed(path):
    with SqliteState(path) as state:
        assert state._connection.rows("PRAGMA journal_mode") == [("truncate",)]
        assert state._connection.rows("PRAGMA synchronous") == [(2,)]


def test_a_full_disk_is_a_clear_error_and_loses_nothing(path, request):
    with SqliteState(path) as state:
        state.plan([("a{}", "a", {})])
        request.getfixturevalue("full_disk")
        with pytest.raises(RepositoryError, match=r"state\.sqlite: .*(disk|free)"):
            state.plan((f"b{{{n}}}", "b", {"text": "x" * 100}) for n in range(1000))
        assert state.counts() == {"a": {"ready": 1}}


def test_a_database_that_another_process_holds_is_waited_for_and_then_named(path, monkeypatch):
    monkeypatch.setattr("mpidriver.store._sqlite._connection.BUSY_SECONDS", 0.05)
    with SqliteState(path) as state:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RepositoryError, match="locked; another process held it"):
            state.plan([("a{}", "a", {})])
        other.execute("ROLLBACK")
        other.close()
        assert state.plan([("a{}", "a", {})]) == 1
