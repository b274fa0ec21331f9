"""How long respired carbon stays away from the atmosphere: distributions of sequestration times, and their stock.

The respiration r of each pool of organic carbon is released as a pulse of dissolved inorganic carbon, carried by the
circulation and removed where it returns to the surface layer:

    dc/dtau + (T + l I_s) c = 0,   c(0) = r,

with I_s the first layer and l = 500 per year. With box volumes v,

    phi(tau) = l sum_s v c     respiration per sequestration time,
    P(tau)   = sum v c         respiration that stays longer than tau: the integral of phi from tau on,
    S(tau)   = integral of P   stock of respired carbon younger than tau; S(infinity) = sum v (T + l I_s)^-1 r.

The chance w(tau) that carbon respired in a box stays longer than tau solves the adjoint problem with w(0) = 1; it
depends on the circulation alone, and P(tau) = sum v w(tau) r.
"""

import time as clock
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.interpolate import CubicHermiteSpline

from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.diagnostics.labile import labile_hours_of, labile_pool, labile_rate
from invbgc.diagnostics.stepping import Level, Moment, Step, growing_steps, march, own_factors
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.models.pco.carbon import doc_rate, docr_rate
from invbgc.models.pco.model import PCOModel
from invbgc.state import State

POOLS = ("POC", "DOC", "DOCr", "DOCl")
"""Pools of organic carbon that are respired."""

REMOVAL_RATE = 500.0
"""l, per year: the e-folding time at the surface is 1/500 year (Wang et al. 2023, Methods)."""

HORIZON = 10_000.0
"""Years over which the pulse is followed (Wang et al. 2023, Methods)."""

FIRST_STEP = 1e-4
"""Years, the first time step: a twentieth of the time scale of removal."""

STEPS_PER_LEVEL = 32
"""Steps before their length doubles; with them P errs by less than 1e-5 of P(0), S by as little of S(infinity)."""

THRESHOLDS = (0.25, 1.0, 3.0)
"""Years for which Wang et al. (2023) report the respiration that stays longer."""

_PGC_PER_YEAR = PGC_PER_MMOL * YEAR


def respiration_by_pool(state: State, labile_hours: float | None = None) -> dict[str, np.ndarray]:
    """Respiration of each pool: kappa_p POC, eta kappa_dC DOC, kappa_r DOCr, kappa_l DOCl.

    Args:
        state: a steady state.
        labile_hours: 1/kappa_l, hours; the model's own where absent.

    Returns:
        Pool -> [n_wet] mmol m-3 s-1, in the order of `POOLS`. Source: Wang et al. (2023), Methods, C model.
    """
    env, p, fields = state.model.environment, state.parameters, state.fields
    return {
        "POC": state.model.options.kappa_p * state.diagnostics["POC"],
        "DOC": p["eta"] * np.asarray(doc_rate(env, p) * fields["DOC"]),
        "DOCr": np.asarray(docr_rate(env, p) * fields["DOCr"]),
        "DOCl": labile_rate(state.model, labile_hours) * labile_pool(state, labile_hours),
    }


