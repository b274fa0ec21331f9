"""Preformed and regenerated tracers: closed forms in two boxes, exact sums, equilibrium, and budgets that close."""

from dataclasses import replace

import numpy as np
import pytest

from invbgc.chemistry.carbonate import carbonate
from invbgc.circulation import load_circulation
from invbgc.circulation.toys import SVERDRUP
from invbgc.constants import PGC_PER_MMOL, SEAWATER_DENSITY_FACTOR, YEAR
from invbgc.datasets.idealised import idealised_forcing
from invbgc.diagnostics.pumps import budget_table, carbon_pumps, equilibrium_dic, sources
from invbgc.diagnostics.residence import return_time
from invbgc.errors import ConvergenceError, InputError
from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.models.pco.carbon import air_sea_co2
from tests.oceans import toy_state


@pytest.fixture(scope="module")
def state():
    return toy_state("few_box", PCOOptions(labile="satellite_residual", labile_fraction=0.05))


@pytest.fixture(scope="module")
def pumps(state):
    return carbon_pumps(state)


def test_two_boxes():
    """Regenerated: q (X_d - X_s) = v_d R_d and l v_s X_s = v_d R_d, for a source R_d of the deep box."""
    state = toy_state("two_box", PCOOptions(euphotic_layers=1))
    grid, flow, rate = state.model.grid, 40.0 * SVERDRUP, 100.0 / YEAR
    surface, deep = grid.volume
    parts = carbon_pumps(state, removal_rate=100.0)
    for tracer, processes in sources(state).items():
        released = deep * processes["soft_tissue"][1]
        expected = [released / (rate * surface), released / (rate * surface) + released / flow]
        np.testing.assert_allclose(grid.pack(parts[f"{tracer}_soft_tissue"]), expected, rtol=1e-9)
        preformed = grid.pack(parts[f"{tracer}_preformed"])
        assert preformed[0] == pytest.approx(preformed[1], rel=1e-9)  # nothing happens to it on its way
    assert grid.pack(parts["DIC_carbonate"])[1] > 0.0 > grid.pack(parts["O2_soft_tissue"])[1]


@pytest.mark.parametrize("rate", [0.1, 20.0, 500.0, 1e4])
def test_parts_add_up_for_any_removal_rate(state, rate):
    grid, parts = state.model.grid, carbon_pumps(state, removal_rate=rate)
    assert parts.attrs["split_residual"] < 1e-10
    for tracer, names in {
        "DIP": ("preformed", "soft_tissue", "restoring"),
        "DIC": ("saturation", "disequilibrium", "soft_tissue", "carbonate"),
        "ALK": ("preformed", "soft_tissue", "carbonate", "restoring"),
        "O2": ("preformed", "soft_tissue"),
    }.items():
        total = sum(grid.pack(parts[f"{tracer}_{name}"]) for name in names)
        np.testing.assert_allclose(total, state.fields[tracer], rtol=1e-9)


def test_parts_of_alkalinity_follow_those_of_dic(state, pumps):
    """Calcite gives two of alkalinity per DIC; respiration takes r_N:C per DIC."""
    grid, options = state.model.grid, state.model.options
    soft, calcite = (grid.pack(pumps[f"DIC_{part}"]) for part in ("soft_tissue", "carbonate"))
    np.testing.assert_allclose(grid.pack(pumps["ALK_carbonate"]), 2.0 * calcite, rtol=1e-10)
    np.testing.assert_allclose(grid.pack(pumps["ALK_soft_tissue"]), -options.r_N2C * soft, rtol=1e-10)


def test_regenerated_inventory_by_the_adjoint(state, pumps):
    """sum v X_soft = sum v tau s below the first layer, with the mean time tau to the surface."""
    grid = state.model.grid
    tau = return_time(state.model, 500.0)
    for tracer, processes in sources(state).items():
        adjoint = grid.volume @ (tau * processes["soft_tissue"] * ~grid.layer_mask(1))
        found = pumps["inventory"].sel(tracer=tracer, part="soft_tissue")
        assert float(found) == pytest.approx(adjoint * 1e-18, rel=1e-9)


def test_inventories(state, pumps):
    grid, inventory = state.model.grid, pumps["inventory"]
    for tracer in ("DIP", "DIC", "ALK", "O2"):
        amount = grid.volume @ np.asarray(state.fields[tracer])
        assert float(inventory.sel(tracer=tracer, part="total")) == pytest.approx(amount * 1e-18, rel=1e-12)
    carbon = pumps["carbon_inventory"]
    amount = grid.volume @ np.asarray(state.fields["DIC"]) * PGC_PER_MMOL
    assert float(carbon.sel(part="total")) == pytest.approx(amount, rel=1e-12)
    parts = ["saturation", "disequilibrium", "soft_tissue", "carbonate"]
    assert float(carbon.sel(part=parts).sum()) == pytest.approx(amount, rel=1e-10)
    share = inventory.sel(tracer="DIP", part="soft_tissue") / inventory.sel(tracer="DIP", part="total")
    assert float(pumps["regenerated_fraction"]) == pytest.approx(float(share), rel=1e-14)
    assert 0.05 < float(share) < 0.95
    assert np.isnan(inventory.sel(tracer="O2", part="carbonate"))
    assert pumps["DIC_saturation"].attrs["units"] == "mmol m-3" and "depth_bounds" in pumps.coords


