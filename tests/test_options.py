"""Option records: reading, checking, writing and their digest."""

import tomllib
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpidriver.errors import ConfigError
from mpidriver.options import digest, from_mapping, option, to_toml


@dataclass(frozen=True)
class Lens:
    """One table."""

    radius_mm: float = option(10.0, "radius of curvature", unit="mm", minimum=0.0)
    glass: str = option("BK7", "kind of glass", choices=("BK7", "SF6"))
    centres: tuple[tuple[float, float], ...] = option((), "positions", unit="mm")
    coated: bool = option(True, "whether it is coated")
    label: str | None = option(None, "name on the edge")
    keywords: dict[str, int | str] = option({}, "more")


@dataclass(frozen=True)
class Telescope:
    """The whole file."""

    name: str = option("t", "its name")
    lens: Lens = Lens()
    spare: Lens = Lens(radius_mm=2.0)


lenses = st.builds(
    Lens,
    radius_mm=st.floats(0, 1e300),
    glass=st.sampled_from(["BK7", "SF6"]),
    centres=st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.just(-0.5)), max_size=3).map(tuple),
    coated=st.booleans(),
    label=st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    keywords=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(-5, 5) | st.sampled_from(["a", 'b"\\'])
    ),
)


@given(st.builds(Telescope, lens=lenses, spare=lenses), st.booleans())
def test_a_record_is_read_back_from_its_toml(record, comments):
    assert from_mapping(Telescope, tomllib.loads(to_toml(record, comments=comments)), "file") == record


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lens": {"radius_nm": 1}}, ["t.toml [lens]", "unknown key 'radius_nm'", "did you mean 'radius_mm'"]),
        ({"mirror": {}}, ["t.toml", "unknown key 'mirror'", "known keys: lens, name, spare"]),
        ({"lens": {"radius_mm": -1}}, ["t.toml [lens]: radius_mm", "at least 0", "got -1"]),
        ({"lens": {"radius_mm": True}}, ["radius_mm must be a number", "got True"]),
        ({"lens": {"glass": "ice"}}, ["glass must be one of 'BK7', 'SF6'", "got 'ice'"]),
        ({"lens": {"centres": [[1.0]]}}, ["centres[0] must be an array of 2 values"]),
        ({"lens": 3}, ["lens must be a table", "got 3"]),
        ({"spare": {"keywords": {"a": 1.5}}}, ["[spare]", "keywords.a", "a whole number or a string"]),
    ],
)
def test_a_wrong_value_is_named_with_file_table_key_and_what_would_do(values, words):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Telescope, values, "t.toml")
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_digest_follows_the_content():
    lens = Lens()
    assert digest(lens, "a") == digest(Lens(), "a")
    assert digest(lens, "a") != digest(replace(lens, coated=False), "a")
    assert digest(lens, "a") != digest(lens, "b")


def test_every_key_is_written_under_its_help_and_unit():
    lines = to_toml(Telescope()).splitlines()
    assert lines[lines.index("radius_mm = 10.0") - 1] == "# radius of curvature (unit: mm)"
    assert "# label =" in lines
