"""A transient: tracers carried through the years by steps of equal length, with exact derivatives and restarts.

Years are compiled once as a loop over their steps; Python goes from year to year. The state at the start of every year
is all that the adjoint needs: it repeats a year and takes it backwards, so that memory grows with one state per year,
whatever the number of steps.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.constants import YEAR
from invbgc.errors import ConvergenceError, InputError
from invbgc.files import write_netcdf
from invbgc.linalg.solve import linear_solve
from invbgc.linalg.system import SparseSystem
from invbgc.transient.schemes import get_scheme

SAVE_EVERY = 30.0
"""Seconds between two restart files."""

GAINED = "integral of the explicit sources over the step"

TELL_EVERY = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, eq=False)
class TransientModel:
    """Tracers that are carried together: dc/dt + (T + d) c = f(c, t).

    Attributes:
        names: of the k tracers.
        system: the family of matrices T + diagonal.
        loss: d [k, n_wet] s-1, taken implicitly; tracers of equal losses share a factor.
        volume: [n_wet] m3.
        prepare: theta -> what the sources need and what does not change in time; computed once a year.
        source: (c [k, n_wet], forcing, prepared) -> f [k, n_wet] mmol m-3 s-1, by JAX.
    """

    names: tuple[str, ...]
    system: SparseSystem
    loss: np.ndarray
    volume: np.ndarray
    prepare: Callable[[Any], Any]
    source: Callable[[jax.Array, Any, Any], jax.Array]


@dataclass(frozen=True)
class Clock:
    """The years of a run.

    Attributes:
        start: first instant, decimal year.
        years: number of years, each of 365 days.
        steps_per_year: 6 for the paper's two months.
    """

    start: float = 1850.0
    years: int = 170
    steps_per_year: int = 6

    def __post_init__(self) -> None:
        if self.years < 1 or self.steps_per_year < 1:
            raise InputError(f"clock of {self.years} years of {self.steps_per_year} steps; expected one at least")

    @property
    def step(self) -> float:
        """Length of a step, s."""
        return YEAR / self.steps_per_year

    @property
    def times(self) -> np.ndarray:
        """Ends of all steps, decimal years."""
        return self.start + np.arange(1, self.years * self.steps_per_year + 1) / self.steps_per_year

    def step_of(self, year: np.ndarray) -> np.ndarray:
        """Number of the step that holds a time; -1 outside the run."""
        number = np.floor((np.asarray(year) - self.start) * self.steps_per_year + 1e-9).astype(int)
        return np.where((number >= 0) & (number < self.years * self.steps_per_year), number, -1)


@dataclass(frozen=True, eq=False)
class Samples:
    """Where and when tracers are looked at: means over one step in one box.

    Attributes:
        step: [m] number of the step.
        tracer: [m] number of the tracer.
        box: [m] number of the box.
    """

    step: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    tracer: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    box: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


class Run(NamedTuple):
    """What a run left.

    Attributes:
        final: [k, n_wet] at the end.
        samples: [m] means over the steps and boxes asked for.
        series: inventories, and integrals of sources and losses, at the end of every step, mol.
        yearly: [years, k, n_wet] states at the start of each year, empty unless they were kept.
        book: what was written down at the start and at the end of every year, name -> [years + 1, ...].
        snapshots: decimal year -> state [k, n_wet] of the years asked for.
    """

    final: np.ndarray
    samples: np.ndarray
    series: xr.Dataset
    yearly: list[np.ndarray]
    book: dict[str, np.ndarray]
    snapshots: dict[float, np.ndarray]


class Simulation:
    """A transient model on a clock, under a forcing.

    Args:
        model: the tracers.
        clock: the years.
        forcing: decimal year -> what the sources need of that instant, a pytree of NumPy arrays.
        scheme: name of the time-stepping scheme.
        samples: what is looked at on the way.
    """

    def __init__(
        self,
        model: TransientModel,
        clock: Clock,
        forcing: Callable[[float], Any],
        scheme: str = "dirk2",
        samples: Samples | None = None,
    ):
        self.model, self.clock, self.forcing, self.scheme = model, clock, forcing, get_scheme(scheme)
        self._name = scheme
        self.samples = samples or Samples()
        losses: dict[bytes, list[int]] = {}
        for number, loss in enumerate(model.loss):
            losses.setdefault(np.ascontiguousarray(loss).tobytes(), []).append(number)
        self._groups = [np.array(rows) for rows in losses.values()]
        self.system = SparseSystem(model.system.operator, "transient", model.system.backend, keep=len(self._groups))
        self._slot, self._picks = self._place(self.samples)

    # ------------------------------------------------------------------ one year, compiled

    def _place(self, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Place of each sample within its step [m], and tracer and box of every place [steps, places, 2]."""
        steps = self.clock.years * self.clock.steps_per_year
        if samples.step.size and not (samples.step.min() >= 0 and samples.step.max() < steps):
            raise InputError(f"samples of steps {samples.step.min()} to {samples.step.max()}; the run has {steps}")
        order = np.argsort(samples.step, kind="stable")
        counts = np.bincount(samples.step, minlength=steps)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        slot = np.empty(samples.step.size, int)
        slot[order] = np.arange(samples.step.size) - first[samples.step[order]]
        picks = np.zeros((steps, int(counts.max(initial=0)), 2), int)
        picks[samples.step, slot] = np.stack([samples.tracer, samples.box], axis=1)
        return slot, picks

    def _solve(self, c, tokens):
        """(1 + s h A)^-1 c, one block per group of equal losses."""
        shift = 1.0 / (self.scheme.shift * self.clock.step)
        solved = jnp.zeros_like(c)
        for rows, token in zip(self._groups, tokens, strict=True):
            matrix = (jnp.asarray(self.model.loss[rows[0]] + shift),)
            block = jax.vmap(lambda rhs, matrix=matrix, token=token: linear_solve(self.system, matrix, rhs, token))
            solved = solved.at[rows].set(block(shift * c[rows]))
        return solved

    @cached_property
    def _year(self) -> Callable:
        """(state, forcing of the year, picks, theta, tokens) -> state a year later, and what each step recorded."""
        volume, step = jnp.asarray(self.model.volume), self.clock.step

        def year(state, forcing, picks, theta, tokens):
            prepared = self.model.prepare(theta)

            def one(c, item):
                now, pick = item

                def source(c, number):
                    return self.model.source(c, jax.tree.map(lambda part: part[number], now), prepared)

                new, gained = self.scheme.step(lambda r: self._solve(r, tokens), source, c, step)
                mean = 0.5 * (c + new)
                return new, (mean[pick[:, 0], pick[:, 1]], new @ volume, gained @ volume)

            return jax.lax.scan(one, state, (forcing, picks))

        return year

    @cached_property
    def _forward(self) -> Callable:
        return jax.jit(self._year)

    @cached_property
    def _along(self) -> Callable:
        """The year and its derivative along one direction of (state, theta)."""

        def along(state, forcing, picks, theta, tokens, d_state, d_theta):
            return jax.jvp(lambda s, t: self._year(s, forcing, picks, t, tokens), (state, theta), (d_state, d_theta))

        return jax.jit(along)

    @cached_property
    def _backward(self) -> Callable:
        """Adjoint of the year: derivatives by (state, theta) for those by what it returns."""

        def backward(state, forcing, picks, theta, tokens, by_state, by_samples):
            def kept(s, t):
                new, (sampled, _, _) = self._year(s, forcing, picks, t, tokens)
                return new, sampled

            _, pull = jax.vjp(kept, state, theta)
            return pull((by_state, by_samples))

        return jax.jit(backward)

    def _inputs(self, year: int) -> tuple[Any, np.ndarray]:
        """Forcing [steps, stages, ...] and picks of one year."""
        steps = self.clock.steps_per_year
        first = year * steps
        times = [
            [self.clock.start + (first + step + part) / steps for part in self.scheme.fractions]
            for step in range(steps)
        ]
        moments = [jax.tree.map(lambda *parts: np.stack(parts), *map(self.forcing, row)) for row in times]
        return jax.tree.map(lambda *parts: np.stack(parts), *moments), self._picks[first : first + steps]

    def _tokens(self) -> np.ndarray:
        """Tokens of the factors, made at the first call."""
        shift = 1.0 / (self.scheme.shift * self.clock.step)
        self.system.failure = None
        return np.array([self.system.factorise(self.model.loss[rows[0]] + shift) for rows in self._groups])

    def _checked(self, year: int, state) -> np.ndarray:
        failure, state = self.system.failure, np.asarray(state)
        if isinstance(failure, KeyboardInterrupt):
            raise failure
        if failure is not None or not np.isfinite(state).all():
            raise ConvergenceError(
                f"{', '.join(self.model.names)}: values that are not finite in the year from "
                f"{self.clock.start + year:g}; explicit sources may be too stiff for the step "
                "(see gas_exchange_stability)."
            ) from failure
        return state

    # ------------------------------------------------------------------ runs

    def run(
        self,
        start: np.ndarray,
        theta: Any,
        progress: Callable[[str], Any] | None = None,
        restart: Path | None = None,
        keep: bool = False,
        book: Callable[[np.ndarray], dict[str, Any]] | None = None,
        snapshots: Sequence[float] = (),
    ) -> Run:
        """Carry the tracers through all years.

        Args:
            start: [k, n_wet] mmol m-3 at the start of the clock.
            theta: what the sources depend on, a pytree; see `TransientModel.prepare`.
            progress: receives a line of text now and then.
            restart: file that holds the run so far; one that belongs to the same run is continued.
            keep: keep the state at the start of each year, which `pullback` needs; such a run has no restarts.
            book: state [k, n_wet] -> numbers and small arrays by name, written down at the start and after every year.
            snapshots: whole decimal years whose states are kept.

        Raises:
            ConvergenceError: a value is not finite.
        """
        state, tokens = np.asarray(start, dtype=np.float64), self._tokens()
        restart = None if keep else restart
        so_far = None if restart is None else _Progress.read(restart, self._key(state, theta))
        if so_far is None:
            if restart is not None and restart.is_file() and progress is not None:
                progress(f"{restart} belongs to another run, or is damaged: starting again")
            sampled, inventory, gained = self._blank()
            rows = [book(state)] if book is not None else []
            so_far = _Progress(self._key(state, theta), 0, state, sampled, inventory, gained, rows, {})
        elif progress is not None:
            progress(f"continued from {restart}, year {self.clock.start + so_far.years:g}")
        yearly: list[np.ndarray] = []
        began = told = saved = time.perf_counter()
        first, steps = so_far.years, self.clock.steps_per_year
        for year in range(first, self.clock.years):
            if keep:
                yearly.append(so_far.state)
            forcing, picks = self._inputs(year)
            new, records = self._forward(so_far.state, forcing, picks, theta, tokens)
            so_far.state, so_far.years = self._checked(year, new), year + 1
            for array, record in zip((so_far.sampled, so_far.inventory, so_far.gained), records, strict=True):
                array[year * steps : (year + 1) * steps] = np.asarray(record)
            if book is not None:
                so_far.rows.append(book(so_far.state))
            if (end := self.clock.start + year + 1) in snapshots:
                so_far.snapshots[end] = so_far.state
            now = time.perf_counter()
            if progress is not None and now - told > TELL_EVERY:
                left = (now - began) / (year + 1 - first) * (self.clock.years - year - 1)
                progress(f"year {end:.0f}: about {left:.0f} s left")
                told = now
            if restart is not None and now - saved > SAVE_EVERY:
                so_far.write(restart)
                saved = now
        series = xr.Dataset(
            {
                "inventory": (("time", "tracer"), 1e-3 * so_far.inventory, {"units": "mol"}),
                "gained": (("time", "tracer"), 1e-3 * so_far.gained, {"units": "mol", "long_name": GAINED}),
            },
            {"time": ("time", self.clock.times, {"units": "year"}), "tracer": list(self.model.names)},
        )
        sampled = so_far.sampled[self.samples.step, self._slot]
        return Run(so_far.state, sampled, series, yearly, _stacked(so_far.rows), so_far.snapshots)

    def _blank(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Room for samples, inventories and gains of all steps."""
        steps, k = self.clock.years * self.clock.steps_per_year, len(self.model.names)
        return np.zeros(self._picks.shape[:2]), np.zeros((steps, k)), np.zeros((steps, k))

    def tangent(self, run: Run, theta: Any, d_start: np.ndarray, d_theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of the samples [m] and of the final state along one direction of (start, theta).

        Args:
            run: with its yearly states.
            theta: as for `run`.
            d_start: direction of the start [k, n_wet].
            d_theta: direction of theta, of the same structure.
        """
        sampled, along, tokens = np.zeros(self._picks.shape[:2]), d_start, self._tokens()
        for year, state in enumerate(run.yearly):
            forcing, picks = self._inputs(year)
            _, (along, records) = self._along(state, forcing, picks, theta, tokens, along, d_theta)
            steps = self.clock.steps_per_year
            sampled[year * steps : (year + 1) * steps] = np.asarray(records[0])
        return sampled[self.samples.step, self._slot], self._checked(self.clock.years, along)

    def pullback(
        self, run: Run, theta: Any, by_samples: np.ndarray, by_final: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Derivatives of a scalar by the start and by theta, from those by samples and final state: the adjoint.

        Args:
            run: with its yearly states.
            theta: as for `run`.
            by_samples: derivatives by the samples [m].
            by_final: derivatives by the final state [k, n_wet]; zero where absent.

        Returns:
            Derivatives by the start [k, n_wet] and by theta, of its structure.
        """
        placed, tokens = np.zeros(self._picks.shape[:2]), self._tokens()
        np.add.at(placed, (self.samples.step, self._slot), by_samples)
        adjoint = np.zeros_like(run.final) if by_final is None else by_final
        total = jax.tree.map(lambda part: np.zeros(np.shape(part)), theta)
        for year in reversed(range(len(run.yearly))):
            forcing, picks = self._inputs(year)
            here = slice(year * self.clock.steps_per_year, (year + 1) * self.clock.steps_per_year)
            adjoint, part = self._backward(run.yearly[year], forcing, picks, theta, tokens, adjoint, placed[here])
            total = jax.tree.map(lambda sum_, new: sum_ + np.asarray(new), total, part)
        return self._checked(0, adjoint), total

    def _key(self, start: np.ndarray, theta: Any) -> str:
        """Fingerprint of everything that determines a run."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.clock, self._name, self.model.names)).encode())
        forcing = [self.forcing(year) for year in (self.clock.start, *self.clock.times)]
        for part in (start, self.model.loss, self._picks, *jax.tree.leaves((theta, forcing))):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass
class _Progress:
    """A run so far, and its restart file."""

    key: str
    years: int
    state: np.ndarray
    sampled: np.ndarray
    inventory: np.ndarray
    gained: np.ndarray
    rows: list[dict[str, Any]]
    snapshots: dict[float, np.ndarray]

    def write(self, path: Path) -> None:
        data = xr.Dataset(attrs={"key": self.key, "years": self.years})
        data["state"] = (("tracer", "box"), self.state)
        data["sampled"] = (("time", "place"), self.sampled)
        data["inventory"], data["gained"] = (("time", "tracer"), self.inventory), (("time", "tracer"), self.gained)
        for name, values in _stacked(self.rows).items():
            data[f"book_{name}"] = (("year", *(f"{name}_{axis}" for axis in range(values.ndim - 1))), values)
        for number, (year, state) in enumerate(self.snapshots.items()):
            data[f"snapshot_{number}"] = (("tracer", "box"), state, {"year": year})
        write_netcdf(data, path)

    @classmethod
    def read(cls, path: Path, key: str) -> "_Progress | None":
        """A restart file of the same run, or None where there is none."""
        if not path.is_file():
            return None
        try:
            with xr.open_dataset(path) as opened:
                data = opened.load()
        except (OSError, ValueError):
            return None
        if data.attrs.get("key") != key:
            return None
        book = {str(name)[5:]: data[name].values for name in data if str(name).startswith("book_")}
        years = int(data.attrs["years"])
        rows = [{name: values[year] for name, values in book.items()} for year in range(years + 1)] if book else []
        kept = [data[name] for name in data if str(name).startswith("snapshot_")]
        state, sampled, inventory, gained = (data[name].values for name in ("state", "sampled", "inventory", "gained"))
        snapshots = {float(part.attrs["year"]): part.values for part in kept}
        return cls(key, years, state, sampled, inventory, gained, rows, snapshots)


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of a book as arrays [years + 1, ...]."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