def sequestration(
    state: State,
    times: Sequence[float] | np.ndarray | None = None,
    labile_hours: float | None = None,
    removal_rate: float = REMOVAL_RATE,
    progress: Callable[[str], Any] | None = None,
) -> xr.Dataset:
    """Distribution of the sequestration times of respired carbon, pool by pool, over 10,000 years.

    All pools are one block of right-hand sides; between the time steps the curves are cubic polynomials with the slopes
    that the equations give them.

    Args:
        state: a steady state.
        times: tau, years from 0 to 10,000; 0 and 20 per decade from 1e-4 years where absent.
        labile_hours: 1/kappa_l of the labile pool, hours; the model's own where absent.
        removal_rate: l, per year.
        progress: receives a line of text per level of equal steps.

    Returns:
        Over (pool, time): `production_longer` P, Pg C yr-1; `density` phi, Pg C yr-2; `density_log_time` tau phi, Pg C
        yr-1 per unit of ln tau; `stock` S, Pg C. Over (pool): `respiration` P(0), Pg C yr-1; `stock_direct`
        S(infinity), Pg C, from one steady solve; `mean_time`, their ratio, yr. Over (pool, threshold), for 3 months, 1
        and 3 years: `production_longer_at`, Pg C yr-1. `poc_share_1yr`: the part of POC in what stays longer than a
        year. Attributes: costs, and the relative residuals of three identities, of the worst pool:
        `carbon_residual`: P(0) = P(10,000) + the carbon removed by then; `stock_residual`: S(10,000) + what is to come
        = S(infinity); `second_moment_residual`: the integral of S(infinity) - S = sum v (T + l I_s)^-2 r, which shows
        the error of the time steps where the other two hold for any steps.

    Raises:
        InputError: a time is negative or beyond 10,000 years, the rate is not positive, or `labile_hours` is not that
            of the labile pool which the state holds.

    Source: Wang et al. (2023), Methods and Fig. 5.
    """
    if times is None:
        times = np.concatenate([[0.0], 10.0 ** np.linspace(-4.0, 4.0, 161)])
    times = _checked_times(times)
    model, hours = state.model, labile_hours_of(state.model, labile_hours)
    loss = surface_loss(model.grid, removal_rate)
    started = clock.perf_counter()
    weight = model.grid.volume * (PGC_PER_MMOL * YEAR)
    pulse = np.stack(list(respiration_by_pool(state, labile_hours).values()), axis=1)
    levels = time_steps()
    with own_factors(model.systems["tracer"]) as system:
        curves = _follow(march(system, loss, pulse, levels, progress=progress), loss, weight)
        token = system.factorise(loss)
        first = system.solve(token, np.concatenate([pulse, curves.left], axis=1))
        second = system.solve(token, first)
        counters = system.counters
    # S(infinity), what is still to come after the last step, and the integrals of both over time
    direct, to_come = np.split(weight @ first / YEAR, 2)
    moment, later_moment = np.split(weight @ second / YEAR**2, 2)
    stock = CubicHermiteSpline(curves.time, curves.stock, curves.longer)
    spread = direct * HORIZON - stock.integrate(0.0, HORIZON) + later_moment
    longer = CubicHermiteSpline(curves.time, curves.longer, -curves.density)
    density = CubicHermiteSpline(curves.time, curves.density, curves.density_slope)(times).T
    total = curves.longer[0]
    at = longer(THRESHOLDS).T
    over_time, over_pool = ("pool", "time"), ("pool",)
    return xr.Dataset(
        {
            "production_longer": _labelled(over_time, longer(times).T, "respiration that stays longer", "Pg C yr-1"),
            "density": _labelled(over_time, density, "respiration per sequestration time", "Pg C yr-2"),
            "density_log_time": _labelled(
                over_time, times * density, "respiration per unit of the logarithm of sequestration time", "Pg C yr-1"
            ),
            "stock": _labelled(over_time, stock(times).T, "respired carbon younger than the time", "Pg C"),
            "respiration": _labelled(over_pool, total, "respiration", "Pg C yr-1"),
            "stock_direct": _labelled(over_pool, direct, "stock of respired carbon", "Pg C"),
            "mean_time": _labelled(
                over_pool,
                np.divide(direct, total, out=np.full(len(POOLS), np.nan), where=total != 0.0),
                "mean sequestration time",
                "yr",
            ),
            "production_longer_at": _labelled(
                ("pool", "threshold"), at, "respiration that stays longer than the threshold", "Pg C yr-1"
            ),
            "poc_share_1yr": _labelled(
                (), (at[0] / at.sum(axis=0))[1], "part of particles in the respiration that stays longer than 1 yr", "1"
            ),
        },
        coords={
            "pool": list(POOLS),
            "time": _labelled("time", times, "time from respiration to return to the surface", "yr"),
            "threshold": _labelled("threshold", np.array(THRESHOLDS), "time from respiration to return", "yr"),
        },
        attrs={
            "source": "Wang et al. 2023, Methods and Fig. 5",
            "removal_rate_per_year": removal_rate,
            "labile_hours": hours,
            "steps": sum(level.count for level in levels),
            "shortest_step_years": levels[0].length / YEAR,
            "longest_step_years": max(level.length for level in levels) / YEAR,
            "factorisations": counters.factorisations,
            "solves": counters.solves,
            "seconds": clock.perf_counter() - started,
            "max_solve_residual": counters.max_residual,
            "carbon_residual": _worst(total - curves.longer[-1] - curves.removed, total),
            "stock_residual": _worst(curves.stock[-1] + to_come - direct, direct),
            "second_moment_residual": _worst(spread - moment, moment),
        },
    )


