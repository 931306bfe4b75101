"""Progress of a run: one bar on a terminal, one plain line every half minute in a log.

Callbacks of futures call `Progress.advance`, often from another thread, so nothing here may raise into them: a
terminal that goes away silences the display and the run goes on.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

from mpidriver.report._terminal import terminal_columns
from mpidriver.report._words import duration

__all__ = ["Progress"]

#: Seconds between two plain lines where there is no terminal.
LINE_INTERVAL_S = 30.0
#: Seconds between two drawings of the bar.
DRAW_INTERVAL_S = 0.2
#: Ends that are further away are named with their day.
SAME_DAY_S = 20 * 3600
#: Seconds over which the rate is measured.
RATE_WINDOW_S = 120.0


class Progress:
    """Show how far a run is.

    Parameters
    ----------
    total
        Quanta to go through.
    quiet
        Show nothing at all.
    stream
        Where to write; standard error if None.
    clock
        Returns seconds; for tests.
    label
        What stands before the bar.
    plain
        Write lines even where there is a terminal.
    noun
        What is counted.
    wall_clock
        Returns seconds since the epoch; for tests.
    """

    def __init__(
        self,
        total: int,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        label: str = "",
        plain: bool = False,
        noun: str = "quanta",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.total = total
        self.label = label
        self.statuses: Counter[str] = Counter()
        self._stages: dict[str, Counter[str]] = {}
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None
        self._live: Any = None
        self._silent = quiet
        self._plain = plain
        self._noun = noun
        self._wall_clock = wall_clock
        self._started = self._shown = clock()
        self._finished: deque[tuple[float, int]] = deque([(self._started, 0)])

    def __enter__(self) -> "Progress":
        self._started = self._shown = self._clock()
        self._finished = deque([(self._started, 0)])
        if not self._silent:
            self._guarded(self._open)
            self._ticker = threading.Thread(target=self._tick_until_stopped, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._ticker is not None:
            self._ticker.join(timeout=5.0)
        self._guarded(self._close)
        self._silent = True

    @property
    def finished(self) -> int:
        """Quanta that are settled, whatever their status, but not those that a stop has left."""
        return self.statuses.total() - self.statuses["left"]

    def grow(self, n: int) -> None:
        """Add `n` quanta to the total, as when a stage learns what it has to do."""
        with self._lock:
            self.total += n

    def advance(self, stage: str, status: str, count: int = 1) -> None:
        """Count quanta of `stage` as ``done``, ``failed``, ``unchanged``, ``blocked`` or ``left`` and show it."""
        with self._lock:
            self.statuses[status] += count
            self._stages.setdefault(stage, Counter())[status] += count
            if status in ("done", "failed"):
                self._remember()
        self.tick()

    def tick(self) -> None:
        """Draw again if it is time to; the display's own thread calls this too."""
        self._guarded(self._show_if_due)

    def write(self, line: str) -> None:
        """Print a line above the bar, as a log handler must while the bar is on the screen."""
        self._guarded(lambda: self._write_line(line))

    # --- what was done when -----------------------------------------------------------------------------------

    def _remember(self) -> None:
        """Note that one quantum more was worked on, at most one note a second."""
        now, worked = self._clock(), self.statuses["done"] + self.statuses["failed"]
        if len(self._finished) > 1 and now - self._finished[-2][0] < 1.0:
            self._finished[-1] = (now, worked)
        else:
            self._finished.append((now, worked))
        while len(self._finished) > 2 and self._finished[1][0] < now - RATE_WINDOW_S:
            self._finished.popleft()

    def rate_per_s(self) -> float:
        """Return quanta worked on a second over the last two minutes; skipped ones cost nothing and do not count."""
        since, before = self._finished[0]
        elapsed = self._clock() - since
        return (self._finished[-1][1] - before) / elapsed if elapsed > 0 else 0.0

    def remaining_s(self) -> float:
        """Return the expected seconds to the end, infinite as long as nothing is known."""
        left = max(self.total - self.finished, 0)
        rate = self.rate_per_s()
        return 0.0 if left == 0 else left / rate if rate > 0 else float("inf")

    # --- how it is shown --------------------------------------------------------------------------------------

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run `action` under the lock; whatever goes wrong with the display ends the display, not the run."""
        try:
            with self._lock:
                if not self._silent:
                    action()
        except Exception:
            self._silent = True
            if self._live is not None:
                with suppress(Exception):
                    self._live.stop()

    def _tick_until_stopped(self) -> None:
        while not self._stopped.wait(0.5):
            self.tick()

    def _open(self) -> None:
        columns = 0 if self._plain else terminal_columns(self._stream)
        if not columns:
            return
        from rich.console import Console
        from rich.live import Live

        class BrokenPipeIsAnError(Console):
            """Rich's own way is to exit the process."""

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError

        # Redirecting would replace sys.stdout for the whole process, under pdb's feet.
        self._live = Live(
            get_renderable=self._bar,
            console=BrokenPipeIsAnError(file=self._stream, force_terminal=True, width=columns),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def _close(self) -> None:
        if self._live is None:
            self._write_line(self._line())
            return
        self._live.refresh()
        self._live.stop()

    def _show_if_due(self) -> None:
        now = self._clock()
        if now - self._shown < (LINE_INTERVAL_S if self._live is None else DRAW_INTERVAL_S):
            return
        self._shown = now
        if self._live is None:
            self._write_line(self._line())
        else:
            self._live.refresh()

    def _write_line(self, line: str) -> None:
        if self._live is None:
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            from rich.text import Text

            self._live.console.print(Text(line))

    def _facts(self) -> list[str]:
        """Return what stands behind the count, the most important first."""
        facts = [f"{self.statuses[status]} {status}" for status in ("failed", "blocked") if self.statuses[status]]
        elapsed = duration(self._clock() - self._started)
        if self.finished >= self.total:
            return [*facts, elapsed]
        rate = self.rate_per_s()
        if rate <= 0:
            return [*facts, f"{elapsed} so far"]
        if self._live is None:  # beside a bar there is no room for it
            facts.append(f"{self.total - self.finished} left")
        return [*facts, f"{rate:.3g}/s", f"{duration(self.remaining_s())} to go", f"ends {self._end()}"]

    def _end(self) -> str:
        """Return the time of day when it may end, with the day if that is not the next such time."""
        remaining_s = self.remaining_s()
        form = "%H:%M" if remaining_s < SAME_DAY_S else "%a %d %b %H:%M"
        return time.strftime(form, time.localtime(self._wall_clock() + remaining_s))

    def _stage_words(self) -> list[str]:
        """Return one phrase a stage: how many are through, how many of them failed."""
        words = []
        for stage, counts in self._stages.items():
            through = counts["done"] + counts["unchanged"]
            failed = f" (+{counts['failed']} failed)" if counts["failed"] else ""
            words.append(f"{stage} {through}{failed}")
        return words

    def _line(self) -> str:
        head = f"{self.label}: " if self.label else ""
        stages = f"; {', '.join(self._stage_words())}" if self._stages else ""
        return head + ", ".join([f"{self.finished}/{self.total} {self._noun}", *self._facts()]) + stages

    def _bar(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        failed = self.statuses["failed"]
        bar = ProgressBar(
            total=max(self.total, 1),
            completed=self.finished if self.total else 1,
            width=None,
            complete_style="yellow" if failed else "cyan",
            finished_style="yellow" if failed else "green",
        )
        row = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            row.add_column(no_wrap=True, ratio=ratio)
        percent = 100 * self.finished // self.total if self.total else 100
        row.add_row(Text(self.label, style="bold"), bar, f"{self.finished}/{self.total}", f"{percent} %")
        facts = Text(" · ".join(self._facts() + self._stage_words()), style="dim", no_wrap=True, overflow="ellipsis")
        if failed:
            facts.stylize("bold red", 0, len(f"{failed} failed"))
        return Group(row, facts)
