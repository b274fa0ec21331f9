"""One dataset file per ocean, made from published and own data as a recipe says."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.circulation import Circulation, load_circulation
from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.datasets.bottle_files import read_bottle_table, read_dom_bottles, read_glodap_bottles
from invbgc.datasets.bottles import Bottles
from invbgc.datasets.forcing import FIELDS_2D, FIELDS_3D
from invbgc.datasets.gridding import bin_bottles
from invbgc.datasets.ocmip2 import read_ocmip2
from invbgc.datasets.recipe import BottleSection, FieldSection, Recipe
from invbgc.datasets.regions import BASINS, region_variables
from invbgc.datasets.registry import load_dataset
from invbgc.datasets.regridding import Climatology, read_climatology, regrid
from invbgc.datasets.schema import open_dataset
from invbgc.datasets.smoothing import smooth_horizontally
from invbgc.datasets.teos10 import pressure_of_depth
from invbgc.datasets.virtual_flux import virtual_freshwater_flux
from invbgc.datasets.wang2023 import FILES, find_file
from invbgc.errors import InputError
from invbgc.files import manifest, write_netcdf
from invbgc.grid import DIMENSIONS, OceanGrid
from invbgc.observations import TRACERS, drop_outliers
from invbgc.sources.cache import located
from invbgc.sources.registry import provenance
from invbgc.units import convert

LOGGER = logging.getLogger("invbgc")

CONSTANTS_OF = {
    "observed_DIP": ("DIP_mean",),
    "observed_DIC": ("DIC_surface_mean",),
    "observed_ALK": ("ALK_mean", "ALK_surface_mean"),
    "temperature": ("T_min", "T_max"),
    "silicate": ("Si_min", "Si_max"),
}
"""Variable -> constants that follow from it."""

EXTRAS = ("observed_", "count_", "standard_error_", "bottle_", "basin", "region")
"""Beginnings of the names of what a dataset holds beside forcing and the observations of the model."""

PROVENANCE = ("source", "licence", "citation", "processing")
"""Attributes of a variable that say where it comes from."""

LOWEST_CHEMISTRY_TEMPERATURE = -2.0
"""degC; colder surface water of a climatology is an artefact."""


def prepare(recipe: Recipe, source: Path | None = None, progress: Callable[[str], Any] | None = None) -> Path:
    """Make the dataset file of a recipe.

    Observations are binned, fields regridded; what no section names comes from the base. Surface chemistry and the
    freshwater flux follow from temperature, salinity, silicate and phosphate where they are not given. The result is
    checked as every dataset is when it is read, and then written whole, with the source, the steps and the citation of
    every variable.

    Args:
        recipe: with absolute paths.
        source: the recipe's file, for the manifest.
        progress: receives lines of text.

    Returns:
        the file written.

    Raises:
        InputError: a file is missing or not sound, or a field is neither given nor in the base.
        ConservationError: the circulation failed its audit.
    """
    tell = progress or (lambda line: None)
    inputs = _inputs(recipe)
    circulation = load_circulation(located(recipe.dataset.circulation))
    grid = circulation.grid
    tell(f"circulation {circulation.name}: {grid.n_wet} boxes")
    dataset, regions = _base(recipe, circulation)
    tables = _tables(recipe)
    for name, part in recipe.observations.items():
        fields, lines = _observations(name, part, tables(name), grid, regions)
        _replace(dataset, fields)
        tell(f"{name}: {'; '.join(lines)}")
    unsmoothed = {}
    for name, part in recipe.fields.items():
        field, unsmoothed[name], line = _field(name, part, grid)
        _replace(dataset, {name: field})
        tell(f"{name}: {line}")
    for line in _derive(dataset, circulation, unsmoothed):
        tell(line)
    wet = xr.DataArray(grid.wet.astype(np.int8), dims=DIMENSIONS, attrs={"long_name": "ocean mask", "units": "1"})
    dataset = dataset.assign({**regions, "wet": wet})
    forcing, observations = open_dataset(dataset.assign_attrs(title=recipe.dataset.title), grid)
    for name, data in observations.tracers.items():
        tell(f"{name}: {data.count} boxes, {100.0 * data.volume_fraction:.1f} % of the volume, mean {data.mean:.6g}")
    record = manifest([*inputs, *([source] if source is not None else [])], recipe.model_dump(mode="json"))
    constants = forcing.to_dataset(grid).attrs
    attrs = dataset.attrs | constants | {"grid": grid.name, "manifest": json.dumps(record)}
    attrs["citations"] = json.dumps(_citations(dataset))
    path = write_netcdf(dataset.assign_attrs(attrs), recipe.dataset.output)
    tell(f"written: {path}")
    return path


def _inputs(recipe: Recipe) -> list[Path]:
    """Every file that the recipe names, before anything is computed; InputError names the first that is missing."""
    named = [located(part.file) for kind in (recipe.observations, recipe.fields) for part in kind.values()]
    base = recipe.dataset.base
    if base is not None and Path(base).suffix:
        named.append(Path(base))
    if base == "wang2023" and recipe.dataset.source is not None:
        named += [find_file(recipe.dataset.source, name) for name in FILES]
    circulation = located(recipe.dataset.circulation)
    if circulation.suffix:
        named.append(circulation)
    absent = [str(path) for path in named if not path.exists()]
    if absent:
        raise InputError(f"Recipe: no file at {', '.join(absent)}; check the paths, or fetch the files first.")
    return [path for path in dict.fromkeys(named) if path.is_file()]


def _base(recipe: Recipe, circulation: Circulation) -> tuple[xr.Dataset, dict[str, xr.DataArray]]:
    """What the base gives, with provenance for each variable, and the regions."""
    section, grid = recipe.dataset, circulation.grid
    regions = region_variables(section.source, grid) if section.source is not None else {}
    if section.base is None:
        return xr.Dataset(coords=grid.coordinates(), attrs={"title": section.title}), regions
    options = {key: value for key, value in (("dic", section.dic), ("npp", section.npp)) if value is not None}
    if section.base == "wang2023":
        forcing, observations = load_dataset(
            "wang2023", grid, source=section.source, circulation=circulation, **options
        )
    else:
        forcing, observations = load_dataset(section.base, grid, **options)
    attrs = {key: value for key, value in forcing.attrs.items() if key != "citations"}
    dataset = forcing.to_dataset(grid).merge(observations.to_dataset(), combine_attrs="override")
    origin = {"source": str(attrs.get("title", section.base))}
    if "citation" in attrs:
        origin["citation"] = str(attrs["citation"])
    for variable in dataset.data_vars.values():
        variable.attrs |= origin
    if Path(section.base).suffix:
        _keep(section.base, dataset)
    return dataset.assign_attrs(title=section.title, base=json.dumps(attrs, default=str)), regions


def _keep(path: str, dataset: xr.Dataset) -> None:
    """Provenance of the variables of a base file, and what it holds beside forcing and observations."""
    with xr.open_dataset(path, decode_times=False) as file:
        for name, variable in file.data_vars.items():
            if name in dataset:
                known = {key: variable.attrs[key] for key in PROVENANCE if key in variable.attrs}
                dataset[name].attrs |= known
            elif str(name).startswith(EXTRAS):
                dataset[name] = variable.load()


def _replace(dataset: xr.Dataset, fields: dict[str, xr.DataArray]) -> None:
    """Put fields into a dataset, and drop the constants and counts that belonged to what they replace."""
    for name, field in fields.items():
        tracer = name.removeprefix("observed_")
        if tracer != name:
            for stale in [key for key in dataset if str(key).startswith(EXTRAS) and str(key).endswith(f"_{tracer}")]:
                del dataset[stale]
        dataset[name] = field
        for constant in CONSTANTS_OF.get(name, ()):
            dataset.attrs.pop(constant, None)


def _tables(recipe: Recipe) -> Callable[[str], Bottles]:
    """The bottles of each variable; a compilation is read once for all variables taken from it."""

    @cache
    def glodap(path: Path, missing: float | None) -> Bottles:
        names = [name for name, part in recipe.observations.items() if located(part.file) == path]
        return read_glodap_bottles(path, names, **({} if missing is None else {"missing": missing}))

    def table(name: str) -> Bottles:
        part = recipe.observations[name]  # pyright: ignore[reportArgumentType]
        path, missing = located(part.file), {} if part.missing is None else {"missing": part.missing}
        if part.format == "glodap":
            return glodap(path, part.missing)
        if part.format == "dom":
            return read_dom_bottles(path, **missing)
        return read_bottle_table(path, name, str(part.unit), part.columns, **missing)

    return table


def _observations(
    name: str, part: BottleSection, table: Bottles, grid: OceanGrid, regions: dict[str, xr.DataArray]
) -> tuple[dict[str, xr.DataArray], list[str]]:
    """A binned variable with its count, standard error and single bottles, and what was done."""
    if part.flags:
        table = table.require_flags(name, part.flags)
    if part.second_flag:
        table = table.require_second_flag(name)
    if part.range is not None:
        table = table.require_range(name, *part.range)
    if name in TRACERS:
        table = table.to_volume(name, part.density)
    binned = bin_bottles(table, name, grid, part.rule, part.keep_bottles)
    content = binned.to_dataset()
    observed = content[f"observed_{name}"]
    lines = [f"{step.name}: {step.before} to {step.after} values" for step in binned.steps if step.variable == name]
    lines.append(f"{int(binned.count.sum())} bottles in {binned.n_boxes} boxes, without box {dict(binned.dropped)}")
    values, history = _select_boxes(name, part, grid.pack(observed), grid, regions)
    content[f"observed_{name}"] = grid.unpack(values, f"observed_{name}", observed.attrs)
    lines += history
    origin = provenance(located(part.file)) | {"processing": "; ".join(lines)}
    fields = {str(key): content[key] for key in content.data_vars}
    for field in fields.values():
        field.attrs |= origin
    return fields, lines


def _select_boxes(
    name: str, part: BottleSection, values: np.ndarray, grid: OceanGrid, regions: dict[str, xr.DataArray]
) -> tuple[np.ndarray, list[str]]:
    """The steps on boxes, in the order of Wang et al. (2023): basins, outliers, floor."""
    lines = []

    def count() -> int:
        return int(np.isfinite(values).sum())

    if name in TRACERS:
        values = np.where(values >= 0.0, values, np.nan)
    if part.exclude_basins:
        if "basin" not in regions:
            raise InputError(
                f"Recipe, [observations.{name}] exclude_basins: no basins are known; expected [dataset] source, the "
                "folder with GRID.mat."
            )
        labels = [BASINS.index(basin) + 1 for basin in part.exclude_basins]
        values = np.where(np.isin(grid.pack(regions["basin"]), labels), np.nan, values)
        lines.append(f"without {', '.join(part.exclude_basins)}: {count()} boxes")
    if part.drop_outliers:
        values, (low, high) = drop_outliers(values)
        lines.append(f"from {low:.6g} to {high:.6g}: {count()} boxes")
    if part.floor is not None:
        values = np.where(values > part.floor, values, np.nan)
        lines.append(f"above {part.floor:g}: {count()} boxes")
    return values, lines


def _field(name: str, part: FieldSection, grid: OceanGrid) -> tuple[xr.DataArray, np.ndarray, str]:
    """A field of the forcing on the grid, its values before they were smoothed, and what was done."""
    path = located(part.file)
    unit, long_name = (FIELDS_3D | FIELDS_2D)[name]
    climatology = _climatology(name, part, path)
    surface = name in FIELDS_2D
    if climatology.surface != surface:
        raise InputError(
            f"Recipe, [fields.{name}]: {path} has {'no ' if climatology.surface else 'a '}depth; expected "
            f"{'a field of the surface' if surface else 'a depth'}; use select where there is one too many."
        )
    found = "1" if name.endswith("salinity") else part.unit or climatology.units
    if not found:
        raise InputError(f"Recipe, [fields.{name}]: {path} states no unit; expected unit = '...', such as '{unit}'.")
    lines = []
    if part.floor is not None:
        lines.append(
            f"{int(np.sum(climatology.values < part.floor))} cells of the file raised to {part.floor:g} {found}"
        )
        climatology = replace(climatology, values=np.maximum(climatology.values, part.floor))
    regridded = regrid(climatology, grid)
    lines.append(regridded.report())
    if part.scale != 1.0:
        lines.append(f"times {part.scale:g}")
    try:
        values = unsmoothed = convert(part.scale * regridded.values, found, unit)
    except InputError as error:
        raise InputError(f"Recipe, [fields.{name}]: {path}: {error}") from error
    if part.smooth:
        if surface:
            raise InputError(f"Recipe, [fields.{name}] smooth: applies to fields with a depth only.")
        values = smooth_horizontally(values, grid)
        lines.append("smoothed horizontally")
    attrs = {"units": unit, "long_name": long_name} | provenance(path) | {"processing": "; ".join(lines)}
    field = (grid.unpack_surface if surface else grid.unpack)(values, name, attrs)
    return field, unsmoothed, "; ".join(lines)


def _climatology(name: str, part: FieldSection, path: Path) -> Climatology:
    if part.format == "ocmip2":
        fields = read_ocmip2(path)
        if name not in fields:
            raise InputError(f"Recipe, [fields.{name}]: the format ocmip2 has {', '.join(fields)} only.")
        return fields[name]
    return read_climatology(path, str(part.variable), part.select, part.missing_is)


def _derive(dataset: xr.Dataset, circulation: Circulation, given: Mapping[str, np.ndarray]) -> list[str]:
    """Fill in the surface chemistry and the freshwater flux where they are not given; say what was done.

    Args:
        dataset: what there is so far; it grows.
        circulation: its circulation.
        given: field of the recipe -> its values before they were smoothed, which chemistry wants.
    """
    grid, lines = circulation.grid, []
    surface_of = {
        "chemistry_temperature": "temperature",
        "chemistry_salinity": "salinity",
        "chemistry_silicate": "silicate",
        "chemistry_phosphate": "phosphate",
    }
    missing = [name for name in FIELDS_3D if name not in dataset]
    if missing:
        raise InputError(
            f"Recipe: no {', '.join(missing)}; expected [fields.{missing[0]}] and so on, or a base that has them."
        )

    def put(name: str, values: np.ndarray, how: str) -> None:
        unit, long_name = FIELDS_2D[name]
        dataset[name] = grid.unpack_surface(values, name, {"units": unit, "long_name": long_name, "processing": how})
        lines.append(f"{name}: {how}")

    for name, parent in surface_of.items():
        if name in given or (name in dataset and parent not in given):
            continue
        values = given.get(parent, grid.pack(dataset[parent]))[: grid.n_columns]
        if name == "chemistry_temperature":
            values = np.maximum(values, LOWEST_CHEMISTRY_TEMPERATURE)
        elif name != "chemistry_salinity":
            values = np.maximum(values, 0.0) / SEAWATER_DENSITY_FACTOR
        put(name, values, f"first layer of {parent}")
    if "chemistry_pressure" not in dataset:
        pressure = pressure_of_depth(grid.wet_depth[: grid.n_columns], grid.wet_latitude[: grid.n_columns])
        put("chemistry_pressure", pressure, "at the centre of the first layer")
    if "freshwater_flux" not in given and ("freshwater_flux" not in dataset or "salinity" in given):
        salinity = grid.pack(dataset["salinity"])[: grid.n_columns]
        put("freshwater_flux", virtual_freshwater_flux(circulation, salinity)[0], f"from {circulation.name}, salinity")
    return lines


def _citations(dataset: xr.Dataset) -> list[str]:
    """What to cite for all variables of a dataset, each once."""
    found = [str(part.attrs["citation"]) for part in dataset.data_vars.values() if "citation" in part.attrs]
    return sorted(dict.fromkeys(found))
