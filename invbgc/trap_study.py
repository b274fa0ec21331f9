"""From a file of particle fluxes to exponents, their differences and what theory makes of them: tables and figures.

The commands ``invbgc traps`` and ``invbgc stoichiometry`` call `trap_study` and `stoichiometry`, print `lines_of` and
`storage_lines`, and write everything with `write`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from invbgc.errors import InputError
from invbgc.storage import (
    HORIZONS,
    PUBLISHED_B_P,
    REDFIELD,
    Storage,
    exponent_of_pco2,
    pco2_of_ratio,
    theory_lines,
)
from invbgc.traps.arrays import profiles, ratio
from invbgc.traps.bats import is_bats, read_bats
from invbgc.traps.choices import PUBLISHED, all_choices
from invbgc.traps.compilation import screen
from invbgc.traps.martin import exponents
from invbgc.traps.regions import phosphate_regions, region_of, region_statistics
from invbgc.traps.smooth import Smooth, loess
from invbgc.traps.statistics import Comparison, compare, median_difference_interval
from invbgc.traps.table import Table, read_flux_profiles, usable

Progress = Callable[[str], Any]

FEWEST = {"comparison": 3, "pooled": 10, "smooth": 8}
"""Profiles that each part of a study needs."""

THEORY_B_C = tuple(np.round(np.arange(0.5, 1.7501, 0.05), 2))
"""Exponents of carbon along the lines of theory."""

PUBLISHED_SURFACE_RATIO = 142.0
"""C:P of the flux at 100 m in the paper's control run."""


@dataclass
class Study:
    """What is computed, by kind of file; parts are added as they are made.

    Attributes:
        arrays: name -> dataset, each a netCDF file.
        tables: name -> table, each a CSV file.
        figures: name -> function that draws it.
        comparisons: way of fitting -> the first against the second element.
        options: what was chosen, for the manifest.
        inputs: files read.
    """

    arrays: dict[str, xr.Dataset] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    figures: dict[str, Callable[[], Any]] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()


def read_fluxes(path: str | Path) -> Table:
    """A table of particle fluxes from the published BATS file or a comma-separated table.

    Raises:
        InputError: the file is neither, or is not sound.
    """
    return read_bats(path) if is_bats(path) else read_flux_profiles(path)


def trap_study(
    path: str | Path,
    elements: Sequence[str] = ("P", "C"),
    depths: Sequence[float] = (150.0, 200.0, 300.0),
    years: tuple[float, float] | None = None,
    pooled: bool = True,
    seed: int = 0,
    progress: Progress = lambda text: None,
) -> Study:
    """Exponents of the particle flux from a file of traps.

    Args:
        path: the BATS file as published, or a table (`invbgc.traps.table.read_flux_profiles`).
        elements: two or more columns of fluxes; the first two are compared.
        depths: m, of a complete profile.
        years: first and last year; all where None.
        pooled: whether the hierarchical model is sampled too.
        seed: of resampling and sampling.
        progress: receives lines of text.

    Returns:
        arrays ``profiles``, ``exponents``, ``smooth`` and ``pooled``; tables ``problems``, ``exponents``,
        ``comparison`` and, for the file of Bermuda, ``choices``; figures. Parts for which there are too few profiles
        (`FEWEST`) are left out.

    Raises:
        InputError: the file is not sound, or no profile is complete.
    """
    from invbgc.plots import traps as plots

    table = read_fluxes(path)
    data, problems = profiles(table, elements, depths, years)
    names, count = [str(name) for name in data["element"].values], data.sizes["profile"]
    progress(
        f"{path}: {count} complete profiles; not used: {len(problems)} rows with a reason, "
        f"{data.attrs['other_depths']} at other depths, {data.attrs['other_years']} of other years or none"
    )
    fits = exponents(data)
    study = Study(
        arrays={"profiles": data, "exponents": fits},
        tables={"problems": problems, "exponents": fits.to_dataframe().reset_index()},
        options={"elements": names, "depths": list(depths), "years": years, "pooled": pooled, "seed": seed},
        inputs=(Path(path),),
    )
    at_bermuda = is_bats(path)
    published = {name: PUBLISHED[name] for name in names if name in PUBLISHED} if at_bermuda else {}
    study.figures["exponents"] = lambda: plots.distributions(fits, published)
    if len(names) > 1 and count >= FEWEST["comparison"]:
        study.comparisons.update(_comparisons(fits))
        study.tables["comparison"] = _comparison_table(fits, study.comparisons, seed)
    posterior = None
    if pooled and len(depths) > 2 and count >= FEWEST["pooled"]:
        from invbgc.traps.hierarchical import pooled_exponents

        progress("sampling the pooled exponents: 4 chains of 2000 draws")
        posterior = pooled_exponents(data, drift="time" in data.coords, seed=seed)
        study.arrays["pooled"] = posterior
    if "time" in data.coords and count >= FEWEST["smooth"]:
        smooth = {name: loess(data["time"], fits["b"].sel(fit="free", element=name)) for name in names}
        study.arrays["smooth"] = _smooth_dataset(smooth)
        study.figures["series"] = lambda: plots.series(fits, smooth, pooled=posterior)
    if set(names[:2]) == {"C", "P"}:
        _add_carbon_to_phosphorus(study, table, depths, years, at_bermuda, progress)
    missing = [name for name, fewest in FEWEST.items() if count < fewest]
    if missing:
        progress(f"too few profiles for: {', '.join(missing)}")
    return study


