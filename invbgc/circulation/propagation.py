"""Steps of a periodic transport in JAX, for many tracers at once, in loops and under differentiation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.periodic import PeriodicTransport
from invbgc.errors import InputError
from invbgc.grid import OceanGrid


class Propagation:
    """A step of all tracers, c(n+1) = A_i^m (c(n) + dt A_exp c(n) + dt q), with dt = m steps of the implicit matrices.

    A_exp and the powers A_i^m are interpolated linearly between the middles of the months at the start of the step,
    the former first (`PeriodicTransport.step` interpolates A_i before it takes the power: the same for m = 1 and in the
    middle of a month). Steps are pure and linear in the tracers: they may be compiled, looped over by `jax.lax.scan`,
    mapped, and differentiated in the tracers in both modes, but not in the time. A backward loop keeps no matrices.

    Explicit matrices are held as rows of equal length with one table of columns for all months, and so are their
    transposes; implicit ones as a full block [nz, nz] per water column. What is the same in all months is held once
    and not interpolated.

    The work is done on columns with the tracers last, [n_columns, nz, k]: neighbours are then contiguous pieces, and
    the implicit part is one product of small matrices per column. `step_columns` [k, nz, n_columns], the shape of
    biology, costs two transpositions more than `step_native`, and `step` [k, n_wet] two gathers more.

    The explicit part needs dt max_i(-A_exp,ii) <= 1, about; see `seasonal_transport`.

    Args:
        transport: the matrices of a year.
        time_step: dt, s.

    Raises:
        InputError: the step is not a multiple of that of the implicit matrices, a matrix has another size than the
            grid, months are missing, or an implicit matrix couples two water columns.

    Source:
        Khatiwala (2007); powers and interpolation as in published transport matrix runs.
    """

    def __init__(self, transport: PeriodicTransport, time_step: float):
        self._grid, self._months, self._step_seconds = transport.grid, len(transport.explicit), float(time_step)
        _check(transport)
        repeats = transport.repeats(time_step)
        transposed = {id(matrix): sparse.csr_array(matrix.T) for matrix in transport.explicit}
        self._rows = _PaddedRows(transport.explicit, self._grid, self._step_seconds)
        self._transposed = _PaddedRows(
            tuple(transposed[id(matrix)] for matrix in transport.explicit), self._grid, self._step_seconds
        )
        distinct = {id(matrix): matrix for matrix in transport.implicit}
        blocks = {key: np.linalg.matrix_power(_blocks(matrix, self._grid), repeats) for key, matrix in distinct.items()}
        self._blocks = _distinct([blocks[id(matrix)] for matrix in transport.implicit])

    @property
    def grid(self) -> OceanGrid:
        """The ocean grid."""
        return self._grid

    @property
    def months(self) -> int:
        """Number of matrices in a year."""
        return self._months

    @property
    def step_seconds(self) -> float:
        """Length dt of a step, s."""
        return self._step_seconds

    def step(self, tracers: Any, time: Any) -> jax.Array:
        """Tracers after one step.

        Args:
            tracers: c(n), [k, n_wet], any unit.
            time: start of the step, years; only the fraction counts; a number or a traced scalar.

        Returns:
            c(n+1), [k, n_wet], same unit.
        """
        return self._grid.from_columns(self.step_columns(self._grid.to_columns(jnp.asarray(tracers)), time))

    def step_columns(self, columns: Any, time: Any, added: Any = None) -> jax.Array:
        """Water columns of tracers after one step, as `step`.

        Args:
            columns: c(n), [k, nz, n_columns], zero below the sea floor (what is there is kept and changes nothing).
            time: start of the step, years.
            added: dt q, what sources add within the step, same shape; none where None.

        Returns:
            c(n+1), [k, nz, n_columns].
        """
        last = None if added is None else jnp.transpose(added, (2, 1, 0))
        return self.step_native(jnp.transpose(columns, (2, 1, 0)), time, last).transpose(2, 1, 0)

    def step_native(self, columns: Any, time: Any, added: Any = None) -> jax.Array:
        """Water columns with the tracers last after one step, as `step`: the layout without any conversion.

        Args:
            columns: c(n), [n_columns, nz, k], zero below the sea floor.
            time: start of the step, years.
            added: dt q, what sources add within the step, same shape; none where None.

        Returns:
            c(n+1), [n_columns, nz, k].
        """
        # What the way back needs is then the time, not the interpolated matrices of every step.
        columns = jnp.asarray(columns)
        added = jnp.zeros_like(columns) if added is None else added
        return jax.checkpoint(self._step, prevent_cse=False)(columns, jnp.asarray(time), added)

    def _step(self, columns: jax.Array, time: jax.Array, added: jax.Array) -> jax.Array:
        months = self._weights(jax.lax.stop_gradient(time))
        # I + dt A_exp as a linear map with its transpose: the transpose of a gather, a scatter, is far slower on a CPU.
        # The first function, the inverse of the map, is asked for its derivative only, which is none.
        explicit = jax.lax.custom_linear_solve(
            lambda boxes: boxes,
            columns.reshape(-1, columns.shape[-1]),
            solve=lambda _, boxes: self._rows(boxes, *months),
            transpose_solve=lambda _, boxes: self._transposed(boxes, *months),
        )
        return _interpolated(self._blocks, *months) @ (explicit.reshape(columns.shape) + added)

    def _weights(self, time: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`PeriodicTransport.weights` for a traced time."""
        place = (time % 1.0) * self._months - 0.5
        first = jnp.floor(place)
        month = first.astype(jnp.int32)
        return month % self._months, (month + 1) % self._months, 1.0 - (place - first)


