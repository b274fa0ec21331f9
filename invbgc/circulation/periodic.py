"""Transport that changes with the season: the matrices of a year as the transport matrix method uses them.

One step of the ocean is c(n+1) = A_i (c(n) + dt A_exp c(n) + dt q) (Khatiwala 2007): an explicit tendency, then the
propagator of vertical mixing, each interpolated between the months.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from invbgc.errors import InputError
from invbgc.grid import OceanGrid


@dataclass(frozen=True, eq=False)
class PeriodicTransport:
    """The matrices of a year as the transport matrix method uses them.

    Args:
        grid: the ocean grid.
        explicit: A_exp of every month (or one annual mean), [n_wet, n_wet] s-1, dC/dt = A_exp C, house order.
        implicit: A_i of every month, [n_wet, n_wet], propagators over `implicit_step`, house order.
        implicit_step: s.
        attrs: provenance.
    """

    grid: OceanGrid
    explicit: tuple[sparse.csr_array, ...]
    implicit: tuple[sparse.csr_array, ...]
    implicit_step: float
    attrs: dict

    def weights(self, time: float) -> tuple[int, int, float]:
        """Linear interpolation between the middles of the months, (m - 1/2) / 12 of a year.

        Args:
            time: years; only the fraction counts.

        Returns:
            two months counted from zero, and the weight of the first.
        """
        number = len(self.explicit)
        place = (time % 1.0) * number - 0.5
        first = int(np.floor(place))
        return first % number, (first + 1) % number, 1.0 - (place - first)

    def step(self, tracer: np.ndarray, time: float, time_step: float, source: np.ndarray | float = 0.0) -> np.ndarray:
        """One step c(n+1) = A_i^m (c(n) + dt A_exp c(n) + dt q), with dt = m `implicit_step`.

        A_exp and A_i are interpolated between the months, the latter before it is raised to its power.

        Args:
            tracer: [n_wet], or [n_wet, k].
            time: start of the step, years.
            time_step: dt, s.
            source: q, per s, shape of the tracer.

        Returns:
            the tracer after the step.

        Raises:
            InputError: the step is not a multiple of `implicit_step`.
        """
        repeats = self.repeats(time_step)
        one, two, weight = self.weights(time)
        tendency = weight * (self.explicit[one] @ tracer) + (1.0 - weight) * (self.explicit[two] @ tracer)
        result = np.asarray(tracer + time_step * (tendency + source))
        for _ in range(repeats):
            result = np.asarray(weight * (self.implicit[one] @ result) + (1.0 - weight) * (self.implicit[two] @ result))
        return result

    def repeats(self, time_step: float) -> int:
        """How many steps of the implicit matrices one time step holds.

        Args:
            time_step: s.

        Returns:
            m of time_step = m `implicit_step`.

        Raises:
            InputError: the step is not a multiple of `implicit_step`.
        """
        repeats = round(time_step / self.implicit_step)
        if repeats < 1 or abs(repeats * self.implicit_step - time_step) > 1e-6 * time_step:
            raise InputError(f"time step {time_step} s: expected a multiple of {self.implicit_step} s, that of A_i.")
        return repeats

    def annual_mean(self) -> sparse.csr_array:
        """The annual mean tendency, mean(A_exp) + mean(A_i - I) / implicit_step, [n_wet, n_wet] s-1, dC/dt = A C."""
        return annual_mean(self.explicit, self.implicit, self.implicit_step)


def annual_mean(
    explicit: tuple[sparse.csr_array, ...], implicit: tuple[sparse.csr_array, ...], step: float
) -> sparse.csr_array:
    """The annual mean tendency, mean(A_exp) + mean(A_i - I) / step, in which A_i enters linearised over one step.

    Args:
        explicit: A_exp of every month, [n, n] s-1.
        implicit: A_i of every month, [n, n].
        step: s, that of A_i.

    Returns:
        [n, n] s-1, dC/dt = A C.
    """
    total = sparse.csr_array(explicit[0] / len(explicit))
    unity = sparse.diags_array(np.ones(len(total.indptr) - 1))
    for matrix in explicit[1:]:
        total = total + matrix / len(explicit)
    for matrix in implicit:
        total = total + (matrix - unity) / (step * len(implicit))
    return sparse.csr_array(total)