def _add_carbon_to_phosphorus(
    study: Study,
    table: Table,
    depths: Sequence[float],
    years: tuple[float, float] | None,
    at_bermuda: bool,
    progress: Progress,
) -> None:
    """C:P with depth, and for Bermuda all choices of the analysis beside the published medians."""
    from invbgc.plots import traps as plots

    data, fits = study.arrays["profiles"], study.arrays["exponents"]
    values = ratio(data)
    surface = float(values.isel(depth=0).median())
    b_P = float(fits["b"].sel(fit="free", element="P").median())
    study.figures["c_to_p"] = lambda: plots.ratio_profile(
        np.tile(data["depth"], data.sizes["profile"]), values.to_numpy().ravel(), ["profiles"] * values.size, b_P,
        surface, start=float(data["depth"][0]),
    )  # fmt: skip
    if at_bermuda:
        progress("all choices of replicates, blanks, depths, screens and fits")
        found = all_choices(table, depths, years)
        if len(found):
            study.tables["choices"] = found
            study.figures["choices"] = lambda: plots.choices(found, PUBLISHED)


def _comparisons(fits: xr.Dataset) -> dict[str, Comparison]:
    return {str(fit): compare(*fits["b"].sel(fit=str(fit)).transpose("element", "profile").to_numpy()[:2])
            for fit in fits["fit"].values}  # fmt: skip


def _comparison_table(fits: xr.Dataset, comparisons: dict[str, Comparison], seed: int) -> Table:
    first, second = map(str, fits["element"].values[:2])
    rows = []
    for fit, found in comparisons.items():
        values = asdict(found)
        medians, means = values.pop("medians"), values.pop("means")
        pair = fits["b"].sel(fit=fit).transpose("element", "profile").to_numpy()
        low, high = median_difference_interval(pair[0], pair[1], seed)
        rows.append(
            {
                **{"fit": fit, f"median_{first}": medians[0], f"median_{second}": medians[1]},
                **{f"mean_{first}": means[0], f"mean_{second}": means[1]},
                **{"difference_low": low, "difference_high": high} | values,
            }
        )
    return pd.DataFrame(rows)


def _smooth_dataset(curves: dict[str, Smooth]) -> xr.Dataset:
    names = list(curves)
    at = curves[names[0]].at
    return xr.Dataset(
        {
            "b": (("element", "time"), np.stack([curves[name].value for name in names]), {"units": "1"}),
            "b_error": (("element", "time"), np.stack([curves[name].error for name in names]), {"units": "1"}),
        },
        {"element": names, "time": ("time", at, {"units": "1", "long_name": "decimal year"})},
        {"method": "LOESS, local quadratic, tricube weights, span 0.75; 95 % band: 1.96 errors"},
    )


