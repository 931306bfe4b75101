"""Cells of the sky, and which images cover which components."""

import numpy as np
import pytest

from mpidriver.drivers._sources._cells import cell_numbers, is_inside
from mpidriver.sphere import angular_separation_deg, unit_vectors


@pytest.mark.parametrize("cell_deg", [0.5, 3.0, 50.0])
def test_a_cell_is_nowhere_wider_than_its_size_and_cells_are_few(cell_deg):
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 20000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20000)))
    numbers = cell_numbers(ra, dec, cell_deg)
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    widest = max(
        angular_separation_deg(unit_vectors(ra[group], dec[group])[:, None], unit_vectors(ra[group], dec[group])).max()
        for group in groups[:400]
    )
    assert widest <= 1.45 * cell_deg
    assert numbers.max() < 1.3 * 41253 / cell_deg**2 + 40


def test_the_edges_of_the_sky_have_cells():
    ra, dec = np.array([0.0, 360.0, 359.9999999999, 0.0, 123.0]), np.array([0.0, 0.0, 0.0, 90.0, -90.0])
    numbers = cell_numbers(ra, dec, 1.0)
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[4] < 10 < numbers[3]


def test_a_cell_does_not_depend_on_the_others():
    ra, dec = np.array([10.0, 20.0]), np.array([-3.0, 4.0])
    assert cell_numbers(ra, dec, 0.5)[1] == cell_numbers(ra[1:], dec[1:], 0.5)[0]


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (200.0, 89.0)])
def test_inside_a_polygon_in_either_sense_of_rotation(centre, turn):
    from mpidriver.tasks.simulate._tangent import offset_position

    east, north = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])[:, ::turn] * 3600.0
    corners = unit_vectors(*offset_position(*centre, east, north))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-2, 2, (2, 500))
    points = unit_vectors(*offset_position(*centre, x * 3600, y * 3600))
    np.testing.assert_array_equal(is_inside(points, corners), (np.abs(x) < 1) & (np.abs(y) < 1))
    assert not is_inside(-points, corners).any()
