"""Carbon export: what of the production of the sunlit ocean is respired below it, by which pathway and where.

Particles sink through the base z_0 of the euphotic zone. Dissolved organic carbon is carried through it by water, and
is attributed to where it was produced: with the transport adjoint in the volume inner product, T† = V^-1 T^T V, and
Omega = 1 below z_0, 0 above,

    (T† + kappa) Q = kappa Omega

is the probability that a molecule produced at a place is lost below z_0 and not above, so that the export of a pool
with production J is J Q. Its integral over all production is the loss of the pool below z_0, exactly.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from invbgc.constants import DAY, PGC_PER_MMOL
from invbgc.diagnostics.labile import labile_hours_of, labile_production
from invbgc.errors import InputError
from invbgc.grid import COORDINATE_TOLERANCE, OceanGrid
from invbgc.models.pco.carbon import doc_rate, docr_rate
from invbgc.models.pco.model import PCOModel
from invbgc.state import State
from invbgc.units import convert, require_unit

FLUX_UNIT = "mol m-2 yr-1"
"""Unit of the exports of carbon, per area of sea surface."""

GLOBAL_UNIT = "Pg C yr-1"
"""Unit of integrals over the ocean."""

COMPONENTS = ("poc", "semilabile", "labile")
"""Parts of the export of total organic carbon."""

_BOUNDS = ("latitude_bounds", "longitude_bounds")

_POOLS = {
    "poc": "sinking particulate organic carbon",
    "semilabile": "semi-labile dissolved organic carbon",
    "labile": "labile dissolved organic carbon",
    "toc": "total organic carbon",
}

_LAWS = {"continuous": "by the law (z / z_0)^-b", "discrete": "as the model's scheme has it"}

_LONG_NAMES = {
    "poc_export": "sinking particulate organic carbon through the base of the euphotic zone",
    "pic_export": "sinking calcium carbonate through the base of the euphotic zone",
    "semilabile_export": "semi-labile dissolved organic carbon lost below the euphotic zone",
    "semilabile_export_respired": "semi-labile dissolved organic carbon respired below the euphotic zone",
    "labile_export": "labile dissolved organic carbon respired below the euphotic zone",
    "refractory_export": "refractory dissolved organic carbon respired below the euphotic zone",
    "refractory_export_euphotic": "refractory dissolved organic carbon made in the euphotic zone, respired below it",
    "toc_export": "total organic carbon exported from the euphotic zone",
    "negative_labile_production": "labile production where the model produces more than the satellite sees",
}


def carbon_export(state: State, labile_hours: float | None = None) -> xr.Dataset:
    """Export of carbon through the base z_0 of the euphotic zone, by pathway, with its integrals.

    Per area A of sea surface, with sums over the boxes of a column,

        poc_export        = Phi_POC(z_0),          of which the integral is that of kappa_p POC below z_0
        semilabile_export = sum v sigma_C P Q_s / A,    (T† + kappa_dC) Q_s = kappa_dC Omega
        labile_export     = sum v (delta P + J_l) Q_l / A,    (T† + kappa_l) Q_l = kappa_l Omega
        refractory_export = sum v (1 - eta) kappa_dC DOC Q_r / A,    (T† + kappa_r) Q_r = kappa_r Omega
        toc_export        = poc_export + semilabile_export + labile_export

    so that the integrals of the three dissolved pools are those of kappa_dC DOC, kappa_l DOCl and kappa_r DOCr below
    z_0. Labile production is that of the paper's second round, J_l = C_sat - P, also for a state of the first; it is
    not clipped where it is negative. Of the semi-labile loss a share eta is respired, `semilabile_export_respired`; the
    rest becomes refractory. Refractory export counts DOCr wherever it is made: what is made below z_0 came down as
    semi-labile DOC and is in the total as such, what is made above is `refractory_export_euphotic`.

    Args:
        state: a steady state of the P-C-O model.
        labile_hours: respiration time 1/kappa_l of labile DOC; the model's own where absent.

    Returns:
        On (latitude, longitude), mol m-2 yr-1: the exports above, `pic_export`, and `negative_labile_production`, the
        column integral of min(J_l, 0); of each the integral over the ocean, `<name>_global`, Pg C yr-1. Further maps:
        `advective_diffusive_ratio` = (semilabile + labile) / toc, `exponent_C` the flux exponent b of POC, `area` m2
        of sea surface, `area_at_base` m2 of water at z_0, `sea_floor_depth` m, `wet`. On (depth_interface, latitude,
        longitude), mol m-2 yr-1: `poc_flux`, the model's own sinking flux. On (depth, latitude, longitude):
        `Q_semilabile`, `Q_labile`, with the attributes `minimum` and `maximum`: what lies outside 0 to 1 is undershoot
        of the transport. `negative_labile_area_fraction`: the share of the sea surface over a box with J_l < 0.
        Attributes: `euphotic_depth` z_0 m, `labile_hours`. Source: Wang et al. (2023), Methods, with the rates of loss
        inside the adjoint solve, where they must be if they vary in space.

    Raises:
        InputError: no layer lies below the euphotic zone, or `labile_hours` is not positive or not that of the DOCl
            which the state holds.
    """
    model, diagnostics = state.model, state.diagnostics
    grid, base = model.grid, model.options.euphotic_layers
    hours = labile_hours_of(model, labile_hours)
    poc_flux, pic_flux = (flux_per_surface(grid, diagnostics[f"{name}_flux"]) for name in ("poc", "pic"))
    densities, probabilities = _dissolved(state, 24.0 / (hours * DAY))
    fluxes = {"poc_export": poc_flux[base], "pic_export": pic_flux[base]}
    fluxes |= {name: column_integral(grid, density) for name, density in densities.items()}
    fluxes["toc_export"] = sum((fluxes[f"{name}_export"] for name in COMPONENTS), np.zeros(grid.n_columns))

    result = surface_dataset(grid, base)
    for name, flux in fluxes.items():
        result[name] = flux_map(grid, flux, name, _LONG_NAMES[name])
        result[f"{name}_global"] = global_total(result[name], result["area"])
    toc = result["toc_export"]
    share = (result["semilabile_export"] + result["labile_export"]) / toc.where(toc != 0.0)
    result["advective_diffusive_ratio"] = share.assign_attrs(
        units="1", long_name="advective-diffusive share of the export of total organic carbon"
    )
    negative = result["area"].where(result["negative_labile_production"] < 0.0).sum() / result["area"].sum()
    result["negative_labile_area_fraction"] = negative.assign_attrs(
        units="1", long_name="share of the sea surface over boxes of negative labile production"
    )
    b = model.environment.exponent(state.parameters, "C")
    result["exponent_C"] = grid.unpack_surface(b, attrs={"units": "1", "long_name": "flux exponent b of POC"})
    result["poc_flux"] = interface_field(grid, poc_flux)
    for name, q in probabilities.items():
        text = f"probability that {_POOLS[name]} made here is lost below the euphotic zone"
        attrs = {"units": "1", "long_name": text, "minimum": float(q.min()), "maximum": float(q.max())}
        result[f"Q_{name}"] = grid.unpack(q, attrs=attrs)
    result = result.assign_coords(depth_bounds=grid.coordinates()["depth_bounds"])
    return result.assign_attrs(labile_hours=hours, title="Export of carbon from the euphotic zone")


def _dissolved(state: State, kappa_l: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Export of the dissolved pools per volume of where it was made [n_wet] mmol m-3 s-1, and the probabilities Q."""
    model, p = state.model, state.parameters
    grid, env = model.grid, model.environment
    kappa_d, kappa_r = np.asarray(doc_rate(env, p)), np.asarray(docr_rate(env, p))
    production = state.diagnostics["production"]
    refractory_production = (1.0 - p["eta"]) * kappa_d * np.asarray(state.fields["DOC"])

    q_semilabile = probability_below(model, kappa_d)
    q_labile = probability_below(model, np.full(grid.n_wet, kappa_l))
    semilabile = p["sigma_C"] * production * q_semilabile
    refractory = refractory_production * probability_below(model, kappa_r)
    densities = {
        "semilabile_export": semilabile,
        "semilabile_export_respired": p["eta"] * semilabile,
        "labile_export": labile_production(model, production) * q_labile,
        "refractory_export": refractory,
        "refractory_export_euphotic": refractory * env.euphotic,
        "negative_labile_production": np.minimum(env.satellite_carbon - production, 0.0),
    }
    return densities, {"semilabile": q_semilabile, "labile": q_labile}


