"""From a run to its industrial era: the transient of a fit, and the calibration of its gas exchange."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.carbon import Fitted
from invbgc.errors import InputError
from invbgc.runfile import RunFile

if TYPE_CHECKING:
    from invbgc.grid import OceanGrid
    from invbgc.inference.posterior import Posterior
    from invbgc.transient.atmosphere import Atmosphere
    from invbgc.transient.bottles import CellMeans
    from invbgc.transient.era import IndustrialEra
    from invbgc.transient.integrate import Clock

Progress = Callable[[Any], Any]

CALIBRATION = "calibration"
"""Folder of a calibration, beside the result of the fit."""


def setting(run: RunFile, grid: "OceanGrid") -> "tuple[Clock, Atmosphere, tuple[CellMeans, ...]]":
    """Clock, histories and dated bottles of a run, all read and checked before anything is computed.

    Raises:
        InputError: a file is missing or wrong, or a history does not cover the years.
    """
    from invbgc.sources import located
    from invbgc.transient.atmosphere import load_atmosphere, read_sst
    from invbgc.transient.bottles import DATED, cell_means, read_dated
    from invbgc.transient.integrate import Clock

    section = run.transient
    clock = Clock(section.start, section.years, section.steps_per_year)
    records = (None if name is None else located(name) for name in (section.co2, section.d14c))
    atmosphere = load_atmosphere(*records)
    if section.sst is not None:
        atmosphere = replace(atmosphere, sst=read_sst(section.sst, grid))
    atmosphere = atmosphere.covering(clock)
    path = section.bottles or Path(run.dataset.name)
    if section.bottles is not None and not path.is_file():
        raise InputError(f"[transient] bottles: {path}: no such file")
    if not path.is_file():
        return clock, atmosphere, ()
    try:
        with xr.open_dataset(path) as data:
            held = [name for name in DATED if f"bottle_value_{name}" in data]
            bottles = [read_dated(data.load(), name, grid, str(path)) for name in held]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as netCDF: {error}.") from error
    return clock, atmosphere, tuple(cell_means(part, clock, grid) for part in bottles)


def _era(run: RunFile, posterior: "Posterior") -> "IndustrialEra":
    from invbgc.transient.calibrate import era_of

    clock, atmosphere, cells = setting(run, posterior.model.grid)
    return era_of(posterior, atmosphere, clock, cells, run.transient.scheme)


def transient(fit: Fitted, scale: float = 1.0, progress: Progress = print) -> dict[str, xr.Dataset]:
    """DIC and radiocarbon of a fitted ocean since the start of the run's clock; an interrupted run continues.

    Args:
        fit: the fit.
        scale: of the gas exchange, over that of the forcing.
        progress: receives lines of text.

    Returns:
        The table ``transient``, and ``radiocarbon`` where bottles of it are given; see `invbgc.transient.summary`.

    Raises:
        InputError: as `setting`, or the scale is not positive, or gas exchange is too fast for the steps.
    """
    from invbgc.carbon_report import FOLDER
    from invbgc.transient.industrial import gas_exchange_stability
    from invbgc.transient.schemes import get_scheme
    from invbgc.transient.summary import Yearbook, radiocarbon_table

    if not 0.0 < scale < np.inf:
        raise InputError(f"scale = {scale}; expected a positive number.")
    era = _era(fit.run, fit.posterior)
    progress(f"atmosphere: {era.atmosphere.co2.source}; {era.atmosphere.d14c.source}")
    progress(f"steady state under {era.posterior.model.options.pco2_atm:.2f} uatm, gas exchange x {scale:g}")
    here = era.posterior.value(np.append(fit.fit.x, np.log(scale)))
    fast = gas_exchange_stability(era.posterior.model, here.state.fields, era.clock, scale)
    limit = get_scheme(era.scheme).limit
    progress(
        f"explicit gas exchange: step over its time at most {fast.max():.2f}, above one in {np.sum(fast > 1)} boxes"
    )
    if fast.max() >= limit:
        raise InputError(
            f"[transient] steps_per_year = {era.clock.steps_per_year}: gas exchange is faster than {limit:g} steps in "
            f"{np.sum(fast >= limit)} surface boxes (largest {fast.max():.2f}); expected more steps a year."
        )
    book = Yearbook(era.posterior.model.grid, era.clock, era.atmosphere)
    folder = fit.run.run.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    run = era.simulate(here, progress, folder / "restart.nc", book=book.write, snapshots=book.snapshots, free=True)
    table = book.table(run)
    table.attrs |= {"gas_exchange_scale": scale, "largest_exchange_per_step": float(fast.max())}
    table["exchange_per_step"] = era.posterior.model.grid.unpack_surface(
        fast, "exchange_per_step", {"units": "1", "long_name": "time step over the time of gas exchange"}
    )
    (folder / "restart.nc").unlink(missing_ok=True)
    tables = {"transient": table}
    for cells in era.cells:
        if cells.name == "D14C":
            predicted = run.predicted["D14C"]
            tables["radiocarbon"] = radiocarbon_table(era.posterior.model.grid, era.clock, cells, predicted)
    return tables


def calibrate(run: RunFile, source: Path | None = None, progress: Progress = print, joint: bool = False) -> Path:
    """Calibrate the gas exchange with radiocarbon, in turn with the fit or jointly; an interrupted one goes on.

    Args:
        run: a validated run with dated bottles of DIC and D14C.
        source: the run file it came from, for the manifest.
        progress: receives lines of text.
        joint: solve for parameters and gas exchange at once.

    Returns:
        The folder with the fit, tables and figures.

    Raises:
        InputError: as `setting`, or there are no dated bottles.
        ConvergenceError: a stage does not converge.
    """
    from invbgc.carbon import save
    from invbgc.files import manifest
    from invbgc.run import RESULT_NAME, approximations, inputs, prepare
    from invbgc.transient.calibrate import JointProblem, cells_of
    from invbgc.transient.rounds import alternate

    posterior = prepare(run)
    era = _era(run, posterior)
    for name in ("D14C", "DIC"):
        cells = cells_of(era, name)
        progress(
            f"{name}: {int(cells.count.sum())} bottles in {cells.value.size} cells, {cells.outside} outside the years"
        )
    folder = run.run.output / CALIBRATION
    here = run.model_copy(update={"run": run.run.model_copy(update={"output": folder})})
    folder.mkdir(parents=True, exist_ok=True)
    if joint:
        found = JointProblem(era).fit(_joint_start(era, folder, progress), progress)
        return _save_joint(found, era, folder)
    options = {"gtol": run.fit.gtol, "max_evaluations": run.fit.max_evaluations, "start_radius": run.fit.start_radius}
    calibration = alternate(
        era, folder, progress, run.transient.tolerance, run.transient.max_rounds, **options
    )  # fmt: skip
    calibration.fit.save(
        folder / RESULT_NAME,
        laplaces=approximations(calibration.fit, run.laplace.scaling),
        record=manifest(inputs(run, source), run.model_dump(mode="json"), run.run.seed),
        attrs={"run_name": f"{run.run.name}, calibrated"},
    )
    tables = {"calibration": calibration.to_dataset()}
    last = calibration.rounds[-1]
    fitted = Fitted(here, calibration.fit, posterior)
    tables |= transient(fitted, last.scale, progress)
    return save(fitted, tables, source).parent


def _joint_start(era: "IndustrialEra", folder: Path, progress: Progress) -> np.ndarray:
    """First guess of the joint problem: where a calibration in rounds ended, else the start of the run."""
    from invbgc.carbon_report import FOLDER
    from invbgc.inference.fit import Fit
    from invbgc.run import RESULT_NAME

    names, fit, table = era.posterior.names, folder / RESULT_NAME, folder / FOLDER / "calibration.nc"
    if fit.is_file() and table.is_file():
        found = Fit.load(fit)
        if found.names == names[:-1]:
            progress(f"starting from the calibration in {folder}")
            with xr.open_dataset(table) as calibration:
                return np.append(found.x, np.log(float(calibration["scale_best"])))
    return era.posterior.x0


def _save_joint(found: Any, era: "IndustrialEra", folder: Path) -> Path:
    from invbgc.files import write_netcdf

    values = era.posterior.table.fitted(found.x).values
    table = xr.Dataset(
        {
            "value": ("parameter", [values[name] for name in era.posterior.names]),
            "x": ("parameter", found.x),
            "gradient": ("parameter", found.gradient),
            "history": ("iteration", list(found.history)),
            "scale_best": ((), found.scale),
            "scale_error": ((), found.scale * found.error),
        },
        {"parameter": list(era.posterior.names)},
    )
    write_netcdf(table, folder / "joint.nc")
    return folder