def test_surface_values_of_the_saturated_part(state, pumps):
    """With a fast renewal it is the equilibrium DIC of the surface, and the preformed part is the surface DIC."""
    grid = state.model.grid
    columns, fields = grid.n_columns, {name: np.asarray(value) for name, value in state.fields.items()}
    fast = carbon_pumps(state, removal_rate=1e8)
    equilibrium = equilibrium_dic(state.model.environment, fields["ALK"][:columns], fields["DIC"][:columns])
    np.testing.assert_allclose(grid.pack(fast["DIC_saturation"])[:columns], equilibrium, rtol=1e-7)
    np.testing.assert_allclose(grid.pack(fast["DIC_preformed"])[:columns], fields["DIC"][:columns], rtol=1e-7)
    for part in ("saturation", "soft_tissue", "carbonate"):
        close = abs(pumps["carbon_inventory"].sel(part=part) / fast["carbon_inventory"].sel(part=part) - 1.0)
        assert float(close) < 0.02, part


@pytest.mark.parametrize(
    "options", [{}, {"chemistry_units": "released"}, {"atmosphere": "ocmip2", "pco2_atm": 400.0}], ids=str
)
def test_equilibrium_leaves_no_flux(options):
    ocean = load_circulation("few_box")
    env = PCOModel(ocean, idealised_forcing(ocean.grid), PCOOptions(**options)).environment
    alk = np.linspace(2100.0, 2500.0, ocean.grid.n_columns)
    near, far = (equilibrium_dic(env, alk, factor * alk) for factor in (0.9, 0.75))
    np.testing.assert_allclose(near, far, rtol=1e-12)
    still = replace(env, co2_exchange=np.ones(ocean.grid.n_columns))
    atmosphere = np.abs(air_sea_co2(still, np.zeros_like(near), alk))
    assert np.all(np.abs(air_sea_co2(still, near, alk)) <= 1e-9 * atmosphere)


def test_equilibrium_is_that_of_the_carbonate_system():
    """The pCO2 of water with this DIC is the atmosphere's, by the route of the check values."""
    ocean = load_circulation("few_box")
    forcing = idealised_forcing(ocean.grid)
    env = PCOModel(ocean, forcing).environment
    alk = np.linspace(2100.0, 2500.0, ocean.grid.n_columns)
    dic = equilibrium_dic(env, alk, 0.9 * alk)
    water = carbonate(
        dic / SEAWATER_DENSITY_FACTOR,
        alk / SEAWATER_DENSITY_FACTOR,
        forcing.chemistry_temperature,
        forcing.chemistry_salinity,
        forcing.chemistry_phosphate,
        forcing.chemistry_silicate,
        forcing.chemistry_pressure,
    )
    np.testing.assert_allclose(water.pco2, 278.0, rtol=1e-4)  # total boron is rounded in one of the two
    assert np.all(np.diff(dic / alk) != 0.0) and np.all((dic > 0.8 * alk) & (dic < alk))


def test_equilibrium_that_does_not_exist_is_an_error():
    ocean = load_circulation("few_box")
    env = PCOModel(ocean, idealised_forcing(ocean.grid)).environment
    alk = np.full(ocean.grid.n_columns, np.nan)
    with pytest.raises(ConvergenceError, match="in equilibrium with the atmosphere"):
        equilibrium_dic(env, alk, np.full(ocean.grid.n_columns, 2000.0))


def test_processes_balance_the_transport(state):
    transport = state.model.circulation.transport
    for tracer, processes in sources(state).items():
        total = sum(processes.values())
        carried = transport @ np.asarray(state.fields[tracer])
        np.testing.assert_allclose(total, carried, atol=1e-8 * np.abs(total).max(), err_msg=tracer)


def test_budgets_close(state):
    table = budget_table(state)
    assert np.all(table["closure"] < 1e-9)
    made, brought = table["budget"].sum("process"), table["exchange"]
    np.testing.assert_allclose(made, -brought, atol=1e-6 * float(abs(table["budget"]).max()))
    below = table["budget"].sel(zone="below")
    assert np.all(below.sel(process=["gas_exchange", "freshwater"]) == 0.0)
    soft = below.sel(process="soft_tissue")
    assert float(soft.sel(tracer="DIC")) > 0.0 > float(soft.sel(tracer="O2"))
    assert table["budget"].attrs["units"] == "Tmol yr-1"


def test_wrong_removal_rate_is_refused(state):
    with pytest.raises(InputError, match="removal_rate = inf"):
        carbon_pumps(state, removal_rate=np.inf)
