"""Sampling the posterior: one Markov chain, in chunks, to be resumed to the same draws.

Chains run in coordinates y in which the posterior is close to a standard normal, whitened by Laplace's approximation
and with bent valleys straightened (`invbgc.inference.coordinates`): the mass matrix is known from the start, and
warm-up adapts a step size only. Three kernels leave exp(-U) invariant:

* ``"nuts"``: the No-U-Turn sampler of numpyro (Hoffman and Gelman 2014).
* ``"delayed"``: delayed acceptance (Christen and Fox 2005) with the quadratic model as surrogate. Its posterior is
  sampled exactly, by y' = rho y + (1 - rho^2)^1/2 noise; the model judges the result, with the probability

      min(1, w(x') / w(x)),    w = exp(-U(x) + |y|^2/2) |dx/dy|,

  so that a draw costs one steady state and no gradient. Warm-up chooses rho.
* ``"both"``: in turn a draw of NUTS and three of the quadratic model (rho = 0) for the model to judge. NUTS finds its
  way where the quadratic model fails; where it does not, a judged draw is an independent one for one gradient, at
  another energy at once, which NUTS alone changes slowly. Warm-up is NUTS alone.

A chain depends on its last checkpoint alone: factors are dropped at every chunk, and states start from what the
sensitivities at the optimum foresee.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np

from invbgc import __version__
from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.checkpoint import CheckpointFolder, digest
from invbgc.inference.coordinates import Coordinates

Kernel = Literal["both", "nuts", "delayed"]

TARGET_ACCEPTANCE = {"nuts": 0.55, "delayed": 0.4}
"""Mean acceptance probability to which warm-up adapts. On a normal distribution of 21 dimensions, trajectories of three
steps at 0.5 to 0.65 give twice the effective draws per gradient of those of seven steps at the usual 0.8."""

START_STEP = 1.0
"""First step of NUTS in 21 dimensions; it goes as the fourth root of their number."""

JUMPS = 3
"""Judged draws after each of NUTS. Where three in four are taken, three give half as many effective squares again for a
gradient as one does; where half are, as many."""

MAX_DEPTH = 8
"""Doublings of a NUTS trajectory at most."""

STATISTICS = (
    "lp", "acceptance_rate", "step_size", "n_steps", "tree_depth", "energy", "diverging", "surrogate_acceptance"
)  # fmt: skip
"""What is kept of every draw, by the names that ArviZ knows. A judged draw has its probability as acceptance, one step
and no energy; surrogate_acceptance is NaN for draws of NUTS."""

_log = logging.getLogger("invbgc")


@dataclass(frozen=True)
class SamplerOptions:
    """How a chain is run.

    Attributes:
        kernel: ``"both"``, ``"nuts"`` or ``"delayed"``.
        warmup: draws in which the step is adapted, not kept.
        draws: draws kept.
        chunk: draws between checkpoints.
        seed: of the random numbers of all chains.
    """

    kernel: Kernel = "both"
    warmup: int = 40
    draws: int = 400
    chunk: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise InputError(f"sampler: kernel {self.kernel!r}; expected one of {', '.join(get_args(Kernel))}.")
        for name in ("warmup", "draws", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"sampler: {name} is {getattr(self, name)}; expected 1 or more.")


class Restartable(Protocol):
    """What a chain needs of the posterior besides its potential."""

    def forget(self) -> None:
        """Drop whatever earlier evaluations left behind, so that the next ones depend on their arguments alone."""
        ...

    def interrupted(self) -> bool:
        """Whether an evaluation since the last call was stopped by Ctrl-C; failed solves are forgotten."""
        ...


@dataclass(frozen=True, eq=False)
class Chain:
    """Draws of one chain.

    Attributes:
        x: [draws, p] optimiser coordinates.
        statistics: name -> [draws]; see `STATISTICS`.
        gradients: evaluations of U with its gradient, warm-up included.
        values: evaluations of U alone, warm-up included.
        seconds: time spent, earlier sessions included.
    """

    x: np.ndarray
    statistics: Mapping[str, np.ndarray]
    gradients: int
    values: int
    seconds: float


def sample_chain(
    potential: Callable[[jax.Array], jax.Array],
    coordinates: Coordinates,
    chain: int = 0,
    options: SamplerOptions | None = None,
    folder: str | Path | None = None,
    fingerprint: Mapping[str, str] | None = None,
    posterior: Restartable | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Chain:
    """Run one chain, or continue it.

    Args:
        potential: U(x) = -ln p up to a constant, a JAX function; infinite or NaN where x is not allowed.
        coordinates: in which the posterior is close to a standard normal.
        chain: number of the chain, which seeds it.
        options: kernel and lengths.
        folder: for checkpoints, one after every chunk; None for none. A chain that was killed and resumed makes the
            same draws, bit for bit, as one that was not. With more `draws` a finished chain goes on.
        fingerprint: what the posterior depends on, so that checkpoints of another are refused.
        posterior: what `potential` is made of, if evaluations depend on what was computed before.
        progress: receives a line of text after every chunk.

    Returns:
        The draws.

    Raises:
        ConvergenceError: no admissible start is found.
        CheckpointError: the checkpoints are damaged or belong to another chain.
        KeyboardInterrupt: with a message that says how the chain can be resumed.
    """
    options = options or SamplerOptions()
    centre, root = jnp.asarray(coordinates.centre), jnp.asarray(coordinates.root)
    size = root.shape[1]

    def whitened(y):
        z, volume = coordinates.to_z(y)
        value = potential(centre + root @ z) - volume
        return jnp.where(jnp.isnan(value), jnp.inf, value)

    key = jax.random.fold_in(jax.random.PRNGKey(options.seed), chain)
    kernel = (
        _Delayed(whitened, options.warmup)
        if options.kernel == "delayed"
        else _Nuts(whitened, options.warmup, surrogate=options.kernel == "both")
    )
    checkpoints, saved = None, None
    if folder is not None:
        record = {
            "invbgc version": __version__, "sampler": f"{options.kernel}, warm-up {options.warmup}",
            "chunk": str(options.chunk), "seed and chain": f"{options.seed}, {chain}",
            "coordinates": digest(coordinates),
        }  # fmt: skip
        checkpoints = CheckpointFolder(Path(folder), record | dict(fingerprint or {}))
        saved = checkpoints.load()
    clock, done = time.perf_counter(), 0
    total = options.warmup + options.draws
    table = np.empty((0, size + len(STATISTICS)))
    costs = np.zeros(2, dtype=int)
    if saved is None:
        if posterior is not None:
            posterior.forget()
        state = kernel.start(key, size)
    else:
        header, arrays = saved
        done, table, costs = header["done"], arrays["table"], arrays["costs"]
        clock -= header["seconds"]
        state = kernel.unpack({name.removeprefix("state_"): a for name, a in arrays.items() if name[:6] == "state_"})
    begun, first = done, time.perf_counter()
    while done < total:
        if posterior is not None:
            posterior.forget()
        rows = []
        for _ in range(min(options.chunk, total - done)):
            state, y, statistics, cost = kernel.step(state)
            if posterior is not None and posterior.interrupted():
                where = f"the chain goes on from {checkpoints.path}" if checkpoints else "nothing was saved"
                raise KeyboardInterrupt(f"chain {chain} stopped after {done} draws; {where}")
            costs = costs + cost
            rows.append(np.concatenate([np.asarray(coordinates.to_x(jnp.asarray(y))), statistics]))
        done += len(rows)
        table = np.concatenate([table, rows])
        if checkpoints is not None:
            packed = {f"state_{name}": value for name, value in kernel.pack(state).items()}
            header = {"done": done, "seconds": time.perf_counter() - clock}
            checkpoints.save(done, header, {"table": table, "costs": costs} | packed)
        if progress is not None:
            left = (time.perf_counter() - first) / (done - begun) * (total - done)
            progress(_line(chain, done, options, table, costs, left))
    kept = table[options.warmup : total]
    columns = kept[:, size:].T
    return Chain(
        kept[:, :size], dict(zip(STATISTICS, columns, strict=True)), int(costs[0]), int(costs[1]),
        time.perf_counter() - clock,
    )  # fmt: skip


def _line(chain: int, done: int, options: SamplerOptions, table: np.ndarray, costs: np.ndarray, left: float) -> str:
    part = table[options.warmup :] if done > options.warmup else table
    found = dict(zip(STATISTICS, part[:, -len(STATISTICS) :].T, strict=True))
    judged = np.isfinite(found["surrogate_acceptance"])
    own = ~judged | np.all(judged)  # of the kernel that adapts
    phase = f"warm-up {done}/{options.warmup}" if done <= options.warmup else (
        f"draw {done - options.warmup}/{options.draws}"
    )  # fmt: skip
    solves = round((options.warmup + options.draws - done) * found["n_steps"].mean())
    steps = f"  tree depth {found['tree_depth'][own].mean():.1f}" if options.kernel != "delayed" else ""
    if options.kernel == "both" and np.any(judged):
        steps += f"  jumps taken {found['surrogate_acceptance'][judged].mean():.2f}"
    return (
        f"chain {chain}  {phase}  acceptance {found['acceptance_rate'][own].mean():.2f}{steps}  "
        f"step {found['step_size'].mean():.2f}  divergences {int(found['diverging'].sum())}  "
        f"model solves {int(costs.sum())}, about {solves} ({left / 60:.1f} min) left"
    )


class _Nuts:
    """Transitions of numpyro's NUTS in whitened coordinates, with a step size that warm-up adapts."""

    def __init__(self, potential: Callable, warmup: int, surrogate: bool):
        from numpyro.infer import NUTS

        self._warmup, self._surrogate = warmup, surrogate
        settings = {"adapt_step_size": False, "adapt_mass_matrix": False, "max_tree_depth": MAX_DEPTH}
        self._kernel = NUTS(potential_fn=potential, **settings)
        self._normal = NUTS(potential_fn=lambda y: 0.5 * jnp.sum(y**2), **settings)
        self._sample = jax.jit(lambda state: self._kernel.sample(state, (), {}))
        self._slope = jax.jit(jax.value_and_grad(potential))

    def start(self, key, size: int):
        key, own, part = jax.random.split(key, 3)
        y, value, slope = admissible_start(self._slope, part, size)
        nuts = self._begin(self._normal, key, y)._replace(potential_energy=value, z_grad=slope)
        jax.eval_shape(lambda: self._begin(self._kernel, key, y))  # numpyro prepares a kernel by starting it
        ln_step = np.log(START_STEP * (21.0 / size) ** 0.25)
        return {"nuts": nuts, "adapted": np.array([ln_step, 0.0, 0.0, 0.0]), "key": np.asarray(own)}

    @staticmethod
    def _begin(kernel, key, y):
        return kernel.init(key, 0, init_params=y, model_args=(), model_kwargs={})

    def step(self, state):
        ln_step, total, count, i = state["adapted"]
        warm = i < self._warmup
        # Robbins and Monro; what is kept is the mean over the second half of warm-up.
        used = float(np.exp(ln_step if warm or count == 0 else total / count))
        if self._surrogate and not warm and (i - self._warmup) % (JUMPS + 1) != 0:
            nuts, key, probability = self._jump(state["nuts"], state["key"])
            steps, statistics = 1, [probability, used, 1, 1, np.nan, False, probability]
        else:
            nuts, key = state["nuts"], state["key"]
            nuts = nuts._replace(adapt_state=nuts.adapt_state._replace(step_size=jnp.asarray(used)))
            nuts = jax.block_until_ready(self._sample(nuts))
            steps = int(nuts.num_steps)
            depth = np.ceil(np.log2(steps + 1))
            statistics = [nuts.accept_prob, used, steps, depth, nuts.energy, nuts.diverging, np.nan]
        if warm:
            ln_step += (float(nuts.accept_prob) - TARGET_ACCEPTANCE["nuts"]) / (i + 1.0) ** 0.6
            if i >= self._warmup // 2:
                total, count = total + ln_step, count + 1.0
        state = {"nuts": nuts, "adapted": np.array([ln_step, total, count, i + 1.0]), "key": np.asarray(key)}
        row = np.array([-nuts.potential_energy, *statistics], dtype=float)
        return state, nuts.z, row, np.array([steps, 0])

    def _jump(self, nuts, key):
        """A draw of the quadratic model, taken or not."""
        key, noise, coin = jax.random.split(jnp.asarray(key), 3)
        new = jax.random.normal(noise, nuts.z.shape)
        value, slope = self._slope(new)
        old = float(nuts.potential_energy) - 0.5 * float(nuts.z @ nuts.z)
        ln_ratio = old - float(value) + 0.5 * float(new @ new)
        probability = float(np.exp(min(0.0, ln_ratio))) if np.isfinite(float(value)) else 0.0
        if float(jax.random.uniform(coin)) < probability:
            nuts = nuts._replace(z=new, z_grad=slope, potential_energy=value)
        return nuts, key, probability

    def pack(self, state) -> dict[str, np.ndarray]:
        leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state["nuts"]))}
        return leaves | {"adapted": state["adapted"], "key": state["key"]}

    def unpack(self, arrays: Mapping[str, np.ndarray]):
        # The structure of a state, without evaluating the model.
        size = arrays["1"].shape[0]
        shape = jax.eval_shape(lambda: self._begin(self._kernel, jax.random.PRNGKey(0), jnp.zeros(size)))
        leaves, tree = jax.tree.flatten(shape)
        found = [jnp.asarray(arrays[str(i)], leaf.dtype) for i, leaf in enumerate(leaves)]
        return {"nuts": jax.tree.unflatten(tree, found), "adapted": arrays["adapted"], "key": arrays["key"]}


