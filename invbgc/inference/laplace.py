"""Laplace's approximation: the posterior near its optimum as a Gaussian, with error bars, correlations and warnings.

The misfit f counts every tracer once, whatever its number of boxes, so that H^-1 alone is not a covariance. With N
independent observations and a noise variance at its maximum-likelihood value,

    s = 2 f / N,      Cov(x) = s H^-1,      H = d2f/dx2 at the optimum,

(Wang et al. 2023, Methods; the authors' scripts). The part of H that is a Gaussian prior's, 1/sd^2, is not scaled: the
search gives priors a nominal s, which is put right here. Three counts N are offered:

* ``"authors"``: every observed box of DIP, DIC and O2 (of DIP, DIC and DOC where O2 is not fitted);
* ``"all"``: every observed box of every fitted tracer;
* ``"effective"``: fewer, for the spatial correlation of the residuals (`effective_number`).

Where f is a negative log posterior already (`invbgc.inference.errors`), the scaling is ``"likelihood"``, with s = 1.
The first two take neighbouring boxes for independent and give error bars that are too small as statements about the
ocean. Directions in which H has no positive curvature are not informed by the data: their variance is not given, the
parameters they move have an infinite error bar, and `warnings` says so.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import numpy as np
import xarray as xr

from invbgc.errors import ConvergenceError, InputError
from invbgc.files import write_netcdf
from invbgc.inference.correlogram import effective_number
from invbgc.parameters import ParameterTable
from invbgc.transforms import TRANSFORMS, error_bar

if TYPE_CHECKING:
    from invbgc.inference.fit import Fit

Scaling = Literal["authors", "all", "effective", "likelihood"]
SCALINGS: tuple[str, ...] = get_args(Scaling)

NO_CURVATURE = 1e-10
"""Eigenvalues of H below this fraction of the largest are round-off: no information."""

LOOSE = 1.0
"""Standard deviation along an eigen-direction, in optimiser coordinates, above which it is called hardly informed."""

VANISHED = 1e-3
"""Fraction of its usual size below which a parameter without an error bar is said to have run to zero."""

FAR_FROM_PRIOR = 2.5
"""Standard deviations of a prior beyond which an optimum is said to contradict it."""

SHARE = 0.01
"""Squared component along an uninformed direction above which a parameter counts as uninformed."""

_log = logging.getLogger("invbgc")


@dataclass(frozen=True, eq=False)
class Laplace:
    """A Gaussian approximation of the posterior in optimiser coordinates (ln p, or p of linear parameters).

    Attributes:
        names: free parameters, in the order of x.
        x: [p] the optimum.
        table: parameter table with the fitted values.
        scaling: which count N was used.
        number: N.
        scale: s = 2 f / N.
        covariance: [p, p]; infinite variance and NaN covariances for uninformed parameters.
        eigenvalues: [p] of the Hessian, ascending (the least informed direction first).
        directions: [p, p], the eigenvectors in columns.
        direction_names: each direction by its dominant parameters, e.g. ``"+0.80 b_C -0.55 b_C_slope"``.
        warnings: sentences a reader of the error bars must know.
    """

    names: tuple[str, ...]
    x: np.ndarray
    table: ParameterTable
    scaling: str
    number: float
    scale: float
    covariance: np.ndarray
    eigenvalues: np.ndarray
    directions: np.ndarray
    direction_names: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def standard_deviation(self) -> np.ndarray:
        """Standard deviation in optimiser coordinates [p]; infinite for uninformed parameters."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """Correlation matrix [p, p]; NaN for uninformed parameters, but for a diagonal of one."""
        deviation = self.standard_deviation
        with np.errstate(invalid="ignore"):
            matrix = self.covariance / np.outer(deviation, deviation)
        np.fill_diagonal(matrix, 1.0)
        return matrix

    @property
    def estimate(self) -> np.ndarray:
        """Fitted values [p] in parameter units."""
        return np.array([row.value for row in self.table.free])

    @property
    def lower(self) -> np.ndarray:
        """Length [p] of the error bars downwards, parameter units: p - p(x - sigma)."""
        return self._error_bars[:, 0]

    @property
    def upper(self) -> np.ndarray:
        """Length [p] of the error bars upwards, parameter units: p(x + sigma) - p."""
        return self._error_bars[:, 1]

    @property
    def _error_bars(self) -> np.ndarray:
        rows = zip(self.table.free, self.standard_deviation, strict=True)
        return np.array([error_bar(row.transform, row.value, deviation) for row, deviation in rows])

    @property
    def informed(self) -> np.ndarray:
        """Whether each eigen-direction has positive curvature [p]."""
        return _informed(self.eigenvalues)

    def draw(self, key: jax.Array, n: int, admissible: Callable[[np.ndarray], str | None] | None = None) -> np.ndarray:
        """Draw from the Gaussian; uninformed directions stay at the optimum.

        Args:
            key: JAX random key.
            n: number of draws.
            admissible: says why a draw lies outside the model's meaning, or None; such draws are replaced (Wang et al.
                2023 replace those with sigma_P or sigma_C >= 1 or eta > 1). `Posterior.admissible` fits.

        Returns:
            [n, p] optimiser coordinates.

        Raises:
            ConvergenceError: fewer than one draw in a hundred is admissible.
        """
        root = self.root
        drawn: list[np.ndarray] = []
        tried = 0
        while len(drawn) < n:
            if tried > 100 * (n + 1):
                raise ConvergenceError(
                    f"Laplace draws: {len(drawn)} of {tried} are admissible; expected most. The Gaussian is too "
                    "wide for the model; sample the posterior instead."
                )
            key, part = jax.random.split(key)
            noise = np.asarray(jax.random.normal(part, (n - len(drawn), root.shape[1])))
            batch = self.x + noise @ root.T
            tried += len(batch)
            drawn += [x for x in batch if admissible is None or admissible(x) is None]
        return np.array(drawn).reshape(n, len(self.x))

    @property
    def root(self) -> np.ndarray:
        """R [p, k] with R R^T = C along the k informed directions: x = optimum + R z for a standard normal z."""
        keep = self.informed
        return self.directions[:, keep] * np.sqrt(self.scale / self.eigenvalues[keep])

    def standard_error(self, gradients: np.ndarray) -> np.ndarray:
        """Standard deviation of scalars that are linear in x over the width of the Gaussian (delta method).

            sd^2 = g^T C g

        Uninformed directions count as held fixed, as they do for the parameters that have an error bar.

        Args:
            gradients: g [..., p] in optimiser coordinates.

        Returns:
            [...], in the unit of the scalars.
        """
        keep = self.informed
        along = np.asarray(gradients) @ self.directions[:, keep]
        return np.sqrt(np.sum(along**2 * (self.scale / self.eigenvalues[keep]), axis=-1))

    def exponents(self, T_min: float, T_max: float) -> xr.Dataset:
        """Flux exponents in degrees: b(T) = b(0 degC) + slope T, with their covariance.

        The model writes b = b_X + b_X_slope (T - T_min + 1) / (T_max - T_min), hence the slope per degree is
        b_X_slope / (T_max - T_min) and b(0 degC) = b_X + b_X_slope (1 - T_min) / (T_max - T_min). The covariance is
        propagated linearly.

        Args:
            T_min: smallest temperature of the normalisation, degC.
            T_max: largest temperature of the normalisation, degC.

        Returns:
            Dataset over ``exponent`` (b_P_zero, b_P_slope, b_C_zero, b_C_slope, as far as the table has them):
            estimate, standard_deviation and covariance; slopes in degC-1.

        Raises:
            InputError: T_max does not exceed T_min.
        """
        if not T_max > T_min:
            raise InputError(f"exponents: T_max {T_max:g} degC does not exceed T_min {T_min:g} degC.")
        span = T_max - T_min
        values = self.table.values
        labels, estimate, jacobian = [], [], []
        for pool in ("P", "C"):
            base, slope = f"b_{pool}", f"b_{pool}_slope"
            if base not in values or slope not in values:
                continue
            for label, factors in (
                (f"b_{pool}_zero", {base: 1.0, slope: (1.0 - T_min) / span}),
                (f"b_{pool}_slope", {slope: 1.0 / span}),
            ):
                labels.append(label)
                estimate.append(sum(factor * values[name] for name, factor in factors.items()))
                jacobian.append([factors.get(row.name, 0.0) * _slope(row) for row in self.table.free])
        rows = np.array(jacobian)
        used = np.any(rows != 0.0, axis=0)
        covariance = rows[:, used] @ self.covariance[np.ix_(used, used)] @ rows[:, used].T
        return xr.Dataset(
            {
                "estimate": ("exponent", np.array(estimate)),
                "standard_deviation": ("exponent", np.sqrt(np.diag(covariance))),
                "covariance": (("exponent", "exponent_2"), covariance),
            },
            coords={"exponent": labels},
            attrs={"scaling": self.scaling, "T_min": T_min, "T_max": T_max},
        )

    def to_dataset(self) -> xr.Dataset:
        """Covariance, error bars and eigen-directions over the free parameters."""
        pair = ("parameter", "parameter_2")
        return xr.Dataset(
            {
                "x": ("parameter", self.x, {"long_name": "optimum in optimiser coordinates"}),
                "estimate": ("parameter", self.estimate, {"long_name": "fitted value, parameter units"}),
                "standard_deviation": ("parameter", self.standard_deviation),
                "lower": ("parameter", self.lower, {"long_name": "error bar downwards, parameter units"}),
                "upper": ("parameter", self.upper, {"long_name": "error bar upwards, parameter units"}),
                "parameter_unit": ("parameter", [row.unit for row in self.table.free]),
                "parameter_transform": ("parameter", [row.transform for row in self.table.free]),
                f"covariance_{self.scaling}": (pair, self.covariance),
                "correlation": (pair, self.correlation),
                "eigenvalue": ("direction", self.eigenvalues, {"long_name": "eigenvalue of the Hessian"}),
                "eigenvector": (("parameter", "direction"), self.directions),
                "direction_name": ("direction", list(self.direction_names)),
            },
            coords={"parameter": list(self.names)},
            attrs={
                "scaling": self.scaling,
                "number_of_observations": self.number,
                "noise_scale": self.scale,
                "laplace_warnings": "\n".join(self.warnings),
            },
        )

    def save(self, path: str | Path) -> Path:
        """Write `to_dataset` as netCDF."""
        return write_netcdf(self.to_dataset(), path)


def laplace(fit: "Fit", observations: Any = None, scaling: Scaling = "authors") -> Laplace:
    """Approximate the posterior of a fit by a Gaussian.

    Args:
        fit: the optimum with its Hessian, fields and observations.
        observations: observations to count, where they are not those of the fit.
        scaling: which boxes count as independent; see the module's docstring.

    Returns:
        Covariance, error bars and warnings.

    Raises:
        InputError: the scaling is unknown, no observation is left to count, or the Hessian is missing or not finite.
    """
    if scaling not in SCALINGS:
        raise InputError(f"laplace: scaling {scaling!r}; expected one of {', '.join(SCALINGS)}.")
    hessian = np.asarray(fit.hessian, dtype=np.float64)
    if hessian.shape != (len(fit.x), len(fit.x)) or not np.all(np.isfinite(hessian)):
        raise InputError(
            f"laplace: the Hessian has shape {hessian.shape} or holds values that are not finite; expected a finite "
            f"matrix {(len(fit.x), len(fit.x))}. Rerun the fit."
        )
    fields = fit.fields
    if observations is not None:
        fields = fields.drop_vars([name for name in fields if str(name).startswith("observed_")])
        fields = fields.merge(observations.to_dataset(), compat="override", join="override")
    number = count(fields, scaling)
    if not number > 0:
        raise InputError(f"laplace: scaling {scaling!r} finds no observation to count; expected some in the fit.")
    scale = 1.0 if scaling == "likelihood" else 2.0 * fit.value / number

    # The search gave priors a nominal noise scale; their own part of -ln p is theirs whatever the scale.
    own = np.array([row.prior_sd**-2 if row.prior_sd is not None else 0.0 for row in fit.table.free])
    hessian = 0.5 * (hessian + hessian.T) + np.diag((scale - fit.fields.attrs.get("prior_factor", scale)) * own)
    eigenvalues, directions = np.linalg.eigh(hessian)
    names = tuple(row.name for row in fit.table.free)
    labels = tuple(name_direction(direction, names) for direction in directions.T)
    informed = _informed(eigenvalues)
    covariance = (directions[:, informed] * (scale / eigenvalues[informed])) @ directions[:, informed].T
    lost = np.sum(directions[:, ~informed] ** 2, axis=1) > SHARE
    covariance[lost, :] = covariance[:, lost] = np.nan
    covariance[lost, lost] = np.inf

    notes = _cautions(fit, eigenvalues, labels, scale, [name for name, gone in zip(names, lost, strict=True) if gone])
    for note in notes:
        _log.warning("laplace: %s", note)
    return Laplace(
        names, np.asarray(fit.x), fit.table, scaling, number, scale, covariance, eigenvalues, directions, labels, notes
    )


def count(fields: xr.Dataset, scaling: str) -> float:
    """N of a scaling.

    Args:
        fields: ``model_X``, ``observed_X`` (NaN where unobserved) of the fitted tracers X, and ``volume``, on the grid.
        scaling: see the module's docstring.

    Returns:
        The number of observations that count as independent.
    """
    numbers = {
        str(name).removeprefix("observed_"): int(np.isfinite(fields[name].values).sum())
        for name in fields
        if str(name).startswith("observed_") and f"model_{str(name).removeprefix('observed_')}" in fields
    }
    if scaling == "effective":
        return float(sum(effective_number(fields, tracer).number for tracer in numbers))
    if scaling == "authors":
        counted = ("DIP", "DIC", "O2") if "O2" in numbers else ("DIP", "DIC", "DOC")
        return float(sum(numbers.get(tracer, 0) for tracer in counted))
    return float(sum(numbers.values()))


def name_direction(direction: np.ndarray, names: tuple[str, ...], most: int = 3) -> str:
    """Name an eigenvector by its dominant parameters.

    Args:
        direction: [p], of unit length.
        names: of the parameters.
        most: number of parameters named at most; those below 0.2 are left out.

    Returns:
        For example ``"+0.80 b_C -0.55 b_C_slope"``; the largest component is positive.
    """
    order = np.argsort(-np.abs(direction), kind="stable")
    sign = 1.0 if direction[order[0]] >= 0 else -1.0
    chosen = [i for rank, i in enumerate(order[:most]) if rank == 0 or abs(direction[i]) >= 0.2]
    return " ".join(f"{sign * direction[i]:+.2f} {names[i]}" for i in chosen)


def _informed(eigenvalues: np.ndarray) -> np.ndarray:
    return eigenvalues > NO_CURVATURE * max(float(eigenvalues[-1]), 0.0)


def _slope(row: Any) -> float:
    """dp/dx of a parameter."""
    return float(TRANSFORMS[row.transform].slope(row.value))


def _cautions(
    fit: "Fit", eigenvalues: np.ndarray, labels: tuple[str, ...], scale: float, lost: list[str]
) -> tuple[str, ...]:
    notes = []
    for row in fit.table.free:
        usual = min(row.first_guess, row.published)
        if row.transform == "log" and row.name in lost and row.value < VANISHED * usual:
            notes.append(
                f"{row.name} has run to zero ({row.value:.1e} {row.unit}, where {usual:.1e} is usual): the misfit only "
                "falls on the way. Its value is no estimate; the data hold an upper limit at most."
            )
    pulls = [
        (row.name, (x - row.prior_mean) / row.prior_sd)
        for row, x in zip(fit.table.free, fit.x, strict=True)
        if row.prior_mean is not None and row.prior_sd is not None
    ]
    far = ", ".join(f"{name} ({pull:+.1f})" for name, pull in pulls if abs(pull) > FAR_FROM_PRIOR)
    if far:
        notes.append(
            f"more than {FAR_FROM_PRIOR:g} standard deviations of the prior from its centre: {far}. Either the prior "
            "is wrong, or the errors of the data are taken for too small; then the error bars are, too."
        )
    informed = _informed(eigenvalues)
    for value, label in zip(eigenvalues[~informed], labels, strict=False):
        kind = "a negative curvature" if value < -NO_CURVATURE * np.abs(eigenvalues).max() else "no curvature"
        notes.append(
            f"the misfit has {kind} ({value:.2e}) along [{label}]: the data do not inform this direction, or this "
            "point is no minimum. Freeze a parameter of it."
        )
    if lost:
        notes.append(f"no error bar can be given for {', '.join(lost)}; the others hold these directions fixed.")
    for value, label in zip(eigenvalues, labels, strict=True):
        if value > NO_CURVATURE * eigenvalues[-1] and np.sqrt(scale / value) > LOOSE:
            notes.append(
                f"the data hardly inform [{label}]: one standard deviation is {np.sqrt(scale / value):.2g} in "
                "optimiser coordinates, too far for a quadratic approximation."
            )
    if np.all(informed) and fit.value > 0:
        gradient = np.asarray(fit.gradient)
        distance = float(np.sqrt(gradient @ np.linalg.solve(fit.hessian, gradient) / scale))
        if distance > 0.1:
            notes.append(
                f"the fit ({fit.status}) is {distance:.2g} standard deviations from the minimum of its quadratic "
                "model: continue it before using the error bars."
            )
    return tuple(notes)
