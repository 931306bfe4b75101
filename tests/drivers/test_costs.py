"""Quanta begin in the order of the work behind them, as the state database knows it."""

import pytest

from mpidriver.drivers._campaign._campaign import Campaign
from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Record, Stage
from mpidriver.drivers._stages import STAGES
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.pipeline import open_context
from mpidriver.pool import Pool
from mpidriver.store import QuantumUpdate, Repository, open_state


@pytest.fixture
def begun(monkeypatch):
    """Two stages that do nothing; the numbers of their quanta in the order in which they begin."""
    order = []

    def run(context, quantum):
        order.append(quantum.data_id.exposure)
        return Record()

    for task, seconds in (("first", 1.0), ("second", 10.0)):
        monkeypatch.setitem(STAGES, task, Stage(run, options=lambda config: (), seconds=seconds))
    return order


def campaign(tmp_path, quanta, recorded):
    """Run quanta that need nothing, some of them with seconds from an earlier run."""
    repository = Repository.create(tmp_path / "survey", config=config_text(SurveyConfig()))
    graph = Graph()
    for quantum in quanta:
        graph.add(quantum)
    with open_state(repository) as state, Pool() as pool:
        state.plan((quantum.key, quantum.task, {}) for quantum in quanta)
        state.begin_run("test", 1, "0")
        state.record([QuantumUpdate(quantum.key, "done", seconds=seconds) for quantum, seconds in recorded.items()])
        result = Campaign(graph, desk=Desk(open_context(str(repository.root)), state), pool=pool).run()
    assert result.complete


def quantum(task, number):
    return Quantum(task, DataId(exposure=number))


def test_without_records_the_stage_decides(tmp_path, begun):
    campaign(tmp_path, [quantum("first", 1), quantum("second", 2), quantum("first", 3)], {})
    assert begun == [2, 1, 3]


def test_recorded_seconds_decide_and_their_mean_for_those_without(tmp_path, begun):
    quanta = [quantum("first", number) for number in (1, 2, 3)] + [quantum("second", 4)]
    campaign(tmp_path, quanta, {quanta[0]: 100.0, quanta[1]: 400.0, quanta[3]: 250.5})
    assert begun == [2, 4, 3, 1]
