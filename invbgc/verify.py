"""Checks that a model, its derivatives and its transport are what they claim to be; for users' own models too.

Every check returns a small table (xarray Dataset): the measured number, what is expected of it, and whether it holds.
Nothing is printed.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.circulation.core import Circulation
from invbgc.constants import YEAR
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.state import State
from invbgc.steady import tendencies

ORDER_TOLERANCE = 0.05
"""Distance from 1, 2, 3 within which an observed Taylor order counts as right."""


def taylor_orders(
    function: Callable[[np.ndarray], float],
    value: float,
    gradient: np.ndarray,
    hessian: np.ndarray,
    x: np.ndarray,
    direction: np.ndarray,
    steps: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Remainders of the expansions of f along a direction d, and the orders at which they shrink.

    R0 = |f(x + h d) - f|, R1 = |... - h g.d|, R2 = |... - h^2/2 d.H.d| shrink as h, h^2, h^3.

    Args:
        function: f.
        value: f(x).
        gradient: [p].
        hessian: [p, p].
        x: [p].
        direction: d [p].
        steps: decreasing h.

    Returns:
        Remainders [3, len(steps)] and observed orders [3, len(steps) - 1] between neighbouring steps.
    """
    h = np.asarray(steps)
    change = np.array([function(x + size * direction) for size in h]) - value
    first = h * (gradient @ direction)
    second = 0.5 * h**2 * (direction @ hessian @ direction)
    remainders = np.abs(np.stack([change, change - first, change - first - second]))
    with np.errstate(divide="ignore"):
        orders = np.diff(np.log(remainders), axis=1) / np.diff(np.log(h))
    return remainders, orders


def taylor_test(
    posterior: Posterior,
    x: np.ndarray,
    direction: np.ndarray | None = None,
    steps: Sequence[float] | None = None,
    evaluation: Evaluation | None = None,
) -> xr.Dataset:
    """Taylor test of the posterior at x: gradient and Hessian are right if the orders are 1, 2 and 3.

    Args:
        posterior: what to test.
        x: optimiser coordinates [p]; away from an optimum, where the first order is invisible.
        direction: [p]; a fixed mixed direction of unit maximum where absent.
        steps: decreasing step sizes; 0.04 halved six times where absent.
        evaluation: value, gradient and Hessian at x, if known.

    Returns:
        `remainder` (order, step), `order` (order), `expected`, `holds`.
    """
    x = np.asarray(x, dtype=np.float64)
    here = evaluation if evaluation is not None else posterior.value_grad_hess(x)
    assert here.gradient is not None and here.hessian is not None
    if direction is None:
        mixed = np.cos(1.0 + 2.0 * np.arange(len(x)))
        along = mixed / np.abs(mixed).max()
    else:
        along = np.asarray(direction)
    steps = [0.04 * 0.5**i for i in range(7)] if steps is None else list(steps)

    def value(point: np.ndarray) -> float:
        return posterior.value(point, guess=here).value

    remainders, orders = taylor_orders(value, here.value, here.gradient, here.hessian, x, along, steps)
    expected = np.array([1.0, 2.0, 3.0])
    # The smallest steps show the order best until round-off is reached.
    above_noise = remainders[:, 1:] > 1e-13 * abs(here.value)
    best = np.array([row[ok][-1] if ok.any() else np.nan for row, ok in zip(orders, above_noise, strict=True)])
    return xr.Dataset(
        {
            "remainder": (("order_tested", "step"), remainders),
            "observed": ("order_tested", best),
            "expected": ("order_tested", expected),
            "holds": ("order_tested", np.abs(best - expected) < ORDER_TOLERANCE),
        },
        coords={"order_tested": [0, 1, 2], "step": steps},
        attrs={"check": "Taylor remainders of the posterior", "value": here.value},
    )


def hessian_symmetry(evaluation: Evaluation) -> xr.Dataset:
    """Largest asymmetry of the Hessian as computed, relative to its largest entry; expected below 1e-9."""
    return check_table("Hessian symmetry", {"max|H - H^T| / max|H|": (evaluation.stats["max_hessian_asymmetry"], 1e-9)})


def conservation_audit(circulation: Circulation) -> xr.Dataset:
    """Time scales on which the transport would change a uniform tracer, or the inventory of any tracer."""
    audit = circulation.audit
    table = {
        "uniform tracer drifts at, 1/yr": (1.0 / audit.uniform_time_scale, 1e-6),
        "inventory drifts at, 1/yr": (1.0 / audit.mass_time_scale, 1e-6),
    }
    return check_table("Conservation of the transport", table)


def tendency_residuals(state: State) -> xr.Dataset:
    """Volume-weighted mean |rate of change| of every tracer at its steady state; below 1e-9 mmol m-3 yr-1."""
    rates = tendencies(state.model.stages, state.fields, jnp.asarray(state.x))
    share = state.model.grid.volume / state.model.grid.volume.sum()
    table = {
        f"{name}: mean |tendency|, mmol m-3 yr-1": (float(share @ np.abs(np.asarray(rate))) * YEAR, 1e-9)
        for name, rate in rates.items()
    }
    return check_table("Tendencies at steady state", table)


def check_table(title: str, rows: dict[str, tuple[float, float]]) -> xr.Dataset:
    """Table of quantities, each (measured, limit), that hold where measured <= limit."""
    measured = np.array([value for value, _ in rows.values()])
    limit = np.array([bound for _, bound in rows.values()])
    return xr.Dataset(
        {"measured": ("quantity", measured), "limit": ("quantity", limit), "holds": ("quantity", measured <= limit)},
        coords={"quantity": list(rows)},
        attrs={"check": title},
    )
