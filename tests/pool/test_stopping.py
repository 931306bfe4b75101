"""Signals, the time limit and `pool.stop`: nothing more is begun, what runs is finished, the exit code is 75."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_contract import START_RANKS, environment_of_programs

from mpidriver.errors import PoolStopped
from mpidriver.pool import Pool
from mpidriver.pool._signals import read_walltime

PROGRAM = Path(__file__).parent / "stopped_program.py"
SECONDS = 60
"""When a program that hangs is killed."""


class Running:
    """A program that runs, on ranks or in one process."""

    def __init__(self, process, folder, events):
        self.process = process
        self.begun = []
        self._folder = folder
        self._events = events

    def wait_for_tasks(self, count):
        """Wait until so many tasks have begun."""
        while len(self.begun) < count:
            self.begun.append(int(self._events.readline().removeprefix("begun ")))

    def wait_for(self, text):
        """Wait until it says something on standard error."""
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"the program ended and never said {text!r}")

    def let_go(self):
        """Let the tasks end that have begun."""
        for number in self.begun:
            (self._folder / f"go-{number}").write_text("")

    def end(self):
        """Wait for its end; return its exit code, output, and the tasks that were done."""
        output, errors = self.process.communicate()
        done = sorted(int(path.name.removeprefix("done-")) for path in self._folder.glob("done-*"))
        os.write(self._events.fileno(), b"over\n")
        assert self._events.readline() == "over\n", "tasks were begun after the signal"
        assert "Traceback" not in errors, errors
        return self.process.returncode, output, done


def end(process):
    """End a program that may hang: asked twice, also what it has started ends at once."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.send_signal(number)
            process.wait(2)


@contextlib.contextmanager
def running(folder, ranks, how, *options):
    """Start the program."""
    os.mkfifo(folder / "events")
    for number in range(20):
        os.mkfifo(folder / f"go-{number}")
    command = [sys.executable, str(PROGRAM), str(folder), how, *options]
    if ranks > 1:
        command = [sys.executable, "-c", START_RANKS, str(ranks), *command]
    with (
        subprocess.Popen(
            command, env=environment_of_programs(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        open(os.open(folder / "events", os.O_RDWR)) as events,
    ):
        watchdog = threading.Timer(SECONDS, end, [process])
        watchdog.start()
        try:
            yield Running(process, folder, events)
        finally:
            watchdog.cancel()
            end(process)


ON_RANKS = pytest.mark.mpi


@pytest.mark.parametrize(
    ("ranks", "how", "number"),
    [
        (1, "map", signal.SIGUSR1),
        (1, "nested", signal.SIGTERM),
        (1, "isolated", signal.SIGTERM),
        (1, "stream", signal.SIGUSR1),
        (1, "wait", signal.SIGUSR1),
        (1, "result", signal.SIGUSR1),
        pytest.param(2, "map", signal.SIGUSR1, marks=ON_RANKS),
        pytest.param(2, "nested", signal.SIGINT, marks=ON_RANKS),
        pytest.param(2, "wait", signal.SIGUSR1, marks=ON_RANKS),
        pytest.param(2, "isolated", signal.SIGUSR1, marks=ON_RANKS),
        pytest.param(3, "stream", signal.SIGTERM, marks=ON_RANKS),
        pytest.param(3, "nested", signal.SIGUSR1, marks=ON_RANKS),
        pytest.param(3, "result", signal.SIGUSR1, marks=ON_RANKS),
    ],
)
def test_a_signal_lets_what_runs_end_and_begins_nothing_more(ranks, how, number, tmp_path):
    with running(tmp_path, ranks, how) as program:
        program.wait_for_tasks(ranks)
        program.process.send_signal(number)
        program.wait_for("stopped by SIG")
        program.let_go()
        code, output, done = program.end()
    assert (code, done) == (75, sorted(program.begun))
    assert sorted(map(int, re.findall(r"outcome (\d+)", output))) == (done if how == "stream" else [])


@pytest.mark.mpi
def test_a_signal_to_the_root_alone_stops_all_ranks(tmp_path):
    """As a batch system sends it to each rank; here even on SIGTERM the launcher knows nothing of it."""
    with running(tmp_path, 3, "map") as program:
        program.wait_for_tasks(3)
        os.kill(int((tmp_path / "root").read_text()), signal.SIGTERM)
        program.wait_for("stopped by SIGTERM")
        program.let_go()
        assert program.end() == (75, "", sorted(program.begun))


@pytest.mark.mpi
def test_gangs_that_run_are_finished_too(tmp_path):
    with running(tmp_path, 4, "gangs") as program:
        program.wait_for_tasks(2)
        program.process.send_signal(signal.SIGUSR1)
        program.wait_for("stopped by SIGUSR1")
        program.let_go()
        assert program.end() == (75, "", sorted(program.begun))


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=ON_RANKS)])
def test_the_time_limit_does_the_same(ranks, tmp_path):
    with running(tmp_path, ranks, "map", "walltime=0:02") as program:
        program.wait_for_tasks(ranks)
        program.wait_for("stopped by the walltime of 2 s")
        program.let_go()
        assert program.end() == (75, "", sorted(program.begun))


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=ON_RANKS)])
def test_futures_that_were_not_begun_are_cancelled_and_nothing_new_is_taken(ranks, tmp_path):
    with running(tmp_path, ranks, "futures") as program:
        program.wait_for_tasks(ranks)
        program.process.send_signal(signal.SIGUSR1)
        program.wait_for("stopped by SIGUSR1")
        program.let_go()
        assert program.end() == (75, f"cancelled {20 - ranks}\n", sorted(program.begun))


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=ON_RANKS)])
def test_a_program_that_is_just_done_ends_as_ever(ranks, tmp_path):
    with running(tmp_path, ranks, "almost done") as program:
        program.wait_for_tasks(1)
        program.process.send_signal(signal.SIGUSR1)
        program.wait_for("stopped by SIGUSR1")
        program.let_go()
        assert program.end() == (0, "outcome 0\n", [0])


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=ON_RANKS)])
def test_a_task_may_stop_the_pool(ranks, tmp_path):
    with running(tmp_path, ranks, "in a task") as program:
        assert program.end() == (75, "", [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=ON_RANKS)])
