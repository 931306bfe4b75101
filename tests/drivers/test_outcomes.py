"""Outcomes reach the database together; what it does not take is kept and recorded later."""

import numpy as np
import pytest
from mongo import wait_until

from mpidriver.drivers._campaign import _outcomes
from mpidriver.drivers._campaign._outcomes import Outcomes
from mpidriver.errors import RepositoryError
from mpidriver.store import Frame, FrameUpdate, Product, QuantumUpdate, SqliteState

CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
SOLVED = FrameUpdate(1, 0, "r", "WCS", CORNERS + 0.125, {"seeing": np.float64(0.7), "bad": float("nan")})
DONE = QuantumUpdate("a{}", "done", started=5.0, seconds=1.5, products=(Product("frame", "a.fits", "0" * 32, 7),))
FAILED = QuantumUpdate("b{}", "failed", started=6.0, error="ValueError: é", products=())
BLOCKED = QuantumUpdate("c{}", "blocked", error="waits for b{}", products=())


class FillableState(SqliteState):
    """A database that takes no outcomes as long as it is full."""

    full = False

    def record(self, updates):
        if self.full:
            raise RepositoryError("state.sqlite: database or disk is full")
        super().record(updates)


@pytest.fixture
def state(tmp_path):
    with FillableState(tmp_path / "state.sqlite") as state:
        state.add_frames([Frame(1, 0, "r", "raw.fits", corners=CORNERS)])
        state.plan([("a{}", "a", {}), ("b{}", "b", {}), ("c{}", "c", {})])
        yield state


def keep(state, path):
    """Leave outcomes in the file while the database takes none."""
    state.full = True
    outcomes = Outcomes(state, path)
    outcomes.start()
    outcomes.add(DONE, SOLVED)
    outcomes.add(FAILED)
    outcomes.add(BLOCKED)
    with pytest.raises(RepositoryError, match="disk is full"):
        outcomes.close()
    state.full = False


def test_outcomes_are_written_without_waiting_for_the_next_one(state, tmp_path, monkeypatch):
    monkeypatch.setattr(_outcomes, "FLUSH_SECONDS", 0.01)
    outcomes = Outcomes(state, tmp_path / "kept")
    outcomes.start()
    outcomes.add(DONE, SOLVED)
    wait_until(lambda: state.quantum("a{}").status == "done")
    outcomes.add(FAILED)
    outcomes.close()
    assert state.quantum("b{}").error == "ValueError: é"
    assert state.frame(1, 0).solved_wcs_header == "WCS"
    assert not (tmp_path / "kept").exists()


def test_an_error_of_the_database_is_raised_where_the_run_can_be_ended(state, tmp_path, monkeypatch):
    monkeypatch.setattr(_outcomes, "FLUSH_SECONDS", 0.01)
    state.full = True
    outcomes = Outcomes(state, tmp_path / "kept")
    outcomes.raise_fault()
    outcomes.start()
    outcomes.add(DONE)
    wait_until(lambda: outcomes._fault is not None)
    with pytest.raises(RepositoryError, match="disk is full"):
        outcomes.raise_fault()


def test_what_the_database_does_not_take_is_recorded_by_the_next_run(state, tmp_path, caplog):
    path = tmp_path / "kept"
    keep(state, path)
    assert f"2 outcomes are kept in {path}" in caplog.text  # what is blocked is found out again
    keep(state, path)  # a second run that meets the same adds its own
    assert len(path.read_text().splitlines()) == 4
    Outcomes(state, path).restore()
    assert (state.quantum("a{}").attempt, state.products(key="a{}")) == (1, list(DONE.products))
    assert state.quantum("b{}").error == "ValueError: é"
    found = state.frame(1, 0)
    np.testing.assert_array_equal(found.solved_corners, SOLVED.corners)
    assert found.quality["seeing"] == 0.7
    assert np.isnan(found.quality["bad"])
    assert not path.exists()


def test_what_has_run_again_since_is_not_recorded_over(state, tmp_path):
    path = tmp_path / "kept"
    keep(state, path)
    state.record([QuantumUpdate("a{}", "failed", started=7.0, error="newer")])
    Outcomes(state, path).restore()
    assert state.quantum("a{}").error == "newer"
    assert state.quantum("b{}").error == "ValueError: é"


def test_a_damaged_file_is_named(state, tmp_path):
    (tmp_path / "kept").write_text('[{"key": "a{}"')
    with pytest.raises(RepositoryError, match=r"kept: damaged .*; remove it"):
        Outcomes(state, tmp_path / "kept").restore()


def test_a_disk_that_takes_not_even_the_file_is_named(state, tmp_path, caplog):
    keep(state, tmp_path / "state.sqlite" / "kept")
    assert "2 outcomes could not be kept either" in caplog.text