def probability_below(model: PCOModel, rate: np.ndarray) -> np.ndarray:
    """Probability Q that a molecule which is lost at a rate is lost below z_0: (T† + kappa) Q = kappa Omega.

    Args:
        model: the model.
        rate: kappa [n_wet] s-1, positive.

    Returns:
        [n_wet], between 0 and 1 but for the undershoot of the transport scheme.

    Raises:
        InputError: no layer lies below the euphotic zone.
    """
    below = ~model.environment.euphotic
    if not below.any():
        raise InputError(
            f"grid '{model.grid.name}' has {model.grid.n_layers} layers, and the model option euphotic_layers makes "
            f"the first {model.options.euphotic_layers} the euphotic zone; export needs at least one layer below it."
        )
    system, volume = model.systems["tracer"], model.grid.volume
    return system.solve(system.factorise(rate), volume * rate * below, transposed=True) / volume


def flux_at_depth(export: xr.Dataset, depth: float | Sequence[float]) -> xr.Dataset:
    """Flux of organic carbon at fixed depths, all pathways attenuated as sinking particles are.

        f(z) = f(z_0) (z / z_0)^-b

    The model's own flux of particles is less steep: its upwind scheme attenuates less than the law whose exponent it
    bears. Within a layer it dissolves particles uniformly, hence its flux is linear in depth between the interfaces.

    Args:
        export: result of `carbon_export`.
        depth: z in m, one or several, from z_0 down to the deepest sea floor.

    Returns:
        On (depth, latitude, longitude), or (latitude, longitude) for one depth, mol m-2 yr-1, NaN where the sea floor
        is above z: `poc_flux_continuous`, by the law; `poc_flux_discrete`, the model's own;
        `semilabile_flux_continuous`, `labile_flux_continuous`; `toc_flux_continuous`, the sum of those by the law; and
        the integral of each over the ocean, `<name>_global`, Pg C yr-1. Source: Wang et al. (2023), Methods.

    Raises:
        InputError: a depth is above the base of the euphotic zone or below the deepest sea floor.
    """
    return _fluxes(export, depth_axis(export, depth), {name: export[f"{name}_export"] for name in COMPONENTS})


