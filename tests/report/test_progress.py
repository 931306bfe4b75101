import io
import sys
import threading
import time

import pytest

from mpidriver.report import Progress, own_terminal
from mpidriver.report._terminal import terminal_columns


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture(autouse=True)
def nobody_said_where_we_are(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "MPIDRIVER_TERMINAL", "MPIDRIVER_TERMINAL_OUTPUT", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def two_o_clock(monkeypatch):
    """The wall clock of a summer time afternoon, whatever the zone of this machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield lambda: 1762005600.0
    monkeypatch.undo()
    time.tzset()


def test_a_log_gets_one_line_every_half_minute_and_one_at_the_end(clock, two_o_clock):
    log = io.StringIO()
    with Progress(90, stream=log, clock=clock, wall_clock=two_o_clock, label="pipeline") as progress:
        for _ in range(61):
            clock.now_s += 1.0
            progress.advance("warp", "done")
        assert log.getvalue().splitlines() == [
            "pipeline: 30/90 quanta, 60 left, 1/s, 1 min 00 s to go, ends 14:01; warp 30",
            "pipeline: 60/90 quanta, 30 left, 1/s, 30 s to go, ends 14:00; warp 60",
        ]
    assert log.getvalue().splitlines()[2] == "pipeline: 61/90 quanta, 29 left, 1/s, 29 s to go, ends 14:00; warp 61"


def test_a_far_end_is_named_with_its_day_and_what_is_counted_by_its_name(clock, two_o_clock):
    log = io.StringIO()
    with Progress(0, stream=log, clock=clock, wall_clock=two_o_clock, noun="items") as progress:
        progress.grow(90_001)
        clock.now_s += 10.0
        progress.advance("fit", "done", 10)
        progress.advance("fit", "failed", 1)
    line = "11/90001 items, 1 failed, 89990 left, 1.1/s, 22 h 43 min to go, ends Sun 02 Nov 12:43; fit 10 (+1 failed)\n"
    assert log.getvalue() == line


def test_what_a_stop_has_left_is_not_finished(clock):
    log = io.StringIO()
    with Progress(3, stream=log, clock=clock) as progress:
        progress.advance("warp", "unchanged")
        progress.advance("warp", "left", 2)
    assert log.getvalue() == "1/3 quanta, 0.0 s so far; warp 1\n"


def test_silence_is_broken_while_nothing_finishes(clock):
    log = io.StringIO()
    with Progress(2, stream=log, clock=clock) as progress:
        clock.now_s += 31.0
        progress.tick()
        assert log.getvalue() == "0/2 quanta, 31 s so far\n"


def test_skipped_quanta_do_not_count_as_speed(clock):
    log = io.StringIO()
    with Progress(1010, stream=log, clock=clock) as progress:
        for _ in range(1000):
            progress.advance("warp", "unchanged")
        clock.now_s += 10.0
        progress.advance("warp", "done")
        assert progress.rate_per_s() == pytest.approx(0.1)
        assert progress.remaining_s() == pytest.approx(90.0)


def test_the_rate_forgets_what_is_long_ago(clock):
    with Progress(10_000, stream=io.StringIO(), clock=clock) as progress:
        for seconds, repeat in ((0.1, 1000), (10.0, 100)):
            for _ in range(repeat):
                clock.now_s += seconds
                progress.advance("warp", "done")
        assert progress.rate_per_s() == pytest.approx(0.1, rel=0.1)


def test_the_total_grows_while_stages_learn_what_they_have_to_do(clock):
    log = io.StringIO()
    with Progress(1, stream=log, clock=clock) as progress:
        progress.grow(4)
        progress.advance("mosaic", "done")
    assert log.getvalue().startswith("1/5 quanta")


def test_failures_and_what_they_block_are_named_a_stage(clock):
    log = io.StringIO()
    with Progress(3, stream=log, clock=clock) as progress:
        clock.now_s += 5.0
        progress.advance("warp", "done")
        progress.advance("warp", "failed")
        progress.advance("coadd", "blocked")
    assert log.getvalue() == "3/3 quanta, 1 failed, 1 blocked, 5.0 s; warp 1 (+1 failed), coadd 0\n"


def test_a_terminal_gets_a_bar_with_stages_and_rate(clock):
    terminal = Terminal()
    with Progress(4, stream=terminal, clock=clock, label="pipeline") as progress:
        clock.now_s += 2.0
        progress.advance("warp", "done")
        progress.advance("coadd", "failed")
        clock.now_s += 1.0
        progress.tick()
    shown = terminal.getvalue()
    assert "━" in shown
    assert "2/4" in shown
    assert "50 %" in shown
    assert "1 failed" in shown
    assert "coadd 0 (+1 failed)" in shown
    assert "to go · ends" in shown


def test_the_launcher_tells_ranks_of_the_terminal_they_cannot_see(clock, monkeypatch):
    pipe = io.StringIO()
    assert own_terminal(pipe, pipe) == {"MPIDRIVER_TERMINAL": "0", "MPIDRIVER_TERMINAL_OUTPUT": "0"}
    monkeypatch.setenv("COLUMNS", "64")
    for name, value in own_terminal(Terminal(), pipe).items():
        monkeypatch.setenv(name, value)
    assert own_terminal(pipe, pipe)["MPIDRIVER_TERMINAL"] == "64"
    monkeypatch.setattr("sys.stdout", Terminal())
    assert terminal_columns(sys.stdout) == 0
    with Progress(4, stream=pipe, clock=clock):
        pass
    assert "━" in pipe.getvalue()
    monkeypatch.setenv("MPIDRIVER_TERMINAL", "0")
    log = Terminal()
    with Progress(4, stream=log, clock=clock):
        pass
    assert log.getvalue() == "0/4 quanta, 0.0 s so far\n"


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert terminal_columns(Terminal()) == 0


def test_the_pseudo_terminal_of_a_rank_of_open_mpi_is_none(monkeypatch):
    assert terminal_columns(Terminal()) > 0
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert terminal_columns(Terminal()) == 0


def test_lines_are_written_above_the_bar_without_markup(clock):
    terminal = Terminal()
    with Progress(1, stream=terminal, clock=clock) as progress:
        progress.write("warning: [red] is a band")
    assert "warning: [red] is a band" in terminal.getvalue()


def test_an_empty_run_is_complete(clock):
    terminal = Terminal()
    with Progress(0, stream=terminal, clock=clock):
        pass
    assert "100 %" in terminal.getvalue()


def test_plain_lines_are_written_to_a_terminal_on_which_others_write_too(clock):
    terminal = Terminal()
    with Progress(1, stream=terminal, clock=clock, plain=True) as progress:
        progress.write("rank 3 says so")
        progress.advance("warp", "done")
    assert terminal.getvalue().splitlines() == ["rank 3 says so", "1/1 quanta, 0.0 s; warp 1"]


def test_quiet_writes_nothing(clock):
    log = Terminal()
    with Progress(2, quiet=True, stream=log, clock=clock) as progress:
        clock.now_s += 100.0
        progress.advance("warp", "done")
        progress.write("hello")
    assert log.getvalue() == ""


class BrokenTerminal(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        raise BrokenPipeError("the terminal is gone")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_display_that_breaks_does_not_disturb_the_run(clock, terminal):
    with Progress(2, stream=BrokenTerminal(terminal), clock=clock) as progress:
        clock.now_s += 100.0
        progress.advance("warp", "done")
        progress.write("hello")
        progress.advance("warp", "done")
    assert progress.finished == 2


def test_threads_may_count_at_once(clock):
    with Progress(2000, stream=io.StringIO(), clock=clock) as progress:

        def work(stage):
            for _ in range(500):
                progress.advance(stage, "done")

        threads = [threading.Thread(target=work, args=(f"stage{i % 2}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert progress.finished == 2000
        assert progress.statuses == {"done": 2000}


def test_the_exception_of_the_run_passes_through(clock):
    with pytest.raises(KeyError), Progress(2, stream=Terminal(), clock=clock):
        raise KeyError("the run's own")
