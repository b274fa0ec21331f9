"""The phosphorus cycle: production, DIP, POP, DOP and labile DOP (Wang et al. 2023, Methods, equation 1 and P model).

    (T + gamma + kappa_g) DIP = kappa_g DIP_mean + kappa_p POP + kappa_dP DOP + kappa_l DOPl
    (F_POP + kappa_p) POP     = (1 - sigma_P - delta) gamma DIP
    (T + kappa_dP) DOP        = sigma_P gamma DIP
    (T + kappa_l) DOPl        = delta gamma DIP

POP is a function of DIP (a column recursion), so the loop is solved for DIP and DOP, and DOPl where delta > 0, at once.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from invbgc.grid import OceanGrid
from invbgc.linalg.inventory import Inventory
from invbgc.linalg.operators import RowProduct, SparseOperator
from invbgc.models.pco.environment import Environment
from invbgc.particles import remineralise, unit_response
from invbgc.stoichiometry import q10_rate


def uptake_rate(env: Environment, p):
    """Phosphate uptake rate gamma = alpha N^beta / (1e-6 + PO4) [n_wet] s-1 (equation 1), zero below the euphotic zone.

    N is half of the satellite production per layer, in mmol P m-3 yr-1 (the unit that belongs to the published alpha);
    where there is none, there is no uptake and no derivative.
    """
    productive = env.satellite_phosphorus > 0
    log_production = jnp.log(jnp.where(productive, env.satellite_phosphorus, 1.0))
    return p["alpha"] * jnp.where(productive, jnp.exp(p["beta"] * log_production), 0.0) * env.inverse_phosphate


def sinking_pop(env: Environment, p):
    """Sinking law of POP, with the exponent b = b_P + b_P_slope T_z per column."""
    return env.power_law(env.exponent(p, "P"))


def dop_rate(env: Environment, p):
    """Remineralisation rate of DOP [n_wet] s-1, kappa_dP Q10_P^((T - 30)/10)."""
    return q10_rate(p["kappa_dP"], p["Q10_P"], env.temperature)


def pop_remineralisation(env: Environment, p, production):
    """kappa_p POP [n_wet] mmol m-3 s-1 for a phosphorus production [n_wet] mmol m-3 s-1, and the column's fluxes."""
    source = (1.0 - p["sigma_P"] - env.options.labile_fraction) * production
    column = remineralise(env.grid.to_columns(source), sinking_pop(env, p), env.columns)
    return env.grid.from_columns(column.remineralisation), column.flux


def phosphorus_source(env: Environment, own, p):
    """Local sources of DIP, DOP and, where delta > 0, DOPl [n_wet] mmol m-3 s-1."""
    options = env.options
    production = uptake_rate(env, p) * own["DIP"]
    remineralised, _ = pop_remineralisation(env, p, production)
    dop_loss = dop_rate(env, p) * own["DOP"]
    source = {
        "DIP": options.kappa_g * (env.DIP_mean - own["DIP"]) - production + remineralised + dop_loss,
        "DOP": p["sigma_P"] * production - dop_loss,
    }
    if "DOPl" in own:
        labile_loss = options.kappa_l * own["DOPl"]
        source["DIP"] = source["DIP"] + labile_loss
        source["DOPl"] = options.labile_fraction * production - labile_loss
    return source


def loop_coefficients(env: Environment, p):
    """Coefficients of `PhosphorusLoop`: uptake, DOP production, recycling per euphotic layer, DOP loss [.., n_wet]."""
    layers = env.options.euphotic_layers
    uptake = uptake_rate(env, p)
    response = unit_response(sinking_pop(env, p), env.columns, layers)
    top = env.grid.to_columns(uptake)[:layers]
    particles = (1.0 - p["sigma_P"] - env.options.labile_fraction) * top[:, None, :] * response
    return uptake, p["sigma_P"] * uptake, env.grid.from_columns(particles), dop_rate(env, p)


