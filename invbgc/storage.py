"""What the C:P of sinking particles does to the ocean's carbon storage and to atmospheric CO2, in closed form.

Three relations of Tanioka et al. (2021, Geophys. Res. Lett. 48) make a chain from the particle exponents to the
atmosphere. Particles that leave the surface z_0 with the ratio r_0 and lose carbon and phosphorus by power laws release
them above z' in the ratio (equation 5)

    r = r_0 I(b_C) / I(b_P),        I(b) = integral of (z/z_0)^-b dz from z_0 to z',

which stores, with the regenerated phosphate, soft-tissue carbon (equation 3)

    OCS = r (<PO4> - <PO4_pre>) V,

and the buffered ocean and atmosphere answer with (equation 4)

    pCO2 = c_0 exp(-OCS / C_buf).

Everything is differentiable by JAX, and the two inverse functions too; analytic slopes stand beside the functions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from invbgc.chemistry.carbonate import co2_star
from invbgc.chemistry.equilibrium import equilibrium_constants
from invbgc.chemistry.gas_exchange import oxygen_saturation
from invbgc.constants import MOLAR_MASS, SEAWATER_DENSITY_FACTOR
from invbgc.errors import InputError

REDFIELD = 117.0
"""mol C per mol P of the runs with fixed ratios (Anderson & Sarmiento 1994, as used by Tanioka et al. 2021)."""

EXPORT_DEPTH = 100.0
"""z_0, m: where the flux of particles starts to decay."""

ECCO_EDGES = (
    *(100.0, 135.0, 185.0, 260.0, 360.0, 510.0, 710.0, 985.0, 1335.0, 1750.0, 2200.0),
    *(2700.0, 3200.0, 3700.0, 4200.0, 4700.0, 5200.0, 5700.0),
)
"""m: edges of the layers of the paper's ocean model below 100 m."""

HORIZONS = (250.0, 1000.0, 2000.0)
"""z', m: depths down to which particles are taken to be respired; 1000 m describes the paper's model best."""

PUBLISHED_B_P = 1.46
"""Exponent of the phosphorus flux in the paper's model (Kriest et al. 2020)."""

PG_PER_UATM = 2.1324
"""Pg of carbon in the atmosphere per uatm of CO2; M_a of Tanioka et al. (2021), 1.7754e20 mol of air."""

PG_PER_MMOL = MOLAR_MASS["C"] * 1e-18
"""Pg of carbon per mmol, with 12.011 g per mol, the value of this theory's numbers."""

_EXPONENTS = (-10.0, 20.0)
_BISECTIONS = 60
_NEWTON_STEPS = 20


class Storage(NamedTuple):
    """The constants of equations 3 and 4.

    The paper prints the first three. Its other numbers fix the last two: 422 Pg C between C:P of 117 and 142, and
    183 uatm where all phosphate is regenerated at 117.

    Attributes:
        phosphate: <PO4>, mean of the ocean, mmol m-3.
        preformed_phosphate: <PO4_pre>, mmol m-3.
        abiotic_pco2: c_0, uatm, without any soft-tissue carbon.
        volume: V, m3.
        buffered_carbon: C_buf, Pg C.
    """

    phosphate: jax.Array | float = 2.14
    preformed_phosphate: jax.Array | float = 1.09
    abiotic_pco2: jax.Array | float = 651.0
    volume: jax.Array | float = 1.3385e18
    buffered_carbon: jax.Array | float = 117.0 * 2.14 * 1.3385e18 * PG_PER_MMOL / float(np.log(651.0 / 183.0))

    @property
    def regenerated_phosphate(self) -> jax.Array | float:
        """<PO4_reg> = <PO4> - <PO4_pre>, mmol m-3."""
        return self.phosphate - self.preformed_phosphate

    @property
    def fully_regenerated(self) -> "Storage":
        """The limit of the soft-tissue pump: no preformed phosphate is left."""
        return self._replace(preformed_phosphate=0.0)

    @property
    def log_pco2_slope(self) -> jax.Array | float:
        """Slope d ln pCO2 / dr = -<PO4_reg> V / C_buf, per mol C (mol P)-1; -0.00532181 with the published numbers."""
        return -self.regenerated_phosphate * self.volume * PG_PER_MMOL / self.buffered_carbon


