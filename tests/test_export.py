"""Export of carbon: adjoint against forward solves, budgets pool by pool, horizons, and wrong input."""

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu

from invbgc.circulation import load_circulation
from invbgc.constants import DAY, PGC_PER_MMOL, YEAR
from invbgc.datasets.idealised import idealised_forcing
from invbgc.diagnostics.export import carbon_export, flux_at_depth, flux_at_mixed_layer, probability_below
from invbgc.errors import InputError
from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.models.pco.carbon import doc_rate, docr_rate
from invbgc.state import State
from tests.oceans import embedded_8deg_state, toy_state

OPTIONS = {
    "first_round": PCOOptions(),
    "second_round": PCOOptions(labile="satellite_residual"),
    "delta": PCOOptions(labile="satellite_residual", labile_fraction=0.05),
}

CASES = [("few_box", "first_round"), ("few_box", "second_round"), ("random_ocean_2x3", "delta")]


def steady(circulation: str, options: str) -> State:
    return toy_state(circulation, OPTIONS[options])


@pytest.fixture(scope="module")
def embedded_state():
    return embedded_8deg_state()


@pytest.fixture(params=[*CASES, "embedded_8deg"], ids=lambda case: case if isinstance(case, str) else "-".join(case))
def state(request):
    return embedded_8deg_state() if request.param == "embedded_8deg" else steady(*request.param)


@pytest.fixture(scope="module")
def exports():
    made = {}

    def export(state: State) -> xr.Dataset:
        if id(state) not in made:
            made[id(state)] = state, carbon_export(state)
        return made[id(state)][1]

    return export


@pytest.fixture
def export(state, exports):
    return exports(state)


def total(export: xr.Dataset, name: str) -> float:
    """Integral of a map of export, mmol s-1."""
    return float((export[name] * export["area"]).sum()) * 1e3 / YEAR


def forward(state: State, rate, source) -> np.ndarray:
    """A tracer [n_wet] made at `source` and lost at `rate`, without the toolkit's solver."""
    return splu(csc_array(state.model.circulation.transport + diags_array(np.asarray(rate)))).solve(np.asarray(source))


class Pools:
    """Production and loss of the pools of a state, [n_wet] mmol m-3 s-1, by forward solves."""

    def __init__(self, state: State):
        model, p, made = state.model, state.parameters, state.diagnostics["production"]
        env, options = model.environment, model.options
        fields = {name: np.asarray(values) for name, values in state.fields.items()}
        kappa_d, kappa_r = np.asarray(doc_rate(env, p)), np.asarray(docr_rate(env, p))
        labile = env.satellite_carbon - (1.0 - options.labile_fraction) * made
        kappa_l = np.full(model.grid.n_wet, 1.0 / (12.0 * 3600.0))
        self.above = model.grid.layer_mask(options.euphotic_layers)
        self.volume = model.grid.volume
        self.production = {
            "poc": (1.0 - p["sigma_C"] - options.labile_fraction) * made,
            "pic": state.diagnostics["pic_production"],
            "semilabile": p["sigma_C"] * made,
            "labile": labile,
            "refractory": (1.0 - p["eta"]) * kappa_d * fields["DOC"],
        }
        self.loss = {
            "poc": options.kappa_p * state.diagnostics["POC"],
            "pic": options.kappa_p * state.diagnostics["PIC"],
            "semilabile": kappa_d * fields["DOC"],
            "labile": kappa_l * forward(state, kappa_l, labile),
            "refractory": kappa_r * fields["DOCr"],
        }
        made_above = forward(state, kappa_r, self.production["refractory"] * self.above)
        self.refractory_from_above = kappa_r * made_above


POOLS = ("poc", "pic", "semilabile", "labile", "refractory")


@pytest.fixture
def pools(state):
    return Pools(state)


