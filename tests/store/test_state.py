"""The contract of the state database; each back end is a subclass of the one test class."""

import dataclasses
import os
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mongo import REAL_SERVER, emptied, real_server_options

from mpidriver.errors import DataError, RepositoryError
from mpidriver.sphere import polygons_overlap, unit_vectors
from mpidriver.store import (
    Frame,
    FrameUpdate,
    MongoState,
    Product,
    QuantumRecord,
    QuantumUpdate,
    SqliteState,
    StateOptions,
)
from mpidriver.store._state._cells import footprint_cells, query_cells

from .conftest import square

KEYS = [f"warp{{tract=1, patch=0,0, exposure={n}, detector=3, band=r}}" for n in range(5)]


class StateContract:
    """What every back end does. A subclass gives `state`, a fixture with an empty database."""

    def test_frames_come_back_as_they_were(self, state, make_frame):
        frames = [
            make_frame(2, band="g", gain=1.5, shape=(10, 20), mask_path="/x/ood.fits", mask_bits=6),
            make_frame(1, corners=None, wcs_header=None, zero_point_mag=27.0),
            make_frame(1, band="c0012", kind="stokes", metadata={"freq_hz": 1.4e9}),
        ]
        assert state.add_frames(frames) == 3
        assert state.frames() == [frames[2], frames[1], frames[0]]
        assert state.frame(2, 3) == frames[0]
        assert state.frame(1, 3, "r") == frames[1]

    def test_adding_frames_again_changes_nothing(self, state, make_frame):
        frames = [make_frame(n) for n in range(4)]
        assert state.add_frames(frames) == 4
        update = FrameUpdate(1, 3, "r", "WCS", square(11, 20, 0.1), {"seeing": 1.5})
        state.update_frames([update])
        before = state.frames()
        assert state.add_frames([*frames, make_frame(9)]) == 1
        assert state.frames() == [*before, make_frame(9)]

    def test_other_content_under_the_same_name_is_an_error_and_nothing_is_added(self, state, make_frame):
        state.add_frames([make_frame(1)])
        with pytest.raises(DataError, match=r"raw/new\.fits: exposure 1, detector 3, band 'r' is in .* raw/1\.fits"):
            state.add_frames([make_frame(7), make_frame(1, path="raw/new.fits", digest="f" * 32)])
        assert state.frames() == [make_frame(1)]

    def test_frames_are_selected_by_one_value_or_several(self, state, make_frame):
        state.add_frames(make_frame(n, detector=d, band=b) for n in range(3) for d in (1, 2) for b in "gr")
        assert [frame.key for frame in state.frames(exposure=1, band="g")] == [(1, 1, "g"), (1, 2, "g")]
        assert len(state.frames(exposure=range(1, 3), detector=(2,), band={"g", "r"})) == 4
        assert state.frames(exposure=[]) == []
        assert state.frames(kind="stokes") == []

    def test_a_missing_or_ambiguous_frame_is_named(self, state, make_frame):
        state.add_frames([make_frame(1, band="g"), make_frame(1, band="r")])
        with pytest.raises(DataError, match="no frame of exposure 2, detector 3"):
            state.frame(2, 3)
        with pytest.raises(DataError, match="2 frames of exposure 1, detector 3; name a band of g, r"):
            state.frame(1, 3)
        with pytest.raises(DataError, match="no frame of exposure 2"):
            state.update_frames([FrameUpdate(2, 3, "r", None, None)])

    def test_an_update_moves_the_footprint_and_keeps_what_was_ingested(self, state, make_frame):
        frame = make_frame(1, wcs_header="RAW")
        state.add_frames([frame])
        moved = square(15.0, 20.0, 0.1)
        state.update_frames([FrameUpdate(1, 3, "r", "SOLVED", moved, {"seeing_arcsec": 0.8, "bad": float("nan")})])
        found = state.frame(1, 3)
        assert (found.wcs_header, found.solved_wcs_header) == ("RAW", "SOLVED")
        np.testing.assert_array_equal(found.corners, frame.corners)
        np.testing.assert_array_equal(found.footprint, moved)
        assert found.quality["seeing_arcsec"] == 0.8
        assert state.frames_overlapping(unit_vectors(*square(10, 20, 0.1).T)) == []
        assert state.frames_overlapping(unit_vectors(*square(15, 20, 0.1).T)) == [found]

    def test_an_update_without_a_position_keeps_the_footprint(self, state, make_frame):
        state.add_frames([make_frame(1)])
        state.update_frames([FrameUpdate(1, 3, "r", None, np.full((4, 2), np.nan), {})])
        assert len(state.frames_overlapping(unit_vectors(*square(10, 20, 0.1).T))) == 1

    @pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99, -30.0), (77.0, 90.0), (0.0, -89.95), (180.0, 60.0)])
    def test_overlaps_are_right_at_the_poles_and_across_ra_zero(self, state, make_frame, ra, dec):
        rng = np.random.default_rng(5)
        pole = unit_vectors(ra, dec)
        frames = []
        for number in range(150):
            x, y, z = pole + rng.normal(scale=0.01, size=3)
            position = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
            frames.append(make_frame(number, *position, half_deg=rng.uniform(0.05, 0.3)))
        state.add_frames(frames)
        for half_deg in (0.02, 0.2, 1.0):
            polygon = unit_vectors(*square(ra, dec, half_deg).T)
            expected = [f.key for f in frames if polygons_overlap(polygon, unit_vectors(*f.corners.T))]
            assert [frame.key for frame in state.frames_overlapping(polygon)] == expected
            assert 0 < len(expected) < len(frames)

    def test_a_pad_reaches_farther(self, state, make_frame):
        state.add_frames([make_frame(1, 10.0, 20.0, 0.1)])
        polygon = unit_vectors(*square(10.0, 20.4, 0.1).T)  # 0.2 deg between the edges
        assert state.frames_overlapping(polygon, pad_deg=0.19) == []
        assert len(state.frames_overlapping(polygon, pad_deg=0.21)) == 1

    def test_quanta_are_planned_once_and_keep_their_order(self, state):
        planned = [(key, "warp", {"tract": "1", "exposure": str(n)}) for n, key in enumerate(KEYS)]
        assert state.plan(iter(planned[:3])) == 3
        state.record([QuantumUpdate(KEYS[0], "done")])
        assert state.plan([QuantumRecord(*planned[4]), *planned]) == 2
        assert [record.key for record in state.quanta()] == [*KEYS[:3], KEYS[4], KEYS[3]]
        assert state.quantum(KEYS[1]) == QuantumRecord(KEYS[1], "warp", {"tract": "1", "exposure": "1"})
        assert state.quantum(KEYS[0]).status == "done"
        assert state.plan([]) == 0

    def test_outcomes_are_recorded(self, state):
        state.plan((key, "warp", {}) for key in KEYS)
        done = {"started": 5.0, "seconds": 2.5, "peak_rss_bytes": 1 << 30, "rank": 3, "host": "n1"}
        product = Product("warp", "warps/a.fits", "0" * 32, 2880)
        state.record(
            [
                QuantumUpdate(KEYS[0], "done", inputs_digest="abc", products=(product,), **done),
                QuantumUpdate(KEYS[1], "failed", error="ValueError: x", traceback="Traceback …", **done),
                QuantumUpdate(KEYS[2], "blocked", error=f"waits for {KEYS[1]}"),
                QuantumUpdate(KEYS[3], "running", started=6.0, rank=1),
            ]
        )
        assert state.quantum(KEYS[0]) == QuantumRecord(
            KEYS[0], "warp", {}, "done", attempt=1, inputs_digest="abc", **done
        )
        assert [record.key for record in state.quanta("warp", "failed")] == [KEYS[1]]
        assert state.quantum(KEYS[1]).traceback == "Traceback …"
        assert state.counts() == {"warp": {"done": 1, "failed": 1, "blocked": 1, "running": 1, "ready": 1}}
        assert state.products() == state.products(key=KEYS[0]) == state.products(dataset="warp") == [product]
        assert state.products(key=KEYS[1]) == state.products(dataset="coadd") == []

    def test_a_second_attempt_replaces_error_and_products(self, state):
        state.plan([(KEYS[0], "warp", {})])
        old, new = (Product("warp", f"warps/{name}.fits", "0" * 32, 1) for name in ("old", "new"))
        state.record([QuantumUpdate(KEYS[0], "done", started=1.0, products=(old,))])
        state.record([QuantumUpdate(KEYS[0], "failed", started=2.0, error="E: x", inputs_digest="d")])
        assert state.products(key=KEYS[0]) == [old]
        state.record([QuantumUpdate(KEYS[0], "running", started=3.0)])
        state.record([QuantumUpdate(KEYS[0], "done", started=3.0, products=(new,))])
        found = state.quantum(KEYS[0])
        assert (found.attempt, found.error, found.inputs_digest) == (3, None, "d")
        assert state.products(key=KEYS[0]) == [new]

    @pytest.mark.parametrize("batches", [1, 3], ids=["at once", "one by one"])
    def test_what_came_of_earlier_attempts_is_kept(self, state, batches):
        state.plan((key, "warp", {"exposure": 3}) for key in KEYS[:2])
        where = {"seconds": 2.0, "peak_rss_bytes": 1 << 20, "rank": 1, "host": "n1"}
        outcomes = [
            QuantumUpdate(KEYS[0], "failed", started=1.0, error="E: x", traceback="T", inputs_digest="c", **where),
            QuantumUpdate(KEYS[0], "done", started=2.0, inputs_digest="d", seconds=3.0),
            QuantumUpdate(KEYS[0], "done", started=3.0, inputs_digest="e"),
        ]
        for n in range(batches):
            state.record(outcomes[n::batches])
        first = QuantumRecord(
            KEYS[0], "warp", {"exposure": 3}, "failed", 1, 1.0, **where, inputs_digest="c", error="E: x", traceback="T"
        )
        second = dataclasses.replace(
            first, status="done", attempt=2, started=2.0, inputs_digest="d", seconds=3.0, error=None, traceback=None
        )
        assert state.earlier(KEYS[0]) == [first, second]
        assert state.earlier(KEYS[1]) == state.earlier("never{planned=1}") == []
        state.forget([KEYS[0]])
        assert state.earlier(KEYS[0]) == []

    def test_a_batch_with_an_unknown_quantum_is_not_recorded(self, state):
        state.plan([(KEYS[0], "warp", {})])
        with pytest.raises(DataError, match="'warp\\{no\\}' was never planned"):
            state.record([QuantumUpdate(KEYS[0], "done"), QuantumUpdate("warp{no}", "done")])
        with pytest.raises(DataError, match="status must be one of ready, running"):
            state.record([QuantumUpdate(KEYS[0], "finished")])
        assert state.quantum(KEYS[0]).status == "ready"
        with pytest.raises(DataError, match="no quantum"):
            state.quantum("warp{no}")
        state.record([])

    def test_counts_are_in_the_order_of_planning(self, state):
        state.plan([("b{}", "b", {}), ("a{}", "a", {}), ("b{x}", "b", {})])
        assert list(state.counts()) == ["b", "a"]
        assert state.counts() == {"b": {"ready": 2}, "a": {"ready": 1}}

    def test_threads_share_one_database(self, state):
        state.plan((f"t{{{n}}}", "t", {}) for n in range(200))
        threads = [
            threading.Thread(target=lambda part: [state.record([QuantumUpdate(f"t{{{n}}}", "done")]) for n in part],
                             args=(range(first, 200, 4),))
            for first in range(4)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.counts() == {"t": {"done": 200}}

    def test_runs_are_remembered(self, state):
        first = state.begin_run("pipeline", 4, "0.1.0", "n1")
        state.end_run(first, "done")
        second = state.begin_run("coadd", 1, "0.1.0")
        runs = state.runs()
        assert [(run.run_id, run.command, run.status) for run in runs] == [
            (first, "pipeline", "done"),
            (second, "coadd", "running"),
        ]
        assert runs[0].ranks == 4
        assert runs[0].ended >= runs[0].started

    def test_a_database_is_in_the_middle_of_one_run_at_a_time(self, state):
        state.begin_run("pipeline", 1, "0.1.0")
        with pytest.raises(RepositoryError, match="held by process"):
            state.begin_run("coadd", 1, "0.1.0")

    def test_a_run_that_ends_takes_its_running_quanta_back(self, state):
        state.plan((key, "warp", {}) for key in KEYS)
        run = state.begin_run("pipeline", 1, "0.1.0")
        state.record([QuantumUpdate(KEYS[0], "running", started=1.0), QuantumUpdate(KEYS[1], "done", started=1.0)])
        state.end_run(run, "interrupted")
        assert state.counts() == {"warp": {"ready": 4, "done": 1}}

    def test_a_run_claims_quanta_and_knows_what_they_are(self, state):
        state.plan((key, "warp", {}) for key in KEYS)
        state.record([QuantumUpdate(KEYS[1], "failed", error="ValueError: x")])
        run = state.begin_run("pipeline", 1, "0.1.0")
        assert state.claim(KEYS[0]) == state.claim(KEYS[0]) == QuantumRecord(KEYS[0], "warp", {})
        assert state.claim(KEYS[1]).error == "ValueError: x"
        assert state.held(KEYS) == set()
        assert state.other_runs() == []
        state.release(KEYS[0])
        state.record([QuantumUpdate(KEYS[1], "done")])
        state.end_run(run, "done")
        assert state.counts() == {"warp": {"ready": 4, "done": 1}}
        with pytest.raises(DataError, match="no quantum"):
            state.claim("warp{no}")

    def test_new_contents_take_the_place_of_frames(self, state, make_frame):
        frames = [make_frame(n) for n in range(3)]
        state.add_frames(frames)
        solved = square(40, 20, 0.1)
        state.update_frames([FrameUpdate(n, 3, "r", "WCS", solved, {"seeing": 1.5}) for n in range(3)])
        before = state.frames()
        state.replace_frames([make_frame(0, stamp="7"), make_frame(1, digest="f" * 32, ra=70.0, stamp="8")])
        assert state.frame(0, 3) == dataclasses.replace(before[0], stamp="7")
        assert state.frame(1, 3) == make_frame(1, digest="f" * 32, ra=70.0, stamp="8")
        assert state.frame(2, 3) == before[2]
        there = {n: unit_vectors(*square(ra, 20, 0.05).T) for n, ra in {0: 40, 1: 70}.items()}
        assert [frame.exposure for frame in state.frames_overlapping(there[0])] == [0, 2]
        assert [frame.exposure for frame in state.frames_overlapping(there[1])] == [1]
        with pytest.raises(DataError, match="no frame of exposure 9"):
            state.replace_frames([make_frame(9)])

    def test_quanta_are_forgotten_with_their_products(self, state):
        state.plan((key, "warp", {}) for key in KEYS)
        state.record([QuantumUpdate(key, "done", products=(Product("warp", key, "0", 1),)) for key in KEYS])
        state.forget([KEYS[1], KEYS[3], "never{planned=1}"])
        kept = [KEYS[0], KEYS[2], KEYS[4]]
        assert [record.key for record in state.quanta()] == kept
        assert [product.path for product in state.products()] == kept
        assert state.counts() == {"warp": {"done": 3}}
        assert state.plan([(KEYS[1], "warp", {})]) == 1

    def test_timings_are_summed_by_task_and_run(self, state):
        state.plan([*((key, "warp", {}) for key in KEYS), ("coadd{}", "coadd", {})])
        first = state.begin_run("a", 1, "0", "n1")
        state.record([QuantumUpdate(KEYS[0], "done", started=1.0, seconds=2.0), QuantumUpdate(KEYS[1], "blocked")])
        state.end_run(first, "done")
        second = state.begin_run("b", 1, "0", "n1")
        updates = {KEYS[2]: 4.0, KEYS[3]: 8.0, "coadd{}": 16.0}
        state.record(QuantumUpdate(key, "failed", started=2.0, seconds=seconds) for key, seconds in updates.items())
        assert state.timings() == {"warp": (3, 14.0), "coadd": (1, 16.0)}
        assert state.timings(first) == {"warp": (1, 2.0)}
        assert state.timings(second) == {"warp": (2, 12.0), "coadd": (1, 16.0)}

    def test_what_products_were_made_of_is_kept_until_they_are_made_anew(self, state):
        made_of = {"inputs": [["raw/1.fits", "0" * 32]], "options": "12", "version": "1.0"}
        state.plan([(KEYS[0], "warp", {})])
        state.record([QuantumUpdate(KEYS[0], "done", provenance=made_of)])
        assert state.quantum(KEYS[0]).provenance == made_of
        state.record([QuantumUpdate(KEYS[0], "failed")])
        assert state.quantum(KEYS[0]).provenance == made_of
        assert state.quanta()[0].provenance is None
        state.record([QuantumUpdate(KEYS[0], "done", provenance={})])
        assert state.quantum(KEYS[0]).provenance == {}

    def test_many_are_as_good_as_few(self, state):
        keys = [f"t{{{n}}}" for n in range(2500)]
        assert state.plan((key, "t", {}) for key in keys[:10]) == 10
        assert state.plan((key, "t", {}) for key in keys) == 2490
        state.record([QuantumUpdate(key, "done", started=1.0) for key in keys])
        assert [record.key for record in state.quanta()] == keys
        assert state.counts() == {"t": {"done": 2500}}

    def test_values_that_json_and_numpy_know_come_back_plain(self, state, make_frame):
        odd = make_frame(np.int64(1), gain=np.float32(1.5), mjd=float("nan"), metadata={"a.b": 1, "$c": float("inf")})
        state.add_frames([odd])
        found = state.frame(1, 3)
        assert (found.gain, found.mjd, found.metadata) == (1.5, None, {"a.b": 1, "$c": float("inf")})
        assert state.frames(exposure=np.array([1, 2]))[0].key == (1, 3, "r")
        with pytest.raises(DataError, match="corners must be 4 pairs of finite"):
            state.add_frames([make_frame(2, corners=np.full((4, 2), np.inf))])


class TestSqlite(StateContract):
    @pytest.fixture
    def state(self, tmp_path):
        with SqliteState(tmp_path / "state.sqlite") as state:
            yield state


class TestMongo(StateContract):
    """On nx-27017, which speaks MongoDB's protocol over a socket."""

    @pytest.fixture
    def state(self, mongo_server, tmp_path):
        with MongoState(emptied(StateOptions(url=mongo_server.url)), tmp_path) as state:
            yield state


@pytest.mark.skipif(REAL_SERVER not in os.environ, reason=f"{REAL_SERVER} names no server")
class TestNamedServer(StateContract):
    """On the server that the environment names."""

    @pytest.fixture
    def state(self, tmp_path):
        with MongoState(emptied(real_server_options()), tmp_path) as state:
            yield state


@st.composite
def polygons(draw, half_deg):
    ra = draw(st.floats(0.0, 360.0))
    dec = draw(st.one_of(st.floats(-90.0, 90.0), st.sampled_from([90.0, -90.0, 89.999, 0.0])))
    return square(ra, dec, draw(half_deg))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    frames=st.lists(polygons(st.floats(0.01, 30.0)), min_size=1, max_size=12),
    patch=polygons(st.floats(0.01, 40.0)),
)
@example(frames=[square(359.95, 0, 0.1), square(0.05, 0, 0.1), square(180, 0, 0.1)], patch=square(0, 0, 0.01))
@example(frames=[square(ra, 89.9, 0.2) for ra in (0, 90, 180, 270)], patch=square(45, 90, 0.01))
def test_the_indexes_find_what_brute_force_finds(frames, patch):
    with SqliteState(":memory:") as state:
        state.add_frames(Frame(n, 0, "r", f"{n}", digest=f"{n}", corners=corners) for n, corners in enumerate(frames))
        polygon = unit_vectors(*patch.T)
        expected = [n for n, corners in enumerate(frames) if polygons_overlap(polygon, unit_vectors(*corners.T))]
        assert [frame.exposure for frame in state.frames_overlapping(polygon)] == expected
        padded = [frame.exposure for frame in state.frames_overlapping(polygon, pad_deg=1.0)]
        assert set(expected) <= set(padded)
    kept = footprint_cells(unit_vectors(*np.array(frames).T).transpose(1, 0, 2))
    assert all(set(kept[n]) & set(query_cells(polygon)) for n in expected)
    assert all(set(kept[n]) & set(query_cells(polygon, 1.0)) for n in padded)


def test_a_footprint_has_few_cells_and_a_small_polygon_asks_for_few(make_frame):
    positions = [(ra, dec) for ra in (0.0, 44.9, 200.0) for dec in (-90.0, -35.3, 0.0, 60.0)]
    for half_deg in (0.01, 0.1, 0.5, 3.0):
        corners = np.stack([unit_vectors(*square(ra, dec, half_deg).T) for ra, dec in positions])
        assert max(map(len, footprint_cells(corners))) < 60
        assert max(len(query_cells(one)) for one in corners) < 60
