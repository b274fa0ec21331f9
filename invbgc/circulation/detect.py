"""Sign, unit and wet order of an operator of unknown convention, found by its diagonal and its conservation.

Distributed operators differ in sign (dC/dt = A C, or dC/dt + A C = 0), in unit (s-1, d-1, yr-1) and in the order in
which the wet boxes are numbered, and their files do not say which. The diagonal decides sign and unit, because water
leaves its box, after weeks to years; v^T A = 0 with the volumes v decides the order. One combination must remain: it
is taken, written to the log and kept in the attributes of the circulation. If none or several remain, nothing is
guessed: the error lists them, and the caller declares what is known.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import REQUIRED_TIME_SCALE, Circulation, wet_positions
from invbgc.constants import DAY, YEAR
from invbgc.errors import InputError, InvbgcError
from invbgc.grid import DIMENSIONS, OceanGrid, regular_edges

LOGGER = logging.getLogger("invbgc")

UNIT_SECONDS = {"s-1": 1.0, "d-1": DAY, "yr-1": YEAR}
"""Unit of an operator -> seconds; the year has 365 days, as everywhere in the toolkit."""

SIGNS = {"divergence": 1.0, "convergence": -1.0}
"""Sign of an operator -> factor that brings it to divergence form, dC/dt + T C = sources."""

PLAUSIBLE_TURNOVER = (10.0, 3285.0)
"""Days in which the water of the median box is replaced, where no unit is declared.

