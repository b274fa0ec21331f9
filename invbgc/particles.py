"""Sinking particles: column recursions for the flux and dissolution of organic matter and calcite.

A particle that sinks at speed w and dissolves at rate kappa has, at steady state, the flux Phi with
d(Phi)/dz = -kappa Phi / w per unit of flux. A speed that grows linearly with depth, w = kappa z / b, gives the power
law Phi ~ z^-b; a constant one, w = kappa d, gives Phi ~ exp(-z / d). Neither flux depends on kappa. Columns are
independent, so that the flux is found layer by layer from the surface down, for all columns at once, without any
matrix:

    Phi_{k+1} = t_k Phi_k + e_k S_k dz_k,      kappa C_k = (Phi_k + S_k dz_k - o_k Phi_{k+1}) / dz_k

with S_k the production, dz_k the thickness, t_k the part of the flux from above that passes through layer k, e_k the
part of the layer's own production that leaves it, and o_k the open share of its floor: 1 where cells are full, less on
coarsened grids. A *sinking law* is the pair (t, e). What meets the sea floor dissolves in the box above it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from invbgc.errors import InputError
from invbgc.grid import OceanGrid


@dataclass(frozen=True, eq=False)
class Columns:
    """Geometry of the water columns.

    Attributes:
        thickness: [nz] m.
        interface_depth: [nz + 1] m, depths of the layer interfaces from 0 down.
        wet: [nz, n_columns] bool; each column is wet from the surface down to its floor.
        open_share: [nz, n_columns] wet area of the lower face over the area of the box; None for full cells.

    Raises:
        InputError: the shapes disagree, the interfaces do not start at 0 and increase, or a column has a wet box below
            a dry one.
    """

    thickness: np.ndarray
    interface_depth: np.ndarray
    wet: np.ndarray
    open_share: np.ndarray | jax.Array | None = None

    def __post_init__(self) -> None:
        nz = len(self.thickness)
        if np.shape(self.interface_depth) != (nz + 1,) or np.ndim(self.wet) != 2 or len(self.wet) != nz:
            raise InputError(
                f"columns have {nz} thicknesses, interface depths of shape {np.shape(self.interface_depth)} and a wet "
                f"mask of shape {np.shape(self.wet)}; expected [nz], [nz + 1] and [nz, n_columns]"
            )
        if self.interface_depth[0] != 0 or not np.allclose(np.diff(self.interface_depth), self.thickness):
            raise InputError("interface_depth of the columns must start at 0 m and increase by the thickness")
        if np.any(self.wet[1:] & ~self.wet[:-1]):
            raise InputError("a water column has a wet box below a dry one; expected columns without gaps")

    @staticmethod
    def of(grid: OceanGrid) -> "Columns":
        """The water columns of a grid."""
        share = None if grid.wet_fraction is None else grid.to_columns(grid.area_below / grid.box_area)
        return Columns(grid.thickness, grid.depth_edges, grid.column_wet, jax.device_put(share))

    @cached_property
    def open_below(self) -> jax.Array:
        """[nz, n_columns] bool: the box is wet and so is the one below it."""
        with jax.ensure_compile_time_eval():  # one copy for all compiled programs
            return jax.device_put(np.concatenate([self.wet[1:], np.zeros_like(self.wet[:1])]) & self.wet)


class SinkingLaw(NamedTuple):
    """What leaves a layer through its lower interface; arrays [nz, n_columns], zero where there is no box below.

    Attributes:
        transmitted: t, fraction of the flux from above.
        exported: e, fraction of the layer's own production.
    """

    transmitted: jax.Array
    exported: jax.Array


class ParticleColumn(NamedTuple):
    """Steady state of sinking particles.

    Attributes:
        remineralisation: [nz, n_columns] mmol m-3 s-1, kappa C; divide by kappa for the concentration. Zero where dry.
        flux: [nz + 1, n_columns] mmol m-2 s-1, downward through the layer interfaces; zero at the surface and from the
            sea floor down.
    """

    remineralisation: jax.Array
    flux: jax.Array


def upwind_power_law(exponent: ArrayLike, columns: Columns) -> SinkingLaw:
    """Power law in the first-order upwind scheme of the paper: t_k = e_k = 1 / (1 + b dz_k / z_{k+1}).

    The flux through an interface carries the concentration of the box above and the speed kappa z / b at the interface.
    On coarse layers this attenuates less than z^-b, so that a fitted b belongs to the scheme and the layers.

    Args:
        exponent: b, a scalar or [n_columns], positive.
        columns: the water columns.

    Returns:
        The law. Source: Wang et al. (2023), Methods, sinking particle flux operators.
    """
    relative_thickness = columns.thickness / columns.interface_depth[1:]
    passed = 1.0 / (1.0 + exponent * relative_thickness[:, None])
    return _same_for_own_production(passed, columns)


def exponential_law(length: ArrayLike, columns: Columns) -> SinkingLaw:
    """Exponential flux in the first-order upwind scheme of the paper: t_k = e_k = 1 / (1 + dz_k / d).

    Args:
        length: d in m, a scalar or [n_columns], positive.
        columns: the water columns.

    Returns:
        The law. Source: Wang et al. (2023), Methods, sinking particle flux operators.
    """
    return _same_for_own_production(1.0 / (1.0 + columns.thickness[:, None] / length), columns)


def exact_power_law(exponent: ArrayLike, columns: Columns) -> SinkingLaw:
    """Power law without numerical attenuation error: from each depth of production z' the flux is (z / z')^-b.

        t_k = (z_k / z_{k+1})^b,    e_k = z_{k+1} [1 - (z_k / z_{k+1})^(b + 1)] / ((b + 1) dz_k)

    with production uniform within a layer. In the surface layer e = 1 / (1 + b), as in the upwind scheme.

    Args:
        exponent: b, a scalar or [n_columns], positive.
        columns: the water columns.

    Returns:
        The law. Source: the continuous law of Wang et al. (2023), integrated over the layer.
    """
    upper, lower = columns.interface_depth[:-1], columns.interface_depth[1:]
    surface = (upper == 0)[:, None]
    log_ratio = np.log(np.where(upper > 0, upper / lower, 1.0))[:, None]
    transmitted = jnp.where(surface, 0.0, jnp.exp(exponent * log_ratio))
    shape = jnp.where(surface, 1.0, -jnp.expm1((exponent + 1.0) * log_ratio)) / (exponent + 1.0)
    exported = jnp.multiply((lower / columns.thickness)[:, None], shape)
    return SinkingLaw(transmitted * columns.open_below, exported * columns.open_below)


def exact_exponential_law(length: ArrayLike, columns: Columns) -> SinkingLaw:
    """Exponential flux without numerical attenuation error: from each depth of production z' it is exp(-(z - z') / d).

        t_k = exp(-dz_k / d),    e_k = (d / dz_k) [1 - exp(-dz_k / d)]

    with production uniform within a layer.

    Args:
        length: d in m, a scalar or [n_columns], positive.
        columns: the water columns.

    Returns:
        The law. Source: the continuous law of Wang et al. (2023), integrated over the layer.
    """
    depths = jnp.divide(columns.thickness[:, None], length)
    exported = jnp.multiply(-jnp.expm1(-depths) / depths, columns.open_below)
    return SinkingLaw(jnp.multiply(jnp.exp(-depths), columns.open_below), exported)


def remineralise(source: ArrayLike, law: SinkingLaw, columns: Columns) -> ParticleColumn:
    """Flux and dissolution of the particles made by a source.

    The column integral of the dissolution equals that of the source. Linear in the source, differentiable to any order
    in source and law, and usable under `jax.jit` and `jax.vmap`.

    Args:
        source: [nz, n_columns] mmol m-3 s-1; values in dry boxes are ignored.
        law: how the particles sink.
        columns: the water columns.

    Returns:
        Dissolution and fluxes. Source: Wang et al. (2023), Methods, sinking particle flux operators.
    """
    produced = jnp.where(columns.wet, source, 0.0) * columns.thickness[:, None]

    share = columns.open_below if columns.open_share is None else columns.open_share
    dissolved, flux = _descend(produced, law, jnp.asarray(share, dtype=float))
    return ParticleColumn(dissolved / columns.thickness[:, None], flux)


def unit_response(law: SinkingLaw, columns: Columns, layers: int = 2) -> jax.Array:
    """Dissolution profile of a production of 1 mmol m-3 s-1 in each of the first layers.

    Since dissolution is linear in the source, sum_l response[l] * S_l is the dissolution of a source S confined to
    these layers; the matrix of the phosphorus cycle is made of these profiles.

    Args:
        law: how the particles sink.
        columns: the water columns.
        layers: number of productive layers.

    Returns:
        [layers, nz, n_columns], dimensionless; [l, k, c] is the dissolution in layer k of column c.
    """
    sources = np.zeros((layers, *columns.wet.shape))
    sources[np.arange(layers), np.arange(layers)] = 1.0
    return jax.vmap(lambda source: remineralise(source, law, columns).remineralisation)(jnp.asarray(sources))


@jax.jit
def _descend(produced, law: SinkingLaw, open_share):
    """Dissolution per layer and flux through the interfaces, both mmol m-2 s-1, of a production per layer."""

    def layer(flux_above, inputs):
        made, transmitted, exported, share = inputs
        flux_below = transmitted * flux_above + exported * made
        return flux_below, (flux_above + made - share * flux_below, flux_below)

    surface = jnp.zeros(produced.shape[1], dtype=jnp.result_type(produced, *law))
    _, (dissolved, flux) = jax.lax.scan(layer, surface, (produced, *law, open_share))
    return dissolved, jnp.concatenate([surface[None], flux])


def _same_for_own_production(passed: ArrayLike, columns: Columns) -> SinkingLaw:
    """Law of a scheme that mixes the flux from above and the own production before it passes them on."""
    passed = jnp.asarray(passed) * columns.open_below
    return SinkingLaw(passed, passed)