PUBLISHED = Storage()
"""The constants of the paper."""


def flux_integral(exponent: ArrayLike, horizon: ArrayLike, start: ArrayLike = EXPORT_DEPTH) -> jax.Array:
    """Integral of a power-law flux over depth, I(b; z') = z_0 ((z'/z_0)^(1-b) - 1) / (1 - b); z_0 ln(z'/z_0) at b = 1.

    Args:
        exponent: b, dimensionless, any shape.
        horizon: z', m, deeper than `start`.
        start: z_0, m.

    Returns:
        m, smooth through b = 1. Source: Tanioka et al. (2021), equation 5.

    Examples:
        >>> round(float(flux_integral(1.0, 1000.0)), 3)
        230.259
    """
    span = jnp.log(jnp.asarray(horizon, dtype=float) / start)
    return _mean_exponential((1.0 - jnp.asarray(exponent, dtype=float)) * span) * span * start


def log_flux_integral_slope(exponent: ArrayLike, horizon: ArrayLike, start: ArrayLike = EXPORT_DEPTH) -> jax.Array:
    """Slope of the integral with the exponent, d ln I / db = 1/(1-b) - L / (1 - exp(-(1-b) L)), L = ln(z'/z_0).

    Args:
        exponent: b, dimensionless.
        horizon: z', m.
        start: z_0, m.

    Returns:
        dimensionless, negative: minus the mean of ln(z/z_0), weighted by the flux; -L/2 at b = 1.
    """
    span = jnp.log(jnp.asarray(horizon, dtype=float) / start)
    growth = (1.0 - jnp.asarray(exponent, dtype=float)) * span
    small = jnp.abs(growth) < 1e-2
    safe = jnp.where(small, 1.0, growth)
    closed = 1.0 / safe + 1.0 / jnp.expm1(-safe)
    near = -0.5 - growth / 12.0 + growth**3 / 720.0 - growth**5 / 30240.0
    return span * jnp.where(small, near, closed)


def _mean_exponential(growth: jax.Array) -> jax.Array:
    """(e^x - 1)/x, by its series near 0, where the derivatives of the quotient lose their digits."""
    small = jnp.abs(growth) < 1e-2
    safe = jnp.where(small, 1.0, growth)
    series = jnp.polyval(jnp.array([1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0]), growth)
    return jnp.where(small, series, jnp.expm1(safe) / safe)


def upwind_flux_integral(
    exponent: ArrayLike, horizon: ArrayLike, edges: Sequence[float] | ArrayLike = ECCO_EDGES
) -> jax.Array:
    """The integral for the flux of a model's upwind scheme, which attenuates less than the power law it stands for.

        F(bottom of layer k) = F(top) / (1 + b dz_k / z_k),      z_k the middle of layer k,

    linear between the edges.

    Args:
        exponent: b, dimensionless, any shape.
        horizon: z', m, between the first and the last edge.
        edges: [n] m, from z_0 downward; those of the paper's ocean model by default.

    Returns:
        m. Source: the sinking of MOPS (Kriest & Oschlies 2015), whose nominal b of 1.46 acts like 1.19 down to 1000 m.
    """
    z = jnp.asarray(edges, dtype=float)
    thickness, middle = jnp.diff(z), 0.5 * (z[1:] + z[:-1])
    steps = 1.0 / (1.0 + jnp.asarray(exponent, dtype=float)[..., None] * thickness / middle)
    flux = jnp.concatenate([jnp.ones_like(steps[..., :1]), jnp.cumprod(steps, axis=-1)], axis=-1)
    inside = jnp.clip((jnp.asarray(horizon, dtype=float)[..., None] - z[:-1]) / thickness, 0.0, 1.0)
    mean = flux[..., :-1] + 0.5 * inside * jnp.diff(flux, axis=-1)
    return jnp.sum(inside * thickness * mean, axis=-1)


