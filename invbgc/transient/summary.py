"""What a run of the industrial era says: inventories through the years, snapshots, and cells, as labelled tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from invbgc.constants import PGC_PER_MMOL
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.transient.atmosphere import Atmosphere, zone_of_columns
from invbgc.transient.bottles import CellMeans
from invbgc.transient.era import EraRun
from invbgc.transient.integrate import Clock

ZONES = ("north", "tropics", "south")

SHALLOW = 100.0
"""Depth to which the upper mean of the vertical gradient reaches, m (Wang et al. 2023)."""

BEFORE_BOMBS = 1950.0
"""Year from which bomb radiocarbon is counted."""

STANDARD_RATIO = 1.176e-12
"""14C/12C of the standard (Karlen et al. 1964)."""

AVOGADRO = 6.02214076e23

QUOTED = (1975.0, 1995.0, 2010.0)
"""Years that are quoted besides the last one."""

SNAPSHOTS = (1975.0, 1995.0, 2010.0, 2020.0)
"""Years whose fields are kept: the surveys GEOSECS and WOCE, the end of the older CO2 record, that of the paper."""


def shallow_share(grid: OceanGrid) -> np.ndarray:
    """Share of each box [n_wet] that lies above `SHALLOW`."""
    top, bottom = grid.depth_edges[:-1], grid.depth_edges[1:]
    return np.clip((SHALLOW - top) / (bottom - top), 0.0, 1.0)[grid.layer]


class Yearbook:
    """What is written down of every year of a run, and the table made of it.

    Args:
        grid: the grid.
        clock: of the run.
        atmosphere: its histories.
        snapshots: years whose fields are kept; those outside the run are left out, its end is always kept.

    Attributes:
        snapshots: the years whose fields are kept.
    """

    def __init__(self, grid: OceanGrid, clock: Clock, atmosphere: Atmosphere, snapshots: Sequence[float] = SNAPSHOTS):
        self._grid, self._clock, self._atmosphere = grid, clock, atmosphere
        end = clock.start + clock.years
        self.snapshots = sorted({year for year in snapshots if clock.start < year < end} | {end})
        zones = zone_of_columns(grid)
        self._zones = np.array([grid.surface_area * (zones == number) for number in range(len(ZONES))])
        self._zones /= np.maximum(self._zones.sum(axis=1, keepdims=True), 1e-300)
        shallow = shallow_share(grid) * grid.volume
        deep = grid.volume - shallow
        self._difference = deep / max(deep.sum(), 1e-300) - shallow / shallow.sum()

    def write(self, state: np.ndarray) -> dict[str, Any]:
        """The row of one year: from the state [2, n_wet] of DIC and DI14C."""
        columns = self._grid.n_columns
        d14c = 1e3 * (state[1, :columns] / state[0, :columns] - 1.0)
        return {
            "inventory": PGC_PER_MMOL * (self._grid.volume @ state[0]),
            "radiocarbon": 1e-3 * (self._grid.volume @ state[1]),
            "vertical_gradient": self._difference @ state[0],
            "surface_D14C": np.where(self._zones.any(axis=1), self._zones @ d14c, np.nan),
        }

    def table(self, era: EraRun) -> xr.Dataset:
        """Everything on years and snapshots.

        Args:
            era: the run.

        Returns:
            ``excess_inventory`` (Pg C), ``vertical_gradient`` (mean DIC below 100 m minus that above, mmol m-3),
            ``pco2``, ``atmosphere_D14C``, ``surface_D14C`` and ``bomb_inventory`` (1e26 atoms since 1950) by year;
            ``excess_DIC`` and ``D14C`` by snapshot; geometry and basins.

        Raises:
            InputError: the run was made without this yearbook.
        """
        if not era.run.book or set(era.run.snapshots) != set(self.snapshots):
            raise InputError("this run was not written down: simulate with book=yearbook.write and its snapshots")
        grid, column = self._grid, era.run.book
        years = self._clock.start + np.arange(self._clock.years + 1.0)
        before = np.interp(BEFORE_BOMBS, years, column["radiocarbon"])
        bombs = (column["radiocarbon"] - before) * STANDARD_RATIO * AVOGADRO / 1e26
        atmosphere = np.array([self._atmosphere.d14c.at(year) for year in years])
        excess_inventory = column["inventory"] - column["inventory"][0]
        by_year = {
            "excess_inventory": (excess_inventory, "Pg C", "DIC gained since the start"),
            "vertical_gradient": (column["vertical_gradient"], "mmol m-3", "mean DIC below 100 m minus that above"),
            "pco2": (np.array([self._atmosphere.co2.at(year) for year in years]), "uatm", "pCO2 of the atmosphere"),
            "bomb_inventory": (
                np.where(years >= BEFORE_BOMBS, bombs, np.nan), "1e26", "atoms of radiocarbon gained since 1950"
            ),
        }  # fmt: skip
        table = xr.Dataset(coords={"year": ("year", years, {"units": "year"}), "zone": list(ZONES)})
        for name, (values, unit, text) in by_year.items():
            table[name] = ("year", values, {"units": unit, "long_name": text})
        for name, values, text in (
            ("atmosphere_D14C", atmosphere, "radiocarbon of the atmosphere"),
            ("surface_D14C", column["surface_D14C"], "radiocarbon of the surface ocean, mean of the zone"),
        ):
            table[name] = (("year", "zone"), values, {"units": "permil", "long_name": text})
        excess, d14c = [], []
        for state in era.run.snapshots.values():
            excess.append(grid.unpack(state[0] - era.start[0], "excess_DIC"))
            d14c.append(grid.unpack(1e3 * (state[1] / state[0] - 1.0), "D14C"))
        kept = xr.IndexVariable("snapshot", list(era.run.snapshots), {"units": "year"})
        table["excess_DIC"] = xr.concat(excess, kept).assign_attrs(units="mmol m-3", long_name="DIC gained")
        table["D14C"] = xr.concat(d14c, kept).assign_attrs(units="permil", long_name="radiocarbon of DIC")
        table["D14C_start"] = grid.unpack(1e3 * (era.start[1] / era.start[0] - 1.0), "D14C_start", {"units": "permil"})
        table["volume"] = grid.unpack(grid.volume, "volume", {"units": "m3"})
        table["area"] = grid.unpack_surface(grid.surface_area, "area", {"units": "m2"})
        for name, mask in grid.masks.items():
            table[f"basin_{name}"] = (("latitude", "longitude"), mask if mask.ndim == 2 else mask.any(axis=0))
        flux = era.run.series["gained"].sel(tracer="DIC")
        table.attrs = {
            "title": "Industrial era",
            "atmosphere": f"{self._atmosphere.co2.source}; {self._atmosphere.d14c.source}",
            "budget_error": float(
                abs(era.run.series["inventory"].sel(tracer="DIC")[-1] - 1e-3 * grid.volume @ era.start[0] - flux.sum())
                / np.abs(flux).sum()
            ),
        }
        return table


def radiocarbon_table(grid: OceanGrid, clock: Clock, cells: CellMeans, modelled: np.ndarray) -> xr.Dataset:
    """D14C of cells, observed and modelled [m] permil, with their year, depth and latitude."""
    year = clock.start + (cells.step + 0.5) / clock.steps_per_year
    columns = {
        "cell_year": (year, "year", "middle of the time step"),
        "cell_depth": (grid.wet_depth[cells.box], "m", "depth of the box"),
        "cell_latitude": (grid.wet_latitude[cells.box], "degrees_north", "latitude of the box"),
        "observed_D14C": (cells.value, "permil", "mean of the bottles"),
        "modelled_D14C": (modelled, "permil", "mean of the run over the step"),
    }
    table = xr.Dataset(coords={"depth": ("depth", grid.depth, {"units": "m"})}, attrs={"title": "Radiocarbon of cells"})
    for name, (values, unit, text) in columns.items():
        table[name] = ("cell", values, {"units": unit, "long_name": text})
    return table


def headlines(table: xr.Dataset) -> list[str]:
    """Lines of text with the numbers of a transient."""
    years = table["year"].values
    said = [*(year for year in QUOTED if years[0] < year < years[-1]), float(years[-1])]
    lines = []
    for year in said:
        row = table.sel(year=year, method="nearest")
        bombs = (
            "" if np.isnan(row["bomb_inventory"]) else f", bomb radiocarbon {float(row['bomb_inventory']):.0f}e26 atoms"
        )
        lines.append(f"  {year:.0f}: excess DIC {float(row['excess_inventory']):.1f} Pg C{bombs}")
    gradient = table["vertical_gradient"].values
    lines.append(
        f"  vertical gradient of DIC {gradient[0]:.1f} -> {gradient[-1]:.1f} mmol m-3, "
        f"{100 * (1 - gradient[-1] / gradient[0]):.1f} % less"
    )
    for zone in table["zone"].values:
        curve = table["surface_D14C"].sel(zone=zone)
        if np.isfinite(curve).any():
            top = curve.idxmax("year")
            first, most = float(curve[0]), float(curve.max())
            lines.append(
                f"  surface D14C, {zone}: {first:.0f} permil at the start, most in {float(top):.0f}: {most:.0f}"
            )
    lines.append(f"  what DIC gained minus the integral of its flux, over it: {table.attrs['budget_error']:.1e}")
    return lines
