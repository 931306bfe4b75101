import io

import pytest
from rich.console import Console

from mpidriver.report import FailedQuantum, RunSummary, StageSummary, closing_table, print_summary, status_table
from mpidriver.store import QuantumRecord


def printed(renderable, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def rows(text):
    """The words of each line by its first word."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}


@pytest.fixture
def summary():
    return RunSummary(
        "pipeline",
        stages=(
            StageSummary("single_frame", done=71, failed=1, seconds=312.0),
            StageSummary("warp", done=1288, skipped=12, blocked=4, seconds=99.0),
        ),
        wall_s=173.0,
        ranks=4,
        efficiency=0.912,
        products=("repo/coadds", "repo/catalogues"),
        failures=(FailedQuantum("single_frame{exposure=1204, detector=17}", "DataError: [bold]x.fits: not\n FITS"),),
        notes=("3 frames lie outside every tract",),
    )


def test_the_closing_table_has_a_row_a_stage_and_their_sum(summary):
    table = rows(printed(closing_table(summary)))
    assert table["stage"] == ["done", "skipped", "failed", "blocked", "work"]
    assert table["single_frame"] == ["71", "·", "1", "·", "5", "min", "12", "s"]
    assert table["warp"] == ["1,288", "12", "·", "4", "1", "min", "39", "s"]
    assert table["all"] == ["1,359", "12", "1", "4", "6", "min", "51", "s"]


def test_the_closing_table_tells_efficiency_products_notes_and_causes(summary):
    text = printed(closing_table(summary), width=140)
    assert "1 failed, 4 blocked by failures, everything else finished in 2 min 53 s on 4 ranks, 91 % efficient" in text
    assert "Products:\n  repo/coadds\n  repo/catalogues\n" in text
    assert "Notes:\n  3 frames lie outside every tract\n" in text
    assert "  single_frame{exposure=1204, detector=17}\n      DataError: [bold]x.fits: not FITS\n" in text


def test_states_that_never_occur_have_no_column():
    text = printed(closing_table(RunSummary("coadd", (StageSummary("warp", done=3),), wall_s=2.0)))
    assert rows(text)["stage"] == ["done", "work"]
    assert "coadd: all done in 2.0 s on 1 rank\n" in text


def test_what_idle_ranks_waited_for_is_named_unless_it_is_next_to_nothing():
    idle = {"waiting for inputs": 0.012, "last tasks": 0.018, "latency": 0.004}
    text = printed(closing_table(RunSummary("coadd", wall_s=2.0, efficiency=0.966, idle=idle)))
    assert "97 % efficient; idle: 1 % waiting for inputs, 2 % last tasks\n" in text


def test_an_interrupted_run_does_not_claim_to_have_finished():
    text = printed(closing_table(RunSummary("coadd", (StageSummary("warp", done=3),), left=7)))
    assert "7 not started" in text
    assert "finished" not in text


def test_a_run_without_quanta_prints():
    assert "mosaic: all done" in printed(closing_table(RunSummary("mosaic")))


def test_many_failures_are_grouped_by_what_they_say():
    missing = [
        FailedQuantum(f"warp{{exposure={i}}}", f"DataError: frames/{i}/017.fits: got {i} bytes") for i in range(14)
    ]
    odd = FailedQuantum("coadd{band=g}", "ValueError: odd")
    text = printed(closing_table(RunSummary("coadd", failures=[odd, *missing])), width=120)
    assert "15 failures:" in text
    assert "14 × warp: warp{exposure=0}, warp{exposure=1}, warp{exposure=2} and 11 more" in text
    assert text.count("DataError") == 1
    assert text.index("14 × warp") < text.index("coadd{band=g}")


def test_ten_failures_are_all_named():
    failures = [FailedQuantum(f"warp{{exposure={i}}}", "DataError: the same") for i in range(10)]
    text = printed(closing_table(RunSummary("coadd", failures=failures)))
    assert all(failure.key in text for failure in failures)


def test_in_a_log_keys_are_not_broken_over_lines(summary):
    key = "forced{tract=9813, patch=12,34, band=g, " + "x" * 100 + "}"
    console = Console(file=io.StringIO(), width=60)
    print_summary(RunSummary("multiband", failures=[FailedQuantum(key, "ValueError: " + "y" * 100)]), console)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert key in lines
    assert "ValueError: " + "y" * 100 in lines


def test_status_counts_states_in_the_order_of_a_quantums_life():
    counts = {"warp": {"failed": 1, "ready": 3, "done": 12, "running": 1}, "coadd": {"blocked": 2, "failed": 0}}
    failures = [FailedQuantum("warp{exposure=7}", "DataError: empty frame")]
    text = printed(status_table(counts, failures, running=["warp{exposure=8}"]))
    table = rows(text)
    assert table["stage"] == ["ready", "running", "done", "failed", "blocked", "all"]
    assert table["warp"] == ["3", "1", "12", "1", "·", "17"]
    assert table["coadd"] == ["·", "·", "·", "·", "2", "2"]
    assert "Running:\n  warp{exposure=8}" in text
    assert "DataError: empty frame" in text


def test_status_before_the_first_run_says_so():
    assert "no quanta are planned yet" in printed(status_table({}))


def test_a_failed_quantum_knows_its_stage():
    assert FailedQuantum("warp{tract=3, patch=2,5}", "").stage == "warp"


def test_failures_may_come_from_the_state_database():
    record = QuantumRecord("warp{exposure=7}", "warp", status="failed", error="DataError: empty frame")
    text = str(status_table({"warp": {"failed": 1}}, [record]))
    assert "1 failure:\n  warp{exposure=7}\n      DataError: empty frame" in text


def test_a_page_prints_as_plain_text_of_unbroken_lines(summary):
    text = str(closing_table(summary))
    assert "1 failed, 4 blocked by failures, everything else finished in 2 min 53 s on 4 ranks, 91 % efficient" in text
    assert "\x1b" not in text


def test_the_summary_knows_no_terminal_where_the_launcher_says_there_is_none(summary, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("MPIDRIVER_TERMINAL_OUTPUT", "0")
    print_summary(summary)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("MPIDRIVER_TERMINAL_OUTPUT", "70")
    print_summary(summary)
    assert "\x1b" in capsys.readouterr().out
