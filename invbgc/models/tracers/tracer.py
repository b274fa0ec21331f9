"""What a tracer is: a name, parameters, and its local source minus sink."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.datasets.forcing import Forcing
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.parameters import Parameter


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a source may need beside tracers and parameters.

    Attributes:
        grid: the grid; `grid.wet_depth`, `wet_latitude`, `volume`, ... are wet vectors.
        forcing: prescribed fields, wet vectors and columns.
    """

    grid: OceanGrid
    forcing: Forcing

    @cached_property
    def surface(self) -> np.ndarray:
        """1 in the boxes of the first layer, 0 below, [n_wet]."""
        return np.where(self.grid.layer == 0, 1.0, 0.0)

    @cached_property
    def thickness(self) -> np.ndarray:
        """Thickness of the layer of each box, [n_wet] m."""
        return np.diff(self.grid.depth_edges)[self.grid.layer]


Source = Callable[[Surroundings, jax.Array, Mapping[str, jax.Array], Mapping[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Tracer:
    """One tracer c of dc/dt + T c = s(c, u, p), with T the transport and u the tracers before it.

    Attributes:
        name: a word, for tables, files and observations.
        long_name: the same in full.
        source: s(surroundings, c, u, p), [n_wet] mmol m-3 s-1 in JAX; u is a dictionary tracer -> [n_wet] mmol m-3, p a
            dictionary of parameter values. What happens in a box may depend on c in that box only.
        parameters: those that this tracer adds to the model's table.
        linear: whether s is linear in c.
        start: first guess of c everywhere where s is not linear, mmol m-3.
        weak: for a linear tracer whose inventory a slow process alone ties down: whether rounding may move it in
            proportion to c or uniformly; see `Stage`.
    """

    name: str
    long_name: str
    source: Source
    parameters: tuple[Parameter, ...] = ()
    linear: bool = True
    start: float = 0.0
    weak: Literal["proportional", "uniform"] | None = None


def check_source(tracer: Tracer, ocean: Surroundings, upstream: Iterable[str], values: Mapping[str, float]) -> None:
    """Try a source on made-up concentrations, before anything is solved with it.

    Args:
        tracer: the tracer.
        ocean: its surroundings.
        upstream: tracers that it may read.
        values: parameters of the model.

    Raises:
        InputError: the source asks for what is not there, has another shape than [n_wet], reads other boxes than its
            own, or is not linear in the tracer and does not say so.
    """
    n, draw = ocean.grid.n_wet, np.random.default_rng(0)
    others, where = {name: jnp.ones(n) for name in upstream}, f"tracer {tracer.name!r}: its source"

    def source(c: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(tracer.source(ocean, jnp.asarray(c), others, values))
        except KeyError as error:
            raise InputError(
                f"{where} asks for {error}; there are the tracers {', '.join(others) or '(none)'} and the parameters "
                f"{', '.join(values) or '(none)'}"
            ) from error

    one, two = 10.0 ** draw.uniform(-2.0, 3.0, (2, n))
    of_one, of_two = source(one), source(two)
    if of_one.shape != (n,):
        raise InputError(f"{where} has the shape {of_one.shape}; expected {(n,)}, one rate per wet box")
    close = partial(np.allclose, rtol=1e-9, atol=1e-9 * np.abs(of_one).max(), equal_nan=True)
    here = draw.uniform(size=n) < 0.5
    if not close(source(np.where(here, one, two)), np.where(here, of_one, of_two)):
        raise InputError(f"{where} in one box depends on the tracer in others; expected that box only")
    if tracer.linear and not close(source(0.5 * (one + two)), 0.5 * (of_one + of_two)):
        raise InputError(f"{where} is not linear in it; expected linear=False and a first guess, start=")