def preformed_phosphate(
    phosphate: ArrayLike, oxygen: ArrayLike, temperature: ArrayLike, salinity: ArrayLike, oxygen_ratio: float = 151.1
) -> jax.Array:
    """Phosphate that water had when it left the surface, PO4_pre = PO4 - (O2_sat(T, S) - O2) / r_O2:P.

    Args:
        phosphate: PO4, mmol m-3, any shape.
        oxygen: O2, mmol m-3.
        temperature: T, degC.
        salinity: S, dimensionless.
        oxygen_ratio: mol O2 consumed per mol P regenerated; 151.1 is that of the paper's model.

    Returns:
        mmol m-3. Source: Tanioka et al. (2021), with the saturation of Garcia & Gordon (1992).

    Examples:
        >>> round(float(preformed_phosphate(2.2, 180.0, 2.0, 34.7)), 3)
        1.137
    """
    return jnp.subtract(phosphate, (oxygen_saturation(temperature, salinity) - oxygen) / oxygen_ratio)


def flux_ratio(
    depth: ArrayLike, b_C: ArrayLike, b_P: ArrayLike, ratio: ArrayLike, start: ArrayLike = EXPORT_DEPTH
) -> jax.Array:
    """C:P of the particles that sink through a depth, r(z) = r_0 (z/z_0)^(b_P - b_C).

    Args:
        depth: z, m.
        b_C: exponent of the carbon flux.
        b_P: exponent of the phosphorus flux.
        ratio: r_0, mol C per mol P at z_0.
        start: z_0, m.

    Returns:
        mol C per mol P. Source: Tanioka et al. (2021), figure 1b.
    """
    return (jnp.asarray(depth, dtype=float) / start) ** (jnp.asarray(b_P) - b_C) * ratio


def respired_ratio(
    b_C: ArrayLike, b_P: ArrayLike, ratio: ArrayLike, horizon: ArrayLike = 1000.0, start: ArrayLike = EXPORT_DEPTH
) -> jax.Array:
    """C:P of what particles release between two depths, r = r_0 I(b_C; z') / I(b_P; z').

    Args:
        b_C: exponent of the carbon flux.
        b_P: exponent of the phosphorus flux.
        ratio: r_0, mol C per mol P at z_0.
        horizon: z', m.
        start: z_0, m.

    Returns:
        mol C per mol P; its slope is dr/db_C = r d ln I/db_C (`log_flux_integral_slope`). Source: Tanioka et al.
        (2021), equation 5.

    Examples:
        >>> round(float(respired_ratio(0.75, 1.46, 141.0)), 1)
        309.1
    """
    return flux_integral(b_C, horizon, start) / flux_integral(b_P, horizon, start) * ratio


def soft_tissue_carbon(ratio: ArrayLike, storage: Storage = PUBLISHED) -> ArrayLike:
    """Carbon that the soft-tissue pump holds in the ocean, OCS = r (<PO4> - <PO4_pre>) V.

    Args:
        ratio: r, mol C per mol P of what is regenerated.
        storage: the constants; the published ones by default.

    Returns:
        Pg C. Source: Tanioka et al. (2021), equation 3.
    """
    return ratio * storage.regenerated_phosphate * storage.volume * PG_PER_MMOL


def pco2_of_storage(carbon: ArrayLike, storage: Storage = PUBLISHED) -> jax.Array:
    """Atmospheric pCO2 beside an ocean that stores soft-tissue carbon, c_0 exp(-OCS / C_buf).

    Args:
        carbon: OCS, Pg C.
        storage: the constants; the published ones by default.

    Returns:
        uatm. Source: Tanioka et al. (2021), equation 4, after Goodwin et al. (2007) and Marinov et al. (2008).
    """
    return jnp.exp(-jnp.asarray(carbon, dtype=float) / storage.buffered_carbon) * storage.abiotic_pco2


def pco2_of_ratio(ratio: ArrayLike, storage: Storage = PUBLISHED) -> jax.Array:
    """Atmospheric pCO2 of the C:P of regeneration, equations 3 and 4 in one.

    Args:
        ratio: r, mol C per mol P.
        storage: the constants; the published ones by default.

    Returns:
        uatm. Source: Tanioka et al. (2021), equations 3 and 4.

    Examples:
        >>> round(float(pco2_of_ratio(117.0, Storage().fully_regenerated)), 6)
        183.0
    """
    return pco2_of_storage(soft_tissue_carbon(ratio, storage), storage)


