"""Sequestration times: the time stepper against matrix exponentials, forward against adjoint, and exact identities."""

import numpy as np
import pytest
from scipy.linalg import expm

from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.diagnostics import sequestration as module
from invbgc.diagnostics.labile import labile_pool
from invbgc.diagnostics.sequestration import (
    HORIZON,
    POOLS,
    respiration_by_pool,
    retention_weights,
    sequestration,
    surface_loss,
)
from invbgc.diagnostics.stepping import Level, growing_steps, march, own_factors
from invbgc.errors import InputError
from invbgc.models.pco import PCOOptions
from tests.oceans import embedded_8deg_state, toy_state

TIMES = np.array([0.0, 2e-4, 0.25, 1.0, 3.0, 30.0, 700.0, HORIZON])


@pytest.fixture(scope="module")
def toy():
    return toy_state("few_box", PCOOptions(labile_fraction=0.05))


@pytest.fixture(scope="module")
def labile_toy():
    return toy_state("few_box", PCOOptions(labile="satellite_residual", labile_fraction=0.05))


@pytest.fixture(scope="module")
def embedded():
    """The 8-degree embedded ocean with published parameters, and its curves."""
    state = embedded_8deg_state()
    return state, sequestration(state, TIMES)


def exact_matrix(state, rate=500.0):
    """T + l I_s, dense, per year."""
    return state.model.circulation.transport.toarray() * YEAR + np.diag(state.model.grid.layer_mask(1) * rate)


def test_steps_double_and_end_in_time():
    levels = growing_steps(1.0, 1000.0, 4)
    lengths = [level.length for level in levels]
    assert lengths[:-1] == [2.0**k for k in range(len(lengths) - 1)]
    assert lengths[-2] < lengths[-1] <= 2.0 * lengths[-2]
    assert sum(level.length * level.count for level in levels) == pytest.approx(1000.0, rel=1e-14)
    assert growing_steps(1.0, 0.5, 4) == (Level(0.5, 1),)


def test_scheme_is_of_second_order_and_damps_what_is_short(toy):
    """Errors at one time fall by four as steps are halved; what leaves the surface in a day does not ring in a
    step of 1000 years, where the trapezoidal rule would keep it with the other sign."""
    grid, loss = toy.model.grid, surface_loss(toy.model.grid, 500.0)
    start = np.stack([grid.wet_depth, 1.0 * grid.layer_mask(1)], axis=1)
    exact = expm(-40.0 * exact_matrix(toy)) @ start
    errors = []
    with own_factors(toy.model.systems["tracer"]) as system:
        for count in (8, 16, 32):
            *_, last = march(system, loss, start, [Level(40.0 * YEAR / count, count)])
            errors.append(np.abs(last.end.concentration - exact).max())
        *_, last = march(system, loss, start, [Level(1000.0 * YEAR, 1)])
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all((orders > 1.8) & (orders < 2.2)), orders
    assert np.abs(last.end.concentration[:, 1]).max() < 1e-4


def test_integral_of_every_step_balances_the_change(toy):
    """c(t + h) - c(t) = -A (integral), to rounding, however long the step."""
    loss = surface_loss(toy.model.grid, 500.0)
    matrix = exact_matrix(toy)
    with own_factors(toy.model.systems["tracer"]) as system:
        for step in march(system, loss, np.ones(toy.model.grid.n_wet), growing_steps(YEAR, 1e4 * YEAR, 2)):
            change = step.end.concentration - step.start.concentration
            np.testing.assert_allclose(change, -(matrix @ step.integral) / YEAR, atol=1e-10)
            np.testing.assert_allclose(step.end.tendency * YEAR, -(matrix @ step.end.concentration), atol=1e-10)


def test_curves_agree_with_the_matrix_exponential(toy):
    """P, phi, S of every pool against dense linear algebra, to 1e-4 of the whole."""
    found = sequestration(toy, TIMES)
    matrix, volume = exact_matrix(toy), toy.model.grid.volume * PGC_PER_MMOL
    pulse = np.stack(list(respiration_by_pool(toy).values()), axis=1) * YEAR
    inverse = np.linalg.inv(matrix)
    surface = 500.0 * volume * toy.model.grid.layer_mask(1)
    total = np.abs(found["respiration"].values)
    for k, time in enumerate(TIMES):
        left = expm(-time * matrix) @ pulse
        stock = volume @ (inverse @ (pulse - left))
        assert np.all(np.abs(found["production_longer"][:, k] - volume @ left) < 2e-5 * total), time
        assert np.all(np.abs(found["density_log_time"][:, k] - time * (surface @ left)) < 1e-4 * total), time
        assert np.all(np.abs(found["stock"][:, k] - stock) < 1e-4 * np.abs(found["stock_direct"])), time
    np.testing.assert_allclose(found["stock_direct"], volume @ inverse @ pulse, rtol=1e-10)
    np.testing.assert_allclose(found["mean_time"] * found["respiration"], found["stock_direct"], rtol=1e-14)


