"""Geometry on the unit sphere: boxes hold their polygons, the overlap test agrees with points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.sphere import (
    angular_separation_deg,
    bounding_box,
    grow_polygon,
    lon_lat,
    polygons_overlap,
    unit_vectors,
)

POLES_AND_WRAP = st.sampled_from([0.0, 359.9999, 180.0]) | st.floats(0.0, 360.0)
DECS = st.sampled_from([-90.0, -89.999, 0.0, 89.999, 90.0]) | st.floats(-90.0, 90.0)
QUICK = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def rectangle(ra, dec, half_deg, angle_deg=0.0, stretch=1.0):
    """Return the corners of a rectangle in the tangent plane at (ra, dec), turned by an angle."""
    lon, lat = np.radians(ra), np.radians(dec)
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    u, v = np.array([-1, 1, 1, -1]) * stretch, np.array([-1, -1, 1, 1])
    turn = np.radians(angle_deg)
    xi, eta = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    size = np.tan(np.radians(half_deg))
    corners = unit_vectors(ra, dec) + size * (xi[:, None] * east + eta[:, None] * north)
    return corners / np.linalg.norm(corners, axis=1)[:, None]


def points_within(corners, n=400, seed=1):
    """Return random unit vectors inside a convex polygon."""
    weights = np.random.default_rng(seed).dirichlet(np.full(len(corners), 0.5), n)
    points = weights @ corners
    return points / np.linalg.norm(points, axis=1)[:, None]


def inside(points, corners):
    """Tell which points lie inside a convex polygon, by the sides of its edges."""
    sides = np.cross(corners, np.roll(corners, -1, axis=0)) @ points.T
    return np.all(sides >= 0, axis=0) | np.all(sides <= 0, axis=0)


@given(POLES_AND_WRAP, st.floats(-89.9, 89.9))
@QUICK
def test_positions_survive_the_way_to_vectors_and_back(ra, dec):
    ra_back, dec_back = lon_lat(unit_vectors(ra, dec))
    assert dec_back == pytest.approx(dec, abs=1e-12)
    assert (ra_back - ra + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("angle_deg", [1e-9, 1e-4, 30.0, 90.0, 179.9999])
def test_separation_keeps_small_and_large_angles(angle_deg):
    assert angular_separation_deg(unit_vectors(10.0, 0.0), unit_vectors(10.0 + angle_deg, 0.0)) == pytest.approx(
        angle_deg, rel=1e-5
    )


@given(POLES_AND_WRAP, DECS, st.floats(0.001, 30.0), st.floats(0.0, 90.0))
@QUICK
def test_bounding_box_holds_every_point_of_the_polygon(ra, dec, half_deg, angle_deg):
    corners = rectangle(ra, dec, half_deg, angle_deg)
    box = np.array(bounding_box(corners)).reshape(3, 2)
    points = points_within(corners)
    assert np.all((points >= box[:, 0]) & (points <= box[:, 1]))


@given(
    POLES_AND_WRAP, DECS, st.floats(0.01, 10.0), st.floats(0, 90), st.floats(0, 360), st.floats(0, 3), st.floats(0.1, 9)
)
@QUICK
def test_overlap_agrees_with_points_of_the_polygons(ra, dec, half_deg, angle_deg, bearing, distance, stretch):
    one = rectangle(ra, dec, half_deg, stretch=min(stretch, 30.0 / half_deg))
    other_centre = lon_lat(rectangle(ra, dec, min(distance * half_deg, 20.0) + 1e-6, bearing)[0])
    other = rectangle(*other_centre, half_deg, angle_deg)
    shared = inside(points_within(one), other).any() or inside(points_within(other), one).any()
    if shared:
        assert polygons_overlap(one, other)
    assert polygons_overlap(one, other) == polygons_overlap(other[::-1], one)


def test_overlap_sees_crossing_bars_without_shared_corners():
    assert polygons_overlap(rectangle(0.0, 90.0, 0.1, stretch=20.0), rectangle(0.0, 90.0, 0.1, 90.0, stretch=20.0))


def test_neighbours_across_a_gap_do_not_overlap():
    assert not polygons_overlap(rectangle(359.9, 0.0, 0.09), rectangle(0.1, 0.0, 0.09))


def test_opposite_sides_of_the_sky_do_not_overlap():
    """No edge separates a square from its opposite turned by 45 degrees, though they share no point."""
    assert not polygons_overlap(rectangle(0.0, 90.0, 5.0), rectangle(0.0, -90.0, 5.0, 45.0))


@given(POLES_AND_WRAP, DECS, st.floats(0.01, 3.0), st.floats(0.0, 90.0), st.floats(0.0, 1.0), st.floats(1.0, 3.0))
@QUICK
def test_grown_polygon_holds_all_within_the_margin(ra, dec, half_deg, angle_deg, margin_deg, stretch):
    corners = rectangle(ra, dec, half_deg, angle_deg, stretch)
    points = points_within(corners)
    bearings = np.random.default_rng(2).normal(size=points.shape)
    tangents = bearings - np.sum(bearings * points, axis=1)[:, None] * points
    tangents /= np.linalg.norm(tangents, axis=1)[:, None]
    step = np.radians(margin_deg) * 0.999
    assert inside(np.cos(step) * points + np.sin(step) * tangents, grow_polygon(corners, margin_deg)).all()
