"""Transient and ideal tracers of ventilation: CFC-11 and CFC-12, radiocarbon ages, ideal age."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from invbgc.chemistry.gas_exchange import piston_velocity
from invbgc.constants import YEAR, ZERO_CELSIUS
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.models.pco.environment import at_surface
from invbgc.models.pco.model import PCOModel
from invbgc.models.pco.parameters import exchange_scale
from invbgc.transient.atmosphere import Record
from invbgc.transient.integrate import Clock, TransientModel

CFC_COLUMNS = (("year", "north_ppt", "south_ppt"),)
"""Form of a history of an inert gas in dry air, for `invbgc.transient.atmosphere.read_record`."""

EQUATORIAL_BAND = 10.0
"""Latitude, degrees, within which the two hemispheres' air is mixed linearly (OCMIP-2)."""

LIBBY_MEAN_LIFE = 8033.0
"""Years; conventional radiocarbon ages are told with Libby's half-life (Stuiver and Polach 1977)."""

SURFACE_RATE = 1e-2
"""Rate at which ideal age is held down at the surface, s-1."""

AGE_PASSES = 4
"""Solves of ideal age; each divides what is left at the surface by the rate above over that of transport."""


class Gas(NamedTuple):
    """Coefficients of an inert gas.

    Attributes:
        schmidt: of the Schmidt number, of t^0 to t^3 in degC.
        fresh: a1 to a4 of the solubility.
        salt: b1 to b3 of the solubility.
    """

    schmidt: tuple[float, ...]
    fresh: tuple[float, ...]
    salt: tuple[float, ...]


GASES = {
    "CFC-11": Gas(
        (3501.8, -210.31, 6.1851, -0.07513),
        (-229.9261, 319.6552, 119.4471, -1.39165),
        (-0.142382, 0.091459, -0.0157274),
    ),
    "CFC-12": Gas(
        (3845.4, -228.95, 6.1908, -0.067430),
        (-218.0971, 298.9702, 113.8049, -1.39165),
        (-0.143566, 0.091015, -0.0153924),
    ),
}
"""Gases by name: Zheng et al. (1998) and Warner and Weiss (1985, table 5, volumetric), as in OCMIP-2."""


def cfc_schmidt(gas: str, temperature: ArrayLike) -> jax.Array:
    """Schmidt number of a gas in seawater, a cubic in temperature.

    Args:
        gas: ``"CFC-11"`` or ``"CFC-12"``.
        temperature: degC.

    Returns:
        Dimensionless. Source: Zheng et al. (1998), as in OCMIP-2 (Dutay et al. 2002).

    Raises:
        InputError: an unknown gas.
    """
    return jnp.polyval(jnp.array(_gas(gas).schmidt[::-1]), jnp.asarray(temperature))


def cfc_solubility(gas: str, temperature: ArrayLike, salinity: ArrayLike) -> jax.Array:
    """Concentration per mole fraction in dry air, when moist air at 1 atm lies over the water.

        ln F = a1 + a2 (100/T) + a3 ln(T/100) + a4 (T/100)^2 + S [b1 + b2 (T/100) + b3 (T/100)^2]

    Args:
        gas: ``"CFC-11"`` or ``"CFC-12"``.
        temperature: degC; T is in kelvin.
        salinity: S, practical salinity.

    Returns:
        F, mol L-1 atm-1, which is nmol m-3 ppt-1. Source: Warner and Weiss (1985), equation 6.

    Raises:
        InputError: an unknown gas.
    """
    a, b = _gas(gas).fresh, _gas(gas).salt
    t = 0.01 * (jnp.asarray(temperature) + ZERO_CELSIUS)
    fresh = a[0] + a[1] / t + a[2] * jnp.log(t) + a[3] * t**2
    return jnp.exp(fresh + salinity * (b[0] + b[1] * t + b[2] * t**2))