def retention_weights(
    model: PCOModel,
    times: Sequence[float] | np.ndarray,
    removal_rate: float = REMOVAL_RATE,
    progress: Callable[[str], Any] | None = None,
) -> np.ndarray:
    """Probability w(tau) that carbon respired in a box stays away from the surface longer than tau.

        dw/dtau + (T* + l I_s) w = 0,   w(0) = 1,   T* = V^-1 T^T V,

    so that P(tau) = sum v w(tau) r for any respiration r, whose gradient is v w(tau).

    Args:
        model: a model; only its circulation matters.
        times: tau, years from 0 to 10,000.
        removal_rate: l, per year.
        progress: receives a line of text per level of equal steps.

    Returns:
        [n_times, n_wet], between 0 and 1 up to the undershoot of the transport scheme.

    Raises:
        InputError: a time is negative or beyond 10,000 years, or the rate is not positive.

    Source: the adjoint of Wang et al. (2023), Methods.
    """
    times = _checked_times(times)
    loss, volume = surface_loss(model.grid, removal_rate), model.grid.volume
    levels = time_steps(max(times.max(), FIRST_STEP))
    weights = np.ones((len(times), model.grid.n_wet))
    with own_factors(model.systems["tracer"]) as system:
        for start, end, _ in march(system, loss, volume, levels, True, progress):
            now = (times * YEAR > start.time) & (times * YEAR <= end.time * (1.0 + 1e-12))
            if now.any():
                span, values, slopes = (np.array(pair) for pair in zip(start, end, strict=True))
                weights[now] = CubicHermiteSpline(span, values, slopes)(times[now] * YEAR) / volume
    return weights


def surface_loss(grid: OceanGrid, removal_rate: float) -> np.ndarray:
    """Rate at which inorganic carbon is removed from the first layer, l I_s.

    Args:
        grid: the grid.
        removal_rate: l, per year.

    Returns:
        [n_wet] s-1.

    Raises:
        InputError: the rate is not positive.
    """
    if not 0.0 < removal_rate < np.inf:
        raise InputError(f"removal_rate = {removal_rate}; expected a positive number of removals per year")
    return grid.layer_mask(1) * (removal_rate / YEAR)


def time_steps(end: float = HORIZON) -> tuple[Level, ...]:
    """Steps of `sequestration` up to a time in years; their lengths double every `STEPS_PER_LEVEL` steps."""
    return growing_steps(FIRST_STEP * YEAR, end * YEAR, STEPS_PER_LEVEL)


class _Curves(NamedTuple):
    """Curves at the ends of the time steps, time first.

    Attributes:
        time: [m + 1] yr.
        longer: [m + 1, n_pools] P, Pg C yr-1.
        density: [m + 1, n_pools] phi, Pg C yr-2.
        density_slope: [m + 1, n_pools] dphi/dtau, Pg C yr-3.
        stock: [m + 1, n_pools] S, Pg C.
        removed: [n_pools] integral of phi, Pg C yr-1.
        left: [n_wet, n_pools] c after the last step, mmol m-3 s-1.
    """

    time: np.ndarray
    longer: np.ndarray
    density: np.ndarray
    density_slope: np.ndarray
    stock: np.ndarray
    removed: np.ndarray
    left: np.ndarray


def _follow(steps: Iterable[Step], loss: np.ndarray, weight: np.ndarray) -> _Curves:
    """Follow a pulse through its time steps; `weight` [n_wet] turns mmol m-3 s-1 in the boxes into Pg C yr-1."""
    removal = weight * loss * YEAR

    def row(moment: Moment) -> tuple:
        c = moment.concentration
        return moment.time / YEAR, weight @ c, removal @ c, removal @ moment.tendency * YEAR

    rows, stock, removed, left = [], [np.zeros(len(POOLS))], np.zeros(len(POOLS)), np.empty(0)
    for start, end, integral in steps:
        rows += [row(end)] if rows else [row(start), row(end)]
        stock.append(stock[-1] + weight @ integral / YEAR)
        removed = removed + removal @ integral / YEAR
        left = end.concentration
    time, longer, density, slope = (np.array(part) for part in zip(*rows, strict=True))
    return _Curves(time, longer, density, slope, np.array(stock), removed, left)


def _checked_times(times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Times [n_times] in years, or an error that says which of them lie outside."""
    found = np.asarray(times, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise InputError(f"sequestration times have shape {found.shape}; expected a list of at least one time")
    outside = found[~((found >= 0.0) & (found <= HORIZON))]
    if outside.size:
        raise InputError(
            f"{outside.size} of {found.size} sequestration times are outside 0 to {HORIZON:.0f} years, the first is "
            f"{outside[0]}; expected years since respiration"
        )
    return found


def _worst(error: np.ndarray, scale: np.ndarray) -> float:
    """Largest relative error of the pools, leaving out those that are empty."""
    size = np.abs(scale)
    return float((np.abs(error) / np.maximum(size, 1e-9 * size.max())).max())


def _labelled(dimensions, values, long_name: str, units: str) -> xr.Variable:
    return xr.Variable(dimensions, values, {"long_name": long_name, "units": units})
