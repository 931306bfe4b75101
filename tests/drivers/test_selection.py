"""Selections on the command line: what they take, and what they say of what they cannot read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpidriver.drivers._quantum import DataId, Quantum, parse_quantum
from mpidriver.drivers._selection import Selection, parse_selection
from mpidriver.errors import ConfigError


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 7), st.integers(0, 60), st.integers(0, 60))
def test_lists_and_ranges_take_exactly_their_members(first, last, step, other, value):
    test = parse_selection("exposure", f"{first}..{last}:{step}^{other}")
    assert test(value) == (value in [*range(first, last + 1, step), other])


def test_a_dimension_that_a_data_id_lacks_always_passes():
    selected = Selection(exposure="1..3", band="g^r", patch="2,5").compiled()
    assert selected(DataId(tract=7, band="r"))
    assert selected(DataId(patch=(2, 5), exposure=3))
    assert not selected(DataId(exposure=4, band="g"))
    assert not selected(DataId(patch=(5, 2)))
    assert not selected(DataId(band="i"))


@pytest.mark.parametrize(("name", "text"), [("exposure", "1..x"), ("patch", "3"), ("tract", ""), ("band", "g^")])
def test_an_unreadable_selection_names_its_option(name, text):
    with pytest.raises(ConfigError, match=f"--{name}"):
        parse_selection(name, text)


data_ids = st.builds(
    DataId,
    tract=st.none() | st.integers(0, 10**6),
    patch=st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    exposure=st.none() | st.integers(0, 10**15),
    detector=st.none() | st.integers(0, 999),
    band=st.none() | st.sampled_from(["g", "i2", "N921", "c0012"]),
)


@given(st.sampled_from(["warp", "merge_detections"]), data_ids)
def test_a_quantum_is_read_back_from_its_key(task, data_id):
    quantum = Quantum(task, data_id)
    assert parse_quantum(quantum.key) == quantum


@pytest.mark.parametrize("text", ["warp", "warp{tract}", "warp{tract=a}", "warp{patch=1}", "warp{colour=3}"])
def test_a_wrong_key_is_a_configuration_error(text):
    with pytest.raises(ConfigError, match="quantum"):
        parse_quantum(text)
