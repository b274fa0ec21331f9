"""Sampling the posterior: one Markov chain, in chunks, to be resumed to the same draws.

Chains run in the whitened coordinates of Laplace's approximation, x = x_hat + R z with R R^T its covariance, where the
posterior is close to a standard normal: the mass matrix is known from the start, and warm-up adapts a step size only.
Two kernels leave exp(-U) invariant:

* ``"nuts"``: the No-U-Turn sampler of numpyro (Hoffman and Gelman 2014).
* ``"delayed"``: delayed acceptance (Christen and Fox 2005) with the quadratic model as surrogate. Its posterior is
  sampled exactly, by z' = rho z + (1 - rho^2)^1/2 noise; the model judges the result, with the probability

      min(1, w(x') / w(x)),    w = exp(-U(x) + |z|^2/2),

  so that a draw costs one steady state and no gradient. Warm-up chooses rho.

A chain depends on its last checkpoint alone: factors are dropped at every chunk, and states start from what the
sensitivities at the optimum foresee.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np

from invbgc import __version__
from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.checkpoint import CheckpointFolder, digest
from invbgc.inference.laplace import Laplace

Kernel = Literal["nuts", "delayed"]

TARGET_ACCEPTANCE = {"nuts": 0.8, "delayed": 0.4}
"""Mean acceptance probability to which warm-up adapts."""

MAX_DEPTH = 8
"""Doublings of a NUTS trajectory at most."""

STATISTICS = ("lp", "acceptance_rate", "step_size", "n_steps", "tree_depth", "energy", "diverging")
"""What is kept of every draw, by the names that ArviZ knows."""

_log = logging.getLogger("invbgc")


@dataclass(frozen=True)
class SamplerOptions:
    """How a chain is run.

    Attributes:
        kernel: ``"nuts"`` or ``"delayed"``.
        warmup: draws in which the step is adapted, not kept.
        draws: draws kept.
        chunk: draws between checkpoints.
        seed: of the random numbers of all chains.
    """

    kernel: Kernel = "nuts"
    warmup: int = 60
    draws: int = 250
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
    laplace: Laplace,
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
        laplace: Gaussian approximation at the optimum, with every direction informed.
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
        InputError: a direction is not informed by the data.
        ConvergenceError: no admissible start is found.
        CheckpointError: the checkpoints are damaged or belong to another chain.
        KeyboardInterrupt: with a message that says how the chain can be resumed.
    """
    options = options or SamplerOptions()
    if not np.all(laplace.informed):
        blind = [name for name, known in zip(laplace.direction_names, laplace.informed, strict=True) if not known]
        raise InputError(
            f"sampler: the data do not inform [{'], ['.join(blind)}]; the posterior has no end there. Give a prior to "
            "a parameter of each direction, or freeze one."
        )
    centre, root = jnp.asarray(laplace.x), jnp.asarray(laplace.root)

    def whitened(z):
        value = potential(centre + root @ z)
        return jnp.where(jnp.isnan(value), jnp.inf, value)

    key = jax.random.fold_in(jax.random.PRNGKey(options.seed), chain)
    kernel = {"nuts": _Nuts, "delayed": _Delayed}[options.kernel](whitened, options.warmup)
    checkpoints, saved = None, None
    if folder is not None:
        record = {
            "invbgc version": __version__, "sampler": f"{options.kernel}, warm-up {options.warmup}",
            "chunk": str(options.chunk), "seed and chain": f"{options.seed}, {chain}",
            "Gaussian": digest(laplace.x, np.asarray(root)),
        }  # fmt: skip
        checkpoints = CheckpointFolder(Path(folder), record | dict(fingerprint or {}))
        saved = checkpoints.load()
    clock, done = time.perf_counter(), 0
    total = options.warmup + options.draws
    table = np.empty((0, len(laplace.x) + len(STATISTICS)))
    costs = np.zeros(2, dtype=int)
    if saved is None:
        if posterior is not None:
            posterior.forget()
        state = kernel.start(key, laplace.root.shape[1])
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
            state, z, statistics, cost = kernel.step(state)
            if posterior is not None and posterior.interrupted():
                where = f"the chain goes on from {checkpoints.path}" if checkpoints else "nothing was saved"
                raise KeyboardInterrupt(f"chain {chain} stopped after {done} draws; {where}")
            costs = costs + cost
            rows.append(np.concatenate([np.asarray(laplace.x) + laplace.root @ np.asarray(z), statistics]))
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
    columns = kept[:, len(laplace.x) :].T
    return Chain(
        kept[:, : len(laplace.x)], dict(zip(STATISTICS, columns, strict=True)), int(costs[0]), int(costs[1]),
        time.perf_counter() - clock,
    )  # fmt: skip


