"""The parameter table: what is fitted, in which unit, under which transform and prior, and where its value comes from.

The optimiser sees a vector x of *optimiser coordinates*, one per free parameter: x = ln p for a ``"log"`` parameter,
x = ln(p/(1 - p)) for a ``"logit"`` one (a fraction), x = p for a ``"linear"`` one.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from invbgc.errors import InputError
from invbgc.transforms import TRANSFORMS

_COLUMNS = ("name", "symbol", "alias", "value", "unit", "transform", "free", "prior_mean", "prior_sd",
            "first_guess", "published", "description", "reference")  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One adjustable number of a model.

    Attributes:
        name: spelled-out name, e.g. ``sigma_P``.
        symbol: the paper's symbol.
        alias: name in the authors' released code, so that their tables can be read.
        value: present value, in `unit`.
        unit: unit of `value`.
        transform: ``"log"``, ``"logit"`` or ``"linear"`` (see the module's docstring).
        first_guess: value from which an uninformed fit starts.
        published: value of the published optimum.
        description: what the number does.
        reference: paper and equation.
        free: whether a fit may change it.
        prior_mean: mean of a Gaussian prior in optimiser coordinates; None for a flat prior.
        prior_sd: standard deviation of that prior.
    """

    name: str
    symbol: str
    alias: str
    value: float
    unit: str
    transform: str
    first_guess: float
    published: float
    description: str
    reference: str
    free: bool = True
    prior_mean: float | None = None
    prior_sd: float | None = None

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise InputError(f"parameter {self.name}: transform {self.transform!r} is not one of {tuple(TRANSFORMS)}")
        rule = TRANSFORMS[self.transform]
        if not np.isfinite(self.value) or not rule.allowed(self.value):
            raise InputError(f"parameter {self.name}: value {self.value!r} {self.unit}; expected {rule.domain}")
        if (self.prior_mean is None) != (self.prior_sd is None) or (self.prior_sd is not None and self.prior_sd <= 0):
            raise InputError(f"parameter {self.name}: a Gaussian prior needs both a mean and a positive sd")

    def coordinate(self, value: float) -> float:
        """Optimiser coordinate of a value."""
        return float(TRANSFORMS[self.transform].coordinate(value))