def flux_at_mixed_layer(export: xr.Dataset, mixed_layer_depth: xr.DataArray) -> xr.Dataset:
    """Flux of organic carbon at the base of the maximum mixed layer z_m.

    Where z_m > z_0, particles and semi-labile DOC are attenuated, f(z_m) = f(z_0) (z_m / z_0)^-b, and labile DOC, which
    does not outlive the mixing, is left out; elsewhere all three leave at z_0.

    Args:
        export: result of `carbon_export`.
        mixed_layer_depth: z_m (latitude, longitude) on the grid of the model, with units of length.

    Returns:
        The fluxes of `flux_at_depth` on (latitude, longitude), with the coordinate `depth` = max(z_m, z_0) of each
        column; NaN where the sea floor is above z_m > z_0. Source: Wang et al. (2023), Methods.

    Raises:
        InputError: the field has no unit or is on another grid, is missing somewhere in the ocean, or is negative.
    """
    given = _on_grid(require_unit(mixed_layer_depth, "m", "mixed_layer_depth"), export, "mixed_layer_depth")
    here = given.where(export["wet"])
    wrong = int((~(here >= 0.0) & export["wet"]).sum())
    if wrong:
        raise InputError(
            f"mixed_layer_depth is negative or missing in {wrong} of {int(export['wet'].sum())} water columns; "
            "expected the depth in m, positive downward, in every column."
        )
    top = export.attrs["euphotic_depth"]
    leaving = {name: export[f"{name}_export"] for name in COMPONENTS}
    leaving["labile"] = leaving["labile"].where(here <= top, 0.0).where(export["wet"])
    z = xr.where(here > top, here, top).where(export["wet"])
    z = z.assign_attrs(units="m", positive="down", long_name="base of the maximum mixed layer or euphotic zone")
    return _fluxes(export, z.assign_coords(depth=z), leaving)


