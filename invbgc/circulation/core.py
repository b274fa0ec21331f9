"""A circulation: a grid, its transport operator, and the audit that every operator must pass on construction.

The operator T is in divergence form and in s-1: dC/dt + T C = sources. Its row j, times the volume of box j, is
what leaves box j minus what enters it, so that

* T 1 = 0: a uniform tracer stays uniform (the flow is continuous);
* v^T T = 0, with v the volumes: transport moves tracer and makes none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from invbgc.constants import DAY, YEAR
from invbgc.errors import ConservationError, InputError
from invbgc.grid import DIMENSIONS, OceanGrid

REQUIRED_TIME_SCALE = 1e6
"""Years a uniform tracer, and the inventory of any tracer, must last; sound operators reach 1e11 to 1e14."""

TURNOVER_RATES = (1e-13, 1e-4)
"""Range of the median diagonal, s-1: 2- and 4-degree operators have 0.6e-7 to 1.6e-7 (70 to 180 days)."""

HIGHEST_RATE = 0.1
"""Largest credible diagonal, s-1; 2- and 4-degree operators reach 1e-4."""

TYPICAL_RATE = 1e-7
"""Median diagonal of ocean operators, s-1, used to guess the unit of a refused one."""


@dataclass(frozen=True)
class ConservationAudit:
    """What `audit_transport` measured, and what is wrong.

    Args:
        uniform_time_scale: ||1|| / ||T 1||, years.
        mass_time_scale: ||v|| / ||T^T v||, years.
        worst_uniform: the boxes with the largest |T 1|, in words, worst first.
        worst_mass: the boxes with the largest |T^T v| / v, in words, worst first.
        minimum_diagonal: s-1.
        median_diagonal: s-1.
        maximum_diagonal: s-1.
        positive_off_diagonal_fraction: part of the off-diagonal entries that are positive; such operators
            can give tracers slightly negative values.
        components: number of parts of the ocean that do not communicate; 1 in a connected ocean.
        problems: reasons to refuse the operator, the root cause first; empty if it is sound.
    """

    uniform_time_scale: float
    mass_time_scale: float
    worst_uniform: tuple[str, ...]
    worst_mass: tuple[str, ...]
    minimum_diagonal: float
    median_diagonal: float
    maximum_diagonal: float
    positive_off_diagonal_fraction: float
    components: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        """One line per measured property."""
        return (
            f"uniform tracer kept for {self.uniform_time_scale:.1e} yr, inventories for "
            f"{self.mass_time_scale:.1e} yr\n"
            f"diagonal {self.minimum_diagonal:.1e} to {self.maximum_diagonal:.1e} s-1, median turnover "
            f"{1.0 / (DAY * max(abs(self.median_diagonal), 1e-300)):.3g} days\n"
            f"{100.0 * self.positive_off_diagonal_fraction:.1f} % of off-diagonal entries positive, "
            f"{self.components} connected part(s)\n" + ("passed" if self.passed else "\n".join(self.problems))
        )


def audit_transport(transport: sparse.csr_array, grid: OceanGrid) -> ConservationAudit:
    """Measure whether an operator conserves tracer and has the sign and unit of this toolkit.

    The two time scales are ||1|| / ||T 1|| and ||v|| / ||T^T v|| in 2-norms. The sign is judged from the
    diagonal, which is not negative in divergence form; the unit from its median, which lies near 1e-7 s-1.

    Args:
        transport: [n_wet, n_wet] s-1, in the wet order of the grid.
        grid: its grid.

    Returns:
        the audit; `problems` is empty if the operator is sound.

    Raises:
        InputError: the operator is not square, does not have the size of the grid, or holds NaN or infinity.
    """
    _check_entries(transport, grid)
    diagonal = transport.diagonal()
    uniform = transport @ np.ones(grid.n_wet)
    mass = transport.T @ grid.volume
    uniform_scale = _years(np.sqrt(grid.n_wet), np.linalg.norm(uniform))
    mass_scale = _years(np.linalg.norm(grid.volume), np.linalg.norm(mass))
    worst_uniform = _worst(np.abs(uniform), grid)
    worst_mass = _worst(np.abs(mass) / grid.volume, grid)
    entries = transport.tocoo()
    off_diagonal = entries.data[entries.row != entries.col]
    components = connected_components(transport, directed=False, return_labels=False)
    return ConservationAudit(
        uniform_time_scale=uniform_scale,
        mass_time_scale=mass_scale,
        worst_uniform=worst_uniform,
        worst_mass=worst_mass,
        minimum_diagonal=float(diagonal.min()),
        median_diagonal=float(np.median(diagonal)),
        maximum_diagonal=float(diagonal.max()),
        positive_off_diagonal_fraction=float(np.mean(off_diagonal > 0.0)) if off_diagonal.size else 0.0,
        components=int(components),
        problems=(
            *_sign_and_unit_problems(diagonal, grid),
            *_conservation_problems(uniform_scale, mass_scale, worst_uniform, worst_mass),
        ),
    )


def _check_entries(transport: sparse.csr_array, grid: OceanGrid) -> None:
    rows, columns = transport.shape  # pyright: ignore[reportGeneralTypeIssues]
    if rows != columns:
        raise InputError(
            f"The transport operator has {rows} rows and {columns} columns; expected a square matrix with "
            f"one row per wet box ({grid.n_wet})."
        )
    if rows != grid.n_wet:
        raise InputError(
            f"The transport operator has {rows} rows but the grid '{grid.name}' has {grid.n_wet} wet boxes; "
            "operator and wet mask must come from the same source."
        )
    bad = np.flatnonzero(~np.isfinite(transport.data))
    if bad.size:
        box = int(np.searchsorted(transport.indptr, bad[0], side="right") - 1)
        raise InputError(
            f"The transport operator holds {bad.size} entries that are NaN or infinite, the first in the row "
            f"of {grid.describe(box)}; expected finite rates in s-1."
        )


def _years(size: Any, residual: Any) -> float:
    return float(size / residual / YEAR) if residual > 0.0 else float("inf")


def _worst(rate: np.ndarray, grid: OceanGrid, count: int = 3) -> tuple[str, ...]:
    boxes = np.argsort(rate)[::-1][:count]
    return tuple(f"{grid.describe(int(box))}: {rate[box] * YEAR:.2e} per year" for box in boxes)


def _sign_and_unit_problems(diagonal: np.ndarray, grid: OceanGrid) -> list[str]:
    median = float(np.median(diagonal))
    largest = float(diagonal.max())
    lowest_rate, highest_rate = TURNOVER_RATES
    if np.mean(diagonal < 0.0) > 0.5:
        return [
            f"wrong sign: multiply by -1. {np.mean(diagonal < 0.0):.0%} of the diagonal is negative, as in a "
            "convergence operator (dC/dt = T C); expected divergence form (dC/dt + T C = sources), whose "
            "diagonal is positive."
        ]
    if diagonal.min() < -1e-12 * largest:
        box = int(diagonal.argmin())
        return [
            f"{np.sum(diagonal < 0.0)} diagonal entries are negative, the lowest {diagonal[box]:.2e} s-1 in "
            f"{grid.describe(box)}; expected none: a box cannot gain from its own excess."
        ]
    if median > highest_rate or largest > HIGHEST_RATE:
        factors = {"yr-1": YEAR, "d-1": DAY}
        unit = min(factors, key=lambda name: abs(np.log10(max(median, 1e-300) / factors[name] / TYPICAL_RATE)))
        return [
            f"wrong unit: the operator looks as if it were in {unit}; divide by {factors[unit]:.0f} s. The "
            f"diagonal has median {median:.2e} and maximum {largest:.2e}, taken as s-1 a turnover of "
            f"{1.0 / median if median > 0.0 else np.inf:.2g} s in half of the boxes; "
            f"expected a median between {lowest_rate:.0e} and "
            f"{highest_rate:.0e} s-1 (ocean models have about {TYPICAL_RATE:.0e}) and a maximum below "
            f"{HIGHEST_RATE} s-1."
        ]
    if median < lowest_rate and grid.n_wet > 1:
        return [
            f"wrong unit or empty operator: the median of the diagonal is {median:.2e} s-1, a turnover of "
            f"more than {1.0 / lowest_rate / YEAR:.0e} years; expected about {TYPICAL_RATE:.0e} s-1."
        ]
    return []


def _conservation_problems(
    uniform_scale: float, mass_scale: float, worst_uniform: tuple[str, ...], worst_mass: tuple[str, ...]
) -> list[str]:
    problems = []
    if not uniform_scale > REQUIRED_TIME_SCALE:
        problems.append(
            f"a uniform tracer does not stay uniform: ||1||/||T 1|| is {uniform_scale:.2e} years; expected more "
            f"than {REQUIRED_TIME_SCALE:.0e}. Worst: {'; '.join(worst_uniform)}. The flow diverges there, or "
            "the operator is transposed."
        )
    if not mass_scale > REQUIRED_TIME_SCALE:
        problems.append(
            f"transport creates or destroys tracer: ||v||/||T^T v|| is {mass_scale:.2e} years; expected more "
            f"than {REQUIRED_TIME_SCALE:.0e}. Worst: {'; '.join(worst_mass)}. If T 1 = 0 holds, the wet boxes "
            "are in another order than declared (C instead of Fortran order, or the reverse) or the volumes "
            "are not those of the operator."
        )
    return problems


@dataclass(frozen=True, eq=False)
class Circulation:
    """A steady ocean circulation: dC/dt + T C = sources.

    Args:
        grid: the ocean grid.
        transport: T, [n_wet, n_wet] s-1, in the wet order of the grid; stored as CSR in double precision.
        name: a word for messages, files and figures.
        attrs: source, licence, source_order and other provenance.

    Attributes:
        audit: what `audit_transport` measured.

    Raises:
        InputError: the operator does not fit the grid or is not finite.
        ConservationError: the audit failed; the message names the reason and the worst boxes.
    """

    grid: OceanGrid
    transport: sparse.csr_array
    name: str
    attrs: dict = field(default_factory=dict)
    audit: ConservationAudit = field(init=False)

    def __post_init__(self) -> None:
        """Bring the operator to canonical form and audit it."""
        transport = sparse.csr_array(self.transport, dtype=np.float64, copy=True)
        transport.sum_duplicates()
        object.__setattr__(self, "transport", transport)
        object.__setattr__(self, "audit", audit_transport(transport, self.grid))
        if not self.audit.passed:
            raise ConservationError(f"Circulation '{self.name}': {' Also: '.join(self.audit.problems)}")

    def __repr__(self) -> str:
        """Name and size; the audit is `print(circulation.audit)`."""
        return f"Circulation('{self.name}', {self.grid.n_wet} boxes, {self.transport.nnz} entries)"


def wet_positions(wet: np.ndarray, order: Sequence[str]) -> np.ndarray:
    """Where each wet box of the house order sits in a wet vector of another order.

    With the result p, ``theirs[p]`` is the vector in house order and ``theirs[p][:, p]`` the operator.

    Args:
        wet: [nz, ny, nx].
        order: the three dimensions from slowest to fastest; ("depth", "longitude", "latitude") is the
            column-major scan of a (latitude, longitude, depth) array, as MATLAB files have.

    Returns:
        [n_wet] integers.

    Raises:
        InputError: `order` is not a permutation of the three dimensions.
    """
    if sorted(order) != sorted(DIMENSIONS):
        raise InputError(f"Wet order {tuple(order)}: expected the three of {DIMENSIONS}, slowest first.")
    axes = [DIMENSIONS.index(dimension) for dimension in order]
    theirs = np.transpose(np.asarray(wet, dtype=bool), axes)
    number = np.full(theirs.shape, -1, dtype=np.int64)
    number[theirs] = np.arange(int(theirs.sum()))
    return np.transpose(number, np.argsort(axes))[np.asarray(wet, dtype=bool)]


def to_house_order(transport: Any, wet: np.ndarray, order: Sequence[str]) -> sparse.csr_array:
    """An operator permuted from the wet order of its source into the house order.

    Args:
        transport: sparse [n_wet, n_wet], any unit.
        wet: [nz, ny, nx].
        order: wet order of the source, as in `wet_positions`.

    Returns:
        [n_wet, n_wet], same unit.

    Raises:
        InputError: the size is not that of the mask, or the order is unknown.
    """
    position = wet_positions(wet, order)
    matrix = sparse.csr_array(transport)
    if matrix.shape != (position.size, position.size):
        raise InputError(
            f"The transport operator has shape {matrix.shape}; expected {(position.size, position.size)}, "
            "one row and column per wet box of its mask."
        )
    return sparse.csr_array(matrix[position][:, position])


def transport_from_flows(flows: Mapping[tuple[int, int], float], volume: np.ndarray) -> sparse.csr_array:
    """The operator of a box model from the volume flows between its boxes, upstream values transported.

    T_ii = sum_j q_ij / v_i and T_ji = -q_ij / v_j for the flow q_ij from box i to box j. T 1 = 0 holds if
    as much flows into every box as out of it; v^T T = 0 always holds.

    Args:
        flows: (from, to) -> m3 s-1, wet indices; an exchange is two entries.
        volume: [n_wet] m3.

    Returns:
        [n_wet, n_wet] s-1.
    """
    source, target = (np.array(index) for index in zip(*flows, strict=True))
    flow = np.array(list(flows.values()), dtype=np.float64)
    data = np.concatenate([flow / volume[source], -flow / volume[target]])
    rows, columns = np.concatenate([source, target]), np.concatenate([source, source])
    return sparse.csr_array((data, (rows, columns)), shape=(volume.size, volume.size))
