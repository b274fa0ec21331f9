"""What is said of a run: inventories, gradients, bomb radiocarbon, snapshots and the text, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.circulation import load_circulation
from invbgc.constants import YEAR
from invbgc.linalg.operators import RowProduct, ShiftedTransport, with_full_diagonal
from invbgc.linalg.system import SparseSystem
from invbgc.transient.atmosphere import Atmosphere, load_atmosphere, zone_of_columns
from invbgc.transient.bottles import DatedBottles, cell_means
from invbgc.transient.era import EraRun
from invbgc.transient.integrate import Clock, Simulation, TransientModel
from invbgc.transient.summary import Yearbook, headlines, radiocarbon_table, shallow_share

CLOCK = Clock(1945.0, 30, 6)
SNAPSHOTS = (1940.0, 1960.0, 1970.0, 1975.0, 2010.0)
OCEAN = load_circulation("few_box")
GRID = OCEAN.grid
CARBON = 12.0107
"""g per mol."""


def made_up_model() -> TransientModel:
    """DIC and DI14C that the surface takes up at fixed rates from the air's two numbers; no chemistry to compile."""
    transport = with_full_diagonal(OCEAN.transport)
    system = SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "tracer", "superlu")
    columns = GRID.n_columns

    def source(c, now, rate):
        drawn = jnp.stack([now["dic"] - c[0, :columns], now["ratio"] * c[0, :columns] - c[1, :columns]])
        return jnp.zeros_like(c).at[:, :columns].set(rate * drawn)

    loss = np.zeros((2, GRID.n_wet))
    return TransientModel(("DIC", "DI14C"), system, loss, GRID.volume, lambda rate: rate / YEAR, source)


@pytest.fixture(scope="module")
def atmosphere() -> Atmosphere:
    return load_atmosphere()


@pytest.fixture(scope="module")
def era(atmosphere) -> EraRun:
    zone = zone_of_columns(GRID)

    def forcing(year):
        ratio = 1.0 + 1e-3 * atmosphere.d14c.at(year)[zone]
        return {"dic": np.asarray(2050.0 + 5.0 * (year - 1945.0)), "ratio": ratio}

    dic = 2000.0 + 0.02 * GRID.wet_depth
    start = np.stack([dic, 0.9 * dic])
    book = Yearbook(GRID, CLOCK, atmosphere, SNAPSHOTS)
    run = Simulation(made_up_model(), CLOCK, forcing).run(
        start, 0.3, book=book.write, snapshots=book.snapshots, keep=True
    )
    return EraRun(None, start, run, {})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(era, atmosphere):
    return Yearbook(GRID, CLOCK, atmosphere, SNAPSHOTS).table(era)


@pytest.fixture(scope="module")
def states(era) -> np.ndarray:
    """[years + 1, 2, n_wet]."""
    return np.array([*era.run.yearly, era.run.final])


def test_excess_inventory_by_hand(table, states):
    mmol = (states[:, 0] - states[0, 0]) @ GRID.volume
    np.testing.assert_allclose(table["excess_inventory"], mmol * 1e-3 * CARBON * 1e-15, rtol=1e-3, atol=1e-9)
    assert table["excess_inventory"].values[0] == 0.0 and table["excess_inventory"].values[-1] > 1.0
    np.testing.assert_array_equal(table["year"], 1945.0 + np.arange(31.0))


def test_vertical_gradient_by_hand(table, states):
    """100 m lie in the third layer, 74 to 1000 m: 26 of its 926 m are shallow."""
    share = np.array([1.0, 1.0, 26.0 / 926.0, 0.0])[GRID.layer]
    np.testing.assert_allclose(shallow_share(GRID), share, rtol=1e-14)
    above = [np.average(state, weights=GRID.volume * share) for state in states[:, 0]]
    below = [np.average(state, weights=GRID.volume * (1.0 - share)) for state in states[:, 0]]
    np.testing.assert_allclose(table["vertical_gradient"], np.subtract(below, above), rtol=1e-10)
    assert table["vertical_gradient"].values[0] > 10.0 > table["vertical_gradient"].values[-1]


def test_bomb_inventory_by_hand(table, states):
    bombs = table["bomb_inventory"].values
    assert np.isnan(bombs[:5]).all() and np.isfinite(bombs[5:]).all()
    assert bombs[5] == 0.0
    moles = 1e-3 * (states[:, 1] - states[5, 1]) @ GRID.volume
    np.testing.assert_allclose(bombs[5:], moles[5:] * 1.176e-12 * 6.02214076e23 / 1e26, rtol=1e-9, atol=1e-9)
    assert bombs[-1] > 1.0


