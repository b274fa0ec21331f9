"""Mean sequestration times by adjoints: how long carbon respired, or exported, at a place stays below the surface.

Inorganic carbon that returns to the first layer is removed within a day, L = I_s / day. With the transport adjoint
T* = V^-1 T^T V of the volume inner product,

    tau = (T* + L)^-1 1

is the mean time from respiration in a box to that removal. Semi-labile DOC produced in a box is respired below the
euphotic zone (Omega) with probability Q, and its carbon then stays away for the mean time t:

    Q = (T* + kappa)^-1 (kappa Omega),   t = (T* + kappa)^-1 (kappa Omega tau) / Q,

which does not count the time spent as DOC.
"""

import numpy as np
import xarray as xr

from invbgc.constants import YEAR
from invbgc.diagnostics.sequestration import surface_loss
from invbgc.grid import OceanGrid
from invbgc.linalg.system import SparseSystem
from invbgc.models.pco.carbon import doc_rate
from invbgc.models.pco.model import PCOModel
from invbgc.state import State

REMOVAL_RATE = 365.0
"""L, per year: carbon is removed from the first layer at a rate of one per day (Wang et al. 2023, Methods)."""

SMALLEST_PROBABILITY = 1e-3
"""Q below which the time of the little that is exported is not told: it would be that of the scheme's undershoot."""


def return_time(model: PCOModel, removal_rate: float = REMOVAL_RATE) -> np.ndarray:
    """Mean time from respiration to removal at the surface, tau = (T* + L)^-1 1.

    Args:
        model: a model; only its circulation matters.
        removal_rate: L, per year.

    Returns:
        [n_wet] s; the stock of carbon that a respiration r sustains is sum v tau r. Below zero where the transport
        scheme undershoots.

    Raises:
        InputError: the rate is not positive.

    Source: Wang et al. (2023), Methods, residence time of DOC.
    """
    grid = model.grid
    return _adjoint_solve(model.systems["tracer"], surface_loss(grid, removal_rate), grid.volume, np.ones(grid.n_wet))


def doc_residence_time(state: State) -> xr.Dataset:
    """Mean time that exported carbon stays away from the surface, by place and by the way it was exported.

    Args:
        state: a steady state.

    Returns:
        On (latitude, longitude), yr: `semilabile_time` of the carbon that each column exports as semi-labile DOC, its
        production being the weight of the layers; `semilabile_base_time` of semi-labile DOC in the deepest box of the
        euphotic zone; `poc_time` of the carbon that its particles release below the euphotic zone. NaN, and counted in
        their attribute `columns_left_out`, where a column exports nothing or less than a thousandth of what it
        produces, ends in the euphotic zone, or has a negative time by undershoot of the transport scheme.
        `export_probability`, the part of each column's semi-labile production that is exported. On (depth, latitude,
        longitude): `sequestration_time` tau, as computed. Without dimensions: `semilabile_mean_time` and
        `poc_mean_time` of the ocean's export, nothing left out. Attributes: smallest Q and tau, and numbers of boxes
        where they are negative; `adjoint_residual`, the relative difference of sum v sigma_C P Q t from the forward
        sum v Omega kappa DOC tau.

    Source: Wang et al. (2023), Methods and Fig. 3d.
    """
    model, p = state.model, state.parameters
    grid, env = model.grid, model.environment
    below = ~env.euphotic
    tau = return_time(model)
    kappa = np.asarray(doc_rate(env, p))
    exported = kappa * below
    probability, waiting = _adjoint_solve(
        model.systems["tracer"], kappa, grid.volume, np.stack([exported, exported * tau], axis=1)
    ).T
    production = grid.volume * p["sigma_C"] * state.diagnostics["production"]
    released = grid.volume * below * model.options.kappa_p * state.diagnostics["POC"]

    made, gone = _column_sum(grid, production), _column_sum(grid, production * probability)
    released_in = _column_sum(grid, released)
    share = _ratio(gone, made, made > 0.0)
    base = grid.column_box[model.options.euphotic_layers - 1]
    has_base = grid.column_wet[model.options.euphotic_layers - 1]
    maps = {
        "semilabile_time": (
            _time(_column_sum(grid, production * waiting), gone, share >= SMALLEST_PROBABILITY),
            "mean time below the surface of carbon exported as semi-labile DOC",
        ),
        "semilabile_base_time": (
            _time(waiting[base], probability[base], has_base & (probability[base] >= SMALLEST_PROBABILITY)),
            "mean time below the surface of semi-labile DOC exported from the base of the euphotic zone",
        ),
        "poc_time": (
            _time(_column_sum(grid, released * tau), released_in, released_in > 0.0),
            "mean time below the surface of carbon exported by particles",
        ),
    }
    sequestered = float(production @ waiting)
    forward = float(grid.volume @ (exported * np.asarray(state.fields["DOC"]) * tau))
    means = {
        "semilabile_mean_time": (sequestered / gone.sum(), "mean time of the ocean's semi-labile DOC export"),
        "poc_mean_time": (float(released @ tau) / released.sum(), "mean time of the ocean's particle export"),
    }

    def in_years(long_name: str, **more: int) -> dict:
        return {"units": "yr", "long_name": long_name, **more}

    return xr.Dataset(
        {
            name: grid.unpack_surface(time, attrs=in_years(long_name, columns_left_out=int(np.isnan(time).sum())))
            for name, (time, long_name) in maps.items()
        }
        | {name: ((), time / YEAR, in_years(long_name)) for name, (time, long_name) in means.items()}
        | {
            "export_probability": grid.unpack_surface(
                share, attrs={"long_name": "part of semi-labile production that is exported", "units": "1"}
            ),
            "sequestration_time": grid.unpack(
                tau / YEAR, attrs=in_years("mean time from respiration to return to the surface")
            ),
        },
        coords=grid.coordinates(),
        attrs={
            "source": "Wang et al. 2023, Methods and Fig. 3d",
            "smallest_probability": float(probability.min()),
            "boxes_with_negative_probability": int((probability < 0.0).sum()),
            "shortest_sequestration_time_years": float(tau.min() / YEAR),
            "boxes_with_negative_sequestration_time": int((tau < 0.0).sum()),
            "adjoint_residual": abs(sequestered - forward) / abs(forward),
        },
    )


def _adjoint_solve(system: SparseSystem, rate: np.ndarray, volume: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """(T* + diag(rate))^-1 rhs for rhs [n_wet] or [n_wet, k]."""
    weighted = (volume * rhs.T).T
    return (system.solve(system.factorise(rate), weighted, transposed=True).T / volume).T


def _column_sum(grid: OceanGrid, values: np.ndarray) -> np.ndarray:
    """Sum over each water column, [n_wet] to [n_columns]."""
    return np.bincount(grid.column, weights=values, minlength=grid.n_columns)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The ratio where it is meant, NaN elsewhere."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=where)


def _time(waiting: np.ndarray, weight: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean time in years, NaN where it is not meant or undershoot makes it negative."""
    return _ratio(waiting, weight * YEAR, where & (waiting > 0.0))
