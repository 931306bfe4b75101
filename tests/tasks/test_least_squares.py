"""The solver with eliminated stars against a dense least squares in which the stars are unknowns like all others."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.pool import Pool
from mpidriver.tasks import normal_equations
from mpidriver.tasks.least_squares import Measurements, solve, solve_robustly, weighted_rms
from mpidriver.tasks.scattering import ALONE


def make_problem(seed, n_frames=3, n_stars=20, terms=3, coordinates=2):
    """Return random measurements of random stars, some tied to a reference."""
    rng = np.random.default_rng(seed)
    seen = rng.random((n_frames, n_stars)) < 0.7
    seen[0] = True
    frame, star = np.nonzero(seen)
    n = len(frame)
    tie = rng.normal(size=(n_stars, coordinates))
    tie_sigma = np.where(rng.random(n_stars) < 0.4, rng.uniform(0.01, 0.1, n_stars), np.inf)
    tie[~np.isfinite(tie_sigma)] = np.nan
    return Measurements(
        frame=frame,
        star=star,
        basis=np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, terms - 1))]),
        value=rng.normal(size=(n, coordinates)),
        sigma=rng.uniform(0.01, 0.1, n),
        tie=tie,
        tie_sigma=tie_sigma,
        parameter=np.arange(n_frames * terms).reshape(n_frames, terms),
        precision=rng.uniform(0.5, 10.0, n_frames * terms) ** 2,
    )


def dense_solution(m, used, tied):
    """Return coefficients and stars' values with all unknowns in one dense matrix."""
    n_coefficients, n_stars = len(m.precision), len(m.tie)
    design = np.zeros((len(m.frame), n_coefficients + n_stars), m.basis.dtype)
    for row, (frame, star) in enumerate(zip(m.frame, m.star, strict=True)):
        design[row, m.parameter[frame]] = m.basis[row]
        design[row, n_coefficients + star] = -1.0
    ties = np.flatnonzero(tied)
    tie_rows = np.zeros((len(ties), design.shape[1]))
    tie_rows[np.arange(len(ties)), n_coefficients + ties] = 1.0 / m.tie_sigma[ties]
    prior_rows = np.eye(n_coefficients, design.shape[1]) * np.sqrt(m.precision)[:, None]
    matrix = np.concatenate([(design / m.sigma[:, None])[used], tie_rows, prior_rows])
    right = np.concatenate(
        [
            m.numbers(-m.value / m.sigma[:, None])[used],
            m.numbers(m.tie[ties] / m.tie_sigma[ties, None]),
            np.zeros((n_coefficients, m.numbers(m.value).shape[1])),
        ]
    )
    solved = np.linalg.lstsq(matrix, right, rcond=None)[0]
    return solved[:n_coefficients][m.parameter], np.ascontiguousarray(solved[n_coefficients:]).view(float)


@given(st.integers(0, 10_000), st.floats(0.3, 1.0))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_eliminated_stars_give_the_dense_solution(seed, fraction):
    m = make_problem(seed)
    used = np.random.default_rng(seed + 1).random(len(m.frame)) < fraction
    tied = np.isfinite(m.tie_sigma)
    fit = solve(m, used, tied)
    coefficients, stars = dense_solution(m, used, tied)
    assert fit.coefficients == pytest.approx(coefficients, abs=1e-8)
    corrected = m.value + m.correction(coefficients)
    assert fit.residual[used] == pytest.approx((corrected - stars[m.star])[used], abs=1e-8)
    assert fit.tie_residual[tied] == pytest.approx((m.tie - stars)[tied], abs=1e-8)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_shared_coefficients_that_turn_with_their_frames_give_the_dense_solution(seed):
    """Frames 0 and 2 have their last coefficient in common, in axes of their own."""
    m = make_problem(seed)
    turn = np.exp(1j * np.array([[0.0, 0.0, 0.3], [0.0, 0.0, 2.0], [0.0, 0.0, -1.1]]))
    parameter = np.array([[0, 1, 7], [2, 3, 6], [4, 5, 7]])
    m = dataclasses.replace(m, basis=m.basis * turn[m.frame], parameter=parameter, precision=m.precision[:8])
    used, tied = np.ones(len(m.frame), dtype=bool), np.isfinite(m.tie_sigma)
    fit = solve(m, used, tied)
    coefficients, stars = dense_solution(m, used, tied)
    assert fit.coefficients == pytest.approx(coefficients, abs=1e-8)
    assert fit.coefficients[0, 2] == fit.coefficients[2, 2]
    assert fit.residual == pytest.approx(m.value + m.correction(coefficients) - stars[m.star], abs=1e-8)


