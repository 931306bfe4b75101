"""Advice: tables and traces that are read or refused, what a survey's records say, and which ranks are recommended."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._costs._costs import ExpectedSeconds, LearnedCosts, memory_marks
from mpidriver.drivers._costs._scaling import fit_line, upper_line
from mpidriver.drivers._quantum import parse_quantum
from mpidriver.drivers._selection import Selection
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.advise import Workload, advise, read_task_table, read_trace, size_in_bytes, survey_workload
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.pipeline import open_context
from mpidriver.drivers.planning import plan_driver
from mpidriver.errors import ConfigError
from mpidriver.pool import Job
from mpidriver.report import advice_table
from mpidriver.store import Frame, QuantumRecord, QuantumUpdate, Repository, open_state

DMTN157 = Path(__file__).parents[2] / "benchmarks" / "dmtn157.csv"


def table(tmp_path, text):
    path = tmp_path / "tasks.csv"
    path.write_text(text)
    return path


def needs_of(tmp_path, share, others, count):
    """Return for each of `count` jobs the places of those of `others` that it needs."""
    text = f"task,seconds,count,needs\na,1,{others},\nb,1,{count},a{share}\n"
    jobs = read_task_table(table(tmp_path, text))
    return [job.needs for job in jobs if job.stage == "b"]


@pytest.mark.parametrize(
    ("share", "others", "count", "needs"),
    [
        ("", 3, 3, [(0,), (1,), (2,)]),
        ("", 4, 2, [(0, 1), (2, 3)]),
        ("", 2, 4, [(0,), (0,), (1,), (1,)]),
        ("", 3, 2, [(0, 1), (1, 2)]),
        (":3", 5, 5, [(0, 1, 2), (0, 1, 2), (1, 2, 3), (2, 3, 4), (2, 3, 4)]),
        (":9", 2, 2, [(0, 1), (0, 1)]),
        (":cyclic", 5, 2, [(0, 2, 4), (1, 3)]),
        (":cyclic", 2, 5, [(0,), (1,), (0,), (1,), (0,)]),
    ],
)
def test_jobs_wait_for_their_share_of_what_they_need(tmp_path, share, others, count, needs):
    assert needs_of(tmp_path, share, others, count) == needs


def test_a_table_says_counts_memory_and_spread(tmp_path):
    text = "# a comment\n\ntask, seconds, spread, memory, count\nwarp, 10, 0.5, 2 GiB, 4000\n"
    jobs = read_task_table(table(tmp_path, text))
    assert len(jobs) == 4000
    assert {(job.stage, job.memory_bytes, job.expected_seconds) for job in jobs} == {("warp", 2 << 30, 10.0)}
    mean = sum(job.seconds for job in jobs) / len(jobs)
    assert mean == pytest.approx(10.0, abs=4 * 10 * 0.53 / 4000**0.5)
    assert min(job.seconds for job in jobs) > 0


def test_the_order_of_lines_plays_no_part_and_the_seed_does(tmp_path):
    header, *lines = [line for line in DMTN157.read_text().splitlines() if not line.startswith("#")]
    jobs = read_task_table(DMTN157)
    assert read_task_table(table(tmp_path, "\n".join([header, *reversed(lines)]))) == jobs
    assert read_task_table(DMTN157, seed=1) != jobs


def test_the_published_table_has_its_jobs_and_work():
    """26,688 jobs; 61 d 5 h as published, within what the rounded means allow."""
    jobs = read_task_table(DMTN157)
    assert len(jobs) == 26_688
    assert sum(job.expected for job in jobs) / 86400 == pytest.approx(61.2, abs=0.3)
    inputs = Counter(jobs[needed].stage for job in jobs if job.stage == "assemble" for needed in job.needs)
    assert inputs == {"warp": 4206}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task,count\na,3\n", ["line 1", "'seconds'"]),
        ("task,seconds,colour\na,3,red\n", ["line 1", "'colour'"]),
        ("task,seconds\na,1\na,2\n", ["line 3", "'a'", "line 2"]),
        ("task,seconds\na,-1\n", ["line 2", "seconds", "'-1'"]),
        ("task,seconds\na,soon\n", ["line 2", "'soon'"]),
        ("task,seconds,count\na,1,0\n", ["line 2", "count", "'0'"]),
        ("task,seconds,memory\n\na,1,lots\n", ["line 3", "memory", "lots"]),
        ("task,seconds\na,1,2\n", ["line 2", "2 values", "3"]),
        ("task,seconds\n,1\n", ["line 2", "name"]),
        ("task,seconds,needs\na,1,\nb,1,c\n", ["line 3", "'c'"]),
        ("task,seconds,needs\na,1,b:some\nb,1,\n", ["line 2", "b:some"]),
        ("task,seconds,needs\na,1,b\nb,1,a\n", ["wait for each other", "a → b"]),
        ("task,seconds,needs\na,1,a\n", ["line 2", "wait for each other"]),
        ("task,seconds\n", ["no task"]),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, words):
    path = table(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        read_task_table(path)
    for word in [path.name, *words]:
        assert word in str(raised.value)


def test_an_absent_table_is_an_error_of_configuration(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        read_task_table(tmp_path / "absent.csv")


def event(name, started, seconds, rank, **more):
    return {"ph": "X", "name": name, "ts": started * 1e6, "dur": seconds * 1e6, "pid": rank, "tid": 0, **more}


def test_a_trace_gives_jobs_in_the_order_of_their_start_without_what_ran_inside(tmp_path):
    path = tmp_path / "trace.json"
    events = [
        {"ph": "M", "name": "process_name"},
        event("main program", 0, 12, 0, args={"depth": 0}),
        event("warp{patch=1,2}", 5, 2, 1, args={"peak_rss_bytes": 7}),
        event("tract", 0, 10, 0),
        event("warp", 1, 3, 0),
        event("warp", 4, 5, 0),
        event("partial", 10, 1, 0, args={"depth": 1, "item": "coadd{tract=0, band=r}"}),
    ]
    for content in (events, {"traceEvents": events}):
        path.write_text(json.dumps(content))
        jobs = read_trace(path)
        assert [(job.stage, job.seconds, job.memory_bytes) for job in jobs] == [
            ("tract", 2.0, 0),
            ("warp", 3.0, 0),
            ("warp", 5.0, 0),
            ("warp", 2.0, 7),
            ("coadd", 1.0, 0),
        ]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '[{"ph": "X", "name": "a", "ts": 1}]', '[{"ph": "X", "name": "a", "ts": 1, "dur": -2}]']
)
def test_what_is_no_trace_is_refused(tmp_path, text):
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"trace\.json"):
        read_trace(path)


def record(key, seconds=None, status="done", **more):
    return QuantumRecord(key, parse_quantum(key).task, status=status, seconds=seconds, **more)


def test_a_quantum_takes_what_it_took_or_what_others_of_its_task_took():
    expected = ExpectedSeconds(
        [
            record("warp{exposure=1}", 2.0),
            record("warp{exposure=2}", 6.0),
            record("warp{exposure=3}", 100.0, status="failed"),
            record("detect{band=g}", 1.0),
        ]
    )
    assert expected(parse_quantum("warp{exposure=2}")) == 6.0
    assert expected(parse_quantum("warp{exposure=3}")) == 4.0
    rough = STAGES["warp"].seconds + STAGES["detect"].seconds
    assert expected(parse_quantum("cube{tract=0}")) == pytest.approx(STAGES["cube"].seconds * 5.0 / rough)


def test_without_records_a_quantum_takes_the_rough_seconds_of_its_stage():
    assert ExpectedSeconds([])(parse_quantum("cube{tract=0}")) == STAGES["cube"].seconds


def test_memory_belongs_to_the_quantum_that_raised_the_mark_of_its_rank():
    """What ran on a rank after a large quantum carries its mark; a rank that starts anew has a new one."""
    peaks = memory_marks(
        [
            record("warp{exposure=1}", 1.0, started=1.0, peak_rss_bytes=300, rank=0, host="a"),
            record("coadd{band=g}", 1.0, started=2.0, peak_rss_bytes=900, rank=0, host="a"),
            record("warp{exposure=2}", 1.0, started=3.0, peak_rss_bytes=900, rank=0, host="a"),
            record("detect{band=g}", 1.0, started=4.0, peak_rss_bytes=900, rank=0, host="a"),
            record("warp{exposure=3}", 1.0, started=5.0, peak_rss_bytes=310, rank=0, host="a"),
        ]
    )
    assert peaks == {
        "warp": {"warp{exposure=1}": 300},
        "coadd": {"coadd{band=g}": 900},
        "detect": {"detect{band=g}": 900},
    }


def test_seconds_and_memory_grow_with_the_number_of_inputs():
    """Three coadds of 2, 4 and 8 warps tell what one of 16 may cost."""
    graph, coadds = Graph(), {}
    for count in (2, 4, 8, 16):
        warps = [parse_quantum(f"warp{{exposure={100 * count + number}}}") for number in range(count)]
        coadds[count] = parse_quantum(f"coadd{{tract={count}}}")
        for warp in warps:
            graph.add(warp)
        graph.add(coadds[count], uses=warps)
    costs = LearnedCosts(
        [
            record(coadds[n].key, 1.0 + 0.5 * n, started=float(n), peak_rss_bytes=1000 + 100 * n, rank=0, host="a")
            for n in (2, 4, 8)
        ],
        graph,
    )
    assert costs(coadds[8]).seconds == 5.0
    assert costs(coadds[16]).seconds == pytest.approx(9.0)
    assert costs(coadds[16]).memory_bytes == pytest.approx(2600, abs=1)
    assert costs.of_task("coadd", 32).seconds == pytest.approx(17.0)
    assert costs.of_task("warp", 0).memory_bytes == 0


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([(3.0, 7.0)], (7.0, 0.0)),
        ([(1.0, 3.0), (3.0, 7.0)], (1.0, 2.0)),
        ([(1.0, 7.0), (3.0, 3.0)], (5.0, 0.0)),
        ([(1.0, 1.0), (2.0, 4.0)], (0.0, 9.0 / 5.0)),
    ],
    ids=["one", "rising", "falling", "below the origin"],
)
def test_a_cost_is_a_line_that_never_falls_nor_begins_below_zero(points, line):
    assert fit_line(points) == pytest.approx(line)
    upper = upper_line(points)
    assert all(upper(size) >= cost for size, cost in points)


@pytest.fixture
def survey(tmp_path):
    """Context and state database of four frames of one field, of which nothing was run."""
    repository = Repository.create(tmp_path / "survey", config=config_text(SurveyConfig()))
    corners = np.array([(150.0, 2.0), (150.1, 2.0), (150.1, 2.1), (150.0, 2.1)])
    with open_state(repository) as state:
        state.add_frames(Frame(exposure, 1, "r", f"raw/{exposure}.fits", corners=corners) for exposure in range(4))
        state.begin_run("test", 1, "0")
        yield open_context(str(repository.root)), state


def enter(state, plan, records):
    """Record quanta as done, with seconds and peak memory."""
    state.plan((quantum.key, quantum.task, {}) for quantum in plan.graph)
    state.record(
        QuantumUpdate(key, "done", started=float(number), seconds=seconds, peak_rss_bytes=peak, rank=0, host="a")
        for number, (key, (seconds, peak)) in enumerate(records.items())
    )


def test_a_survey_that_was_never_run_is_guessed(survey):
    workload = survey_workload(*survey)
    plan = plan_driver(*survey, "pipeline", Selection())
    assert [job.stage for job in workload.jobs] == [quantum.task for quantum in plan.own]
    assert [job.seconds for job in workload.jobs] == [STAGES[quantum.task].seconds for quantum in plan.own]
    assert "rough guesses" in workload.notes[1]


def test_what_is_left_of_a_survey_takes_what_its_tasks_took(survey):
    """Two of four frames are reduced; the mosaic waits for the other two only."""
    context, state = survey
    plan = plan_driver(context, state, "pipeline", Selection())
    frames = [quantum.key for quantum in plan.graph if quantum.task == "single_frame"]
    enter(state, plan, {frames[0]: (3.0, 100), frames[1]: (5.0, 200)})
    workload = survey_workload(context, state)
    left = [job for job in workload.jobs if job.stage == "single_frame"]
    assert len(workload.jobs) == len(plan.own) - 2
    assert len(left) == 2
    assert {job.seconds for job in left} <= {3.0, 5.0}
    assert {(job.expected_seconds, job.memory_bytes) for job in left} == {(4.0, 200)}
    mosaic = next(job for job in workload.jobs if job.stage == "mosaic")
    assert [workload.jobs[needed].stage for needed in mosaic.needs] == ["single_frame"] * 2
    scale = 4.0 / STAGES["single_frame"].seconds
    assert mosaic.seconds == pytest.approx(STAGES["mosaic"].seconds * scale)
    assert "mosaic" in workload.notes[1]
    drawn = {tuple(job.seconds for job in survey_workload(context, state, seed=seed).jobs) for seed in range(9)}
    assert len(drawn) > 1
    assert survey_workload(context, state) == workload


def test_of_a_survey_that_is_done_the_whole_is_simulated(survey):
    context, state = survey
    plan = plan_driver(context, state, "pipeline", Selection())
    enter(state, plan, {quantum.key: (float(number), 1) for number, quantum in enumerate(plan.own, 1)})
    workload = survey_workload(context, state)
    assert [job.seconds for job in workload.jobs] == [float(number) for number in range(1, len(plan.own) + 1)]
    assert "nothing is left to run" in workload.notes[0]


SLOW_END = Workload([Job("many", 100.0, memory_bytes=10)] * 40 + [Job("last", 100.0, tuple(range(40)), 30)])


def test_the_most_ranks_that_are_used_well_are_recommended():
    """41 jobs of which the last waits for all others: 4,100 s of work."""
    advice = advise(SLOW_END, [1, 2, 4, 8, 40], margin=0.5)
    walls = {one.ranks: one.wall_seconds for one in advice.predictions}
    assert walls == pytest.approx({1: 4100, 2: 2100, 4: 1100, 8: 600, 40: 300}, rel=0.01, abs=101)
    assert advice.recommended.ranks == 4
    assert advice.recommended.efficiency == pytest.approx(4100 / 4400, rel=0.01)
    assert advice.time_limit_seconds == pytest.approx(1.5 * 1100, abs=60)
    assert advice.time_limit_seconds % 60 == 0
    assert advice.recommended.limiting.stage == "last"


def test_ranks_that_do_not_fit_the_memory_are_not_recommended():
    advice = advise(SLOW_END, [2, 4], ranks_per_node=4, memory_per_node=35)
    assert (advice.recommended.ranks, advice.nodes(4), advice.ranks_that_fit) == (2, 1, 1)
    assert "too much" in str(advice_table(advice))
    none_fits = advise(SLOW_END, [4], ranks_per_node=4, memory_per_node=35)
    assert "at most 1 rank a node" in str(advice_table(none_fits))


def test_ranks_are_tried_up_to_more_than_are_of_use():
    counts = [one.ranks for one in advise(SLOW_END, ranks_per_node=4).predictions]
    assert counts == [4, 8, 12, 16, 24, 32, 48]
    counts = [one.ranks for one in advise(Workload([Job("a", 1.0)] * 3)).predictions]
    assert counts == [1, 2, 3]


def test_no_more_nodes_are_tried_than_there_are():
    wide = Workload([Job("a", 1.0) for _ in range(200)])
    advice = advise(wide, ranks_per_node=4, nodes=5)
    assert [one.ranks for one in advice.predictions] == [4, 8, 12, 16, 20]
    assert advice.nodes(advice.recommended.ranks) == 5


@pytest.mark.parametrize(
    "numbers", [{"ranks": [0]}, {"ranks": [4], "ranks_per_node": 0}, {"ranks": [4], "margin": -1.0}]
)
def test_numbers_without_sense_are_refused(numbers):
    with pytest.raises(ConfigError, match="must be at least"):
        advise(SLOW_END, **numbers)


def test_nothing_to_run_is_said():
    with pytest.raises(ConfigError, match="nothing is left"):
        advise(Workload([]))


def test_sizes_are_numbers_with_units():
    assert (size_in_bytes("4096"), size_in_bytes("4GiB"), size_in_bytes("1.5 kB")) == (4096, 4 << 30, 1500)
    with pytest.raises(ValueError, match="a heap"):
        size_in_bytes("a heap")