def ratio_of_pco2(pco2: ArrayLike, storage: Storage = PUBLISHED) -> jax.Array:
    """C:P of regeneration that an atmospheric pCO2 asks for, r = ln(c_0 / pCO2) C_buf / (<PO4_reg> V).

    Args:
        pco2: uatm.
        storage: the constants; the published ones by default.

    Returns:
        mol C per mol P. Source: Tanioka et al. (2021), equations 3 and 4, solved for r.
    """
    return jnp.log(jnp.asarray(pco2, dtype=float) / storage.abiotic_pco2) / storage.log_pco2_slope


def exponent_of_ratio(
    respired: ArrayLike, b_P: ArrayLike, ratio: ArrayLike, horizon: ArrayLike = 1000.0, start: ArrayLike = EXPORT_DEPTH
) -> jax.Array:
    """Exponent of the carbon flux that gives a C:P of regeneration: the b_C that solves I(b_C) = I(b_P) r / r_0.

    I falls with b, so that there is one solution at most; it is found between -10 and 20 by bisection,
    and differentiated by the implicit function theorem.

    Args:
        respired: r, mol C per mol P.
        b_P: exponent of the phosphorus flux.
        ratio: r_0, mol C per mol P at z_0.
        horizon: z', m.
        start: z_0, m.

    Returns:
        b_C, dimensionless; NaN where it lies outside the bounds.
    """
    arguments = jnp.broadcast_arrays(*(jnp.asarray(a, dtype=float) for a in (respired, b_P, ratio, horizon, start)))
    goal = jnp.log(flux_integral(arguments[1], *arguments[3:])) + jnp.log(arguments[0] / arguments[2])
    return _exponent_of_integral(goal, *arguments[3:])


@jax.custom_jvp
def _exponent_of_integral(goal: jax.Array, horizon: jax.Array, start: jax.Array) -> jax.Array:
    """The exponent b with ln I(b) = goal."""

    def excess(b: jax.Array) -> jax.Array:
        return jnp.log(flux_integral(b, horizon, start)) - goal

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = 0.5 * (bounds[0] + bounds[1])
        below = excess(middle) > 0.0
        return jnp.where(below, middle, bounds[0]), jnp.where(below, bounds[1], middle)

    low, high = (jnp.full_like(goal, bound) for bound in _EXPONENTS)
    inside = (excess(low) >= 0.0) & (excess(high) <= 0.0)
    b = 0.5 * sum(jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high)))
    return jnp.where(inside, b, jnp.nan)


@_exponent_of_integral.defjvp
def _exponent_of_integral_jvp(primals, tangents):
    goal, horizon, start = primals
    b = _exponent_of_integral(goal, horizon, start)
    _, moved = jax.jvp(lambda z, z_0: jnp.log(flux_integral(b, z, z_0)), (horizon, start), tangents[1:])
    return b, (tangents[0] - moved) / log_flux_integral_slope(b, horizon, start)


def exponent_of_pco2(
    pco2: ArrayLike,
    b_P: ArrayLike,
    ratio: ArrayLike,
    horizon: ArrayLike = 1000.0,
    storage: Storage = PUBLISHED,
    start: ArrayLike = EXPORT_DEPTH,
) -> jax.Array:
    """Exponent of the carbon flux that gives an atmospheric pCO2.

    Args:
        pco2: uatm, below c_0.
        b_P: exponent of the phosphorus flux.
        ratio: r_0, mol C per mol P at z_0.
        horizon: z', m.
        storage: the constants; the published ones by default.
        start: z_0, m.

    Returns:
        b_C, dimensionless; NaN where none within -10 to 20 does.
    """
    return exponent_of_ratio(ratio_of_pco2(pco2, storage), b_P, ratio, horizon, start)