def lines_of(study: Study) -> Iterable[str]:
    """What a reader wants to know first, as lines of text."""
    problems = study.tables["problems"]
    for reason, rows in problems.groupby("reason", sort=False)["row"]:
        shown = ", ".join(map(str, rows.head(8))) + (" ..." if len(rows) > 8 else "")
        yield f"not used, {reason}: {len(rows)} (lines {shown})"
    elements = [str(name) for name in study.arrays["exponents"]["element"].values]
    yield "median exponents" + "".join(f"{name:>12}" for name in elements) + "   difference, Welch p, paired p, rank p"
    fits = study.arrays["exponents"]
    for fit in fits["fit"].values.astype(str):
        row = fits.sel(fit=fit)
        text = "".join(f"{float(row['b'].sel(element=name).median()):12.3f}" for name in elements)
        found = study.comparisons.get(fit)
        if found is not None:
            text += f"   {found.median_difference:6.3f}"
            text += "".join(f"  {p:.1e}" for p in (found.welch_p, found.paired_p, found.signed_rank_p))
        yield f"  {fit:<14}{text}"
    if "choices" in study.tables:
        yield f"  {'published':<14}" + "".join(f"{PUBLISHED.get(name, np.nan):12.2f}" for name in elements)
        best = study.tables["choices"].iloc[0]
        yield (
            f"nearest of {len(study.tables['choices'])} choices: {best['values']}, {best['carbon']}, {best['depths']}, "
            f"{best['screen']}, {best['fit']} fit: P {best['b_P']:.3f}, C {best['b_C']:.3f} of {best['n']} profiles"
        )
    if "pooled" in study.arrays:
        pooled = study.arrays["pooled"]
        center = pooled["center"].mean("profile")
        for name in elements:
            draws = center.sel(element=name)
            yield f"pooled mean exponent of {name}: {float(draws.mean()):.3f} +- {float(draws.std()):.3f}"
        if "difference" in pooled:
            gap = pooled["difference"]
            yield (
                f"pooled difference: {float(gap.mean()):.3f} +- {float(gap.std()):.3f}; R-hat at most "
                f"{pooled.attrs['max_r_hat']:.3f}, ESS at least {pooled.attrs['min_ess']:.0f}, "
                f"{pooled.attrs['divergences']} divergences"
            )


def stoichiometry(
    b_C: Sequence[float] = (0.5, 0.75, 1.0, 1.25, PUBLISHED_B_P, 1.75),
    b_P: float = PUBLISHED_B_P,
    surface_ratio: float = PUBLISHED_SURFACE_RATIO,
    pco2: Sequence[float] = (),
    fluxes: Path | None = None,
    phosphate: xr.DataArray | None = None,
    inputs: Sequence[Path] = (),
) -> Study:
    """What exponents do to carbon storage and pCO2, and C:P of a compilation by region.

    Args:
        b_C: exponents of carbon that are tabulated.
        b_P: exponent of phosphorus.
        surface_ratio: C:P of the flux at 100 m.
        pco2: uatm, whose exponents of carbon are sought.
        fluxes: a compilation (`invbgc.traps.table.read_flux_profiles`), screened by the paper's rules.
        phosphate: surface phosphate (latitude, longitude) that makes its regions; the embedded ocean's where None.
        inputs: files that phosphate was read from.

    Returns:
        arrays ``theory``; tables ``storage``, ``inverse`` and, with fluxes, ``problems``, ``steps``, ``dropped``,
        ``compilation`` and ``regions``; figures.

    Raises:
        InputError: the compilation is not sound.
    """
    from invbgc.plots import traps as plots

    lines = theory_lines(THEORY_B_C, b_P, surface_ratio)
    study = Study(
        arrays={"theory": lines},
        tables={"storage": storage_table(b_C, b_P, surface_ratio)},
        options={"b_C": list(b_C), "b_P": b_P, "surface_ratio": surface_ratio, "pco2": list(pco2)},
        inputs=(*inputs, *([fluxes] if fluxes else [])),
    )
    if len(pco2):
        study.tables["inverse"] = pd.DataFrame(
            {
                "pco2": list(map(float, pco2)),
                "b_C": [float(exponent_of_pco2(value, b_P, surface_ratio)) for value in pco2],
            }
        )
    marked = {f"b_C {value:g}": float(value) for value in b_C if THEORY_B_C[0] <= value <= THEORY_B_C[-1]}
    study.figures["theory"] = lambda: plots.theory(lines, marked=marked)
    if fluxes is not None:
        _add_compilation(study, fluxes, phosphate)
    return study