def test_rms_is_the_input_error_whatever_the_number_of_measurements_a_star():
    """Two measurements a star lie half as far from their mean as one measurement's error says: that is corrected."""
    rng = np.random.default_rng(0)
    for n_frames in (2, 3, 10):
        frame, star = (axis.ravel() for axis in np.indices((n_frames, 2000)))
        m = Measurements(
            frame=frame,
            star=star,
            basis=np.ones((len(frame), 1)),
            value=rng.normal(0.0, 0.3, (len(frame), 1)),
            sigma=np.full(len(frame), 0.3),
            tie=np.full((2000, 1), np.nan),
            tie_sigma=np.full(2000, np.inf),
            parameter=np.arange(n_frames)[:, None],
            precision=np.ones(n_frames),
        )
        fit = solve_robustly(m, np.ones(len(frame), dtype=bool), clip_sigma=5.0, max_iterations=5)
        assert weighted_rms(fit.residual, m.sigma, fit.share, fit.used) == pytest.approx(0.3, rel=0.04)


def test_one_wild_measurement_is_dropped_without_its_star():
    """The mean follows the wild one, so that all measurements of its star look bad at first; one alone goes."""
    frame, star = (axis.ravel() for axis in np.indices((6, 50)))
    value = np.random.default_rng(1).normal(0.0, 0.01, (300, 1))
    value[7] += 1.0
    m = Measurements(
        frame=frame,
        star=star,
        basis=np.ones((300, 1)),
        value=value,
        sigma=np.full(300, 0.01),
        tie=np.full((50, 1), np.nan),
        tie_sigma=np.full(50, np.inf),
        parameter=np.arange(6)[:, None],
        precision=np.ones(6),
    )
    fit = solve_robustly(m, np.ones(300, dtype=bool), clip_sigma=5.0, max_iterations=10)
    assert np.flatnonzero(~fit.used).tolist() == [7]


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
def test_blocks_of_stars_add_up_to_the_whole(seed):
    m = make_problem(seed, n_frames=5, n_stars=60)
    used, tied = np.random.default_rng(seed).random(len(m.frame)) < 0.9, np.isfinite(m.tie_sigma)
    whole = solve(m, used, tied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normal_equations, "BLOCK", 7)
        parted = solve(m, used, tied)
    assert parted.coefficients == pytest.approx(whole.coefficients, abs=1e-10)


def test_a_pool_gives_the_same_bits_as_one_process(monkeypatch):
    monkeypatch.setattr(normal_equations, "BLOCK", 7)
    m = make_problem(3, n_frames=5, n_stars=60)
    everything = np.ones(len(m.frame), dtype=bool)
    with Pool() as pool:
        fits = [solve_robustly(m, everything, clip_sigma=4.0, max_iterations=3, ranks=ranks) for ranks in (ALONE, pool)]
    assert np.array_equal(fits[0].coefficients, fits[1].coefficients)


@pytest.mark.parametrize("count", range(1, 12))
def test_one_process_combines_in_the_order_of_a_pool(count):
    with Pool() as pool:
        alone, together = (ranks.reduce(lambda a, b: f"({a}{b})", str, range(count)) for ranks in (ALONE, pool))
    assert alone == together
