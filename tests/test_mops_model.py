"""MOPS on small oceans: budgets, the Redfield limit, the matrix of the core, steady states by three routes, pCO2."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import invbgc as ib
from invbgc.circulation.propagation import Propagation
from invbgc.circulation.seasonal import seasonal_transport
from invbgc.constants import DAY
from invbgc.errors import ConvergenceError, InputError
from invbgc.models.mops import MopsModel, MopsOptions
from invbgc.models.mops.carbon import POOL_OF, REDFIELD, carbon_sources
from invbgc.models.mops.closed import system_carbon, under_pco2, with_total
from invbgc.models.mops.core import CORE, PHOSPHORUS_IN, core_rates, core_sources
from invbgc.models.mops.decay import nitrate_demand
from invbgc.models.mops.equilibrium import anderson, integrate, newton_krylov
from invbgc.models.mops.model import TRACERS
from invbgc.models.mops.plankton import R_NP
from invbgc.models.mops.spinup import spin_up
from invbgc.models.mops.year import make_year, total_carbon, wet_fields, year_state
from invbgc.steady import tendencies

OCEANS: dict[str, Callable[[], ib.Circulation]] = {
    "column": lambda: ib.load_circulation("column"),
    "few_box": lambda: ib.load_circulation("few_box"),
    "coarse": lambda: ib.coarsen(ib.load_circulation("few_box"), 3, 2),  # its boxes rest on the floor in part
}
"""Oceans of the property tests; a new one costs a line."""

FORMS = ("hard", "smooth")


@cache
def model_of(ocean: str, **options) -> MopsModel:
    circulation = OCEANS[ocean]()
    return MopsModel(circulation, ib.idealised_forcing(circulation.grid), MopsOptions(**options))


def some_state(model: MopsModel, seed: int = 0) -> dict[str, jax.Array]:
    """A state with living plankton and some boxes without oxygen."""
    draw = np.random.default_rng(seed)
    n = model.grid.n_wet
    size = {"PO4": 2.0, "DOP": 0.05, "O2": 80.0, "PHY": 0.03, "ZOO": 0.02, "DET": 0.01, "DIN": 30.0, "DIC": 2100.0}
    fields = {name: value * draw.uniform(0.02, 1.5, n) for name, value in size.items()}
    fields |= {name: fields[pool] * draw.uniform(90.0, 250.0, n) for name, pool in POOL_OF.items()}
    return {name: jnp.asarray(field) for name, field in fields.items()}


def columns_of(model: MopsModel, fields):
    tracers, p, env = model.columns(fields), model.values(model.table.values), model.environment
    return tracers, jax.jit(lambda columns: core_rates(env, columns, env.seasons, p))(tracers), p


def inventory(model: MopsModel, columns) -> float:
    return float(jnp.vdot(model.environment.volume, columns))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ocean", OCEANS)
def test_phosphorus_and_carbon_are_closed(ocean, form):
    model = model_of(ocean, form=form)
    tracers, rates, p = columns_of(model, some_state(model))
    env = model.environment
    core = core_sources(env, tracers, rates, p)
    buried = inventory(model, rates.sinking.buried)
    phosphorus = sum(core[name] for name in PHOSPHORUS_IN)
    turnover = inventory(model, sum(abs(core[name]) for name in PHOSPHORUS_IN))
    assert buried > 0.0
    assert abs(inventory(model, phosphorus) + buried) < 1e-13 * turnover
    carbon = carbon_sources(env, tracers, rates, p)
    turnover = inventory(model, sum(abs(part) for part in carbon.values()))
    assert abs(inventory(model, sum(carbon.values())) + REDFIELD * buried) < 1e-13 * turnover


@pytest.mark.parametrize("ocean", OCEANS)
def test_budget_of_nitrogen(ocean):
    """DIN + 16 P of organic matter changes by fixation, denitrification and burial alone."""
    model = model_of(ocean)
    tracers, rates, p = columns_of(model, some_state(model))
    core = core_sources(model.environment, tracers, rates, p)
    organic = core["DOP"] + core["PHY"] + core["ZOO"] + core["DET"]
    denitrified = rates.decay.suboxic * (rates.dop_decay + rates.det_decay)
    expected = rates.plankton.fixation - (nitrate_demand(p) + R_NP) * denitrified
    found = inventory(model, core["DIN"] + R_NP * organic) + R_NP * inventory(model, rates.sinking.buried)
    assert inventory(model, denitrified) > 0.0
    assert found == pytest.approx(inventory(model, expected), rel=1e-11)


@pytest.mark.parametrize("ocean", OCEANS)
def test_redfield_pools_are_117_times_their_phosphorus(ocean):
    """To round-off after a hundred steps of every process, with transport."""
    model = model_of(ocean, stoichiometry="redfield")
    year = short_year(model, with_carbon=True)
    fields = some_state(model)
    fields |= {name: REDFIELD * fields[pool] for name, pool in POOL_OF.items()}
    after = wet_fields(model, year(year_state(model, fields, True), model.table.values).state.tracers)
    for name, pool in POOL_OF.items():
        np.testing.assert_allclose(after[name], REDFIELD * after[pool], rtol=1e-11, atol=1e-13)


def propagation_of(model: MopsModel, step: float = 4.0, months: int = 12) -> Propagation:
    transport = seasonal_transport(model.circulation, 0.5 * DAY, months, 0.8 if months > 1 else 0.0)
    return Propagation(transport, step * DAY)


def short_year(model: MopsModel, **options):
    """A year in 90 steps of 4 days, 8 of biology in each."""
    return make_year(model, propagation_of(model), 8, **options)


@pytest.mark.parametrize("ocean", OCEANS)
def test_a_year_keeps_phosphorus_and_carbon(ocean):
    model = model_of(ocean)
    year, p = short_year(model, with_carbon=True), model.table.values
    state = year_state(model, model.uniform_start(), True)
    before, amount = float(total_carbon(model, state)), float(state.pco2)
    for _ in range(3):
        lacking = model.total_phosphorus - held(model, state)
        result = year(state, p)
        state = result.state
        # What was buried in the year is what is lacking at its end: it comes back in the next one.
        assert model.total_phosphorus - held(model, state) == pytest.approx(float(result.buried), rel=1e-6)
    assert lacking > 0.0
    assert float(total_carbon(model, state)) == pytest.approx(before, rel=1e-12)
    assert float(state.pco2) != amount


def held(model: MopsModel, state) -> float:
    return sum(inventory(model, state.tracers[TRACERS.index(name)]) for name in PHOSPHORUS_IN)


def test_carbon_never_changes_the_core():
    """The core of a run with all tracers is that of a run without carbon, whatever b_C and stoichiometry."""
    model = model_of("few_box")
    alone = short_year(model)(year_state(model, some_state(model)), model.table.values).state.tracers
    for options, b_C in (({}, 0.5), ({"stoichiometry": "redfield"}, 1.75)):
        other = model_of("few_box", **options)
        p = model.table.with_values({"b_C": b_C}).values
        both = short_year(other, with_carbon=True)(year_state(other, some_state(other), True), p).state.tracers
        np.testing.assert_allclose(both[: len(CORE)], alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ocean", OCEANS)
def test_the_matrix_of_the_core_is_its_jacobian(ocean, form):
    """Product, sparse values and term of rank one against the derivative of the sources."""
    model = model_of(ocean, form=form)
    fields, x = some_state(model, 1), model.table.to_vector()
    stage, operator = model.stages[0], model.systems["core"].operator
    u = stage.stack(fields)
    v = jnp.asarray(np.random.default_rng(2).standard_normal(u.size))

    @jax.jit
    def everything(u, v):
        _, change = jax.jvp(lambda w: stage.stacked_source(w, {}, x), (u,), (v,))
        coefficients = stage.matrix_coefficients(u, {}, x)
        return operator.constant_part(v) - change, coefficients, operator.matvec(coefficients, v)

    expected, coefficients, product = everything(u, v)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(product, expected, atol=1e-13 * scale)
    values = operator.values([np.asarray(part) for part in coefficients])
    pattern = operator.pattern
    matrix = sp.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)
    left, right = operator.low_rank
    np.testing.assert_allclose(matrix @ np.asarray(v) + left @ (right.T @ np.asarray(v)), expected, atol=1e-13 * scale)


def test_the_factor_of_the_core_solves_both_ways():
    model = model_of("few_box")
    stage, system = model.stages[0], model.systems["core"]
    coefficients = jax.jit(lambda u: stage.matrix_coefficients(u, {}, model.table.to_vector()))(
        stage.stack(some_state(model, 1))
    )
    token = system.factorise(*(np.asarray(part) for part in coefficients))
    b, y = np.random.default_rng(3).standard_normal((2, system.operator.size))
    x = system.solve(token, b)
    product = np.asarray(system.operator.matvec(coefficients, jnp.asarray(x)))
    np.testing.assert_allclose(product, b, atol=1e-8 * np.abs(x).max())
    assert y @ x == pytest.approx(system.solve(token, y, transposed=True) @ b, rel=1e-9)


# ------------------------------------------------------------------ steady states, on the ocean of 22 boxes


@pytest.fixture(scope="module")
def settled():
    """A model at its steady state, and how it was found."""
    model = model_of("few_box")
    x = model.table.to_vector()
    start = integrate(model, short_year(model), year_state(model, model.uniform_start()), x, 20)
    found = spin_up(model, x, wet_fields(model, start.mean))
    model.start_from(found.fields)
    return model, found


def test_the_spin_up_ends_where_nothing_changes(settled):
    model, found = settled
    rates = tendencies(model.stages[:1], {k: jnp.asarray(v) for k, v in found.fields.items()}, model.table.to_vector())
    for name in CORE:
        spread = float(np.ptp(found.fields[name]))
        assert float(jnp.abs(rates[name]).max()) * 360 * DAY * 1000 < 1e-6 * spread  # in a thousand years
    assert found.fields["PHY"].max() > 1e-3  # alive
    assert found.fields["O2"].min() < 5.0  # with a corner of low oxygen
    volume = model.grid.volume
    ocean = sum(volume @ found.fields[name] for name in PHOSPHORUS_IN)
    assert 0.0 < model.total_phosphorus - ocean < 1e-3 * model.total_phosphorus


def test_time_stepping_stays_at_the_steady_state_of_all_tracers(settled):
    """Sources within the step of an unsplit transport: both routes solve T c = q(c), and share the atmosphere."""
    model, found = settled
    p = model.table.with_values({"b_C": 0.75}).values
    state = under_pco2(model, found.fields, p, 250.0)
    year = make_year(model, propagation_of(model, 0.5, 1), 1, with_carbon=True, seasonal_light=False)
    after = year(year_state(model, state.fields, True, state.pco2), p).state
    assert float(after.pco2) == pytest.approx(250.0, abs=1e-5)
    assert float(total_carbon(model, after)) == pytest.approx(float(state.total), rel=1e-12)
    for name, field in wet_fields(model, after.tracers).items():
        np.testing.assert_allclose(field, state.fields[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_periodic_state_by_three_routes(settled):
    model, found = settled
    year, x = short_year(model), model.table.to_vector()
    start = year_state(model, found.fields)
    newton = newton_krylov(model, year, start, x, 1e-9)
    accelerated = anderson(model, year, start, x, 1e-7, years=400)
    stepped = integrate(model, year, start, x, 5000, 1e-6)
    assert newton.drift < 1e-9 and accelerated.drift < 1e-7 and stepped.drift < 1e-6
    assert newton.years < stepped.years / 10
    assert accelerated.years < stepped.years
    for other in (accelerated, stepped):
        for name, a, b in zip(CORE, newton.state.tracers, other.state.tracers, strict=True):
            assert float(jnp.abs(a - b).max()) < 1e-3 * float(jnp.std(a)), name


def test_pco2_follows_the_total(settled):
    model, found = settled
    p = model.table.values
    state = under_pco2(model, found.fields, p, 320.0)
    again = with_total(model, found.fields, p, state.total, start=200.0)
    assert float(again.pco2) == pytest.approx(320.0, rel=1e-10)
    assert float(system_carbon(model, again.fields, again.pco2)) == pytest.approx(float(state.total), rel=1e-12)


def test_faster_sinking_carbon_lowers_pco2_and_its_gradient_is_exact(settled):
    model, found = settled
    p = dict(model.table.values)
    total = under_pco2(model, found.fields, p, 280.0).total

    def pco2(b_C):
        return with_total(model, found.fields, p | {"b_C": b_C}, total).pco2

    slope = float(jax.grad(pco2)(1.0))
    step = 1e-4
    difference = (float(pco2(1.0 + step)) - float(pco2(1.0 - step))) / (2 * step)
    assert slope > 0.0
    assert slope == pytest.approx(difference, rel=1e-5)


def test_an_impossible_total_is_refused(settled):
    model, found = settled
    with pytest.raises(ConvergenceError, match="pCO2"):
        with_total(model, found.fields, model.table.values, 1e7)


def test_wrong_steps_are_refused():
    model = model_of("few_box")
    with pytest.raises(InputError, match="whole number"):
        make_year(model, propagation_of(model, 7.0), 4)
    with pytest.raises(InputError, match="0 to 1"):
        MopsModel(model.circulation, model.forcing, ice=np.full(model.grid.n_columns, 2.0))
    with pytest.raises(InputError, match="at most"):
        MopsModel(model.circulation, model.forcing, replace(model.options, euphotic_layers=9))
