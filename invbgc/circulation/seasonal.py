"""Made-up seasons for a steady circulation: monthly transport matrices that run without any file.

The vertical mixing of a steady operator is separated from the rest, goes into implicit matrices and gets a cycle of
one year. The operator of the annual mean stays what it was.
"""

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation
from invbgc.circulation.periodic import PeriodicTransport
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

DEEPEST_MIXING = 1.5 / 12.0
"""Time of the strongest mixing in the north, years: the middle of February; six months later in the south."""


def seasonal_transport(
    circulation: Circulation, time_step: float = 43200.0, months: int = 12, amplitude: float = 0.8
) -> PeriodicTransport:
    """Monthly transport matrices of a steady circulation whose vertical mixing is given a season.

    For box i above box j, with volumes v, the operator T holds a symmetric exchange D and an upward flow F,

        D = -(v_i T_ij + v_j T_ji) / 2,   F = v_j T_ji - v_i T_ij,   E = max(D - |F| / 2, 0),

    of which E is what the exchange exceeds that of upstream weights. E is the vertical mixing; in the month m it is

        E_m = E f_m,   f_m = 1 + amplitude sin(latitude) cos(2 pi (t_m - t_0)),   t_m = (m - 1/2) / months,

    strongest in the winter of each hemisphere and constant at the equator; the mean of f_m is one. With T_V,m the
    operator of this exchange, which keeps uniform tracers and inventories, and T_V its annual mean,

        A_exp = -(T - T_V),   A_i,m = (I + dt T_V,m)^-1.

    A_exp, the horizontal part and upstream vertical advection, is the same in all months, and mean(T_V,m) - A_exp is T
    exactly; `PeriodicTransport.annual_mean` agrees with T to first order in dt T_V. Real are the annual mean and the
    conservation laws; the season itself is synthetic: flow and horizontal mixing have none, mixed layers do not move
    where the annual mean has no mixing, and the cycle is a cosine.

    The explicit part is stable and makes no new maxima from its diagonal if dt max_i(-A_exp,ii) <= 1. With steps of
    43200 s this is 0.073 for the embedded ocean of 4 degrees and 0.031 for that of 8 degrees; the mixing, with 3.5,
    would be unstable. `attrs["explicit_rate"]` holds max_i(-A_exp,ii) in s-1.

    Args:
        circulation: any steady circulation.
        time_step: dt, s.
        months: number of matrices in a year; one gives a steady transport.
        amplitude: of the cycle at the poles, at least 0 and less than 1.

    Returns:
        the matrices, A_i with one full block per water column; its `implicit_step` is `time_step`.

    Raises:
        InputError: an argument is out of range, or the step is too long for the explicit part.

    Source:
        the splitting of a steady operator for the transport matrix method, Khatiwala (2007); the season is our own.
    """
    if not 0.0 <= amplitude < 1.0:
        raise InputError(f"Seasonal transport: amplitude {amplitude}; expected at least 0 and less than 1.")
    if months < 1:
        raise InputError(f"Seasonal transport: {months} months; expected one or more.")
    if not time_step > 0.0:
        raise InputError(f"Seasonal transport: time step {time_step} s; expected more than 0.")
    grid = circulation.grid
    mixing = vertical_exchange(circulation)
    explicit = sparse.csr_array(_exchange_operator(grid, mixing) - circulation.transport)
    rate = float(-explicit.diagonal().min())
    if time_step * rate > 1.0:
        raise InputError(
            f"Seasonal transport of '{circulation.name}': time step {time_step:g} s; the explicit part is unstable "
            f"beyond {1.0 / rate:.4g} s, the inverse of its largest rate."
        )
    implicit = tuple(_implicit(grid, mixing * factor, time_step) for factor in _season(grid, months, amplitude))
    attrs = circulation.attrs | {
        "seasonal": f"synthetic: vertical mixing of '{circulation.name}', {months} months, amplitude {amplitude:g}",
        "explicit_rate": rate,
    }
    return PeriodicTransport(grid, (explicit,) * months, implicit, time_step, attrs)


def vertical_exchange(circulation: Circulation) -> np.ndarray:
    """Mixing E between each box and the box below it, beyond upstream advection: max(D - |F| / 2, 0).

    Args:
        circulation: any steady circulation.

    Returns:
        [n_wet] m3 s-1, zero above the sea floor; D and F as in `seasonal_transport`.
    """
    grid, transport = circulation.grid, circulation.transport
    above = np.flatnonzero(grid.below >= 0)
    below = grid.below[above]
    upper = grid.volume[above] * np.asarray(transport[above, below]).ravel()
    lower = grid.volume[below] * np.asarray(transport[below, above]).ravel()
    result = np.zeros(grid.n_wet)
    result[above] = np.maximum(-0.5 * (upper + lower) - 0.5 * np.abs(lower - upper), 0.0)
    return result


def _season(grid: OceanGrid, months: int, amplitude: float) -> np.ndarray:
    """The factor f of every month and box, [months, n_wet]; its mean over the months is one."""
    time = (np.arange(months) + 0.5) / months
    cycle = np.cos(2.0 * np.pi * (time - DEEPEST_MIXING))
    cycle -= cycle.mean()  # zero but for round-off, except for a single month
    return 1.0 + amplitude * cycle[:, None] * np.sin(np.deg2rad(grid.wet_latitude))


def _exchange_operator(grid: OceanGrid, mixing: np.ndarray) -> sparse.csr_array:
    """T_V: rows sum to zero, and so do columns weighted by volume, [n_wet, n_wet] s-1."""
    above = np.flatnonzero(grid.below >= 0)
    below = grid.below[above]
    upper, lower = mixing[above] / grid.volume[above], mixing[above] / grid.volume[below]
    entries = np.concatenate([upper, -upper, lower, -lower])
    rows, columns = np.concatenate([above, above, below, below]), np.concatenate([above, below, below, above])
    return sparse.csr_array((entries, (rows, columns)), shape=(grid.n_wet, grid.n_wet))


def _implicit(grid: OceanGrid, mixing: np.ndarray, time_step: float) -> sparse.csr_array:
    """A_i = (I + dt T_V)^-1, inverted column by column; dry layers count as boxes without neighbours."""
    entries = _exchange_operator(grid, mixing).tocoo()
    rows, columns = entries.coords
    blocks = np.tile(np.eye(grid.n_layers), (grid.n_columns, 1, 1))
    blocks[grid.column[rows], grid.layer[rows], grid.layer[columns]] += time_step * entries.data
    blocks = np.linalg.inv(blocks)
    wet = grid.column_wet.T
    column, row, layer = np.nonzero(wet[:, :, None] & wet[:, None, :])
    place = grid.column_box[row, column], grid.column_box[layer, column]
    return sparse.csr_array((blocks[column, row, layer], place), shape=(grid.n_wet, grid.n_wet))