def theory_lines(
    b_C: Sequence[float] | ArrayLike,
    b_P: float = PUBLISHED_B_P,
    ratio: float = 142.0,
    horizons: Sequence[float] | ArrayLike = HORIZONS,
    storage: Storage = PUBLISHED,
) -> xr.Dataset:
    """The lines of figure 3 of Tanioka et al. (2021): C:P of regeneration, stored carbon and pCO2 against b_C.

    Args:
        b_C: [n] exponents of the carbon flux.
        b_P: exponent of the phosphorus flux.
        ratio: r_0, mol C per mol P at z_0 = 100 m.
        horizons: [h] z', m.
        storage: the constants; the published ones by default.

    Returns:
        Dataset on (`b_C`, `horizon`): `respired_ratio`, `soft_tissue_carbon` and `pco2`.

    Raises:
        InputError: a horizon is not below z_0, or the ratio is not positive.
    """
    b_C, horizons = np.atleast_1d(np.asarray(b_C, float)), np.atleast_1d(np.asarray(horizons, float))
    if not (np.all(horizons > EXPORT_DEPTH) and ratio > 0.0):
        raise InputError(
            f"theory: found horizons {horizons.tolist()} m and a C:P of {ratio:g}; expected horizons below "
            f"{EXPORT_DEPTH:g} m and a positive ratio."
        )
    respired = respired_ratio(b_C[:, None], b_P, ratio, horizons[None, :])
    carbon = soft_tissue_carbon(respired, storage)
    dims = ("b_C", "horizon")
    return xr.Dataset(
        {
            "respired_ratio": (dims, np.asarray(respired), {"units": "1", "long_name": "C:P of regeneration"}),
            "soft_tissue_carbon": (dims, np.asarray(carbon), {"units": "Pg C", "long_name": "soft-tissue carbon"}),
            "pco2": (dims, np.asarray(pco2_of_storage(carbon, storage)), {"units": "uatm", "long_name": "pCO2"}),
        },
        {
            "b_C": ("b_C", b_C, {"units": "1", "long_name": "exponent of the carbon flux"}),
            "horizon": ("horizon", horizons, {"units": "m", "long_name": "depth of regeneration", "positive": "down"}),
        },
        {"b_P": b_P, "surface_ratio": ratio, "source": "Tanioka et al. (2021), equations 3 to 5"},
    )


def well_mixed_pco2(
    carbon: ArrayLike,
    temperature: ArrayLike,
    reference_carbon: ArrayLike = 2397.0,
    reference_pco2: ArrayLike = 305.0,
    salinity: ArrayLike = 34.7,
    alkalinity: ArrayLike = 2310.0 * SEAWATER_DENSITY_FACTOR,
    storage: Storage = PUBLISHED,
) -> jax.Array:
    """Equation 4 with real chemistry: pCO2 over one well-mixed ocean that stores soft-tissue carbon.

    The carbon of the air, of the water and of the store keep the sum of a reference state,

        M_a pCO2(DIC) + V DIC + OCS = constant,

    which is solved for DIC by Newton's method.

    Args:
        carbon: OCS, Pg C, any shape.
        temperature: of the water where it meets the air, degC.
        reference_carbon: OCS of the reference state, Pg C.
        reference_pco2: pCO2 of the reference state, uatm.
        salinity: dimensionless.
        alkalinity: mmol m-3.
        storage: volume and preformed phosphate; the published ones by default.

    Returns:
        uatm, the common shape of the arguments. Source: carbonate chemistry as in `invbgc.chemistry`.
    """
    carbon, temperature, salinity, alkalinity = jnp.broadcast_arrays(
        *(jnp.asarray(x, dtype=float) for x in (carbon, temperature, salinity, alkalinity))
    )
    constants = equilibrium_constants(temperature, salinity, storage.preformed_phosphate / SEAWATER_DENSITY_FACTOR)
    per_dic = storage.volume * PG_PER_MMOL * SEAWATER_DENSITY_FACTOR

    def pco2(dic: jax.Array) -> jax.Array:
        return co2_star(dic, alkalinity / SEAWATER_DENSITY_FACTOR, constants) / constants.solubility

    def air_and_water(dic: jax.Array) -> jax.Array:
        return PG_PER_UATM * pco2(dic) + per_dic * dic

    reference = air_and_water(_root(pco2, jnp.broadcast_to(jnp.asarray(reference_pco2, dtype=float), carbon.shape)))
    return pco2(_root(air_and_water, reference + reference_carbon - carbon))


def _root(function: Callable[[jax.Array], jax.Array], goal: jax.Array) -> jax.Array:
    """The DIC, umol kg-1, at which a function that grows ever faster has a value; the last step is differentiated."""

    def newton(_: int, dic: jax.Array) -> jax.Array:
        value, slope = jax.jvp(function, (dic,), (jnp.ones_like(dic),))
        return dic - (value - goal) / slope

    return newton(0, jax.lax.stop_gradient(jax.lax.fori_loop(0, _NEWTON_STEPS, newton, jnp.full_like(goal, 2000.0))))