@pytest.mark.parametrize("pool", POOLS)
def test_export_is_the_loss_below_the_euphotic_zone(export, pools, pool):
    v, gross = pools.volume, pools.volume @ np.abs(pools.production[pool])
    below = v @ (pools.loss[pool] * ~pools.above)
    assert abs(total(export, f"{pool}_export") - below) < 1e-9 * gross
    in_pg = below * YEAR * PGC_PER_MMOL
    assert float(export[f"{pool}_export_global"]) == pytest.approx(in_pg, abs=1e-9 * gross * YEAR * PGC_PER_MMOL)
    assert export[f"{pool}_export_global"].attrs["units"] == "Pg C yr-1"


@pytest.mark.parametrize("pool", POOLS)
def test_export_is_production_minus_loss_in_the_euphotic_zone(export, pools, pool):
    """Refractory DOC is made below as well: its production counts at all depths."""
    v = pools.volume
    made = v @ pools.production[pool]
    kept = v @ (pools.loss[pool] * pools.above)
    gross = v @ np.abs(pools.production[pool])
    assert abs(total(export, f"{pool}_export") - (made - kept)) < 1e-9 * gross


@pytest.mark.parametrize("pool", ["poc", "pic"])
def test_particles_leave_the_column_in_which_they_are_made(state, export, pools, pool):
    grid = state.model.grid
    sunk = np.bincount(grid.column, pools.volume * pools.loss[pool] * ~pools.above, grid.n_columns) / grid.surface_area
    found = grid.pack_surface(export[f"{pool}_export"])
    np.testing.assert_allclose(found, sunk * YEAR / 1e3, rtol=1e-9, atol=1e-12 * found.max())


def test_parts_of_the_dissolved_pools(state, export, pools):
    v, eta = pools.volume, state.parameters["eta"]
    below = v @ (eta * pools.loss["semilabile"] * ~pools.above)
    assert total(export, "semilabile_export_respired") == pytest.approx(below, rel=1e-9)
    from_above = v @ (pools.refractory_from_above * ~pools.above)
    assert total(export, "refractory_export_euphotic") == pytest.approx(from_above, rel=1e-9)
    assert 0.0 < from_above < total(export, "refractory_export")


def test_total_and_ratio(export):
    parts = [export[f"{name}_export"] for name in ("poc", "semilabile", "labile")]
    xr.testing.assert_allclose(export["toc_export"], sum(parts), rtol=1e-13)
    ratio = (parts[1] + parts[2]) / export["toc_export"]
    xr.testing.assert_allclose(export["advective_diffusive_ratio"], ratio.where(np.isfinite(ratio)), rtol=1e-12)


def test_probabilities_lie_between_zero_and_one(state, export):
    """Upwind toys keep them there; the embedded ocean's scheme undershoots, and says by how much."""
    slack = 0.01 if state.model.grid.n_wet > 1000 else 1e-12
    for name in ("Q_semilabile", "Q_labile"):
        q = export[name]
        assert q.attrs["minimum"] == float(q.min()) and q.attrs["maximum"] == float(q.max())
        assert -slack <= float(q.min()) and float(q.max()) <= 1.0 + slack
        assert float(q.isel(depth=0).mean()) < float(q.isel(depth=-1).mean())


def test_negative_labile_production_is_reported_not_clipped(state, export):
    grid = state.model.grid
    residual = state.model.environment.satellite_carbon - state.diagnostics["production"]
    negative = np.minimum(residual, 0.0)
    assert float(export["negative_labile_production_global"]) == pytest.approx(
        grid.volume @ negative * YEAR * PGC_PER_MMOL, rel=1e-12
    )
    columns = (grid.to_columns(residual) < 0.0).any(axis=0)
    share = grid.surface_area @ columns / grid.surface_area.sum()
    assert float(export["negative_labile_area_fraction"]) == pytest.approx(share, rel=1e-12)


def test_embedded_ocean_exports_what_an_ocean_does(embedded_state, exports):
    export = exports(embedded_state)
    assert 8.0 < float(export["poc_export_global"]) < 14.0
    assert 1.0 < float(export["semilabile_export_global"]) < 2.5
    assert float(export["refractory_export_global"]) < 0.05 * float(export["semilabile_export_global"])
    assert (
        float(export["negative_labile_production_global"]) < 0.0 < float(export["negative_labile_area_fraction"]) < 0.5
    )


