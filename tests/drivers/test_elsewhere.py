"""What other runs on the same database hold is waited for, and their outcomes are taken."""

import pytest

from mpidriver.drivers._campaign import _elsewhere
from mpidriver.drivers._campaign._campaign import Campaign
from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Record, Stage
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.pipeline import open_context
from mpidriver.pool import Pool
from mpidriver.store import Product, QuantumUpdate, Repository, SqliteState

FIRST, SECOND, LAST = (Quantum(task, DataId(exposure=number)) for task, number in (("a", 1), ("a", 2), ("b", 3)))


def product(root, quantum):
    """Make the one product of a quantum, equal bytes for equal quanta."""
    path = root / "reports" / f"{quantum.data_id.exposure}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("made")
    return Product("report", f"reports/{path.name}", "0" * 32, path.stat().st_size)


class SharedState(SqliteState):
    """A database on which another run holds one quantum until it has been asked after `patience` times."""

    def __init__(self, path, *, outcome, patience=2):
        super().__init__(path)
        self._outcome = outcome
        self._patience = patience
        self.claimed = []
        self.released = []

    def claim(self, key):
        if key == FIRST.key and self._patience:
            return None
        self.claimed.append(key)
        return super().claim(key)

    def release(self, key):
        self.released.append(key)

    def held(self, keys):
        assert set(keys) == {FIRST.key}
        self._patience -= 1
        if self._patience:
            return {FIRST.key}
        if self._outcome is not None:
            self.record([QuantumUpdate(FIRST.key, started=1.0, **self._outcome)])
        return set()


@pytest.fixture
def ran(monkeypatch):
    """Two stages that do nothing; the keys of their quanta as they run."""
    keys = []

    def run(context, quantum):
        keys.append(quantum.key)
        return Record((product(context.repository.root, quantum),))

    for task in "ab":
        monkeypatch.setitem(STAGES, task, Stage(run, options=lambda config: ()))
    monkeypatch.setattr(_elsewhere, "FIRST_PAUSE_SECONDS", 0.0)
    return keys


@pytest.fixture
def inputs_digest(tmp_path, ran):
    """The digest of what FIRST depends on, as any run computes it."""
    with SqliteState(tmp_path / "before.sqlite") as state:
        campaign(tmp_path / "before", state)
        digest = state.quantum(FIRST.key).inputs_digest
    ran.clear()
    return digest


def campaign(root, state):
    repository = Repository.create(root, config=config_text(SurveyConfig()))
    graph = Graph()
    graph.add(FIRST)
    graph.add(SECOND)
    graph.add(LAST, needs=[FIRST])
    with Pool() as pool:
        return Campaign(graph, desk=Desk(open_context(str(repository.root)), state), pool=pool).run()


@pytest.fixture
def shared(tmp_path, inputs_digest):
    """Return a function that runs the campaign beside another run that ends FIRST so."""

    def beside(**outcome):
        made = (product(tmp_path / "shared", FIRST),)
        digested = {"inputs_digest": inputs_digest, "products": made, **outcome} if outcome else None
        with SharedState(tmp_path / "shared.sqlite", outcome=digested) as state:
            return campaign(tmp_path / "shared", state), state

    return beside


def test_what_another_run_has_done_is_not_done_again(shared, ran):
    result, state = shared(status="done")
    assert result.complete
    assert ran == [SECOND.key, LAST.key]
    assert result.counts == {"a": {"unchanged": 1, "done": 1}, "b": {"done": 1}}
    assert FIRST.key in state.released


def test_what_has_failed_in_another_run_has_failed(shared, ran):
    result, _ = shared(status="failed", error="ValueError: no star")
    assert ran == [SECOND.key]
    assert result.failures == [(FIRST.key, "ValueError: no star")]
    assert result.counts["b"] == {"blocked": 1}


def test_what_another_run_has_done_from_other_inputs_is_done_again(shared, ran):
    result, _ = shared(status="done", inputs_digest="other options")
    assert result.complete
    assert ran == [SECOND.key, FIRST.key, LAST.key]


def test_what_a_dead_run_lets_go_is_run_here(shared, ran):
    result, state = shared()
    assert result.complete
    assert ran == [SECOND.key, FIRST.key, LAST.key]
    assert state.released == []


def test_a_stop_does_not_wait_for_other_runs(tmp_path, ran, monkeypatch):
    with SharedState(tmp_path / "shared.sqlite", outcome=None, patience=1000) as state:
        asked = state.held

        def stop(keys):
            monkeypatch.setattr(Pool, "stopping", "SIGUSR1")
            return asked(keys)

        monkeypatch.setattr(state, "held", stop)
        result = campaign(tmp_path / "shared", state)
    assert ran == [SECOND.key]
    assert result.counts == {"a": {"done": 1, "left": 1}, "b": {"left": 1}}
    assert result.stopped == "SIGUSR1"