def _fluxes(export: xr.Dataset, depth: xr.DataArray, leaving: dict[str, xr.DataArray]) -> xr.Dataset:
    """Fluxes at a depth of what leaves the euphotic zone."""
    top, area = export.attrs["euphotic_depth"], export["area"]
    attenuation = (depth / top) ** -export["exponent_C"]
    below_floor = (depth > top) & (depth > export["sea_floor_depth"])
    leaving = leaving | {"toc": sum(leaving.values(), xr.zeros_like(area))}
    fluxes = {f"{name}_flux_continuous": attenuation * flux for name, flux in leaving.items()}
    fluxes["poc_flux_discrete"] = interpolated_flux(export["poc_flux"], depth).where(export["wet"])
    result = xr.Dataset(attrs={"euphotic_depth": top, "title": "Flux of organic carbon at depth"})
    result["area"] = area
    for name, flux in fluxes.items():
        pool, _, law = name.split("_")
        text = f"flux of {_POOLS[pool]}, {_LAWS[law]}"
        ordered = flux.where(~below_floor).transpose(..., *area.dims)
        result[name] = ordered.assign_attrs(units=FLUX_UNIT, long_name=text)
        result[f"{name}_global"] = global_total(result[name], area)
    return result.assign_coords({name: export[name] for name in _BOUNDS})


def depth_axis(geometry: xr.Dataset, depth: float | Sequence[float]) -> xr.DataArray:
    """Depths as a coordinate that labels itself.

    Args:
        geometry: a dataset with the attribute `euphotic_depth` and the variable `sea_floor_depth`.
        depth: m, one or several.

    Returns:
        The depths, on `depth` or without dimension.

    Raises:
        InputError: a depth is above the base of the euphotic zone or below the deepest sea floor.
    """
    levels = np.asarray(depth, dtype=np.float64)
    top, deepest = geometry.attrs["euphotic_depth"], float(geometry["sea_floor_depth"].max())
    wrong = ~((levels >= top) & (levels <= deepest))
    if wrong.any():
        raise InputError(
            f"depth {np.atleast_1d(levels)[np.atleast_1d(wrong)]} m: expected depths from the base of the euphotic "
            f"zone at {top:g} m to the deepest sea floor at {deepest:g} m."
        )
    attrs = {"units": "m", "positive": "down", "standard_name": "depth"}
    dims = () if levels.ndim == 0 else ("depth",)
    return xr.DataArray(levels, {"depth": (dims, levels, attrs)}, dims)


def interpolated_flux(flux: xr.DataArray, depth: xr.DataArray) -> xr.DataArray:
    """Flux between layer interfaces, linear in depth as uniform dissolution within a layer makes it.

    Args:
        flux: (depth_interface, latitude, longitude), NaN below the sea floor.
        depth: m, on any dimensions.

    Returns:
        The flux at the depth, of the same unit; 0 from the sea floor down.
    """
    edges, filled = flux["depth_interface"].values, flux.fillna(0.0).drop_vars("depth_interface")
    above = xr.apply_ufunc(lambda z: np.clip(np.searchsorted(edges, z, "right") - 1, 0, edges.size - 2), depth)
    faces = xr.DataArray(edges, dims="depth_interface")
    upper, lower = faces.isel(depth_interface=above), faces.isel(depth_interface=above + 1)
    share = (depth - upper) / (lower - upper)
    return (1.0 - share) * filled.isel(depth_interface=above) + share * filled.isel(depth_interface=above + 1)


def flux_per_surface(grid: OceanGrid, flux: np.ndarray) -> np.ndarray:
    """Sinking flux per area of sea surface, from that through the open part of each interface.

    Args:
        grid: the grid.
        flux: [nz + 1, n_columns] mmol m-2 s-1.

    Returns:
        [nz + 1, n_columns] mmol m-2 s-1; the same where cells are full.
    """
    return flux * face_area(grid) / grid.surface_area


def face_area(grid: OceanGrid) -> np.ndarray:
    """Area of water that each interface lets through, [nz + 1, n_columns] m2, by which fluxes are integrated."""
    return np.concatenate([grid.to_columns(grid.box_area), np.zeros((1, grid.n_columns))])


