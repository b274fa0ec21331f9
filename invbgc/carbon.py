"""From a finished fit to what it says about carbon: export, pathways, sequestration, comparison; one folder of results.

Each table is a netCDF file of its own in the folder ``carbon`` beside the result of the fit; figures lie beside them,
and the report of the fit takes up whatever is there.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.runfile import RunFile

if TYPE_CHECKING:
    from invbgc.inference.fit import Fit
    from invbgc.inference.posterior import Evaluation, Posterior

Progress = Callable[[str], Any]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit with its model at hand again.

    Attributes:
        run: the run file.
        fit: what the result file holds.
        posterior: of the run.
    """

    run: RunFile
    fit: "Fit"
    posterior: "Posterior"

    @cached_property
    def evaluation(self) -> "Evaluation":
        """The posterior and the steady state at the optimum, solved when they are first asked for."""
        return self.posterior.value(self.fit.x)


def fitted(run: RunFile, progress: Progress = print, labile_hours: float | None = None) -> Fitted:
    """Read the fit of a run, and make its model again.

    Args:
        run: a validated run whose output folder holds a result file.
        progress: receives lines of text.
        labile_hours: respiration time of labile DOC that will be asked for, checked before anything is computed.

    Raises:
        InputError: there is no result file, it belongs to other parameters or another ocean than the run file, or
            `labile_hours` does not suit the model.
    """
    from invbgc.diagnostics.labile import labile_hours_of
    from invbgc.inference.fit import Fit
    from invbgc.run import RESULT_NAME, prepare

    path = run.run.output / RESULT_NAME
    if not path.is_file():
        raise InputError(f"there is no result file {path}; run 'invbgc fit' with this run file first.")
    found = Fit.load(path)
    posterior = prepare(run)
    boxes, expected = int(np.isfinite(found.fields["volume"].values).sum()), posterior.model.grid.n_wet
    if found.names != posterior.names or boxes != expected:
        raise InputError(
            f"{path} was fitted with {len(found.names)} free parameters on {boxes} boxes; the run file has "
            f"{len(posterior.names)} ({', '.join(posterior.names)}) on {expected} boxes. Fit again with this run file."
        )
    labile_hours_of(posterior.model, labile_hours)
    progress(f"{run.run.name}: {expected} boxes at the fitted parameters, f = {found.value:.7g}")
    return Fitted(run, found, posterior)


def export(
    fit: Fitted,
    labile_hours: float | None = None,
    warming: float | xr.DataArray = 3.0,
    mixed_layer_depth: xr.DataArray | None = None,
    progress: Progress = print,
) -> dict[str, xr.Dataset]:
    """Export by pathway and place, residence times, inventories, the effect of a warming, and numbers with error bars.

    Args:
        fit: the fit.
        labile_hours: respiration time of labile DOC; the model's own where absent.
        warming: degC, or a temperature (depth, latitude, longitude) with units on the grid of the model.
        mixed_layer_depth: maximum mixed layer (latitude, longitude) on the grid of the model.
        progress: receives lines of text.

    Returns:
        Table name -> dataset; see the functions of `invbgc.diagnostics`.
    """
    from invbgc.diagnostics.export import carbon_export, flux_at_mixed_layer
    from invbgc.diagnostics.places import region_totals, station_table, stations_on, zonal_bands
    from invbgc.diagnostics.pumps import budget_table, carbon_pumps
    from invbgc.diagnostics.residence import doc_residence_time
    from invbgc.diagnostics.scalars import carbon_scalars, scalar_table
    from invbgc.diagnostics.warming import warming_effect
    from invbgc.run import approximations

    state, model = fit.evaluation.state, fit.posterior.model
    progress("export by pathway")
    exported = carbon_export(state, labile_hours)
    tables = {"export": exported, "bands": zonal_bands(exported)}
    regions = regions_of(fit)
    if regions:
        tables["regions"] = region_totals(exported, regions)
    stations = stations_on(model.grid)
    if stations:
        tables["stations"] = station_table(exported, stations, mixed_layer_depth=mixed_layer_depth)
    if mixed_layer_depth is not None:
        tables["mixed_layer"] = flux_at_mixed_layer(exported, mixed_layer_depth)
    progress("residence times, inventories of carbon and phosphorus, warming")
    tables["residence"] = doc_residence_time(state)
    tables["pumps"] = carbon_pumps(state)
    tables["budget"] = budget_table(state)
    tables["warming"] = warming_effect(state, warming)
    progress("numbers and their error bars, by one adjoint each")
    scalars = carbon_scalars(model, labile_hours, progress=progress)
    laplaces = approximations(fit.fit, fit.run.laplace.scaling)
    tables["scalars"] = scalar_table(fit.posterior, fit.evaluation, scalars, laplaces)
    return tables