def test_the_second_signal_ends_everything_at_once(ranks, number, tmp_path):
    with running(tmp_path, ranks, "map", "drains_on_ctrl_c=1") as program:
        program.wait_for_tasks(ranks)
        program.process.send_signal(number)
        program.wait_for("stopped by SIG")
        while program.process.poll() is None:  # just before a system call one is seen late, or with the next
            program.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.process.communicate(timeout=1)
        assert program.process.returncode in (128 + number, -number)


def test_a_pool_that_was_stopped_says_why():
    with Pool() as pool:
        future = pool.submit(abs, -1)
        pool.stop("the user")
        with pytest.raises(PoolStopped, match="stopped by the user"):
            future.result()
        assert (future.cancelled(), pool.stopping) == (True, "the user")
        for use in (lambda: pool.map(abs, [1]), lambda: pool.submit(abs, 1), lambda: next(pool.stream(abs, [1]))):
            with pytest.raises(PoolStopped):
                use()


def test_an_ordered_stream_yields_all_that_was_done():
    def stop_after(number):
        if number == 3:
            pool.stop("the fourth")
        return number

    with Pool() as pool:
        stream, seen = pool.stream(stop_after, range(99), ordered=True), []
        with pytest.raises(PoolStopped):
            seen.extend(outcome.value for outcome in stream)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90), (0.5, 0.5), ("30", 1800), ("30:10", 1810), ("2:00:01", 7201), ("1-12", 129600),
        ("1-0:30", 88200), ("2-01:02:03", 176523),
    ],
)  # fmt: skip
def test_time_limits_are_read_as_slurm_does(text, seconds):
    assert read_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "an hour", "1:2:3:4", 0, -1, float("nan"), float("inf"), "0"])
def test_a_wrong_time_limit_is_refused(text):
    with pytest.raises(ValueError, match="walltime must be"):
        read_walltime(text)
