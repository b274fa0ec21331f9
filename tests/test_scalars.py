"""The quoted numbers: equal to the diagnostics they stand for, with exact gradients and true error bars."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.datasets.idealised import idealised_forcing
from invbgc.diagnostics.export import carbon_export, flux_at_depth
from invbgc.diagnostics.places import at_stations, zonal_bands
from invbgc.diagnostics.scalars import Scalars, carbon_scalars, scalar_table
from invbgc.diagnostics.sequestration import sequestration
from invbgc.errors import InputError
from invbgc.inference.fit import fit
from invbgc.inference.laplace import laplace
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import TRACERS, Observations
from tests.properties.cases import CIRCULATIONS

FREE = ("sigma_P", "alpha", "sigma_C", "b_C", "kappa_dC", "r_O2C")
OPTIONS = {"paper": PCOOptions(), "labile": PCOOptions(labile="satellite_residual", labile_fraction=0.05)}


@cache
def twin(circulation: str, options: str) -> tuple[Posterior, Scalars]:
    """A posterior of six free parameters on a toy ocean, observed everywhere with 5 per cent of noise; its scalars.

    Made once for all tests: compiling takes most of their time.
    """
    ocean = CIRCULATIONS[circulation]()
    forcing = idealised_forcing(ocean.grid)
    published = pco_parameters("published")
    table = published.freeze([name for name in published.names if name not in FREE])
    model = PCOModel(ocean, forcing, OPTIONS[options], table, "superlu")
    placeholder = Observations.from_fields({"DIP": forcing.phosphate}, ocean.grid)
    observable = Posterior(model, placeholder).simulate(table.to_vector()).observable
    boxes = dict.fromkeys(TRACERS, np.arange(ocean.grid.n_wet))
    made = synthetic_observations(observable, boxes, ocean.grid, 0.05, 0.0, seed=3)
    fields = {tracer: np.full(ocean.grid.n_wet, np.nan) for tracer in TRACERS}
    for tracer, data in made.items():
        fields[tracer][data.index] = data.noisy
    return Posterior(model, Observations.from_fields(fields, ocean.grid)), carbon_scalars(model)


@pytest.fixture(scope="module", params=[("few_box", "labile"), ("random_ocean_2x3", "paper")])
def case(request):
    posterior, scalars = twin(*request.param)
    x = posterior.x0 + 0.05 * np.cos(np.arange(len(posterior.x0)))
    return posterior, posterior.value(x), scalars


def test_scalars_are_those_of_the_diagnostics(case):
    posterior, evaluation, scalars = case
    table = scalar_table(posterior, evaluation, scalars)
    export = carbon_export(evaluation.state)
    expected = {f"{name}_export": export[f"{name}_export_global"] for name in ("poc", "semilabile", "labile", "toc")}
    expected["toc_export_100m"] = flux_at_depth(export, 100.0)["toc_flux_continuous_global"]
    bands = zonal_bands(export)
    for name, share in zip(bands["band"].values, bands["ratio_flux_weighted"].values, strict=True):
        if f"advective_share_{name}" in scalars.names:
            expected[f"advective_share_{name}"] = share
    times = sequestration(evaluation.state)
    kept = times["production_longer_at"].sum("pool")
    expected |= {f"longer_than_{t:g}_yr": kept.sel(threshold=t) for t in (0.25, 1.0, 3.0)}
    expected |= {"poc_share_1_yr": times["poc_share_1yr"], "respired_stock": times["stock_direct"].sum()}
    assert set(expected) <= set(scalars.names)
    for name, value in expected.items():
        # What is kept is stepped in time forward and by the adjoint; the last steps of the adjoint end at 3 years.
        tolerance = 1e-5 if name.startswith(("longer_than", "poc_share")) else 1e-9
        np.testing.assert_allclose(float(table["value"].sel(scalar=name)), float(value), rtol=tolerance, err_msg=name)


def test_gradients_are_those_of_differences(case):
    posterior, evaluation, scalars = case
    _, gradients = posterior.derivatives_of(scalars.function, evaluation)
    direction = np.cos(1.0 + np.arange(len(posterior.x0)))

    def along(step):
        there = posterior.value(evaluation.x + step * direction, guess=evaluation)
        return np.asarray(scalars.function(there.state.fields, jnp.asarray(there.x)))

    h = 1e-3
    differences = (8.0 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12.0 * h)
    scale = np.abs(gradients).max(axis=1)
    np.testing.assert_allclose(gradients @ direction / scale, differences / scale, atol=1e-7)


def test_error_bars_are_those_of_draws():
    posterior, scalars = twin("few_box", "labile")
    found = fit(posterior, progress=lambda line: None)
    assert found.converged
    approximation = laplace(found, scaling="all")
    evaluation = posterior.value(found.x)
    table = scalar_table(posterior, evaluation, scalars, [approximation])
    expected = np.sqrt(np.einsum("ij,jk,ik->i", table["gradient"], approximation.covariance, table["gradient"]))
    np.testing.assert_allclose(table["error_all"], expected, rtol=1e-9)
    rng = np.random.default_rng(5)
    quoted = jax.jit(scalars.function)
    drawn = rng.multivariate_normal(found.x, approximation.covariance, size=200)
    values = [quoted(posterior.value(x, guess=evaluation).state.fields, jnp.asarray(x)) for x in drawn]
    ratio = np.std(values, axis=0, ddof=1) / table["error_all"].values
    # The standard deviation of 200 draws is good to 5 per cent; curvature adds to it.
    assert np.all((ratio > 0.8) & (ratio < 1.25)), dict(zip(scalars.names, ratio, strict=True))


def test_a_station_is_the_mean_of_its_boxes(case):
    posterior, evaluation, _ = case
    grid = posterior.model.grid
    row, column = np.argwhere(grid.wet[0])[0]
    place = {"here": (float(grid.latitude[row]), float(grid.longitude[column]))}
    table = scalar_table(posterior, evaluation, carbon_scalars(posterior.model, stations=place))
    export = carbon_export(evaluation.state)
    expected = at_stations(export[["toc_export"]], export, place)
    # boxes count alike in the mean of a station
    np.testing.assert_allclose(
        float(table["value"].sel(scalar="toc_export_here")), float(expected["toc_export"][0]), rtol=1e-9
    )
    with pytest.raises(InputError, match="latitude 91"):
        carbon_scalars(posterior.model, stations={"nowhere": (91.0, 0.0)})
    with pytest.raises(InputError, match="labile_hours = -1"):
        carbon_scalars(posterior.model, -1.0)