def regions_of(fit: Fitted) -> dict[str, np.ndarray]:
    """Basins of the grid, and the 12 regions where the data of the run hold them: name -> mask [ny, nx]."""
    from invbgc.datasets.regions import region_variables
    from invbgc.diagnostics.places import labelled_regions

    grid, section = fit.posterior.model.grid, fit.run.dataset
    regions, labels = dict(grid.masks), {}
    if section.source is not None:
        labels = region_variables(section.source, grid)
    elif Path(section.name).is_file():
        with xr.open_dataset(section.name) as data:
            labels = {name: data[name].load() for name in ("basin", "region") if name in data}
    for name, field in labels.items():
        regions |= {f"{name} {key}": mask for key, mask in labelled_regions(field.isel(depth=0)).items()}
    return regions


def sequestration(fit: Fitted, labile_hours: float | None = None, progress: Progress = print) -> dict[str, xr.Dataset]:
    """Distributions of sequestration times over 10,000 years; see `invbgc.diagnostics.sequestration`."""
    from invbgc.diagnostics.sequestration import sequestration as distributions

    for system in fit.posterior.model.systems.values():
        system.clear()  # the state is known; its factors only take memory now
    return {"sequestration": distributions(fit.evaluation.state, labile_hours=labile_hours, progress=progress)}


def compare(fit: Fitted, observed: Any, mixed_layer_depth: xr.DataArray | None = None) -> dict[str, xr.Dataset]:
    """Fluxes against a table of sediment traps and community production; see `invbgc.diagnostics.compare`."""
    from invbgc.diagnostics.compare import compare_fluxes, comparison_summary
    from invbgc.diagnostics.export import carbon_export

    comparison = compare_fluxes(carbon_export(fit.evaluation.state), observed, mixed_layer_depth)
    return {"comparison": comparison, "comparison_summary": comparison_summary(comparison)}


def read_field(path: Path, name: str) -> xr.DataArray:
    """A variable of a netCDF file, with its units.

    Raises:
        InputError: the file cannot be read or has no such variable.
    """
    try:
        with xr.open_dataset(path) as data:
            if name in data:
                return data[name].load()
            found = ", ".join(map(str, data.data_vars)) or "none"
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as netCDF: {error}.") from error
    raise InputError(f"{path} has no variable {name}; found {found}.")


def headlines(tables: Mapping[str, xr.Dataset]) -> list[str]:
    """Lines of text with the numbers of tables, as far as they have some."""
    lines = []
    if "scalars" in tables:
        table = tables["scalars"]
        error = table.get(f"error_{table.attrs.get('scaling')}")
        for row in range(table.sizes["scalar"]):
            spread = "" if error is None else f" ± {float(error[row]):.2g}"
            lines.append(
                f"  {table['scalar_long_name'].values[row]!s:<64}{float(table['value'][row]):>10.4g}{spread} "
                f"{table['unit'].values[row]}"
            )
    if "sequestration" in tables:
        table = tables["sequestration"]
        for time, total in zip(
            table["threshold"].values, table["production_longer_at"].sum("pool").values, strict=True
        ):
            lines.append(f"  respiration kept longer than {time:g} yr: {total:.2f} Pg C yr-1")
        lines.append(f"  particles among what is kept longer than 1 yr: {100 * float(table['poc_share_1yr']):.0f} %")
    if "transient" in tables:
        from invbgc.transient.summary import headlines as of_the_era

        lines += of_the_era(tables["transient"])
    return lines


def save(fit: Fitted, tables: Mapping[str, xr.Dataset], source: Path | None = None) -> Path:
    """Write tables into the folder of a run, and draw all its figures.

    Args:
        fit: the fit.
        tables: table name -> dataset.
        source: the run file, for the manifest.

    Returns:
        The folder.
    """
    from invbgc.carbon_report import FOLDER, figures, fingerprint, read_tables
    from invbgc.files import manifest, write_netcdf
    from invbgc.run import inputs

    folder = fit.run.run.output / FOLDER
    record = json.dumps(manifest(inputs(fit.run, source), fit.run.model_dump(mode="json"), fit.run.run.seed))
    for name, table in tables.items():
        write_netcdf(table.assign_attrs(manifest=record, fit=fingerprint(fit.fit.x)), folder / f"{name}.nc")
    for name, figure in figures(read_tables(folder)).items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return folder