Operators of 2 to 8 degrees have 70 to 310 days. The ends differ by less than a factor of 365, so that rates per day
and per year are never both plausible.
"""

CENTRE_TOLERANCE = 1e-3
"""Part of a cell by which a centre may lie off the middle of edges formed from widths."""

VOLUME_TOLERANCE = 1e-6
"""Relative difference between volume and area times thickness below which a cell is full."""


def detect_circulation(
    matrix: object,
    grid: OceanGrid,
    source: str,
    positions: Mapping[str, np.ndarray],
    sign: str | None = None,
    unit: str | None = None,
    attrs: Mapping[str, object] | None = None,
) -> Circulation:
    """A circulation from an operator whose sign, unit and wet order are to be found.

    Args:
        matrix: sparse [n_wet, n_wet].
        grid: its grid.
        source: file and variable, for messages.
        positions: candidates for the order: name -> place of each wet box of the house order in the order of the
            matrix, [n_wet], as `candidate_positions` gives them.
        sign: "divergence" or "convergence" where it is known.
        unit: "s-1", "d-1" or "yr-1" where it is known; then any turnover that passes the audit is accepted.
        attrs: provenance; `source_sign`, `source_unit`, `source_order` and `detection` are added.

    Returns:
        the audited circulation.

    Raises:
        InputError: the size does not fit, an entry is not finite, a declaration is unknown, or not exactly one
            combination passes; the message lists every candidate and what speaks against it.

    Examples:
        >>> from invbgc.circulation.toys import few_box
        >>> from invbgc.constants import YEAR
        >>> ocean = few_box()
        >>> theirs = -YEAR * ocean.transport
        >>> found = detect_circulation(theirs, ocean.grid, "example", candidate_positions(ocean.grid.wet))
        >>> found.attrs["source_sign"], found.attrs["source_unit"], found.attrs["source_order"]
        ('convergence', 'yr-1', 'depth latitude longitude')
    """
    operator = _checked(matrix, grid, source)
    diagonal = operator.diagonal()
    lines, rates = [], []
    for sign_name in _declared(sign, SIGNS, "sign", source):
        for unit_name in _declared(unit, UNIT_SECONDS, "unit", source):
            objection = _objection_to_rates(diagonal, sign_name, unit_name, unit is not None)
            lines.append(f"{sign_name}, {unit_name}: {objection or 'plausible'}")
            rates += [] if objection else [(sign_name, unit_name)]
    found = []
    if rates:
        longest = max(UNIT_SECONDS[unit_name] for _, unit_name in rates)
        orders = []
        for label, position in positions.items():
            objection = _objection_to_order(operator, grid, position, longest)
            lines.append(f"order {label}: {objection or 'conserves tracer'}")
            orders += [] if objection else [label]
        found = [(sign_name, unit_name, label) for sign_name, unit_name in rates for label in orders]
    if len(found) != 1:
        raise InputError(
            f"{source}: {len(found) or 'no'} combinations of sign, unit and wet order are sound; expected exactly one. "
            f"Candidates: {'; '.join(lines)}. {_advice(len(found))}"
        )
    sign_name, unit_name, label = found[0]
    position = positions[label]
    transport = sparse.csr_array(operator[position][:, position]) * (SIGNS[sign_name] / UNIT_SECONDS[unit_name])
    median = UNIT_SECONDS[unit_name] / (DAY * float(np.median(np.abs(diagonal))))
    declared = [name for name, value in (("sign", sign), ("unit", unit)) if value is not None]
    text = (
        f"{source}: read as {sign_name} in {unit_name}, wet boxes in the order {label}"
        f"{f' ({len(positions)} orders tried)' if len(positions) > 1 else ' (the only candidate)'}; "
        f"median turnover {median:.3g} days; declared: {', '.join(declared) or 'nothing'}."
    )
    LOGGER.info(text)
    provenance = {"source_sign": sign_name, "source_unit": unit_name, "source_order": label, "detection": text}
    try:
        return Circulation(grid, transport, grid.name, dict(attrs or {}) | provenance)
    except InvbgcError as error:
        raise type(error)(f"{text} {error}") from error


def _checked(matrix: object, grid: OceanGrid, source: str) -> sparse.csr_array:
    operator = sparse.csr_array(matrix, dtype=np.float64)  # pyright: ignore[reportArgumentType]
    if operator.shape != (grid.n_wet, grid.n_wet):
        raise InputError(
            f"{source}: the operator has shape {operator.shape}; expected {(grid.n_wet, grid.n_wet)}, one row and "
            "column per wet box of the mask. Operator and mask must belong together."
        )
    bad = int(np.sum(~np.isfinite(operator.data)))
    if bad:
        raise InputError(f"{source}: {bad} of {operator.nnz} entries are NaN or infinite; expected finite rates.")
    return operator


def _declared(value: str | None, known: Mapping[str, float], what: str, source: str) -> Sequence[str]:
    if value is None:
        return list(known)
    if value not in known:
        raise InputError(f"{source}: {what} {value!r} is unknown; expected one of {', '.join(known)}, or None.")
    return [value]


def _objection_to_rates(diagonal: np.ndarray, sign: str, unit: str, declared: bool) -> str:
    """What speaks against a sign and a unit, from the diagonal, which no permutation changes; empty if nothing."""
    rate = SIGNS[sign] * diagonal / UNIT_SECONDS[unit]
    wrong = float(np.mean(rate < -1e-12 * np.abs(rate).max(initial=0.0)))
    if wrong > 0.0:
        return f"{wrong:.1%} of the boxes would gain from their own excess"
    median = float(np.median(rate))
    days = 1.0 / (DAY * median) if median > 0.0 else float("inf")
    shortest, longest = PLAUSIBLE_TURNOVER
    if not declared and not shortest <= days <= longest:
        return f"the median box would be renewed in {days:.3g} days, outside {shortest:g} to {longest:g}"
    return ""


def _objection_to_order(operator: sparse.csr_array, grid: OceanGrid, position: np.ndarray, seconds: float) -> str:
    """What speaks against an order: v^T A, measured in the longest unit that is left; empty if nothing."""
    volume = np.empty(grid.n_wet)
    volume[position] = grid.volume
    residual = np.linalg.norm(operator.T @ volume)
    years = float(np.linalg.norm(volume) / residual * seconds / YEAR) if residual > 0.0 else float("inf")
    if years > REQUIRED_TIME_SCALE:
        return ""
    return f"inventories would be kept for {years:.2g} years, expected more than {REQUIRED_TIME_SCALE:.0e}"


def _advice(number: int) -> str:
    if number:
        return "Declare what is known by the options sign, unit or order."
    return (
        "If no sign or unit is plausible, declare both by the options sign and unit; if no order conserves tracer, the "
        "volumes or the mask are not those of the operator, or it loses tracer by itself (a free surface, rounding)."
    )


def candidate_positions(
    wet: np.ndarray, order: Sequence[str] | None = None, south_first: bool = True
) -> dict[str, np.ndarray]:
    """The ways in which a source may have numbered the wet boxes.

    Args:
        wet: [nz, ny, nx] in house order.
        order: the order where it is known, slowest dimension first; None tries all six.
        south_first: False where the latitudes of the source decrease.

    Returns:
        name of the order -> place of each wet box of the house order in that of the source, [n_wet]; orders that
        are the same numbering appear once, under the first name.

    Raises:
        InputError: the order is unknown.
    """
    if order is not None and not isinstance(order, str):
        order = tuple(order)
    elif isinstance(order, str):
        order = tuple(order.split())
    common = [DIMENSIONS, ("depth", "longitude", "latitude")]
    orders = [order] if order else common + [item for item in permutations(DIMENSIONS) if item not in common]
    step = 1 if south_first else -1
    theirs = np.asarray(wet, dtype=bool)[:, ::step]
    result: dict[str, np.ndarray] = {}
    for item in orders:
        number = np.full(theirs.shape, -1, dtype=np.int64)
        number[theirs] = wet_positions(theirs, item)
        position = number[:, ::step][np.asarray(wet, dtype=bool)]
        if not any(np.array_equal(position, other) for other in result.values()):
            result[" ".join(item)] = position
    return result


def from_house_order(transport: sparse.csr_array, wet: np.ndarray, order: Sequence[str]) -> sparse.csr_array:
    """The inverse of `core.to_house_order`: an operator of the house order in the wet order of a file.

    Args:
        transport: [n_wet, n_wet], any unit.
        wet: [nz, ny, nx].
        order: wet order of the file, slowest dimension first.

    Returns:
        [n_wet, n_wet], same unit.
    """
    inverse = np.argsort(wet_positions(wet, order))
    return sparse.csr_array(transport[inverse][:, inverse])


def cell_edges(centres: np.ndarray, widths: np.ndarray | None, what: str) -> np.ndarray:
    """Edges of cells from their centres and, where the file has them, their widths.

    Args:
        centres: [n], increasing.
        widths: [n] in the same unit, or None; they are used where every centre is in the middle of its cell.
        what: file and variable, for messages.

    Returns:
        [n + 1].

    Raises:
        InputError: there are no usable widths and the centres are not equally spaced.
    """
    centres = np.asarray(centres, dtype=np.float64)
    if widths is not None and np.shape(widths) == centres.shape and np.all(np.asarray(widths) > 0.0):
        widths = np.asarray(widths, dtype=np.float64)
        edges = np.r_[centres[0] - 0.5 * widths[0], centres[0] - 0.5 * widths[0] + np.cumsum(widths)]
        if np.all(np.abs(0.5 * (edges[1:] + edges[:-1]) - centres) <= CENTRE_TOLERANCE * widths):
            return edges
    return regular_edges(centres, what)


def grid_with_volume(volume: np.ndarray | None, source: str, **parts: object) -> OceanGrid:
    """An ocean grid, with partly wet cells where the volumes of the file ask for them.

    Args:
        volume: [nz, ny, nx] m3, or None for full cells.
        source: the file, for messages.
        **parts: arguments of `OceanGrid`, without `wet_fraction`.

    Returns:
        the grid.

    Raises:
        InputError: the geometry is not sound, or a wet box has no volume or more than its cell.
    """
    try:
        grid = OceanGrid(**parts)  # pyright: ignore[reportArgumentType]
        if volume is None:
            return grid
        ratio = grid.pack(volume) / grid.volume
        if not np.all(np.isfinite(ratio) & (ratio > 0.0)):
            raise InputError(f"{int(np.sum(~(ratio > 0.0)))} wet boxes have no volume; expected m3 in every wet box.")
        if np.all(np.abs(ratio - 1.0) <= VOLUME_TOLERANCE):
            return grid
        fraction = np.zeros(grid.shape)
        fraction[grid.wet] = np.where(np.abs(ratio - 1.0) <= 1e-12, 1.0, ratio)
        return OceanGrid(**parts, wet_fraction=fraction)  # pyright: ignore[reportArgumentType]
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