def column_integral(grid: OceanGrid, rate: np.ndarray) -> np.ndarray:
    """Integral of a rate over each water column, sum v r / A.

    Args:
        grid: the grid.
        rate: r [n_wet] mmol m-3 s-1.

    Returns:
        [n_columns] mmol m-2 s-1, per area of sea surface.
    """
    return np.bincount(grid.column, grid.volume * rate, grid.n_columns) / grid.surface_area


def flux_map(grid: OceanGrid, flux: np.ndarray, name: str, long_name: str) -> xr.DataArray:
    """A flux [n_columns] mmol m-2 s-1 as a map (latitude, longitude) in mol m-2 yr-1."""
    values = convert(flux, "mmol m-2 s-1", FLUX_UNIT)
    return grid.unpack_surface(values, name, {"units": FLUX_UNIT, "long_name": long_name})


def global_total(flux: xr.DataArray, area: xr.DataArray) -> xr.DataArray:
    """Integral of a flux over the ocean, sum f A.

    Args:
        flux: (..., latitude, longitude) mol m-2 yr-1; NaN counts as none.
        area: (latitude, longitude) m2.

    Returns:
        On the other dimensions of the flux, Pg C yr-1.
    """
    total = convert(1.0, "mol", "mmol") * PGC_PER_MMOL * (flux * area).sum(["latitude", "longitude"])
    return total.assign_attrs(units=GLOBAL_UNIT, long_name=f"{flux.attrs['long_name']}, integral over the ocean")


def surface_dataset(grid: OceanGrid, euphotic_layers: int) -> xr.Dataset:
    """The geometry that maps of fluxes need: `area`, `area_at_base`, `sea_floor_depth`, `wet`, with bounds."""
    fields = {
        "area": (grid.surface_area, "m2", "area of the sea surface"),
        "area_at_base": (face_area(grid)[euphotic_layers], "m2", "area of the water at the base of the euphotic zone"),
        "sea_floor_depth": (grid.depth_edges[grid.column_depth_index], "m", "depth of the sea floor"),
    }
    result = xr.Dataset(
        {
            name: grid.unpack_surface(x, name, {"units": unit, "long_name": text})
            for name, (x, unit, text) in fields.items()
        },
        attrs={"euphotic_depth": float(grid.depth_edges[euphotic_layers])},
    )
    result["wet"] = (("latitude", "longitude"), grid.wet[0], {"long_name": "ocean"})
    return result.assign_coords({key: grid.coordinates()[key] for key in _BOUNDS})


def interface_field(grid: OceanGrid, flux: np.ndarray) -> xr.DataArray:
    """A flux [nz + 1, n_columns] mmol m-2 s-1 on (depth_interface, latitude, longitude), NaN below the sea floor."""
    full = np.full((grid.n_layers + 1, *grid.shape[1:]), np.nan)
    exists = np.arange(grid.n_layers + 1)[:, None] <= grid.column_depth_index
    full[:, grid.wet[0]] = np.where(exists, convert(flux, "mmol m-2 s-1", FLUX_UNIT), np.nan)
    interface = (
        "depth_interface",
        grid.depth_edges,
        {"units": "m", "positive": "down", "long_name": "layer interface"},
    )
    return xr.DataArray(
        full,
        {"depth_interface": interface},
        ("depth_interface", "latitude", "longitude"),
        attrs={"units": FLUX_UNIT, "long_name": "sinking particulate organic carbon, as the model's scheme has it"},
    )


def _on_grid(field: xr.DataArray, export: xr.Dataset, name: str) -> xr.DataArray:
    """The field as (latitude, longitude) with the coordinates of the export, if it is on the same grid."""
    wet = export["wet"]
    if set(field.dims) != set(wet.dims) or any(field.sizes[key] != wet.sizes[key] for key in wet.dims):
        raise InputError(
            f"{name} has dimensions {dict(field.sizes)}; expected the grid of the model, {dict(wet.sizes)}."
        )
    for key in wet.dims:
        apart = float(np.abs(field[key].values - wet[key].values).max()) if key in field.coords else 0.0
        if not apart <= COORDINATE_TOLERANCE:
            raise InputError(f"{name} has another {key} than the grid of the model, by up to {apart:.4g} degrees.")
    return wet.copy(data=field.transpose(*wet.dims).values).assign_attrs(field.attrs)
