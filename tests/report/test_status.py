"""What `status --failed`, the pace and `show` say."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mpidriver.report import failures_page, group_failures, pace_of_run, status_table
from mpidriver.store import QuantumRecord, RunRecord

TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/mpidriver/drivers/_campaign/_run_quantum.py", line 24, in run_quantum
    record = STAGES[quantum.task].run(context, quantum, **arguments)
  File "{path}", line {line}, in warp
    return affine(image)
  File "/venv/lib/python3.11/site-packages/scipy/ndimage/_interpolation.py", line 600, in affine_transform
    raise ValueError("bad")
ValueError: bad
"""
OURS = "/venv/lib/python3.11/site-packages/mpidriver/tasks/warp/_warp.py"


def failed(number, error, traceback=None):
    return QuantumRecord(f"warp{{exposure={number}}}", "warp", status="failed", error=error, traceback=traceback)


def test_failures_that_differ_in_numbers_and_paths_are_one_group_and_the_largest_is_first():
    records = [
        failed(1, "DataError: /data/1.fits: 7 stars"),
        failed(2, "ValueError: bad", TRACEBACK.format(path=OURS, line=88)),
        failed(3, "DataError: /data/3.fits: 0.5 stars"),
        failed(4, "ValueError: bad", TRACEBACK.format(path=OURS, line=99)),
    ]
    groups = group_failures(records)
    assert [(len(group.keys), group.line) for group in groups] == [
        (2, ""),
        (1, "mpidriver/tasks/warp/_warp.py:88 in warp"),
        (1, "mpidriver/tasks/warp/_warp.py:99 in warp"),
    ]
    assert groups[0].keys == ["warp{exposure=1}", "warp{exposure=3}"]
    text = str(failures_page(groups))
    assert text.startswith("2 × warp: DataError: /data/1.fits: 7 stars\n    warp{exposure=1}\n    warp{exposure=3}\n")
    assert "1 × warp: ValueError: bad\n    at mpidriver/tasks/warp/_warp.py:88 in warp\n" in text
    assert str(failures_page([])) == "nothing has failed"


def test_the_users_own_code_counts_as_own():
    (group,) = group_failures([failed(1, "ValueError: bad", TRACEBACK.format(path="/home/me/mine.py", line=3))])
    assert group.line == "/home/me/mine.py:3 in warp"


RUN = RunRecord(3, "pipeline repo", 4, "1.0", "n1", 77, 1000.0, 1095.0, None, "running")
COUNTS = {"warp": {"done": 30, "ready": 10}, "coadd": {"ready": 5, "blocked": 2}}


def test_the_rest_takes_as_long_as_its_tasks_took_on_as_many_ranks_as_are_busy():
    timed_by_run = {"warp": (30, 300.0)}
    pace = pace_of_run(RUN, COUNTS, {"warp": (30, 300.0), "coadd": (2, 80.0)}, timed_by_run, now=1100.0)
    assert (pace.ended, pace.quanta_per_second, pace.elapsed_seconds) == (30, 0.3, 100.0)
    assert pace.remaining_seconds == pytest.approx((10 * 10.0 + 5 * 40.0) / 3.0)
    unseen = pace_of_run(RUN, COUNTS, timed_by_run, timed_by_run, now=1100.0)
    assert unseen.remaining_seconds == pytest.approx(15 * 10.0 / 3.0)
    assert pace_of_run(RUN, COUNTS, {}, {}, now=1100.0).remaining_seconds is None


def test_status_tells_the_pace_and_who_is_silent():
    timed = {"warp": (30, 300.0)}
    pace = pace_of_run(RUN, COUNTS, timed, timed, now=1100.0)
    console = Console(file=io.StringIO(), width=140)
    console.print(status_table(COUNTS, pace=pace))
    text = console.file.getvalue()
    assert "pipeline repo: 30 quanta on 4 ranks of n1 for 1 min 40 s, 0.3 a second; about 50 s left" in text
    assert "all" in text
    silent = pace_of_run(replace(RUN, heartbeat=1000.0), COUNTS, timed, timed, now=1300.0)
    assert "no sign of life for 5 min 00 s: it may be dead" in str(status_table(COUNTS, pace=silent))
