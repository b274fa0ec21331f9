"""The algorithm that invbgc is measured against: joint Jacobians, and one second-order solve per pair of parameters.

Written from its description only (Wang et al. 2023, Methods): the phosphorus model is one system of four tracers (DIP,
DOP, POP, DOPl), the carbon model one of seven (DIC, POC, DOC, PIC, ALK, DOCr, DOCl), oxygen one more. Each is factored
with its particles as unknowns. The state of every pair of parameters,

    A u_jk = -D2F (s_j, s_k) - dF/dupstream upstream_jk,

is solved for, 231 pairs per system, and the Hessian is f_jk = D2f (s_j, s_k) + df/du . u_jk. The right-hand sides of
a row of pairs are solved as one block, which is kinder than one by one. Equations (with the paper's upwind sinking),
constants and data are those of a `Posterior`, and so are the results.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from invbgc.inference.posterior import Posterior
from invbgc.linalg.backend import find_backend
from invbgc.models.pco import carbon, oxygen, phosphorus
from invbgc.particles import SinkingLaw, exponential_law
from invbgc.stoichiometry import rain_ratio

NEWTON_STEP = 1e-7
"""Size of the step, mmol m-3, at which a nonlinear system has converged."""

Fields = Mapping[str, jax.Array]


@dataclass
class Block:
    """A system of several tracers, solved as one.

    Attributes:
        tracers: names, in the order in which they are stacked.
        local: (own, upstream, x) -> sources without transport and sinking, mmol m-3 s-1.
        sinking: (x) -> laws of those that sink.
        linear: whether one solve suffices.
    """

    tracers: tuple[str, ...]
    local: Callable[[Fields, Fields, Any], dict[str, jax.Array]]
    sinking: Callable[[Any], dict[str, SinkingLaw]]
    linear: bool
    counts: dict[str, int] = field(default_factory=lambda: {"factorisations": 0, "solves": 0})


class JointPosterior:
    """Value, gradient and Hessian of a posterior by the joint, pairwise algorithm."""

    def __init__(self, posterior: Posterior):
        self.posterior = posterior
        model = posterior.model
        self._env, self._to_values = model.environment, model.table.to_values
        self._product = jax.jit(model.systems["tracer"].operator.constant_part)
        self._transport = model.circulation.transport.tocoo()
        self._n = model.grid.n_wet
        self.blocks = (self._phosphorus(), self._carbon(), self._oxygen())
        self._compiled = [self._compile(block) for block in self.blocks]
        self._solvers: dict[int, Any] = {}

    # ------------------------------------------------------------------ the equations

    def _phosphorus(self) -> Block:
        env, options = self._env, self._env.options

        def local(own, _, x):
            p = self._to_values(x)
            production = phosphorus.uptake_rate(env, p) * own["DIP"]
            dop_loss = phosphorus.dop_rate(env, p) * own["DOP"]
            pop_loss, labile_loss = options.kappa_p * own["POP"], options.kappa_l * own["DOPl"]
            return {
                "DIP": options.kappa_g * (env.DIP_mean - own["DIP"]) - production + pop_loss + dop_loss + labile_loss,
                "DOP": p["sigma_P"] * production - dop_loss,
                "POP": (1.0 - p["sigma_P"] - options.labile_fraction) * production - pop_loss,
                "DOPl": options.labile_fraction * production - labile_loss,
            }

        return Block(
            ("DIP", "DOP", "POP", "DOPl"), local,
            lambda x: {"POP": phosphorus.sinking_pop(env, self._to_values(x))}, True,
        )  # fmt: skip

    def _carbon(self) -> Block:
        env, options = self._env, self._env.options

        def local(own, upstream, x):
            p = self._to_values(x)
            production = carbon.carbon_production(env, upstream["DIP"], p)
            poc = (1.0 - p["sigma_C"] - options.labile_fraction) * production
            pic = poc * rain_ratio(env.silicate, p["rain_ratio_slope"], p["rain_ratio"])
            doc_loss, docr_loss = carbon.doc_rate(env, p) * own["DOC"], carbon.docr_rate(env, p) * own["DOCr"]
            poc_loss, pic_loss = options.kappa_p * own["POC"], options.kappa_p * own["PIC"]
            labile_loss = options.kappa_l * own["DOCl"]
            respired = p["eta"] * doc_loss + docr_loss + labile_loss + poc_loss
            calcite = pic_loss - pic
            return {
                "DIC": respired - production + calcite + carbon.air_sea_co2(env, own["DIC"], own["ALK"])
                - env.freshwater * env.DIC_surface_mean,
                "POC": poc - poc_loss,
                "DOC": p["sigma_C"] * production - doc_loss,
                "PIC": pic - pic_loss,
                "ALK": options.kappa_g * (env.ALK_mean - own["ALK"]) + 2.0 * calcite
                + options.r_N2C * (production - respired) - env.freshwater * env.ALK_surface_mean,
                "DOCr": (1.0 - p["eta"]) * doc_loss - docr_loss,
                "DOCl": options.labile_fraction * production - labile_loss,
            }  # fmt: skip

        def sinking(x):
            p = self._to_values(x)
            return {"POC": carbon.sinking_poc(env, p), "PIC": exponential_law(p["d_PIC"], env.columns)}

        return Block(("DIC", "POC", "DOC", "PIC", "ALK", "DOCr", "DOCl"), local, sinking, False)

    def _oxygen(self) -> Block:
        env, options = self._env, self._env.options

        def local(own, upstream, x):
            p = self._to_values(x)
            production = carbon.carbon_production(env, upstream["DIP"], p)
            respired = (
                p["eta"] * carbon.doc_rate(env, p) * upstream["DOC"]
                + carbon.docr_rate(env, p) * upstream["DOCr"]
                + options.kappa_l * upstream["DOCl"]
                + options.kappa_p * upstream["POC"]
            )
            used = oxygen.oxic_fraction(env, own["O2"]) * respired
            return {"O2": p["r_O2C"] * (production - used) + oxygen.air_sea_o2(env, own["O2"])}

        return Block(("O2",), local, lambda x: {}, False)

    def _sunk(self, concentration, law: SinkingLaw):
        """Divergence of the sinking flux of particles [n_wet], which dissolve at the rate kappa_p."""
        grid, thickness = self._env.grid, self._env.columns.thickness[:, None]
        dissolved = grid.to_columns(concentration) * self._env.options.kappa_p * thickness
        below = self._ratio(law) * dissolved
        above = jnp.concatenate([jnp.zeros_like(below[:1]), below[:-1]])
        return grid.from_columns((self._share * below - above) / thickness)

    @property
    def _share(self):
        columns = self._env.columns
        return jnp.asarray(columns.open_below if columns.open_share is None else columns.open_share, dtype=float)

    def _ratio(self, law: SinkingLaw):
        """Flux through the lower interface over what dissolves in the layer."""
        return law.transmitted / (1.0 - self._share * law.transmitted)

    def _residual(self, block: Block, own, upstream, x):
        """F(u) [len(tracers) n_wet]: what is carried away minus what is made."""
        fields = dict(zip(block.tracers, jnp.split(own, len(block.tracers)), strict=True))
        source, laws = block.local(fields, upstream, x), block.sinking(x)
        carried = {
            name: self._sunk(value, laws[name]) if name in laws else self._product(value)
            for name, value in fields.items()
        }
        return jnp.concatenate([carried[name] - source[name] for name in block.tracers])

    def _compile(self, block: Block) -> dict[str, Callable]:
        def residual(own, upstream, x):
            return self._residual(block, own, upstream, x)

        def first(own, upstream, x, upstream_tangents):
            def along(tangents):
                return -jax.jvp(lambda up, v: residual(own, up, v), (upstream, x), tangents)[1]

            return jax.lax.map(along, (upstream_tangents, jnp.eye(len(x))))

        def second(own, upstream, x, one, other, upstream_second):
            """Right-hand side of a pair of directions."""
            point = (own, upstream, x)

            def slope(*point):
                return jax.jvp(residual, point, one)[1]

            curvature = jax.jvp(slope, point, other)[1]
            return -curvature - jax.jvp(lambda up: residual(own, up, x), (upstream,), (upstream_second,))[1]

        return {
            "residual": jax.jit(residual),
            "first": jax.jit(first),
            "second": jax.jit(second),
            "slopes": jax.jit(lambda own, up, x: self._slopes(block, own, up, x)),
        }

    def _slopes(self, block: Block, own, upstream, x):
        """Diagonals of the couplings [tracers, tracers, n], and the coefficients of sinking."""
        fields = dict(zip(block.tracers, jnp.split(own, len(block.tracers)), strict=True))

        def column(name):
            seed = {other: jnp.ones(self._n) * (other == name) for other in block.tracers}
            change = jax.jvp(lambda u: block.local(u, upstream, x), (fields,), (seed,))[1]
            return jnp.stack([-change[other] for other in block.tracers])

        couplings = jnp.stack([column(name) for name in block.tracers], axis=1)
        grid, thickness = self._env.grid, self._env.columns.thickness[:, None]
        sinking = {}
        for name, law in block.sinking(x).items():
            below = self._ratio(law) * self._env.options.kappa_p * thickness
            out = self._share * below / thickness
            into = jnp.concatenate([jnp.zeros_like(below[:1]), below[:-1]]) / thickness
            sinking[name] = (grid.from_columns(out), grid.from_columns(into))
        return couplings, sinking

    # ------------------------------------------------------------------ the joint systems

    def _factor(self, index: int, own, upstream, x):
        """Factor dF/du of a block."""
        block = self.blocks[index]
        couplings, sinking = self._compiled[index]["slopes"](own, upstream, x)
        couplings = np.asarray(couplings)
        if index not in self._solvers:
            self._solvers[index] = self._pattern(block, couplings != 0.0)
        coupled, position, pattern, analysis = self._solvers[index]
        entries = []
        for name in block.tracers:
            if name in sinking:
                out, into = (np.asarray(part) for part in sinking[name])
                entries += [out, -into]
            else:
                entries.append(self._transport.data)
        entries += [couplings[i, j] for i, j in coupled]
        block.counts["factorisations"] += 1
        return analysis.factor(np.bincount(position, weights=np.concatenate(entries), minlength=pattern.nnz))

    def _pattern(self, block: Block, coupled: np.ndarray):
        """Rows and columns of all entries, in the order of their values; analysed once."""
        n, size = self._n, self._n * len(block.tracers)
        laws = block.sinking(jnp.asarray(self.posterior.x0))
        grid, here = self._env.grid, np.arange(self._n)
        above = np.where(grid.layer > 0, grid.column_box[np.maximum(grid.layer - 1, 0), grid.column], here)
        rows, columns = [], []
        for i, name in enumerate(block.tracers):
            if name in laws:
                rows += [here + i * n, here + i * n]
                columns += [here + i * n, above + i * n]
            else:
                rows.append(self._transport.row + i * n)
                columns.append(self._transport.col + i * n)
        pairs = [(i, j) for i in range(len(block.tracers)) for j in range(len(block.tracers)) if coupled[i, j].any()]
        pairs += [(i, i) for i in range(len(block.tracers)) if not coupled[i, i].any()]
        for i, j in pairs:
            rows.append(here + i * n)
            columns.append(here + j * n)
        key, position = np.unique(np.concatenate(rows) * size + np.concatenate(columns), return_inverse=True)
        indptr = np.searchsorted(key, np.arange(size + 1) * size)
        pattern = sp.csr_array((np.ones(len(key)), key % size, indptr), shape=(size, size))
        return pairs, position, pattern, find_backend()[1](pattern, False)

    def _solve(self, block: Block, factor, rhs: np.ndarray) -> np.ndarray:
        """Solve for rows of right-hand sides [m, size]."""
        block.counts["solves"] += len(rhs)
        return factor.solve(np.ascontiguousarray(rhs.T), False).T

    # ------------------------------------------------------------------ the evaluation

    def evaluate(self, x: np.ndarray, guess: Fields, order: int = 2) -> dict[str, Any]:
        """Value, gradient and Hessian at x.

        Args:
            x: optimiser coordinates [p].
            guess: tracers to start the nonlinear systems from.
            order: derivatives wanted, 0 to 2.

        Returns:
            ``value``, ``gradient`` [p], ``hessian`` [p, p] and the counts of each system.
        """
        point, p, unit = jnp.asarray(x), len(x), np.eye(len(x))
        fields: dict[str, Any] = {}
        first: dict[str, np.ndarray] = {}
        pairs = [(j, k) for j in range(p) for k in range(j, p)]
        second: dict[str, np.ndarray] = {}
        for index, block in enumerate(self.blocks):
            block.counts = {"factorisations": 0, "solves": 0}
            rules, upstream = self._compiled[index], dict(fields)
            own, factor = self._state(index, upstream, point, guess)
            parts = np.split(own, len(block.tracers))
            if order > 0:
                own_first = self._solve(block, factor, np.asarray(rules["first"](own, upstream, point, first)))
            if order > 1:
                own_second = np.empty((len(pairs), own.size))
                for j in range(p):
                    chosen = [number for number, pair in enumerate(pairs) if pair[0] == j]
                    rhs = []
                    for number in chosen:
                        directions = [
                            (own_first[i], {name: s[i] for name, s in first.items()}, unit[i]) for i in pairs[number]
                        ]
                        upstream_second = {name: u[number] for name, u in second.items()}
                        rhs.append(np.asarray(rules["second"](own, upstream, point, *directions, upstream_second)))
                    own_second[chosen] = self._solve(block, factor, np.stack(rhs))
                second |= dict(zip(block.tracers, np.split(own_second, len(block.tracers), axis=1), strict=True))
            if order > 0:
                first |= dict(zip(block.tracers, np.split(own_first, len(block.tracers), axis=1), strict=True))
            factor.free()
            fields |= dict(zip(block.tracers, parts, strict=True))
        result: dict[str, Any] = {"value": float(self.posterior.objective(fields, point))}
        result["counts"] = {block.tracers[0]: block.counts for block in self.blocks}
        slope = jax.jit(jax.grad(self.posterior.objective, argnums=(0, 1)))
        if order > 0:
            by_field, by_x = slope(fields, point)
            result["gradient"] = sum((first[name] @ np.asarray(by_field[name]) for name in fields), np.asarray(by_x))
        if order > 1:
            hessian = np.zeros((p, p))
            for j in range(p):
                tangent = ({name: s[j] for name, s in first.items()}, jnp.eye(p)[j])
                change, own_change = jax.jvp(slope, (fields, point), tangent)[1]
                hessian[j] = sum((first[name] @ np.asarray(change[name]) for name in fields), np.asarray(own_change))
            for number, (j, k) in enumerate(pairs):
                added = sum(float(np.vdot(second[name][number], by_field[name])) for name in fields)
                hessian[j, k] += added
                if j != k:
                    hessian[k, j] += added
            result["hessian"] = hessian
        return result

    def _state(self, index: int, upstream: Fields, x, guess: Fields):
        """State of a block and its factor there: one solve where it is linear, else Newton's method."""
        block, rules = self.blocks[index], self._compiled[index]
        own = np.concatenate([np.asarray(guess.get(name, np.zeros(self._n))) for name in block.tracers])
        for _ in range(50):
            factor = self._factor(index, own, upstream, x)
            step = -self._solve(block, factor, np.asarray(rules["residual"](own, upstream, x))[None])[0]
            own = own + step
            if block.linear or np.abs(step).max() < NEWTON_STEP:
                break
            factor.free()
        step = -self._solve(block, factor, np.asarray(rules["residual"](own, upstream, x))[None])[0]
        return own + step, factor