class _Delayed:
    """Draws of the quadratic model, judged by the model itself."""

    def __init__(self, potential: Callable, warmup: int):
        self._potential, self._warmup = jax.jit(potential), warmup

    def start(self, key, size: int):
        key, part = jax.random.split(key)
        y, value, _ = admissible_start(lambda y: (self._potential(y), None), part, size)
        return {"key": np.asarray(key), "z": np.asarray(y), "value": float(value), "ln_step": 0.0, "i": 0}

    def step(self, state):
        key, noise, coin = jax.random.split(jnp.asarray(state["key"]), 3)
        step, z = float(np.exp(state["ln_step"])), state["z"]
        new = np.sqrt(1.0 - step**2) * z + step * np.asarray(jax.random.normal(noise, z.shape))
        value = float(self._potential(jnp.asarray(new)))
        ln_ratio = (state["value"] - 0.5 * z @ z) - (value - 0.5 * new @ new)
        probability = float(np.exp(min(0.0, ln_ratio))) if np.isfinite(value) else 0.0
        ln_step, i = state["ln_step"], int(state["i"]) + 1
        if i <= self._warmup:
            ln_step = min(0.0, ln_step + (probability - TARGET_ACCEPTANCE["delayed"]) / i**0.6)
        if float(jax.random.uniform(coin)) < probability:
            z, state = new, state | {"value": value}
        state = state | {"key": np.asarray(key), "z": z, "ln_step": ln_step, "i": i}
        statistics = [-state["value"], probability, step, 1, 0, state["value"], False, probability]
        return state, z, np.array(statistics, dtype=float), np.array([0, 1])

    def pack(self, state) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in state.items()}

    def unpack(self, arrays: Mapping[str, np.ndarray]):
        scalars = {name: float(arrays[name]) for name in ("value", "ln_step")}
        return {"key": arrays["key"], "z": arrays["z"], "i": int(arrays["i"])} | scalars


def admissible_start(slope: Callable, key, size: int, tries: int = 20):
    """A draw y of the standard normal at which the posterior is finite, with its value and gradient.

    Raises:
        ConvergenceError: none of them is.
    """
    for part in jax.random.split(key, tries):
        y = jax.random.normal(part, (size,))
        value, gradient = slope(y)
        if np.isfinite(float(value)):
            return y, value, gradient
    raise ConvergenceError(
        f"sampler: none of {tries} draws of the Gaussian approximation has a steady state within the model's limits; "
        "give priors to the parameters that the data hardly inform, or freeze them."
    )
