"""Mean sequestration times: closed forms in two boxes, adjoint against forward solves, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest

from invbgc.circulation import load_circulation
from invbgc.circulation.toys import SVERDRUP, two_box
from invbgc.constants import DAY, YEAR
from invbgc.datasets.idealised import idealised_forcing
from invbgc.diagnostics.residence import SMALLEST_PROBABILITY, doc_residence_time, return_time
from invbgc.diagnostics.sequestration import retention_weights, surface_loss
from invbgc.errors import InputError
from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.models.pco.carbon import doc_rate
from tests.oceans import embedded_8deg_state


@pytest.fixture(scope="module")
def state():
    return embedded_8deg_state()


@pytest.fixture(scope="module")
def times(state):
    return doc_residence_time(state)


def solve(model, rate, rhs):
    system = model.systems["tracer"]
    return system.solve(system.factorise(rate), rhs)


def model_of(circulation, **options):
    return PCOModel(circulation, idealised_forcing(circulation.grid), PCOOptions(**options), backend="superlu")


def test_two_boxes():
    """tau_s = (v_s + v_d)/(v_s L), tau_d = tau_s + v_d/q."""
    ocean = two_box(exchange=40.0)
    surface, deep = ocean.grid.volume
    at_surface = (surface + deep) / surface * DAY
    expected = [at_surface, at_surface + deep / (40.0 * SVERDRUP)]
    np.testing.assert_allclose(return_time(model_of(ocean)), expected, rtol=1e-11)


def test_diffusive_column():
    """Below the surface layer, tau falls by (water below) / (exchange) at every interface: the flux of a stock."""
    ocean = load_circulation("column")
    tau, volume = return_time(model_of(ocean)), ocean.grid.volume
    exchange = -volume[:-1] * ocean.transport.diagonal(1)  # m3 s-1 between neighbours
    below = np.cumsum(volume[::-1])[::-1][1:]
    np.testing.assert_allclose(np.diff(tau), below / exchange, rtol=1e-9)
    np.testing.assert_allclose(tau[0], volume.sum() / volume[0] * DAY, rtol=1e-11)


def test_mean_time_is_the_integral_of_the_retention():
    """tau = integral of w over time, by Simpson's rule in the logarithm of time and a solve for what comes later."""
    model = model_of(load_circulation("few_box"))
    time = np.geomspace(1e-5, 1e4, 1601)
    weights = retention_weights(model, time, removal_rate=365.0)
    simpson = np.array([1.0, *np.tile([4.0, 2.0], 799), 4.0, 1.0]) * np.log(time[1] / time[0]) / 3.0
    volume, loss = model.grid.volume, surface_loss(model.grid, 365.0)
    later = np.linalg.solve((model.circulation.transport.toarray() + np.diag(loss)).T, volume * weights[-1]) / volume
    tau = time[0] + simpson @ (weights * time[:, None]) + later / YEAR
    np.testing.assert_allclose(tau, return_time(model) / YEAR, rtol=1e-4)


def test_times_are_the_adjoint_of_stocks(state, times):
    """sum v r tau = sum v (T + L)^-1 r for any respiration r."""
    model = state.model
    volume = model.grid.volume
    respiration = state.diagnostics["respiration"]
    stock = volume @ solve(model, surface_loss(model.grid, 365.0), respiration)
    tau = model.grid.pack(times["sequestration_time"]) * YEAR
    assert volume @ (respiration * tau) == pytest.approx(stock, rel=1e-9)
    assert float(times.attrs["adjoint_residual"]) < 1e-9


def test_semilabile_times_of_columns(state, times):
    """A column's DOC followed forward: the stock that its export sustains, over the export."""
    model, p = state.model, state.parameters
    grid, below = model.grid, ~model.environment.euphotic
    kappa = np.asarray(doc_rate(model.environment, p))
    columns = [40, 250, 600]
    production = state.diagnostics["production"][:, None] * (grid.column[:, None] == columns)
    respired = (kappa * below)[:, None] * solve(model, kappa, production)
    stock = grid.volume @ solve(model, surface_loss(grid, 365.0), respired)
    found = grid.pack_surface(times["semilabile_time"])[columns]
    np.testing.assert_allclose(found, stock / (grid.volume @ respired) / YEAR, rtol=1e-9)
    share = grid.pack_surface(times["export_probability"])[columns]
    np.testing.assert_allclose(share, grid.volume @ respired / (grid.volume @ production), rtol=1e-9)

    base = grid.column_box[model.options.euphotic_layers - 1, columns]
    pulse = np.zeros((grid.n_wet, len(columns)))
    pulse[base, np.arange(len(columns))] = 1.0
    respired = (kappa * below)[:, None] * solve(model, kappa, pulse)
    stock = grid.volume @ solve(model, surface_loss(grid, 365.0), respired)
    found = grid.pack_surface(times["semilabile_base_time"])[columns]
    np.testing.assert_allclose(found, stock / (grid.volume @ respired) / YEAR, rtol=1e-9)


def test_global_means_are_weighted_by_the_export(state, times):
    model, grid, p = state.model, state.model.grid, state.parameters
    below = ~model.environment.euphotic
    tau = grid.pack(times["sequestration_time"])
    lost = grid.volume * below * np.asarray(doc_rate(model.environment, p) * state.fields["DOC"])
    assert float(times["semilabile_mean_time"]) == pytest.approx(lost @ tau / lost.sum(), rel=1e-9)
    made = np.bincount(grid.column, grid.volume * state.diagnostics["production"])
    weight = made * grid.pack_surface(times["export_probability"])
    mean = np.nansum(weight * grid.pack_surface(times["semilabile_time"])) / weight.sum()
    assert mean == pytest.approx(float(times["semilabile_mean_time"]), rel=1e-9)
    particles = grid.volume * below * model.options.kappa_p * state.diagnostics["POC"]
    assert float(times["poc_mean_time"]) == pytest.approx(particles @ tau / particles.sum(), rel=1e-12)


def test_undershoot_is_reported_and_left_out_of_the_maps(state, times):
    tau = state.model.grid.pack(times["sequestration_time"])
    assert times.attrs["boxes_with_negative_sequestration_time"] == np.sum(tau < 0.0) > 0
    assert times.attrs["shortest_sequestration_time_years"] == pytest.approx(tau.min(), rel=1e-14)
    assert times.attrs["boxes_with_negative_probability"] == 0 < times.attrs["smallest_probability"]
    assert times["latitude_bounds"].shape == (times.sizes["latitude"], 2)
    land = ~state.model.grid.wet[0]
    for name in ("semilabile_time", "semilabile_base_time", "poc_time"):
        values = times[name]
        assert values.attrs["units"] == "yr" and "depth" not in values.dims
        assert np.isnan(values.values).sum() == land.sum() + values.attrs["columns_left_out"]
        assert float(values.min()) > 0.0
    assert 0.0 < times["poc_time"].attrs["columns_left_out"] < 10


def test_columns_that_export_nothing_are_left_out(state):
    """With DOC that is lost within minutes, almost nothing is respired below where it is made."""
    fast = replace(state, parameters=state.parameters | {"kappa_dC": 1.0})
    times = doc_residence_time(fast)
    share = times["export_probability"]
    assert float(share.max()) < SMALLEST_PROBABILITY
    assert times["semilabile_time"].attrs["columns_left_out"] == state.model.grid.n_columns


def test_wrong_removal_rate_is_refused(state):
    with pytest.raises(InputError, match="removal_rate = 0"):
        return_time(state.model, 0.0)
