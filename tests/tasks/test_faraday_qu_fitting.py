"""QU fitting: true parameters within their errors, and the model that made the data preferred."""

import numpy as np
import pytest

from mpidriver.errors import DataError
from mpidriver.tasks.faraday import QU_MODELS, fit_qu, lambda_sq
from mpidriver.tasks.faraday._qu_kernels import evaluate

FREQ_HZ = np.linspace(800e6, 1800e6, 120)
SIGMA = 0.01


def spectrum(*components):
    """Q + iU of thin components (amplitude, angle at λ² = 0 in degrees, depth)."""
    phases = [np.exp(2j * (np.deg2rad(angle) + rm * lambda_sq(FREQ_HZ))) for _, angle, rm in components]
    return sum(amplitude * phase for (amplitude, _, _), phase in zip(components, phases, strict=True))


def fit(p, seed, **options):
    noise = SIGMA * np.random.default_rng(seed).normal(size=(2, FREQ_HZ.size))
    return fit_qu(FREQ_HZ, p.real + noise[0], p.imag + noise[1], SIGMA, SIGMA, phi_max_radm2=200.0, **options)


def assert_recovered(fitted, true):
    for name, value in true.items():
        difference = fitted.parameters[name] - value
        if name.startswith("angle"):
            difference = (difference + 90) % 180 - 90
        assert abs(difference) < 4 * fitted.errors[name], (name, fitted.parameters[name], fitted.errors[name])
    assert fitted.chi_sq == pytest.approx(fitted.degrees_of_freedom, abs=5 * np.sqrt(2 * fitted.degrees_of_freedom))


def prefers(fits, model):
    return all(
        fits[model].bic <= other.bic and fits[model].log_evidence >= other.log_evidence for other in fits.values()
    )


def test_thin_source():
    fits = fit(spectrum((0.2, 40.0, -55.0)), 1)
    assert prefers(fits, "thin")
    assert_recovered(fits["thin"], {"amplitude": 0.2, "angle0_deg": 40.0, "rm_radm2": -55.0})


@pytest.mark.parametrize("second", [30.0, 60.0])
def test_two_components(second):
    fits = fit(spectrum((0.2, 40.0, 15.0), (0.1, 130.0, second)), 2)
    assert prefers(fits, "two")
    true = {"amplitude": 0.2, "angle0_deg": 40.0, "rm_radm2": 15.0, "amplitude_2": 0.1, "rm_radm2_2": second}
    assert_recovered(fits["two"], true)


def test_slab():
    x = lambda_sq(FREQ_HZ)
    fits = fit(0.3 * np.exp(2j * (0.5 + (20.0 + 12.5) * x)) * np.sinc(25.0 * x / np.pi), 3)
    assert prefers(fits, "slab")
    slab = fits["slab"].parameters
    assert slab["rm_radm2"] + 0.5 * slab["depth_radm2"] == pytest.approx(32.5, abs=0.5)
    assert abs(slab["depth_radm2"]) == pytest.approx(25.0, abs=1.0)


def test_a_slab_of_which_only_the_edges_are_seen_is_found():
    """Deeper than the largest scale of the band, so that the spectrum has a peak at each end."""
    x = lambda_sq(FREQ_HZ)
    for seed, depth in enumerate((50.0, 75.0, 110.0)):
        p = 0.3 * np.exp(2j * (0.5 + (-60.0 + 0.5 * depth) * x)) * np.sinc(depth * x / np.pi)
        noise = SIGMA * np.random.default_rng(seed).normal(size=(2, FREQ_HZ.size))
        slab = fit(p, seed)["slab"]
        assert_recovered(slab, {"amplitude": 0.3, "rm_radm2": -60.0, "depth_radm2": depth})
        assert slab.chi_sq <= np.sum((noise / SIGMA) ** 2)


def test_evidence_does_not_take_thin_sources_for_slabs():
    """A slab of no depth is a thin source, and χ² has no curvature there."""
    for seed in range(20):
        fits = fit(spectrum((0.1, 40.0, 9.0 * seed - 90.0)), seed)
        assert fits["thin"].log_evidence > max(fits["slab"].log_evidence, fits["two"].log_evidence)
        slab = fits["slab"]
        assert slab.parameters["depth_radm2"] < 5 * slab.errors["depth_radm2"]


def test_derivatives_of_the_models_are_those_of_differences():
    rng = np.random.default_rng(4)
    x = lambda_sq(FREQ_HZ[::6])
    for values in (rng.normal(size=3), rng.normal(size=6), rng.normal(size=4), np.array([0.3, 0.2, 5.0, 0.0])):
        p, scale = rng.normal(size=(2, x.size)), rng.uniform(1.0, 2.0, (2, x.size))

        def chi_sq(at, p=p, scale=scale):
            information, gradient = np.empty((at.size, at.size)), np.empty(at.size)
            return evaluate(at, x - 0.05, x, p, scale, information, gradient), gradient, information

        step = 1e-5 * np.eye(values.size)
        slopes = [(chi_sq(values + own)[0] - chi_sq(values - own)[0]) / 2e-5 for own in step]
        _, gradient, information = chi_sq(values)
        assert -2.0 * gradient == pytest.approx(slopes, rel=1e-6, abs=1e-6)
        assert np.all(np.diag(information) >= 0)


def test_errors_are_the_scatter_of_fits():
    fits = [fit(spectrum((0.05, 20.0, 10.0)), seed, models=["thin"])["thin"] for seed in range(60)]
    for name in QU_MODELS["thin"]:
        values, errors = (np.array([getattr(f, part)[name] for f in fits]) for part in ("parameters", "errors"))
        values = (values + 90) % 180 - 90 if name.startswith("angle") else values
        assert values.std() == pytest.approx(errors.mean(), rel=0.3)


def test_flagged_channels_are_left_out_and_wrong_input_is_named():
    p = spectrum((0.2, 40.0, -55.0))
    flagged = p.copy()
    flagged[:40] = np.nan
    some = fit_qu(FREQ_HZ, flagged.real, flagged.imag, SIGMA, SIGMA, models=["thin"])["thin"]
    assert some.degrees_of_freedom == 2 * 80 - 3
    assert some.parameters["rm_radm2"] == pytest.approx(-55.0, abs=1e-4)
    with pytest.raises(DataError, match="two usable channels, got 0"):
        fit_qu(FREQ_HZ, p.real, p.imag, 0.0, SIGMA)
    with pytest.raises(DataError, match="expected some of thin, two, slab"):
        fit_qu(FREQ_HZ, p.real, p.imag, SIGMA, SIGMA, models=["thick"])
    with pytest.raises(DataError, match="as freq_hz"):
        fit_qu(FREQ_HZ, p.real[1:], p.imag, SIGMA, SIGMA)
    few = fit_qu(FREQ_HZ[:2], p.real[:2], p.imag[:2], SIGMA, SIGMA, phi_max_radm2=200.0)
    assert set(few) == {"thin"}