def _line(
    chain: int, done: int, options: SamplerOptions, table: np.ndarray, costs: np.ndarray, left: float
) -> str:
    part = table[options.warmup :] if done > options.warmup else table
    mean = dict(zip(STATISTICS, part[:, -len(STATISTICS) :].mean(axis=0), strict=True))
    diverged = int(round(mean["diverging"] * len(part)))
    phase = f"warm-up {done}/{options.warmup}" if done <= options.warmup else (
        f"draw {done - options.warmup}/{options.draws}"
    )  # fmt: skip
    steps = f"  tree depth {mean['tree_depth']:.1f}" if options.kernel == "nuts" else ""
    return (
        f"chain {chain}  {phase}  acceptance {mean['acceptance_rate']:.2f}{steps}  step {mean['step_size']:.2f}  "
        f"divergences {diverged}  model solves {int(costs.sum())}  {left / 60:.1f} min left"
    )


class _Nuts:
    """Transitions of numpyro's NUTS in whitened coordinates."""

    def __init__(self, potential: Callable, warmup: int):
        from numpyro.infer import NUTS

        self._potential, self._warmup = potential, warmup
        self._kernel = NUTS(
            potential_fn=potential, step_size=0.5, adapt_mass_matrix=False, max_tree_depth=MAX_DEPTH,
            target_accept_prob=TARGET_ACCEPTANCE["nuts"],
        )  # fmt: skip
        self._sample = jax.jit(lambda state: self._kernel.sample(state, (), {}))
        self._shape: Any = None

    def start(self, key, size: int):
        key, part = jax.random.split(key)
        z = admissible_start(self._potential, part, size)
        return self._init(key, z)

    def _init(self, key, z):
        return self._kernel.init(key, self._warmup, init_params=z, model_args=(), model_kwargs={})

    def step(self, state):
        state = jax.block_until_ready(self._sample(state))
        steps = int(state.num_steps)
        statistics = [
            -state.potential_energy, state.accept_prob, state.adapt_state.step_size, steps,
            np.ceil(np.log2(steps + 1)), state.energy, state.diverging,
        ]  # fmt: skip
        return state, state.z, np.array(statistics, dtype=float), np.array([steps, 0])

    def pack(self, state) -> dict[str, np.ndarray]:
        return {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}

    def unpack(self, arrays: Mapping[str, np.ndarray]):
        # The structure of a state, without evaluating the model.
        size = arrays["1"].shape[0]
        shape = jax.eval_shape(lambda: self._flat_start(size))
        leaves, tree = jax.tree.flatten(shape)
        found = [jnp.asarray(arrays[str(i)], leaf.dtype) for i, leaf in enumerate(leaves)]
        return jax.tree.unflatten(tree, found)

    def _flat_start(self, size: int):
        return self._init(jax.random.PRNGKey(0), jnp.zeros(size))


class _Delayed:
    """Draws of the quadratic model, judged by the model itself."""

    def __init__(self, potential: Callable, warmup: int):
        self._potential, self._warmup = jax.jit(potential), warmup

    def start(self, key, size: int):
        key, part = jax.random.split(key)
        z = np.asarray(admissible_start(self._potential, part, size))
        value = float(self._potential(jnp.asarray(z)))
        return {"key": np.asarray(key), "z": z, "value": value, "ln_step": 0.0, "i": 0}

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
        statistics = [-state["value"], probability, step, 1, 0, state["value"], not np.isfinite(value)]
        return state, z, np.array(statistics, dtype=float), np.array([0, 1])

    def pack(self, state) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in state.items()}

    def unpack(self, arrays: Mapping[str, np.ndarray]):
        scalars = {name: float(arrays[name]) for name in ("value", "ln_step")}
        return {"key": arrays["key"], "z": arrays["z"], "i": int(arrays["i"])} | scalars


def admissible_start(potential: Callable, key, size: int, tries: int = 20):
    """A draw z of the Gaussian at which the posterior is finite.

    Raises:
        ConvergenceError: none of them is.
    """
    for part in jax.random.split(key, tries):
        z = jax.random.normal(part, (size,))
        if np.isfinite(float(potential(z))):
            return z
    raise ConvergenceError(
        f"sampler: none of {tries} draws of the Gaussian approximation has a steady state within the model's limits; "
        "give priors to the parameters that the data hardly inform, or freeze them."
    )


def options_record(options: SamplerOptions) -> dict[str, Any]:
    """Options as plain values, for manifests."""
    return asdict(options)
