"""Learned costs: what is known, kept between runs, and what becomes of it."""

import json
import operator
from pathlib import Path

import numpy as np
import pytest

from mpidriver.pool import LearnedCosts, Pool
from mpidriver.pool._watching import _learned


def test_an_item_costs_what_it_took_and_others_by_their_size():
    costs = LearnedCosts(size=lambda item: len(item))
    known = costs.of("reduce")
    assert known("abcd") == 4.0  # nothing is known: the size
    known.learn(("ab",), 10.0)
    known.learn(("abcdef",), 14.0)
    assert known("ab") == 10.0
    assert known("xyz") == pytest.approx(3 * 24.0 / 8)
    assert costs.of("other")("xyz") == 3.0


def test_later_runs_count_as_much_as_all_before():
    known = LearnedCosts().of("reduce")
    for seconds in (8.0, 4.0, 2.0):
        known.learn((1,), seconds)
    assert known(1) == 4.0


@pytest.mark.parametrize("item", [3, "r", (1, 2.5, "g", None), Path("a/b.fits"), ((1, 2), True)])
def test_plain_items_have_names(item):
    known = LearnedCosts().of("reduce")
    known.learn((item,), 5.0)
    assert known.knows(item)


def test_what_has_no_name_is_known_by_its_size():
    known = LearnedCosts().of("reduce")
    small, large = np.zeros(10), np.zeros(1000)
    known.learn((small,), 1.0)
    assert not known.knows(small)
    assert known(large) == pytest.approx(100.0)
    assert known([1, 2, 3]) == pytest.approx(3 / 80)


def test_a_key_names_items_that_have_no_name():
    costs = LearnedCosts(key=lambda item: item["name"])
    costs.of("reduce").learn(({"name": "a"},), 7.0)
    assert costs.of("reduce")({"name": "a", "more": 1}) == 7.0


def test_several_arguments_are_one_item():
    with Pool() as pool:
        costs = LearnedCosts()
        assert pool.map(operator.add, [1, 2], [3, 4], cost=costs) == [4, 6]
    assert costs.of("add").knows(1, 3)
    assert not costs.of("add").knows(1)


def test_what_was_learned_survives_a_file(tmp_path):
    path = tmp_path / "costs.json"
    costs = LearnedCosts(path)
    costs.of("reduce").learn((("tract", 3),), 12.5)
    costs.of("reduce").learn(("Ünïcode",), 2.0)
    costs.of("never run")
    costs.save()
    again = LearnedCosts(path)
    assert again.of("reduce")(("tract", 3)) == 12.5
    assert again.of("reduce")("Ünïcode") == 2.0
    assert again.of("reduce")("new") == costs.of("reduce")("new")
    assert list(json.loads(path.read_text())["calls"]) == ["reduce"]
    assert [file.name for file in tmp_path.iterdir()] == ["costs.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"calls": 3}',
        '{"calls": {"a": {"seconds": 1, "size": 1}}}',
        '{"calls": {"a": {"seconds": "soon", "size": 1, "items": {}}}}',
        '{"calls": {"a": {"seconds": 1, "size": 1, "items": {"1": -2}}}}',
        '{"calls": {"a": {"seconds": 1, "size": NaN, "items": {}}}}',
    ],
)
def test_a_damaged_file_is_warned_of_and_replaced(tmp_path, text):
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.warns(RuntimeWarning, match=r"costs\.json"):
        costs = LearnedCosts(path)
    assert costs.of("a")(1) == 1.0
    costs.of("a").learn((1,), 2.0)
    costs.save()
    assert LearnedCosts(path).of("a")(1) == 2.0


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    costs = LearnedCosts(path)
    costs.of("a").learn((1,), 2.0)
    costs.save()
    monkeypatch.setattr(_learned.os, "fsync", lambda file: (_ for _ in ()).throw(OSError("disk full")))
    costs.of("a").learn((2,), 2.0)
    with pytest.raises(OSError, match="disk full"):
        costs.save()
    assert [file.name for file in tmp_path.iterdir()] == ["costs.json"]
    assert not LearnedCosts(path).of("a").knows(2)


def test_without_a_path_there_is_nowhere_to_save(tmp_path):
    costs = LearnedCosts()
    with pytest.raises(ValueError, match="path"):
        costs.save()
    costs.of("a").learn((1,), 2.0)
    costs.save(tmp_path / "costs.json")
    assert LearnedCosts(tmp_path / "costs.json").of("a")(1) == 2.0


def test_the_oldest_items_are_forgotten(monkeypatch):
    monkeypatch.setattr(_learned, "KEPT_ITEMS", 3)
    known = LearnedCosts().of("a")
    for item in (1, 2, 3, 1, 4):
        known.learn((item,), 1.0)
    assert [item for item in (1, 2, 3, 4) if known.knows(item)] == [1, 3, 4]


def test_a_second_run_begins_with_what_took_longest(tmp_path):
    """In one process items run one after the other, in the order in which they begin."""
    path = tmp_path / "costs.json"
    costs = LearnedCosts(path)
    for item, seconds in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
        costs.of("reduce").learn((item,), seconds)
    costs.save()
    begun = []
    with Pool() as pool:
        pool.map(begun.append, "abcd", cost=LearnedCosts(path), name="reduce")
        assert begun == ["b", "c", "d", "a"]  # what is new takes the mean, 2 s, and stands behind
        begun.clear()
        list(pool.stream(begun.append, "abc", cost=LearnedCosts(path), name="reduce"))
        assert begun == ["b", "c", "a"]