def test_identities_on_the_embedded_ocean(embedded):
    state, found = embedded
    assert found.attrs["carbon_residual"] < 1e-12
    assert found.attrs["stock_residual"] < 1e-11
    assert found.attrs["second_moment_residual"] < 1e-4
    assert found.attrs["shortest_step_years"] <= 1e-4 * (1.0 + 1e-12)
    volume = state.model.grid.volume
    for pool, respiration in respiration_by_pool(state).items():
        whole = volume @ respiration * YEAR * PGC_PER_MMOL
        assert float(found["respiration"].sel(pool=pool)) == pytest.approx(whole, rel=1e-14)
        assert float(found["production_longer"].sel(pool=pool, time=0.0)) == pytest.approx(whole, rel=1e-14)
    longer = found["production_longer"].sel(pool=["POC", "DOC", "DOCr"])
    assert np.all(longer.diff("time") < 0.0)
    assert float(longer.sel(time=HORIZON).sum()) < 1e-3 * float(found["respiration"].sum())


def test_adjoint_with_finer_steps_gives_the_same_curves(embedded, monkeypatch):
    state, found = embedded
    times = [0.0, 0.25, 1.0, 3.0]
    monkeypatch.setattr(module, "STEPS_PER_LEVEL", 64)
    weights = retention_weights(state.model, times)
    volume = state.model.grid.volume * PGC_PER_MMOL * YEAR
    total = np.abs(found["respiration"].values)
    pulse = np.stack(list(respiration_by_pool(state).values()), axis=1)
    longer = (weights * volume) @ pulse
    difference = np.abs(longer.T - found["production_longer"].sel(time=times).values)
    assert np.all(difference < 2e-5 * total[:, None]), difference / total[:, None]
    np.testing.assert_allclose(longer[1:].T, found["production_longer_at"], rtol=1e-4)
    at = found["production_longer_at"].sel(threshold=1.0)
    assert float(found["poc_share_1yr"]) == pytest.approx(float(at[0] / at.sum()), rel=1e-14)
    assert weights[0].min() == weights[0].max() == 1.0
    assert weights.min() > -0.1 and weights.max() < 1.1  # the transport scheme over- and undershoots


def test_adjoint_is_the_transpose_of_the_forward_steps(toy):
    """With the same steps both routes agree to rounding, for any respiration."""
    times = TIMES[1:]
    weights, found = retention_weights(toy.model, times), sequestration(toy, times)
    pulse = np.stack(list(respiration_by_pool(toy).values()))
    longer = pulse @ (weights * toy.model.grid.volume).T * PGC_PER_MMOL * YEAR
    np.testing.assert_allclose(longer, found["production_longer"], rtol=1e-9, atol=1e-12)


def test_pools_are_those_of_the_state(labile_toy):
    pools = respiration_by_pool(labile_toy)
    assert tuple(pools) == POOLS
    np.testing.assert_allclose(sum(pools.values()), labile_toy.diagnostics["respiration"], rtol=1e-12)
    assert sequestration(labile_toy, [1.0]).attrs["labile_hours"] == pytest.approx(12.0, rel=1e-14)


def test_second_round_is_that_of_a_model_with_the_labile_pool(toy, labile_toy):
    """A model without the residual, with the same delta, gets the same pool afterwards: production does not change."""
    np.testing.assert_allclose(labile_pool(toy), labile_toy.fields["DOCl"], rtol=1e-9)


def test_labile_respiration_is_all_of_its_production(embedded):
    state, _ = embedded
    volume = state.model.grid.volume
    made = volume @ (state.model.environment.satellite_carbon - state.diagnostics["production"])
    pools = [respiration_by_pool(state, hours)["DOCl"] for hours in (12.0, 24.0)]
    for respired in pools:
        assert volume @ respired == pytest.approx(made, rel=1e-11)
    assert np.abs(pools[0] - pools[1]).max() > 1e-3 * np.abs(pools[0]).max()


def test_progress_says_how_far_it_is(toy):
    lines = []
    retention_weights(toy.model, [1.0], progress=lines.append)
    assert len(lines) > 5 and "0 s left" in lines[-1] and lines[-1].startswith("year 1:")


def test_slow_removal_keeps_more(toy):
    slow, fast = (sequestration(toy, [1.0], removal_rate=rate) for rate in (1.0 / 500.0, 500.0))
    assert np.all(slow["stock_direct"].sel(pool="POC") > fast["stock_direct"].sel(pool="POC"))
    assert slow.attrs["stock_residual"] < 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [1.0, -0.5]}, "1 of 2 sequestration times .* -0.5"),
        ({"times": [20_000.0]}, "outside 0 to 10000 years"),
        ({"times": [np.nan]}, "nan"),
        ({"times": []}, "at least one"),
        ({"labile_hours": 0.0}, "labile_hours = 0.0; expected a positive"),
        ({"labile_hours": np.nan}, "labile_hours"),
        ({"removal_rate": -1.0}, "removal_rate = -1.0"),
    ],
)
def test_wrong_input_is_refused(toy, arguments, message):
    with pytest.raises(InputError, match=message):
        sequestration(toy, **arguments)


def test_other_wrong_input_is_refused(toy, labile_toy):
    with pytest.raises(InputError, match="labile DOC that is respired in 12 hours"):
        sequestration(labile_toy, labile_hours=24.0)
    with pytest.raises(InputError, match="outside 0 to 10000"):
        retention_weights(toy.model, [-1.0])
    with pytest.raises(InputError, match="expected positive"):
        growing_steps(0.0, 1.0, 3)
