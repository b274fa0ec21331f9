"""Chains of draws as one result: convergence, summaries, and a file that ArviZ reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.files import replaced
from invbgc.inference.sample import Chain
from invbgc.parameters import ParameterTable
from invbgc.transforms import TRANSFORMS

SCHEMA = "invbgc chains 1"
"""Value of the attribute ``schema`` of a file of chains."""

GOOD_R_HAT = 1.01
"""Rank-normalised R-hat below which chains count as mixed (Vehtari et al. 2021, Bayesian Analysis 16)."""


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of several chains of one posterior.

    Attributes:
        table: parameter table; its free rows name the coordinates.
        x: [chain, draw, p] optimiser coordinates.
        statistics: name -> [chain, draw], by the names of ArviZ.
        attrs: how they were made: sampler, gradients, values, seconds, manifest.
    """

    table: ParameterTable
    x: np.ndarray
    statistics: Mapping[str, np.ndarray]
    attrs: Mapping[str, Any]

    @classmethod
    def joined(cls, chains: Sequence[Chain], table: ParameterTable, attrs: Mapping[str, Any] | None = None) -> "Chains":
        """Chains of equal length as one result, with their costs added."""
        statistics = {name: np.stack([chain.statistics[name] for chain in chains]) for name in chains[0].statistics}
        costs = {
            name: float(sum(getattr(chain, name) for chain in chains)) for name in ("gradients", "values", "seconds")
        }
        return cls(table, np.stack([chain.x for chain in chains]), statistics, costs | dict(attrs or {}))

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Parameter -> [chain, draw] in parameter units."""
        rows = enumerate(self.table.free)
        return {row.name: np.asarray(TRANSFORMS[row.transform].value(self.x[..., i])) for i, row in rows}

    def summary(self) -> xr.Dataset:
        """Moments, convergence and cost of every parameter.

        Returns:
            On ``parameter``: mean and standard_deviation of the optimiser coordinate; quantile (0.025, 0.16, 0.5, 0.84,
            0.975) in parameter units; r_hat (rank-normalised, split), ess_bulk, ess_tail. Attributes: divergences,
            and model solves (gradients and values) per effective draw of the worst parameter.
        """
        columns = [self.x[..., i] for i in range(self.x.shape[-1])]
        probabilities = (0.025, 0.16, 0.5, 0.84, 0.975)
        quantiles = np.array([np.quantile(value, probabilities) for value in self.values.values()])
        bulk = np.array([_statistic("ess", column, method="bulk") for column in columns])
        tail = np.array([_statistic("ess", column, method="tail", prob=(0.05, 0.95)) for column in columns])
        solves = float(self.attrs.get("gradients", 0.0)) + float(self.attrs.get("values", 0.0))
        return xr.Dataset(
            {
                "mean": ("parameter", self.x.mean(axis=(0, 1)), {"long_name": "mean of the optimiser coordinate"}),
                "standard_deviation": ("parameter", self.x.std(axis=(0, 1), ddof=1)),
                "quantile": (("parameter", "probability"), quantiles, {"long_name": "quantiles, parameter units"}),
                "r_hat": ("parameter", [_statistic("rhat", column) for column in columns]),
                "ess_bulk": ("parameter", bulk, {"long_name": "effective draws, bulk"}),
                "ess_tail": ("parameter", tail, {"long_name": "effective draws, tails"}),
            },
            {"parameter": list(self.table.free_names), "probability": list(probabilities)},
            {
                "divergences": int(np.sum(self.statistics["diverging"])),
                "solves_per_effective_draw": solves / float(bulk.min()),
                "seconds_per_effective_draw": float(self.attrs.get("seconds", np.nan)) / float(bulk.min()),
            },
        )

    def to_datatree(self) -> xr.DataTree:
        """Groups as ArviZ names them: posterior (parameter units), unconstrained_posterior (x), sample_stats.

        Every parameter carries long_name, symbol and reference, its units, or the transform that made x of it.
        """
        coordinates = {"chain": np.arange(self.x.shape[0]), "draw": np.arange(self.x.shape[1])}
        dims, values, rows = ("chain", "draw"), self.values, self.table.free
        about = {
            row.name: {"long_name": row.description, "symbol": row.symbol, "reference": row.reference} for row in rows
        }
        posterior = {row.name: (dims, values[row.name], about[row.name] | {"units": row.unit}) for row in rows}
        whitened = {
            row.name: (dims, self.x[..., i], about[row.name] | {"units": "1", "transform": row.transform})
            for i, row in enumerate(rows)
        }
        counted = {"n_steps": np.int64, "tree_depth": np.int64, "diverging": np.bool_}
        statistics = {
            name: (dims, np.asarray(value).astype(counted.get(name, np.float64)))
            for name, value in self.statistics.items()
        }
        attrs = {"inference_library": "invbgc", **self.attrs}
        return xr.DataTree.from_dict(
            {
                "/": xr.Dataset(attrs={"schema": SCHEMA, **attrs}),
                "/posterior": xr.Dataset(posterior, coordinates, attrs),
                "/unconstrained_posterior": xr.Dataset(whitened, coordinates, attrs),
                "/sample_stats": xr.Dataset(statistics, coordinates, attrs),
            }
        )

    def save(self, path: str | Path) -> Path:
        """Write netCDF with the groups of `to_datatree`, whole or not at all."""
        with replaced(path) as temporary:
            self.to_datatree().to_netcdf(temporary, engine="netcdf4")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, table: ParameterTable) -> "Chains":
        """Read a file of chains.

        Args:
            path: file written by `save`.
            table: parameter table of the posterior.

        Raises:
            InputError: the file is missing, is not one of chains, or has other parameters.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected chains, which 'invbgc sample' writes.")
        try:
            with xr.open_datatree(path, engine="netcdf4") as file:
                tree = file.load()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} cannot be read as netCDF: {error}.") from error
        if tree.attrs.get("schema") != SCHEMA:
            raise InputError(f"{path}: schema {tree.attrs.get('schema')!r}; expected {SCHEMA!r}, a file of chains.")
        whitened = tree["unconstrained_posterior"].to_dataset()
        names = tuple(map(str, whitened.data_vars))
        if names != table.free_names:
            raise InputError(f"{path}: parameters {', '.join(names)}; expected {', '.join(table.free_names)}.")
        x = np.stack([whitened[name].values for name in names], axis=-1)
        statistics = {str(name): part.values for name, part in tree["sample_stats"].to_dataset().data_vars.items()}
        return cls(table, x, statistics, {str(key): value for key, value in tree.attrs.items() if key != "schema"})


def _statistic(name: str, draws: np.ndarray, **options: Any) -> float:
    """A convergence statistic of ArviZ for draws [chain, draw]."""
    from arviz_stats.base.array import array_stats

    return float(getattr(array_stats, name)(draws, chain_axis=0, draw_axis=1, **options))
