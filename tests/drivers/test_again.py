"""What a campaign runs again: failures stay failed until they are asked for, or until something has changed."""

import pytest

from mpidriver.drivers._campaign._again import ALL, Again
from mpidriver.drivers._campaign._campaign import Campaign
from mpidriver.drivers._campaign._graph import Graph
from mpidriver.drivers._desk import Desk
from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Prepared, Record, Stage
from mpidriver.drivers._stages import DRIVERS, STAGES
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.pipeline import open_context
from mpidriver.errors import ConfigError, DataError, RepositoryError
from mpidriver.pool import Pool
from mpidriver.store import Product, Repository, open_state


class Survey:
    """Four quanta of two tasks, each second one hanging on a first one; which of them raise can be changed."""

    def __init__(self, root):
        self.repository = Repository.create(root, config=config_text(SurveyConfig()))
        self.ran = []
        self.raising = {}
        self.unprepared = set()
        self.fingerprint = 0
        self.graph = Graph()
        for number in (1, 2):
            self.graph.add(self.quantum("first", number))
            self.graph.add(self.quantum("second", number), needs=[self.quantum("first", number)])

    @staticmethod
    def quantum(task, number):
        return Quantum(task, DataId(exposure=number))

    def work(self, context, quantum):
        self.ran.append(f"{quantum.task} {quantum.data_id.exposure}")
        if self.ran[-1] in self.raising:
            raise self.raising[self.ran[-1]]
        return Record(products=(Product("log", f"logs/{self.ran[-1]}", self.ran[-1], 0),))

    def prepare(self, desk, quantum, inputs):
        if quantum.key in self.unprepared:
            raise DataError("nothing to prepare it from")
        return Prepared(fingerprint=(self.fingerprint,))

    def run(self, **again):
        """Run a campaign; return what ran and the states of all quanta."""
        self.ran.clear()
        with open_state(self.repository) as state, Pool() as pool:
            run = state.begin_run("test", 1, "0")
            for task, number in (("first", 1), ("second", 1), ("first", 2), ("second", 2)):
                (self.repository.root / "logs").mkdir(exist_ok=True)
                (self.repository.root / "logs" / f"{task} {number}").touch()
            desk = Desk(open_context(str(self.repository.root)), state)
            campaign = Campaign(self.graph, desk=desk, pool=pool, again=Again(**again))
            self.forgotten = campaign.forget_unplanned("pipeline")
            self.result = campaign.run()
            state.end_run(run, "done")
            states = {record.key: record.status for record in state.quanta()}
        return sorted(self.ran), [states[quantum.key] for quantum in self.graph]


@pytest.fixture
def survey(tmp_path, monkeypatch):
    made = Survey(tmp_path / "survey")
    monkeypatch.setitem(DRIVERS, "pipeline", ("first", "second"))
    for task in ("first", "second"):
        stage = Stage(made.work, options=lambda config: (), prepare=made.prepare)
        monkeypatch.setitem(STAGES, task, stage)
    return made


EVERYTHING = ["first 1", "first 2", "second 1", "second 2"]


def test_a_failure_stays_until_it_is_asked_for(survey):
    survey.raising["first 1"] = ValueError("no flat of this night")
    left = ["failed", "blocked", "done", "done"]
    assert survey.run() == (["first 1", "first 2", "second 2"], left)
    for again in ({}, {"retry": ("second",)}, {"retry": ("too few stars",)}):
        assert survey.run(**again) == ([], left)
        assert survey.result.failures == [(survey.quantum("first", 1).key, "ValueError: no flat of this night")]
        assert survey.result.failed_before == 1
        assert not survey.result.complete
    for what in (ALL, "first", "No Flat"):
        assert survey.run(retry=("too few stars", what)) == (["first 1"], left)
        assert survey.result.failed_before == 0
    survey.raising.clear()
    assert survey.run(retry=(ALL,)) == (["first 1", "second 1"], ["done"] * 4)
    with open_state(survey.repository, readonly=True) as state:
        key = survey.quantum("first", 1).key
        assert [one.error for one in state.earlier(key)] == ["ValueError: no flat of this night"] * 4
        assert state.quantum(key).attempt == 5


def test_a_failure_is_tried_again_when_its_inputs_have_changed(survey):
    survey.raising["second 2"] = ValueError("odd")
    survey.run()
    survey.raising.clear()
    assert survey.run()[0] == []
    survey.fingerprint = 1
    assert survey.run() == (EVERYTHING, ["done"] * 4)


def test_what_could_not_be_prepared_is_looked_at_each_time(survey):
    survey.run()
    survey.unprepared.add(survey.quantum("first", 2).key)
    assert survey.run() == ([], ["done", "done", "failed", "blocked"])
    survey.unprepared.clear()
    assert survey.run() == (["first 2", "second 2"], ["done"] * 4)


def test_what_the_repository_has_refused_is_no_failure_of_the_quantum(survey):
    survey.raising["second 1"] = RepositoryError("second-1.fits: not written, No space left on device; free some space")
    survey.run()
    assert survey.result.refusal.startswith("second-1.fits: not written")
    survey.raising.clear()
    ran, states = survey.run()
    assert "second 1" in ran
    assert states == ["done"] * 4


@pytest.mark.parametrize(
    ("clobber", "ran"),
    [((ALL,), EVERYTHING), (("second",), ["second 1", "second 2"]), (("first",), EVERYTHING), ((), [])],
)
def test_clobber_runs_tasks_and_what_hangs_on_them(survey, clobber, ran):
    survey.run()
    assert survey.run(clobber=clobber) == (ran, ["done"] * 4)


def test_clobber_tries_failures_of_its_tasks_again(survey):
    survey.raising["second 2"] = ValueError("odd")
    survey.run()
    survey.raising.clear()
    assert survey.run(clobber=("second",)) == (["second 1", "second 2"], ["done"] * 4)


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="no task 'warpp'; did you mean 'warp'"):
        Again(clobber=("warpp",))


def test_what_the_survey_no_longer_plans_is_removed_with_its_products(survey):
    survey.run()
    logs = survey.repository.root / "logs"
    smaller = Graph()
    smaller.add(survey.quantum("first", 1))
    survey.graph = smaller
    assert survey.run() == ([], ["done"])
    assert survey.forgotten == 3
    with open_state(survey.repository, readonly=True) as state:
        assert [product.path for product in state.products()] == ["logs/first 1"]
        assert [record.key for record in state.quanta()] == [survey.quantum("first", 1).key]
    assert (logs / "first 1").exists()
    assert survey.run()[0] == []
    assert survey.forgotten == 0