class _PaddedRows:
    """(I + dt A) x of every month, over all places of the columns, wet or dry, counted as column * nz + layer.

    Args:
        matrices: A of every month, [n_wet, n_wet] s-1.
        grid: the ocean grid.
        step: dt, s.
    """

    def __init__(self, matrices: tuple[sparse.csr_array, ...], grid: OceanGrid, step: float):
        distinct = {id(matrix): matrix for matrix in matrices}
        pattern = sparse.csr_array((grid.n_wet, grid.n_wet))
        for matrix in distinct.values():
            pattern = pattern + abs(matrix).sign()
        pattern = sparse.csr_array(pattern)
        pattern.sort_indices()
        counts = np.diff(pattern.indptr)
        row = np.repeat(np.arange(grid.n_wet), counts)
        slot = np.arange(pattern.nnz) - np.repeat(pattern.indptr[:-1], counts)
        place = grid.column * grid.n_layers + grid.layer
        index = np.zeros((int(counts.max(initial=0)), grid.n_columns * grid.n_layers), dtype=np.int32)
        index[slot, place[row]] = place[pattern.indices]
        keys = row * grid.n_wet + pattern.indices
        values = {}
        for key, matrix in distinct.items():
            entries = matrix.tocoo()
            entries.eliminate_zeros()
            found = np.searchsorted(keys, entries.coords[0].astype(np.int64) * grid.n_wet + entries.coords[1])
            values[key] = np.zeros(index.shape)
            np.add.at(values[key], (slot[found], place[row[found]]), step * entries.data)
        # On the device once: NumPy arrays would be copied into every compiled program.
        self._index, self._values = jnp.asarray(index), _distinct([values[id(matrix)] for matrix in matrices])

    def __call__(self, x: jax.Array, one: Any, two: Any, weight: Any) -> jax.Array:
        """Product with x [n_columns * nz, k], between two months."""
        values = _interpolated(self._values, one, two, weight)
        result = x
        for slot in range(len(self._index)):  # one fused loop; a sum over one gathered array is far slower on a CPU
            result = result + values[slot][:, None] * x[self._index[slot]]
        return result


def _interpolated(matrices: jax.Array, one: Any, two: Any, weight: Any) -> jax.Array:
    """The matrix between two months; [1, ...] is the same all year."""
    if len(matrices) == 1:
        return matrices[0]
    return weight * matrices[one] + (1.0 - weight) * matrices[two]


def _distinct(months: list[np.ndarray]) -> jax.Array:
    """All months on the device, or one if they are equal."""
    equal = all(np.array_equal(months[0], month) for month in months[1:])
    return jnp.asarray(months[0][None] if equal else np.stack(months))


def _check(transport: PeriodicTransport) -> None:
    grid = transport.grid
    explicit, implicit = len(transport.explicit), len(transport.implicit)
    if explicit != implicit or explicit < 1:
        raise InputError(
            f"Propagation on grid '{grid.name}': {explicit} explicit and {implicit} implicit matrices; expected one "
            "of each per month."
        )
    for kind, matrices in (("explicit", transport.explicit), ("implicit", transport.implicit)):
        for month, matrix in enumerate(matrices, 1):
            if matrix.shape != (grid.n_wet, grid.n_wet):
                raise InputError(
                    f"Propagation on grid '{grid.name}': the {kind} matrix of month {month} has shape {matrix.shape}; "
                    f"expected {(grid.n_wet, grid.n_wet)}, one row per wet box."
                )


def _blocks(matrix: sparse.csr_array, grid: OceanGrid) -> np.ndarray:
    """The block of every water column, [n_columns, nz, nz], the identity in dry layers."""
    entries = matrix.tocoo()
    rows, columns = entries.coords
    astray = np.flatnonzero((grid.column[rows] != grid.column[columns]) & (entries.data != 0.0))
    if astray.size:
        one, two = (grid.describe(int(index[astray[0]])) for index in (rows, columns))
        raise InputError(
            f"Propagation on grid '{grid.name}': {astray.size} entries of an implicit matrix couple different water "
            f"columns, the first {one} with {two}; expected vertical mixing only, one block per column."
        )
    blocks = np.zeros((grid.n_columns, grid.n_layers, grid.n_layers))
    inside = grid.column[rows] == grid.column[columns]
    place = grid.column[rows[inside]], grid.layer[rows[inside]], grid.layer[columns[inside]]
    np.add.at(blocks, place, entries.data[inside])
    layer, column = np.nonzero(~grid.column_wet)
    blocks[column, layer, layer] = 1.0
    return blocks
