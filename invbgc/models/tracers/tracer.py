"""What a tracer is: a name, parameters, and its local source minus sink."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import numpy as np

from invbgc.datasets.forcing import Forcing
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