def test_every_variable_is_labelled_and_survives_the_disk(embedded_state, exports, tmp_path):
    export = exports(embedded_state)
    for name, variable in export.data_vars.items():
        assert variable.attrs["long_name"], name
        assert name == "wet" or variable.attrs["units"], name
    assert {"latitude_bounds", "longitude_bounds", "depth_bounds"} <= set(export.coords)
    export.to_netcdf(tmp_path / "export.nc")
    with xr.open_dataset(tmp_path / "export.nc") as again:
        xr.testing.assert_equal(flux_at_depth(again.load(), 500.0), flux_at_depth(export, 500.0))


def test_probability_of_two_boxes_in_closed_form():
    ocean = load_circulation("two_box")
    model = PCOModel(ocean, idealised_forcing(ocean.grid), PCOOptions(euphotic_layers=1), backend="superlu")
    (up, down), kappa = 40e6 / ocean.grid.volume, np.array([3e-9, 5e-10])
    # up (Q_1 - Q_2) + kappa_1 Q_1 = 0,   down (Q_2 - Q_1) + kappa_2 Q_2 = kappa_2
    passed = up / (up + kappa[0])
    deep = kappa[1] / (kappa[1] + down * (1.0 - passed))
    np.testing.assert_allclose(probability_below(model, kappa), [passed * deep, deep], rtol=1e-11)


def test_first_and_second_round_export_the_same_labile_carbon(exports):
    """Without a fraction delta, production does not feel the labile pool: the residual may be added afterwards."""
    first, second = (exports(steady("few_box", options)) for options in ("first_round", "second_round"))
    for name in ("labile_export", "toc_export", "Q_labile"):
        xr.testing.assert_allclose(first[name], second[name], rtol=1e-9)


def test_respiration_time_of_labile_carbon(exports):
    state = steady("few_box", "first_round")
    slower = carbon_export(state, labile_hours=24.0)
    rate = np.full(state.model.grid.n_wet, 1.0 / DAY)
    labile = state.model.environment.satellite_carbon - state.diagnostics["production"]
    below = ~state.model.grid.layer_mask(2)
    expected = state.model.grid.volume @ (rate * forward(state, rate, labile) * below)
    assert total(slower, "labile_export") == pytest.approx(expected, rel=1e-9)
    assert slower.attrs["labile_hours"] == 24.0 and exports(state).attrs["labile_hours"] == 12.0
    assert total(slower, "labile_export") > 1.5 * total(exports(state), "labile_export")


def test_flux_at_the_base_is_the_export(export):
    base = flux_at_depth(export, export.attrs["euphotic_depth"])
    there = export["sea_floor_depth"] >= export.attrs["euphotic_depth"]
    for name in ("poc", "semilabile", "labile", "toc"):
        expected = export[f"{name}_export"].where(there)
        np.testing.assert_allclose(base[f"{name}_flux_continuous"], expected, rtol=1e-13, atol=0.0)
    np.testing.assert_allclose(base["poc_flux_discrete"], export["poc_export"].where(there), rtol=1e-13, atol=0.0)


def test_continuous_law_and_the_sea_floor(export):
    top, deepest = export.attrs["euphotic_depth"], float(export["sea_floor_depth"].max())
    depths = [2.0 * top, 0.5 * (top + deepest), deepest]
    flux = flux_at_depth(export, depths)
    for index, depth in enumerate(depths):
        there = export["sea_floor_depth"] >= depth
        for name in ("poc", "semilabile", "labile", "toc"):
            expected = (export[f"{name}_export"] * (depth / top) ** -export["exponent_C"]).where(there)
            found = flux[f"{name}_flux_continuous"].isel(depth=index)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0.0)
            in_pg = float((expected * export["area"]).sum()) * 1e3 * PGC_PER_MMOL
            assert float(flux[f"{name}_flux_continuous_global"][index]) == pytest.approx(in_pg, rel=1e-12)
        assert (flux["poc_flux_discrete"].isel(depth=index).notnull() == there).all()