def test_surface_radiocarbon_by_zone(table, states):
    """North, tropics and south are the third, second and first row of the grid."""
    ratio = 1e3 * (states[:, 1] / states[:, 0] - 1.0)[:, : GRID.n_columns]
    rows = {"north": [4, 5], "tropics": [2, 3], "south": [0, 1]}
    for zone, columns in rows.items():
        expected = ratio[:, columns] @ GRID.surface_area[columns] / GRID.surface_area[columns].sum()
        np.testing.assert_allclose(table["surface_D14C"].sel(zone=zone), expected, rtol=1e-10)


def test_zones_without_columns_are_nan(atmosphere):
    column = load_circulation("column").grid
    row = Yearbook(column, CLOCK, atmosphere).write(np.ones((2, column.n_wet)))
    np.testing.assert_array_equal(np.isnan(row["surface_D14C"]), [False, True, True])


def test_air_of_the_years(table, atmosphere):
    np.testing.assert_allclose(table["pco2"].sel(year=1960.0), float(atmosphere.co2.at(1960.0)))
    np.testing.assert_allclose(table["atmosphere_D14C"].sel(year=1965.0), atmosphere.d14c.at(1965.0))
    assert atmosphere.co2.source in table.attrs["atmosphere"]


def test_snapshots(table, era, states):
    """Years within the run, and its end."""
    assert Yearbook(GRID, CLOCK, load_atmosphere(), SNAPSHOTS).snapshots == [1960.0, 1970.0, 1975.0]
    assert Yearbook(GRID, CLOCK, load_atmosphere(), ()).snapshots == [1975.0]
    np.testing.assert_array_equal(table["snapshot"], [1960.0, 1970.0, 1975.0])
    for year in (1960.0, 1970.0, 1975.0):
        there, here = states[int(year - 1945.0)], table.sel(snapshot=year)
        np.testing.assert_array_equal(GRID.pack(here["excess_DIC"]), there[0] - era.start[0])
        np.testing.assert_array_equal(GRID.pack(here["D14C"]), 1e3 * (there[1] / there[0] - 1.0))
    np.testing.assert_allclose(GRID.pack(table["D14C_start"]), -100.0, rtol=1e-12)
    np.testing.assert_array_equal(GRID.pack(table["volume"]), GRID.volume)
    assert bool(table["basin_atlantic"].values[:, 0].all()) and not table["basin_atlantic"].values[:, 1].any()
    assert table["excess_DIC"].attrs["units"] == "mmol m-3" and table["D14C"].attrs["units"] == "permil"


def test_budget_is_closed(table):
    assert 0.0 <= table.attrs["budget_error"] < 1e-9


def test_headlines(table):
    lines = headlines(table)
    last = table.isel(year=-1)
    expected = f"  1975: excess DIC {float(last['excess_inventory']):.1f} Pg C, bomb radiocarbon "
    assert lines[0].startswith(expected) and lines[0].endswith("e26 atoms")
    first, end = (float(table["vertical_gradient"][number]) for number in (0, -1))
    less = 100.0 * (first - end) / first
    assert lines[1] == f"  vertical gradient of DIC {first:.1f} -> {end:.1f} mmol m-3, {less:.1f} % less"
    assert [line.split(":")[0] for line in lines[2:5]] == [
        f"  surface D14C, {zone}" for zone in ("north", "tropics", "south")
    ]
    top = table["surface_D14C"].sel(zone="north")
    assert f"most in {float(top.idxmax()):.0f}: {float(top.max()):.0f}" in lines[2]
    assert lines[-1].startswith("  what DIC gained minus the integral of its flux") and len(lines) == 6
    early = headlines(table.isel(year=slice(0, 3)).assign_attrs(table.attrs))
    assert early[0].startswith("  1947: ") and "bomb" not in early[0]


def test_quoted_years(table):
    """1975 and 1995 are quoted within a longer run, the end always."""
    longer = table.assign_coords(year=1970.0 + np.arange(31.0))
    assert [line[:7] for line in headlines(longer)[:3]] == ["  1975:", "  1995:", "  2000:"]


def test_table_of_cells():
    bottles = DatedBottles("D14C", np.array([0, 3, 21]), np.array([1950.0, 1960.4, 1971.9]), np.array([1.0, 2.0, 4.0]))
    cells = cell_means(bottles, CLOCK, GRID)
    found = radiocarbon_table(GRID, CLOCK, cells, cells.value + 0.5)
    np.testing.assert_allclose(found["cell_year"], [1950.0 + 1 / 12, 1960.0 + 5 / 12, 1971.0 + 11 / 12])
    np.testing.assert_array_equal(found["cell_depth"], GRID.wet_depth[[0, 3, 21]])
    np.testing.assert_array_equal(found["cell_latitude"], GRID.wet_latitude[[0, 3, 21]])
    np.testing.assert_array_equal(found["modelled_D14C"] - found["observed_D14C"], 0.5)
