"""Export at places: latitude bands, basins and other regions, and stations with the boxes around them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.diagnostics.export import (
    COMPONENTS,
    FLUX_UNIT,
    flux_at_depth,
    flux_at_mixed_layer,
    global_total,
    surface_dataset,
)
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

STATIONS = {
    "ALOHA": (22.75, -158.0),
    "BATS": (31.667, -64.167),
    "OSP": (50.017, -144.15),
    "CARIACO": (10.5, -64.67),
    "PAP": (49.0, -16.5),
    "K2": (47.0, 160.0),
}
"""Time-series stations: name -> latitude (degrees north), longitude (degrees east)."""

BANDS = (0.0, 15.0, 30.0, 45.0, 60.0)
"""Edges of the bands of |latitude| in which Wang et al. (2023) give the advective-diffusive share."""

PROFILE_DEPTHS = (100.0, 150.0, 200.0, 300.0, 500.0, 1000.0, 2000.0, 4000.0)
"""Depths in m of station profiles, below the base of the euphotic zone."""

_MAP = ("latitude", "longitude")
_EXPORTS = tuple(f"{name}_export" for name in (*COMPONENTS, "toc"))


def zonal_bands(export: xr.Dataset, edges: Sequence[float] = BANDS) -> xr.Dataset:
    """Advective-diffusive share r = (labile + semi-labile) / toc of export in bands of |latitude|, both hemispheres.

        area mean:           sum A_0 r / sum A_0,    A_0 the area of water at the base of the euphotic zone
        flux-weighted mean:  sum A (labile + semi-labile) / sum A toc,    A the area of the sea surface

    The paper's "zonally averaged" may be either. A box is in the band of its centre, or in none without export.

    Args:
        export: result of `carbon_export`.
        edges: degrees, increasing from 0 to 90 at most; a band includes its lower edge.

    Returns:
        On `band`, with `band_bounds` in degrees: `ratio_area_mean`, `ratio_flux_weighted`, `toc_export`, Pg C yr-1.
        Source: Wang et al. (2023), main text.

    Raises:
        InputError: the edges do not increase within 0 to 90 degrees.
    """
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or bounds.size < 2 or bounds[0] < 0 or bounds[-1] > 90 or not np.all(np.diff(bounds) > 0):
        raise InputError(f"edges of the bands are {bounds}; expected two or more, increasing, from 0 to 90 degrees.")
    distance = np.abs(export["latitude"])
    regions = {
        f"{low:g}-{high:g}": ((distance >= low) & (distance < high)) & export["wet"] for low, high in pairwise(bounds)
    }
    totals = _totals(export, regions, "band")
    weight = export["area_at_base"].where(export["advective_diffusive_ratio"].notnull())
    means = [
        ((weight * export["advective_diffusive_ratio"]).where(inside).sum() / weight.where(inside).sum()).item()
        for inside in regions.values()
    ]
    text = {"units": "1", "long_name": "advective-diffusive share of export, area mean"}
    result = xr.Dataset({"ratio_area_mean": ("band", means, text)}, attrs={"title": "Export in bands of |latitude|"})
    result["ratio_flux_weighted"] = totals["advective_diffusive_ratio"]
    result["toc_export"] = totals["toc_export"]
    return result.assign_coords(band_bounds=(("band", "bound"), np.stack([bounds[:-1], bounds[1:]], axis=1)))


def region_totals(export: xr.Dataset, regions: Mapping[str, np.ndarray | xr.DataArray]) -> xr.Dataset:
    """Export of regions, sum f A over each.

    Args:
        export: result of `carbon_export`.
        regions: name -> mask (latitude, longitude) or (depth, latitude, longitude), of which the surface counts; for
            instance the `masks` of a grid, or `labelled_regions`.

    Returns:
        On `region`: `poc_export`, `semilabile_export`, `labile_export`, `toc_export`, Pg C yr-1; `area` m2; and
        `advective_diffusive_ratio`, the flux-weighted share of dissolved pools. Regions may overlap.

    Raises:
        InputError: a mask is not on the grid of the export, or holds no water.
    """
    masks = {}
    for name, mask in regions.items():
        inside = np.asarray(mask, dtype=bool)
        if inside.ndim not in (2, 3) or inside.shape[-2:] != export["wet"].shape:
            raise InputError(
                f"region '{name}' has shape {inside.shape}; expected that of the grid, "
                f"[..., {', '.join(map(str, export['wet'].shape))}]."
            )
        masks[name] = export["wet"] & (inside if inside.ndim == 2 else inside[0])
        if not masks[name].any():
            raise InputError(f"region '{name}' holds no water column of the grid; expected at least one.")
    return _totals(export, masks, "region").assign_attrs(title="Export of regions")


def labelled_regions(labels: xr.DataArray) -> dict[str, np.ndarray]:
    """Masks of an integer field with CF flags, such as the variables `basin` and `region` of a dataset.

    Args:
        labels: (..., latitude, longitude), with the attributes `flag_values` and `flag_meanings`.

    Returns:
        Name -> mask of the shape of the field, for every label that occurs.

    Raises:
        InputError: the attributes are missing or do not belong together.
    """
    values = np.atleast_1d(labels.attrs.get("flag_values", []))
    names = str(labels.attrs.get("flag_meanings", "")).split()
    if not len(values) or len(values) != len(names):
        raise InputError(
            f"labels '{labels.name or 'unnamed'}' have {len(values)} flag_values and {len(names)} flag_meanings; "
            "expected as many of both, at least one."
        )
    masks = {name: labels.values == value for name, value in zip(names, values, strict=True)}
    return {name: mask for name, mask in masks.items() if mask.any()}


def at_stations(
    fields: xr.Dataset, export: xr.Dataset, stations: Mapping[str, tuple[float, float]] = STATIONS
) -> xr.Dataset:
    """Mean and standard deviation of every map over the wet boxes among the 3 x 3 around each station.

    Args:
        fields: variables on (..., latitude, longitude); others are left out.
        export: result of `carbon_export`, for its `wet` and the bounds of its boxes.
        stations: name -> latitude, longitude, degrees.

    Returns:
        On (`station`, ...): `<name>` and `<name>_sd` (with n - 1; NaN for one box) over the boxes where the field is
        not NaN, in the unit of the field; `boxes`, number of wet boxes; `own_box_wet`, false for a station on a
        coast whose own box is land. Coordinates: latitude and longitude of the stations. Source: Wang et al. (2023).

    Raises:
        InputError: a position is not on the globe or the grid, or all nine boxes are land.
    """
    maps = [name for name, variable in fields.data_vars.items() if set(_MAP) <= set(variable.dims)]
    rows = [_station(fields[maps], export, name, *position) for name, position in stations.items()]
    result = xr.concat(rows, xr.DataArray(list(stations), dims="station", name="station"), join="exact")
    positions = np.array(list(stations.values()), dtype=np.float64).reshape(-1, 2)
    return result.assign_coords(
        latitude=("station", positions[:, 0], {"units": "degrees_north"}),
        longitude=("station", positions[:, 1], {"units": "degrees_east"}),
    )


def station_table(
    export: xr.Dataset,
    stations: Mapping[str, tuple[float, float]] = STATIONS,
    depths: Sequence[float] = PROFILE_DEPTHS,
    lower: float = 1000.0,
    mixed_layer_depth: xr.DataArray | None = None,
) -> xr.Dataset:
    """What is exported at stations, how it fades with depth and how much is respired on the way.

    Respiration between two depths is f(z_1) - f(z_2), box by box before the mean.

    Args:
        export: result of `carbon_export`.
        stations: name -> latitude, longitude, degrees.
        depths: of the profile, m; those below the sea floor at all stations are left empty.
        lower: z_2 of the respiration, m.
        mixed_layer_depth: maximum mixed layer (latitude, longitude), with units of length.

    Returns:
        On (station) and (station, depth), mol m-2 yr-1, each with `_sd` and as `at_stations` has it: `toc_export` and
        its parts at z_0; the fluxes of `flux_at_depth` at `depths`; `toc_respiration`, `poc_respiration_continuous`,
        `poc_respiration_discrete` between z_0 and `lower`; and with a mixed layer, `toc_flux_mixed_layer` and
        `toc_respiration_mixed_layer` from there to `lower`, in boxes where the mixed layer ends above that. Source:
        Wang et al. (2023), main text.

    Raises:
        InputError: a position, a depth or the mixed layer is not sound.
    """
    profiles = flux_at_depth(export, list(depths))
    fields = profiles[[name for name in profiles.data_vars if "_flux_" in str(name)]].assign(export[list(_EXPORTS)])
    at_base, at_lower = flux_at_depth(export, export.attrs["euphotic_depth"]), flux_at_depth(export, lower)
    layer = f"between the euphotic zone and {lower:g} m"
    for law, name in {"continuous": "poc_respiration_continuous", "discrete": "poc_respiration_discrete"}.items():
        gone = at_base[f"poc_flux_{law}"] - at_lower[f"poc_flux_{law}"]
        fields[name] = _flux(gone, f"respiration of particulate organic carbon {layer}, {law} flux")
    toc = at_base["toc_flux_continuous"] - at_lower["toc_flux_continuous"]
    fields["toc_respiration"] = _flux(toc, f"respiration of total organic carbon {layer}")
    if mixed_layer_depth is not None:
        at_mixed = flux_at_mixed_layer(export, mixed_layer_depth)["toc_flux_continuous"]
        deep = mixed_layer_depth.copy(data=np.full(mixed_layer_depth.shape, lower)).assign_attrs(units="m")
        below = (at_mixed - flux_at_mixed_layer(export, deep)["toc_flux_continuous"]).where(at_mixed["depth"] <= lower)
        fields["toc_flux_mixed_layer"] = _flux(at_mixed, "total organic carbon at the base of the maximum mixed layer")
        layer = f"between the maximum mixed layer and {lower:g} m"
        fields["toc_respiration_mixed_layer"] = _flux(below, f"respiration of total organic carbon {layer}")
    return at_stations(fields, export, stations).assign_attrs(title="Export at stations")


def stations_on(grid: OceanGrid, stations: Mapping[str, tuple[float, float]] = STATIONS) -> dict[str, tuple]:
    """The stations that have water around them on a grid: name -> latitude, longitude."""
    geometry, found = surface_dataset(grid, 1), {}
    for name, position in stations.items():
        try:
            boxes_around(geometry, *position)
        except InputError:
            continue
        found[name] = position
    return found


def boxes_around(export: xr.Dataset, latitude: float, longitude: float) -> tuple[np.ndarray, bool]:
    """The wet boxes among the 3 x 3 around a position; longitude is periodic where the grid is.

    Args:
        export: result of `carbon_export`, for its `wet` and the bounds of its boxes.
        latitude: degrees north.
        longitude: degrees east, -180 to 360.

    Returns:
        Mask [ny, nx] of the boxes, and whether the box of the position itself is wet.

    Raises:
        InputError: the position is not on the globe or outside the grid, or all boxes are land; the message names the
            nearest wet box and its distance.
    """
    where = f"latitude {latitude:g}, longitude {longitude:g}"
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 360.0):
        raise InputError(f"{where}: expected degrees, latitude within -90 to 90 and longitude within -180 to 360.")
    wet = export["wet"].astype(bool)
    rows, columns = (np.append(b[:, 0], b[-1, 1]) for b in (export[f"{axis}_bounds"].values for axis in _MAP))
    ny, nx = wet.shape
    periodic = bool(np.isclose(columns[-1] - columns[0], 360.0))
    east = columns[0] + (longitude - columns[0]) % 360.0
    if not (rows[0] <= latitude <= rows[-1] and east <= columns[-1]):
        raise InputError(
            f"{where}: outside the grid, which spans latitude {rows[0]:g} to {rows[-1]:g} and longitude "
            f"{columns[0]:g} to {columns[-1]:g}."
        )
    row = min(int(np.searchsorted(rows, latitude, "right")) - 1, ny - 1)
    column = min(int(np.searchsorted(columns, east, "right")) - 1, nx - 1)
    near = np.arange(column - 1, column + 2)
    near = near % nx if periodic else near[(near >= 0) & (near < nx)]
    block = np.zeros((ny, nx), dtype=bool)
    block[max(row - 1, 0) : row + 2, near] = True
    found = block & wet.values
    if not found.any():
        raise InputError(f"{where}: on land, as are the boxes around; {_nearest(wet, latitude, longitude)}.")
    return found, bool(wet.values[row, column])


def _nearest(wet: xr.DataArray, latitude: float, longitude: float) -> str:
    """The nearest wet box in words, along a great circle."""
    row, column = np.nonzero(wet.values)
    lat, lon = wet["latitude"].values[row], wet["longitude"].values[column]
    here, there = np.radians(latitude), np.radians(lat)
    half = np.sin((there - here) / 2.0) ** 2
    half += np.cos(here) * np.cos(there) * np.sin(np.radians(lon - longitude) / 2.0) ** 2
    distance = 2.0 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    best = int(distance.argmin())
    return (
        f"the nearest wet box is at latitude {lat[best]:g}, longitude {lon[best]:g}, {distance[best] / 1e3:.0f} km away"
    )


def _station(fields: xr.Dataset, export: xr.Dataset, name: str, latitude: float, longitude: float) -> xr.Dataset:
    """Statistics of the boxes around one station."""
    try:
        mask, own = boxes_around(export, latitude, longitude)
    except InputError as error:
        raise InputError(f"Station {name}: {error}") from error
    row, column = (xr.DataArray(index, dims="box") for index in np.nonzero(mask))
    result = xr.Dataset()
    for key, variable in fields.data_vars.items():
        values = variable.isel(latitude=row, longitude=column).drop_vars(_MAP)
        n = values.count("box")
        mean = values.mean("box")
        spread = (((values - mean) ** 2).sum("box") / (n - 1).where(n > 1)) ** 0.5
        result[key] = mean.assign_attrs(variable.attrs)
        long_name = f"{variable.attrs.get('long_name', key)}, standard deviation of the boxes around"
        result[f"{key}_sd"] = spread.assign_attrs(variable.attrs, long_name=long_name)
    result["boxes"] = ((), int(mask.sum()), {"long_name": "wet boxes of the 3 x 3 around the station"})
    result["own_box_wet"] = ((), own, {"long_name": "the box of the station itself is wet"})
    return result


def _totals(export: xr.Dataset, masks: Mapping[str, xr.DataArray], dimension: str) -> xr.Dataset:
    """Integrals of the exports over masks."""
    names = xr.DataArray(list(masks), dims=dimension, name=dimension)
    inside = xr.concat(list(masks.values()), names)
    result = xr.Dataset()
    for name in _EXPORTS:
        text = f"{export[name].attrs['long_name']}, integral over the {dimension}"
        total = global_total(export[name].where(inside).assign_attrs(export[name].attrs), export["area"])
        result[name] = total.assign_attrs(long_name=text)
    result["area"] = (
        export["area"].where(inside).sum(_MAP).assign_attrs(units="m2", long_name="area of the sea surface")
    )
    dissolved = result["semilabile_export"] + result["labile_export"]
    result["advective_diffusive_ratio"] = (dissolved / result["toc_export"]).assign_attrs(
        units="1", long_name="advective-diffusive share of export, flux-weighted"
    )
    return result


def _flux(values: xr.DataArray, long_name: str) -> xr.DataArray:
    return values.drop_vars("depth", errors="ignore").assign_attrs(units=FLUX_UNIT, long_name=long_name)