def test_discrete_flux_is_what_dissolves_below(state, export, pools):
    """Between any two depths as much dissolves as the flux falls; dissolution is uniform within a layer."""
    grid = state.model.grid
    edges = grid.depth_edges
    for depth in (edges[2], 0.3 * edges[2] + 0.7 * edges[3], edges[3], edges[-2], 0.5 * (edges[-2] + edges[-1])):
        share = np.clip((edges[1:] - depth) / grid.thickness, 0.0, 1.0)[grid.layer]
        below = pools.volume @ (share * pools.loss["poc"])
        found = float(flux_at_depth(export, depth)["poc_flux_discrete_global"]) / (YEAR * PGC_PER_MMOL)
        assert found == pytest.approx(below, rel=1e-9)


def test_upwind_scheme_attenuates_less_than_the_law(embedded_state, exports):
    flux = flux_at_depth(exports(embedded_state), 1000.0)
    assert float(flux["poc_flux_discrete_global"]) > 1.5 * float(flux["poc_flux_continuous_global"])


@pytest.fixture
def mixed(embedded_state, exports):
    """The embedded ocean and a mixed layer that is deeper in the south."""
    export = exports(embedded_state)
    depth = xr.where(export["latitude"] < 0.0, 200.0, 50.0) * xr.ones_like(export["area"])
    return export, depth.where(export["wet"]).assign_attrs(units="m")


def test_rule_of_the_mixed_layer(mixed):
    export, depth = mixed
    flux = flux_at_mixed_layer(export, depth)
    north = export["latitude"] > 0.0
    xr.testing.assert_allclose(
        flux["toc_flux_continuous"].where(north).drop_vars("depth"), export["toc_export"].where(north), rtol=1e-13
    )
    fixed = flux_at_depth(export, 200.0)
    left = (fixed["poc_flux_continuous"] + fixed["semilabile_flux_continuous"]).where(~north)
    np.testing.assert_allclose(flux["toc_flux_continuous"].where(~north), left, rtol=1e-12)
    np.testing.assert_allclose(
        flux["poc_flux_discrete"].where(~north), fixed["poc_flux_discrete"].where(~north), rtol=1e-12
    )
    assert (flux["labile_flux_continuous"].where(~north & (flux["poc_flux_continuous"] > 0)).fillna(0.0) == 0.0).all()
    assert float(flux["depth"].min()) == export.attrs["euphotic_depth"] and float(flux["depth"].max()) == 200.0
    in_km = (depth / 1e3).assign_attrs(units="km").transpose("longitude", "latitude")
    xr.testing.assert_allclose(flux_at_mixed_layer(export, in_km), flux, rtol=1e-12)


def test_wrong_mixed_layers(mixed):
    export, depth = mixed
    wrong = {
        "no attribute 'units'": depth.drop_attrs(),
        "expected the grid of the model": depth.isel(longitude=slice(1, None)),
        "has another longitude": depth.assign_coords(longitude=depth["longitude"] - 180.0),
        "negative or missing in": -depth,
        "missing in 1 of": depth.where(~((depth["latitude"] == 20.0) & (depth["longitude"] == 204.0))),
    }
    for message, field in wrong.items():
        with pytest.raises(InputError, match=message):
            flux_at_mixed_layer(export, field)


@pytest.mark.parametrize("depth", [10.0, -100.0, 9000.0, float("nan"), [200.0, 50.0]])
def test_wrong_depths(exports, depth):
    with pytest.raises(InputError, match=r"expected depths from the base of the euphotic zone at 74 m"):
        flux_at_depth(exports(steady("few_box", "first_round")), depth)


def test_wrong_oceans_and_times():
    ocean = load_circulation("two_box")
    model = PCOModel(ocean, idealised_forcing(ocean.grid), backend="superlu")
    with pytest.raises(InputError, match="at least one layer below"):
        probability_below(model, np.ones(2))
    with pytest.raises(InputError, match="positive number of hours"):
        carbon_export(steady("few_box", "first_round"), labile_hours=0.0)
    with pytest.raises(InputError, match="respired in 12 hours"):
        carbon_export(steady("random_ocean_2x3", "delta"), labile_hours=24.0)