def _add_compilation(study: Study, fluxes: Path, phosphate: xr.DataArray | None) -> None:
    """Screen a compilation, name its regions, and add what comes of it."""
    from invbgc.circulation import load_circulation
    from invbgc.datasets import load_dataset
    from invbgc.plots import traps as plots

    table = read_flux_profiles(fluxes)
    # Repetitions of a place are the business of the rules here, not bad rows.
    good, problems = usable(table.assign(profile="line " + table["row"].astype(str)), ("C", "P"))
    left, steps, dropped = screen(good)
    if left.empty:
        raise InputError(f"Compilation {fluxes}: none of {len(good)} usable rows is left after the quality rules.")
    ocean = load_circulation("embedded").grid
    if phosphate is None:
        forcing, _ = load_dataset("embedded")
        field = np.full(ocean.shape, np.nan)
        field[ocean.wet] = forcing.phosphate
        phosphate = xr.DataArray(field[0], {"latitude": ocean.latitude, "longitude": ocean.longitude},
                                 ("latitude", "longitude"), attrs={"units": "mmol m-3"})  # fmt: skip
        study.options["regions"] = "by the modelled phosphate of the embedded ocean, not observed"
    regions = phosphate_regions(phosphate, ocean)
    left["region"] = region_of(regions, left["latitude"], left["longitude"])
    study.tables.update(
        problems=problems, steps=steps, dropped=dropped, compilation=left,
        regions=region_statistics(left["c_to_p"], left["region"], left["depth"]),
    )  # fmt: skip
    study.figures["regions"] = lambda: plots.region_map(regions, left["latitude"], left["longitude"])
    study.figures["c_to_p"] = lambda: plots.ratio_profile(
        left["depth"], left["c_to_p"], left["region"], study.options["b_P"], study.options["surface_ratio"]
    )


def storage_table(b_C: Sequence[float], b_P: float, surface_ratio: float) -> Table:
    """C:P of regeneration, stored carbon (Pg C) and pCO2 (uatm) of exponents of carbon, at the paper's three depths."""
    lines = theory_lines(b_C, b_P, surface_ratio)
    columns = {"b_C": lines["b_C"].to_numpy()}
    for horizon in HORIZONS:
        for name, short in (("respired_ratio", "ratio"), ("soft_tissue_carbon", "carbon"), ("pco2", "pco2")):
            columns[f"{short}_{horizon:g}m"] = lines[name].sel(horizon=horizon).to_numpy()
    return pd.DataFrame(columns)


def storage_lines(study: Study) -> Iterable[str]:
    """The results of `stoichiometry`, as lines of text."""
    yield f"b_P {study.options['b_P']:g}, C:P {study.options['surface_ratio']:g} at 100 m; regenerated above 1000 m:"
    yield f"{'b_C':>8}{'C:P':>9}{'Pg C':>9}{'pCO2':>9}"
    for _, row in study.tables["storage"].iterrows():
        yield f"{row['b_C']:8.2f}{row['ratio_1000m']:9.1f}{row['carbon_1000m']:9.0f}{row['pco2_1000m']:9.1f}"
    limit = float(pco2_of_ratio(REDFIELD, Storage().fully_regenerated))
    yield f"limit, all phosphate regenerated at {REDFIELD:g}: {limit:.1f} uatm"
    for _, row in study.tables.get("inverse", pd.DataFrame()).iterrows():
        yield f"pCO2 of {row['pco2']:g} uatm asks for b_C = {row['b_C']:.3f}"
    if "regions" in study.options:
        yield f"regions {study.options['regions']}; --phosphate takes a climatology"
    for name in ("steps", "regions"):
        if name in study.tables:
            yield study.tables[name].to_string(index=False, float_format="%.1f")


def write(study: Study, folder: str | Path) -> Path:
    """Write the tables, arrays, figures and the manifest of a study into a folder.

    Raises:
        InputError: the folder cannot be written.
    """
    from invbgc.files import manifest, replaced, write_netcdf

    folder = Path(folder)
    record = manifest(study.inputs, study.options, study.options.get("seed"))
    for name, dataset in study.arrays.items():
        write_netcdf(dataset.assign_attrs(manifest=json.dumps(record, default=str)), folder / f"{name}.nc")
    for name, table in study.tables.items():
        with replaced(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    for name, draw in study.figures.items():
        with replaced(folder / f"{name}.png") as temporary:
            draw().savefig(temporary, dpi=150, format="png")
    with replaced(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
    return folder
