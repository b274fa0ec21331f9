"""The outer iteration of Wang et al. (2023): gas exchange, transient, background DIC, fit, until they agree.

Each round first asks radiocarbon for the scale of the gas exchange at the parameters so far, then takes the excess DIC
of that run from the measured DIC, and fits the parameters to what is left. It ends when neither the scale nor any
parameter moves by more than a fraction of its error bar. Every stage leaves a file; a rerun goes on after the last one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from invbgc.errors import ConvergenceError
from invbgc.files import write_netcdf
from invbgc.inference.checkpoint import digest
from invbgc.inference.fit import Fit
from invbgc.inference.fit import fit as find_optimum
from invbgc.inference.laplace import laplace
from invbgc.inference.posterior import Posterior
from invbgc.models.pco.model import PCOModel
from invbgc.models.pco.parameters import GAS_EXCHANGE, with_gas_exchange
from invbgc.transient.calibrate import cells_of, fit_scale, with_background
from invbgc.transient.era import IndustrialEra

Progress = Callable[[Any], Any]


class Round(NamedTuple):
    """One round.

    Attributes:
        scale: of the gas exchange.
        error: standard deviation of its logarithm.
        misfit: of D14C, at that scale and the parameters of the round before.
        value: f of the fit that followed.
        moved: largest change of the scale and of any parameter, over their error bars.
        x: optimiser coordinates of the fit [p], without the scale.
    """

    scale: float
    error: float
    misfit: float
    value: float
    moved: float
    x: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """A self-consistent gas exchange and fit.

    Attributes:
        rounds: in order.
        fit: the last one.
        trials: scales tried in all rounds and their misfits; the scale of the last one and its error.
        predicted: what the cells hold in the last round.
    """

    rounds: tuple[Round, ...]
    fit: Fit
    trials: xr.Dataset
    predicted: dict[str, np.ndarray] = field(default_factory=dict)

    def to_dataset(self) -> xr.Dataset:
        """The rounds and their trials."""
        columns = {
            "round_scale": ("scale", "1", "gas exchange over that of the forcing"),
            "round_error": ("error", "1", "standard deviation of its logarithm"),
            "round_misfit": ("misfit", "1", "misfit of D14C"),
            "round_value": ("value", "1", "negative log posterior of the fit"),
            "round_moved": ("moved", "1", "largest change over its error bar"),
        }
        table = self.trials.copy()
        for name, (key, unit, text) in columns.items():
            values = [getattr(row, key) for row in self.rounds]
            table[name] = ("round", values, {"units": unit, "long_name": text})
        return table


def alternate(
    era: IndustrialEra,
    folder: Path,
    progress: Progress = print,
    tolerance: float = 0.1,
    most: int = 8,
    **options: Any,
) -> Calibration:
    """Bring gas exchange, excess DIC and parameters into agreement.

    Args:
        era: of `invbgc.transient.calibrate.era_of`, with cells of D14C and DIC.
        folder: for the files of the stages.
        progress: receives lines of text.
        tolerance: largest change of the scale and of a parameter over their error bars at which it ends.
        most: rounds at most.
        options: for `invbgc.inference.fit.fit`.

    Raises:
        ConvergenceError: a fit, the scale or the rounds do not converge.
    """
    posterior, dic = era.posterior, cells_of(era, "DIC")
    row = posterior.names.index(GAS_EXCHANGE)
    x, rounds = np.array(posterior.x0), []
    tried: list[xr.Dataset] = []
    for number in range(1, most + 1):
        place = folder / f"round_{number:02d}"
        progress(f"round {number}: gas exchange from radiocarbon")
        scaled = _scale(era, x, place / "scale.nc", progress)
        scale, error = float(scaled["scale_best"]), float(scaled["scale_error"]) / float(scaled["scale_best"])
        tried.append(scaled[["scale", "misfit"]])
        progress(f"round {number}: scale {scale:.4f} +- {scale * error:.4f}; fit against background DIC")
        for system in (era.simulation.system, *posterior.model.systems.values()):
            system.clear()  # the fit makes factors of its own
        observations = with_background(posterior.observations, dic, scaled["predicted_DIC"].values)
        table = with_gas_exchange(posterior.table.fitted(x), scale, free=False)
        base = posterior.model
        model = PCOModel(
            base.circulation, base.forcing, base.options, table, base.systems["tracer"].backend
        )  # fmt: skip
        found = _fit(Posterior(model, observations, posterior.scales, posterior.prior_factor), place, progress, options)
        new = np.insert(found.x, row, np.log(scale))
        deviation = laplace(found).standard_deviation
        bars = np.insert(np.where(deviation > 0.0, deviation, np.inf), row, error)
        moved = float(np.max(np.abs(new - x) / bars))
        rounds.append(Round(scale, error, float(scaled["misfit"][-1]), found.value, moved, found.x))
        progress(f"round {number}: scale {scale:.4f}, f {found.value:.7f}, moved by {moved:.2g} error bars")
        x = new
        if moved < tolerance:
            predicted = {cell.name: scaled[f"predicted_{cell.name}"].values for cell in era.cells}
            trials = xr.concat(tried, "trial").assign(scaled[["scale_best", "scale_error"]])
            return Calibration(tuple(rounds), found, trials, predicted)
    raise ConvergenceError(
        f"calibration: {most} rounds did not agree; the last moved by {moved:.2g} error bars (tolerance {tolerance:g})"
    )


def _scale(era: IndustrialEra, x: np.ndarray, path: Path, progress: Progress) -> xr.Dataset:
    """The scale at x with its trials and predictions, from the file of an earlier run where there is one."""
    key = digest(x, [(cell.name, cell.box, cell.step, cell.value) for cell in era.cells])
    if path.is_file():
        with xr.open_dataset(path) as data:
            if data.attrs.get("key") == key:
                progress(f"  taken from {path}")
                return data.load()
    found = fit_scale(era, x, progress)
    table = found.to_dataset()
    for name, values in found.predicted.items():
        table[f"predicted_{name}"] = (f"cell_{name}", values)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(table.assign_attrs(key=key), path)
    return table


def _fit(posterior: Posterior, place: Path, progress: Progress, options: dict[str, Any]) -> Fit:
    """The fit of a round, resumed where it was interrupted and read where it had ended."""
    path, observed = place / "fit.nc", posterior.observations.tracers.values()
    key = digest(posterior.x0, posterior.table[GAS_EXCHANGE].value, [(o.tracer, o.index, o.value) for o in observed])
    if path.is_file():
        with xr.open_dataset(path) as stored:
            if stored.attrs.get("calibration_key") == key:
                progress(f"  taken from {path}")
                return Fit.load(path)
    found = find_optimum(posterior, checkpoint=place / f"checkpoints_{key[:8]}", progress=progress, **options)
    if not found.converged:
        raise ConvergenceError(f"calibration: the fit in {place} did not converge: {found.message}")
    found.save(path, attrs={"calibration_key": key})
    return found