class PhosphorusLoop(SparseOperator):
    """The matrix of the coupled DIP, DOP (and DOPl) equations with POP eliminated.

    Its blocks are transport plus diagonals, and a block that carries phosphorus from the euphotic boxes of a column to
    the boxes in which its particles dissolve.

    Args:
        transport: T [n, n] s-1.
        product: its product in JAX.
        grid: the grid.
        layers: euphotic layers.
        kappa_g: restoring rate of DIP, s-1.
        labile: delta and kappa_l (s-1) where there is a DOPl, else None.
    """

    def __init__(
        self,
        transport: sp.csr_array,
        product: RowProduct,
        grid: OceanGrid,
        layers: int,
        kappa_g: float,
        labile: tuple[float, float] | None,
    ):
        self._n = n = grid.n_wet
        self._blocks = 2 if labile is None else 3
        self._product, self._grid, self._layers = product, grid, layers
        self._kappa_g, self._labile = kappa_g, labile
        here = np.arange(n)
        coo = transport.tocoo()
        rows = [coo.row + block * n for block in range(self._blocks)]
        columns = [coo.col + block * n for block in range(self._blocks)]
        # (row, column) of each local term, in the order in which `values` lists them
        local = [(0, 0), (0, 1), (1, 0), (1, 1)] + ([] if labile is None else [(0, 2), (2, 0), (2, 2)])
        rows += [here + row * n for row, _ in local]
        columns += [here + column * n for _, column in local]
        for layer in range(layers):
            producer = grid.column_box[layer, grid.column]
            wet = grid.column_wet[layer, grid.column]
            rows.append(here)
            columns.append(np.where(wet, producer, here))
        row, column = np.concatenate(rows), np.concatenate(columns)
        key, position = np.unique(row * (self._blocks * n) + column, return_inverse=True)
        self._position = position.astype(np.int32)
        self._transport_values = np.tile(coo.data, self._blocks)
        indptr = np.searchsorted(key, np.arange(self.size + 1) * (self._blocks * n))
        indices, indptr = (index.astype(np.int32) for index in (key % (self._blocks * n), indptr))
        self._pattern = sp.csr_array((np.ones(len(key)), indices, indptr), shape=(self.size,) * 2)

    @property
    def size(self) -> int:
        """Number of unknowns: 2 or 3 per wet box."""
        return self._blocks * self._n

    @property
    def pattern(self) -> sp.csr_array:
        """The block pattern."""
        return self._pattern

    @property
    def inventory(self) -> Inventory:
        """All dissolved phosphorus, restored as DIP: the loop loses none of it."""
        volume = np.asarray(self._grid.volume)
        return Inventory(np.tile(volume, self._blocks), np.arange(self.size) < self._n, self._kappa_g)

    def values(self, coefficients: Sequence[np.ndarray]) -> np.ndarray:
        """CSR values for the coefficients of `loop_coefficients`."""
        uptake, to_dop, recycled, dop_loss = coefficients
        local = [uptake + self._kappa_g, -dop_loss, -to_dop, dop_loss]
        if self._labile is not None:
            delta, kappa_l = self._labile
            rate = np.full(self._n, kappa_l)
            local += [-rate, -delta * uptake, rate]
        entries = np.concatenate([self._transport_values, *local, *(-recycled)])
        return np.bincount(self._position, weights=entries, minlength=self._pattern.nnz)

    def constant_part(self, x):
        """T applied to each tracer."""
        return jnp.concatenate([self._product(part) for part in jnp.split(x, self._blocks)])

    def matvec(self, coefficients, x):
        """A(c) x."""
        uptake, to_dop, recycled, dop_loss = coefficients
        parts = jnp.split(x, self._blocks)
        dip, dop = parts[:2]
        producers = self._grid.to_columns(dip)[: self._layers][:, self._grid.column]
        local = [
            (uptake + self._kappa_g) * dip - jnp.sum(recycled * producers, axis=0) - dop_loss * dop,
            dop_loss * dop - to_dop * dip,
        ]
        if self._labile is not None:
            delta, kappa_l = self._labile
            local[0] = local[0] - kappa_l * parts[2]
            local.append(kappa_l * parts[2] - delta * uptake * dip)
        return self.constant_part(x) + jnp.concatenate(local)
