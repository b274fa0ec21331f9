"""Models made of single tracers, over all of them: derivatives, conservation, and what they are on top of a model."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invbgc as ib
from invbgc.errors import InputError
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.models.pco import PCOOptions
from invbgc.models.tracers import TRACERS as REGISTRY
from invbgc.models.tracers import Tracer, TracerModel
from invbgc.observations import Observations
from invbgc.steady import steady_state
from invbgc.verify import hessian_symmetry, taylor_test, tendency_residuals
from tests.oceans import toy_model
from tests.properties.cases import CIRCULATIONS, TRACERS

CASES = [(tracer, ocean) for tracer in TRACERS for ocean in ("random_ocean", "column")]


def observed(model, noise=0.02):
    """The posterior of a model observed as itself, with errors."""
    grid = model.grid
    nothing = Observations.from_fields({name: grid.wet_depth for name in model.observables}, grid)
    truth = Posterior(model, nothing).simulate(model.table.to_vector())
    boxes = dict.fromkeys(model.observables, np.arange(grid.n_wet))
    made = synthetic_observations(truth.observable, boxes, grid, noise, 0.0, seed=1)
    fields = {name: np.full(grid.n_wet, np.nan) for name in made}
    for name, data in made.items():
        fields[name][data.index] = data.noisy
    return Posterior(model, Observations.from_fields(fields, grid))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    tracer, ocean = request.param
    circulation = CIRCULATIONS[ocean]()
    model = TracerModel(circulation, ib.idealised_forcing(circulation.grid), [tracer], backend="superlu")
    posterior = observed(model)
    x = posterior.x0 + 0.1 * np.cos(np.arange(len(posterior.x0)))
    return posterior, posterior.value_grad_hess(x)


def test_taylor_orders_are_one_two_three(case):
    posterior, evaluation = case
    assert bool(taylor_test(posterior, evaluation.x, evaluation=evaluation)["holds"].all())
    assert bool(hessian_symmetry(evaluation)["holds"].all())


def test_jax_agrees_with_the_fast_route(case):
    posterior, evaluation = case
    value, gradient = jax.value_and_grad(posterior)(jnp.asarray(evaluation.x))
    np.testing.assert_allclose(value, evaluation.value, rtol=1e-9)
    np.testing.assert_allclose(gradient, evaluation.gradient, atol=1e-9 * np.abs(evaluation.gradient).max())


def test_steady_means_without_tendency_and_sources_that_sum_to_nothing(case):
    posterior, evaluation = case
    assert bool(tendency_residuals(evaluation.state)["holds"].all())
    model, fields = posterior.model, evaluation.state.fields
    for stage in model.stages:
        source = np.asarray(stage.stacked_source(stage.stack(fields), fields, jnp.asarray(evaluation.x)))
        assert abs(model.grid.volume @ source) < 1e-9 * (model.grid.volume @ np.abs(source))


def test_fits_and_errors_find_the_truth(case, tmp_path):
    posterior, _ = case
    fit = ib.fit(posterior)
    assert fit.status == "converged"
    deviation = np.sqrt(np.diag(ib.laplace(fit, scaling="all").covariance))
    assert np.all(np.abs(fit.x - posterior.x0) < 4.0 * deviation)
    fit.save(tmp_path / "fit.nc")
    dataset = fit.state.to_dataset()
    for tracer in posterior.model.tracers:
        assert dataset[tracer.name].attrs["long_name"] == tracer.long_name


def test_every_registered_tracer_is_a_case():
    assert set(TRACERS) == set(REGISTRY)


def test_radiocarbon_of_one_column_of_water_without_decay_is_that_of_the_air():
    circulation = CIRCULATIONS["column"]()
    model = TracerModel(circulation, ib.idealised_forcing(circulation.grid), ["radiocarbon"])
    fields, _ = model.steady(model.table.to_vector({"decay_rate": 1e-30}))
    np.testing.assert_allclose(fields["C14"], 1.0, rtol=1e-10)


def decayed(ocean, c, upstream, p):
    """What radiocarbon has lost, and loses again where it rises; quadratic in itself."""
    return p["decay_rate"] * (1.0 - upstream["C14"]) - 1e-9 * ocean.surface * c**2


def test_tracers_stand_on_a_model_and_leave_it_alone():
    ocean = CIRCULATIONS["random_ocean"]()
    forcing = ib.idealised_forcing(ocean.grid)
    base = TracerModel(ocean, forcing, ["radiocarbon"])
    parameter = replace(base.table["decay_rate"], name="second_rate", alias="", value=2e-12)
    source = lambda ocean, c, upstream, p: decayed(ocean, c, upstream, {"decay_rate": p["second_rate"]})  # noqa: E731
    tracer = Tracer("lost", "lost radiocarbon", source, (parameter,), linear=False, start=1.0)
    model = TracerModel(ocean, forcing, [tracer], base=base)
    assert model.table.names == ("decay_rate", "second_rate")
    assert model.observables == ("C14", "lost")
    fields, _ = model.steady(model.table.to_vector())
    np.testing.assert_array_equal(fields["C14"], base.steady(base.table.to_vector())[0]["C14"])
    assert fields["lost"].min() > 0.0
    assert bool(taylor_test(observed(model), model.table.to_vector() + 0.1)["holds"].all())


def test_a_published_model_as_base_keeps_its_parameters_and_limits():
    base = toy_model("few_box", PCOOptions())
    model = TracerModel(base.circulation, base.forcing, ["radiocarbon"], base=base)
    assert model.table.names == (*base.table.names, "decay_rate")
    assert [stage.name for stage in model.stages[:-1]] == [stage.name for stage in base.stages]
    x = model.table.to_vector()
    outside = x.copy()
    outside[model.table.free_names.index("sigma_P")] = 0.1
    assert model.admissible(x) is None and "sigma_P" in (model.admissible(outside) or "")
    fields = {name: jnp.ones(model.grid.n_wet) for stage in model.stages for name in stage.tracers}
    fields, _ = steady_state(model.stages[-1:], x, given=fields)
    assert set(model.observable(fields)) == set(model.observables)


def test_bad_tracers_are_refused():
    base = toy_model("few_box", PCOOptions())
    ocean, forcing = base.circulation, base.forcing
    with pytest.raises(InputError, match="radiocarbon"):
        TracerModel(ocean, forcing, ["radiocarbom"])
    with pytest.raises(InputError, match="found none"):
        TracerModel(ocean, forcing, [])
    with pytest.raises(InputError, match="'O2' is there twice"):
        TracerModel(ocean, forcing, [Tracer("O2", "again", decayed)], base=base)
    with pytest.raises(InputError, match="two circulations"):
        TracerModel(CIRCULATIONS["column"](), forcing, ["radiocarbon"], base=base)
    model = TracerModel(ocean, forcing, ["radiocarbon"])
    with pytest.raises(InputError, match="O2, which the model does not have; expected some of C14"):
        Posterior(model, Observations.from_fields({"O2": ocean.grid.wet_depth}, ocean.grid))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda ocean, c, upstream, p: -1e-9 * c**2, "not linear"),
        (lambda ocean, c, upstream, p: 1e-9 * (c.mean() - c), "in others"),
        (lambda ocean, c, upstream, p: jnp.zeros(3), r"shape \(3,\)"),
        (lambda ocean, c, upstream, p: -p["loss"] * c, "'loss'.*decay_rate"),
        (lambda ocean, c, upstream, p: upstream["O2"] - c, "'O2'.*C14"),
    ],
)
def test_sources_that_break_a_rule_are_refused(source, message):
    ocean = CIRCULATIONS["few_box"]()
    with pytest.raises(InputError, match=message):
        TracerModel(ocean, ib.idealised_forcing(ocean.grid), ["radiocarbon", Tracer("bad", "bad", source)])
