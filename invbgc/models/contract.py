"""What a tracer model must offer to be fitted, sampled and saved; `PCOModel`, `MopsModel` and `TracerModel` do."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from invbgc.circulation.core import Circulation
from invbgc.datasets.forcing import Forcing
from invbgc.grid import OceanGrid
from invbgc.linalg.system import Counters, SparseSystem
from invbgc.parameters import ParameterTable
from invbgc.steady import Stage


class SteadyModel(Protocol):
    """A model whose steady state is found stage by stage."""

    @property
    def circulation(self) -> Circulation:
        """Transport operator and grid."""
        ...

    @property
    def grid(self) -> OceanGrid:
        """The grid."""
        ...

    @property
    def forcing(self) -> Forcing:
        """Prescribed fields."""
        ...

    @property
    def options(self) -> Any:
        """Switches of the model."""
        ...

    @property
    def table(self) -> ParameterTable:
        """Parameters."""
        ...

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Equations, in the order in which they are solved."""
        ...

    @property
    def systems(self) -> dict[str, SparseSystem]:
        """Sparse matrices of the stages, by name."""
        ...

    @property
    def euphotic_layers(self) -> int:
        """Layers in which organic matter is produced; exports are those of their base."""
        ...

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of what `observable` gives."""
        ...

    @property
    def long_names(self) -> Mapping[str, str]:
        """Names in full of the tracers that `state.FIELD_ATTRIBUTES` does not hold."""
        ...

    @property
    def counters(self) -> Counters:
        """Cost of all sparse solves so far."""
        ...

    @property
    def steady(self) -> Any:
        """Compiled: (x, guess) -> tracers and how each stage was solved."""
        ...

    def observable(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What observations measure, tracer -> [n_wet] mmol m-3."""
        ...

    def diagnose(self, fields: Mapping[str, jax.Array], x: Any) -> dict[str, jax.Array]:
        """Rates and fluxes of a state, with `poc_flux` [nz + 1, n_columns] mmol m-2 s-1 among them."""
        ...

    def admissible(self, x: np.ndarray) -> str | None:
        """Why parameters lie outside the model's meaning, or None."""
        ...