def cfc(model: PCOModel, gas: str) -> TransientModel:
    """An inert gas that enters from the air: dc/dt + T c = k_w/dz (F p x - c) in the first layer.

    Args:
        model: whose circulation, surface and gas exchange it is; p is its sea-level pressure in atm where the option
            ``atmosphere`` is ``"ocmip2"``, else 1.
        gas: ``"CFC-11"`` or ``"CFC-12"``.

    Returns:
        One tracer of that name in nmol m-3 (pmol L-1); what a run calls mol is then umol. Forcing is `cfc_history`, x
        in ppt; theta is a dictionary of the optimiser coordinates ``x`` [p], of which only the scale of gas exchange
        matters. The exchange is implicit, at the scale of the table; the source takes up what the parameter changes.

    Raises:
        InputError: an unknown gas.
    """
    env, grid, forcing = model.environment, model.grid, model.forcing
    columns, to_values = grid.n_columns, model.table.to_values
    surface = forcing.temperature[:columns], forcing.salinity[:columns]
    pressure = env.pressure if env.options.atmosphere == "ocmip2" else 1.0
    per_ppt = np.asarray(cfc_solubility(gas, *surface)) * pressure
    velocity = np.asarray(piston_velocity(forcing.piston_velocity_660, cfc_schmidt(gas, surface[0])))
    exchange = velocity / grid.thickness[0]
    table_scale = float(exchange_scale(to_values(model.table.to_vector())))
    loss = np.asarray(at_surface(grid, table_scale * exchange))[None]

    def source(c, x, scale):
        flux = scale * exchange * (per_ppt * x - c[0, :columns])
        return at_surface(grid, flux)[None] + loss * c

    return TransientModel(
        (gas,), model.systems["tracer"], loss, grid.volume, lambda theta: exchange_scale(to_values(theta["x"])), source
    )


def cfc_history(grid: OceanGrid, record: Record, clock: Clock) -> Callable[[float], np.ndarray]:
    """Decimal year -> mole fraction over each column [n_columns] ppt, mixed linearly between 10 S and 10 N.

    Args:
        grid: the grid.
        record: both hemispheres, with the columns `CFC_COLUMNS`.
        clock: the years of the run.

    Raises:
        InputError: the record has not two columns, ends before the run, or starts after it with gas in the air.
    """
    end = clock.start + clock.years
    if np.shape(record.values) != (len(record.years), 2):
        raise InputError(f"record of {np.shape(record.values)} values ({record.source}); expected north and south")
    if record.years[-1] < end or (record.years[0] > clock.start and np.any(record.values[0] != 0.0)):
        raise InputError(
            f"record of the years {record.years[0]:g} to {record.years[-1]:g} ({record.source}); expected one that "
            f"reaches {end:g}, and starts by {clock.start:g} or with zeros"
        )
    latitude = grid.wet_latitude[: grid.n_columns]
    north = np.clip(0.5 * (1.0 + latitude / EQUATORIAL_BAND), 0.0, 1.0)

    def at(year: float) -> np.ndarray:
        over_north, over_south = record.at(year)
        return north * over_north + (1.0 - north) * over_south

    return at


def radiocarbon_age(d14c: ArrayLike, reference: ArrayLike = 0.0) -> np.ndarray:
    """Radiocarbon age, -8033 ln[(1 + D14C/1000) / (1 + D14C_ref/1000)].

    Args:
        d14c: D14C, permil.
        reference: 0 for the conventional age; the D14C of the air at the time for the reservoir age; that of the
            surface for an age since it was left.

    Returns:
        Years, the common shape. Source: Stuiver and Polach (1977).

    Raises:
        InputError: a D14C is not above -1000 permil.
    """
    sample, standard = (1.0 + 1e-3 * np.asarray(part, dtype=float) for part in (d14c, reference))
    if np.any(sample <= 0.0) or np.any(standard <= 0.0):
        raise InputError("D14C of -1000 permil or less; expected a sample with some radiocarbon left")
    return -LIBBY_MEAN_LIFE * np.log(sample / standard)


def ideal_age(model: PCOModel) -> np.ndarray:
    """Mean time since water left the first layer: T a = 1 below it, a = 0 in it.

    The surface is held by a loss L much faster than transport, (T + L) a = 1 below and T a of the solve before in the
    first layer, so that what is left there vanishes with a few solves of one factor.

    Args:
        model: a model; only its circulation matters.

    Returns:
        [n_wet] years; below zero where the transport scheme undershoots.
    """
    system, surface = model.systems["tracer"], model.grid.layer_mask(1)
    token = system.factorise(SURFACE_RATE * surface)
    age = np.zeros(model.grid.n_wet)
    for _ in range(AGE_PASSES):
        age = system.solve(token, np.where(surface, system.operator.pattern @ age, 1.0))
    return np.where(surface, 0.0, age / YEAR)


def _gas(name: str) -> Any:
    if name not in GASES:
        raise InputError(f"unknown gas {name!r}; known: {', '.join(GASES)}")
    return GASES[name]