class ParameterTable(Sequence[Parameter]):
    """An ordered, immutable table of parameters and the map between its free part and the vector x.

    Args:
        parameters: the rows, with distinct names.
    """

    def __init__(self, parameters: Iterable[Parameter]):
        self._rows = tuple(parameters)
        names = [row.name for row in self._rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(f"parameter table: {', '.join(repeated)} appear more than once")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key):
        """Row by position or by name (the authors' alias works too)."""
        if isinstance(key, str):
            return self._rows[self._position(key)]
        return self._rows[key]

    def _position(self, name: str) -> int:
        for i, row in enumerate(self._rows):
            if name in (row.name, row.alias):
                return i
        near = get_close_matches(name, [row.name for row in self._rows])
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(r.name for r in self._rows)}"
        raise InputError(f"unknown parameter {name!r}{hint}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all rows."""
        return tuple(row.name for row in self._rows)

    @property
    def free(self) -> tuple[Parameter, ...]:
        """Rows a fit may change, in the order of x."""
        return tuple(row for row in self._rows if row.free)

    @property
    def free_names(self) -> tuple[str, ...]:
        """Names of the free rows, in the order of x."""
        return tuple(row.name for row in self.free)

    @property
    def values(self) -> dict[str, float]:
        """Present value of every row."""
        return {row.name: row.value for row in self._rows}

    def with_values(self, values: Mapping[str, float]) -> "ParameterTable":
        """The same table with some values replaced (keys: names or aliases)."""
        new = {self._position(name): float(value) for name, value in values.items()}
        return ParameterTable(replace(row, value=new.get(i, row.value)) for i, row in enumerate(self._rows))

    def started_from(self, column: str) -> "ParameterTable":
        """The table with every free value set to its ``"first_guess"`` or ``"published"`` column."""
        if column not in ("first_guess", "published"):
            raise InputError(f"start column {column!r}: expected 'first_guess' or 'published'")
        return self.with_values({row.name: getattr(row, column) for row in self.free})

    def freeze(self, names: Iterable[str]) -> "ParameterTable":
        """The table with the named rows held at their present value."""
        held = {self._position(name) for name in names}
        return ParameterTable(replace(row, free=row.free and i not in held) for i, row in enumerate(self._rows))

    def with_prior(self, name: str, value: float, sd: float) -> "ParameterTable":
        """The table with a Gaussian prior of one parameter: its centre in parameter units, its sd in coordinates."""
        changed = self._position(name)
        rows = [
            replace(row, prior_mean=row.coordinate(value), prior_sd=sd) if i == changed else row
            for i, row in enumerate(self._rows)
        ]
        return ParameterTable(rows)

    def to_vector(self, values: Mapping[str, float] | None = None) -> np.ndarray:
        """Optimiser coordinates [n_free] of the present values, or of `values` (missing names keep their present)."""
        table = self if values is None else self.with_values(values)
        return np.array([row.coordinate(row.value) for row in table.free])

    def to_values(self, x) -> dict:
        """Value of every parameter at optimiser coordinates x [n_free]; differentiable in x.

        Frozen parameters keep their table value.
        """
        if len(x) != len(self.free):
            raise InputError(f"parameter vector of length {len(x)}; expected {len(self.free)} free parameters")
        coordinate = dict(zip(self.free_names, x, strict=True))
        return {
            row.name: TRANSFORMS[row.transform].value(coordinate[row.name]) if row.free else row.value
            for row in self._rows
        }

    def fitted(self, x: np.ndarray) -> "ParameterTable":
        """The table with the values of optimiser coordinates x [n_free]."""
        return self.with_values({name: float(value) for name, value in self.to_values(np.asarray(x)).items()})

    def negative_log_prior(self, x):
        """Sum over Gaussian priors of (x - mean)^2 / (2 sd^2); flat priors add nothing (Wang et al. 2023 use none).

        The sd is that of the coordinate x: 0.5 for a log parameter says "within a factor of 1.65". A misfit that is a
        log likelihood only up to a noise scale s needs the prior times s; see `invbgc.inference.posterior.Posterior`.
        """
        terms = [
            0.5 * ((x[i] - row.prior_mean) / row.prior_sd) ** 2
            for i, row in enumerate(self.free)
            if row.prior_mean is not None and row.prior_sd is not None
        ]
        return sum(terms, jnp.zeros(()))

    def __str__(self) -> str:
        header = ("name", "symbol", "value", "unit", "transform", "first guess", "published", "meaning")
        rows = [
            (r.name + ("" if r.free else " (frozen)"), r.symbol, f"{r.value:.6g}", r.unit, r.transform,
             f"{r.first_guess:.6g}", f"{r.published:.6g}", r.description)
            for r in self._rows
        ]  # fmt: skip
        widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [header, *rows]
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def to_csv(self, path: str | Path) -> None:
        """Write the table as a comma-separated file that `read_csv` reads back."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for row in self._rows:
                cells = (getattr(row, column) for column in _COLUMNS)
                writer.writerow(
                    ["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells]
                )

    @classmethod
    def read_csv(cls, path: str | Path) -> "ParameterTable":
        """Read a table written by `to_csv` or by hand.

        Raises:
            InputError: the file is missing, a column is missing, or a cell cannot be read.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"parameter table {path}: no such file")
        try:
            text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte-order mark first
        except UnicodeDecodeError as error:
            raise InputError(f"parameter table {path}: not UTF-8 text ({error.reason}); save it as CSV UTF-8") from None
        reader = csv.DictReader(text.splitlines())
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"parameter table {path}: missing column(s) {', '.join(missing)}")
        return cls(_read_row(path, number, line) for number, line in enumerate(reader, start=2))


def _read_row(path: Path, line: int, cells: Mapping[str, str]) -> Parameter:
    if None in cells or None in cells.values():
        raise InputError(f"parameter table {path}, line {line}: expected {len(_COLUMNS)} cells separated by commas")

    def number(column: str) -> float:
        try:
            return float(cells[column])
        except ValueError:
            raise InputError(
                f"parameter table {path}, row {cells['name']}: {column} holds {cells[column]!r}; expected a number"
            ) from None

    if cells["free"] not in ("True", "False"):
        raise InputError(
            f"parameter table {path}, row {cells['name']}: column free holds {cells['free']!r}; expected True or False"
        )
    text = {c: cells[c] for c in ("name", "symbol", "alias", "unit", "transform", "description", "reference")}
    return Parameter(
        **text,
        value=number("value"),
        first_guess=number("first_guess"),
        published=number("published"),
        free=cells["free"] == "True",
        prior_mean=number("prior_mean") if cells["prior_mean"] else None,
        prior_sd=number("prior_sd") if cells["prior_sd"] else None,
    )
