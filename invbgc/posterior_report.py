"""What the report of a fit says about how sure it is: posterior, chains, twins, members, and who constrains what."""

import logging
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from invbgc import carbon_report, markup
from invbgc.carbon_report import Picture, Tables, fingerprint, stale_note
from invbgc.diagnostics.published import published_text
from invbgc.plots import posterior, studies

TABLES = {
    "errors": ("boxes", "number"),
    "gaussian": ("x", "standard_deviation", "parameter_unit"),
    "contraction": ("prior_sd", "posterior_sd"),
    "asymmetry": ("third_derivative", "eigenvalue", "direction_name"),
    "importance": ("mean", "standard_deviation"),
    "chains": (),
    "sample_summary": ("quantile", "r_hat", "ess_bulk", "ess_tail"),
    "coverage": ("coverage", "pooled_coverage", "expected_error", "z_rms", "rank_count"),
    "members": ("value", "error", "mean", "between_sd", "within_sd", "unit"),
    "draws": ("value", "mean", "standard_deviation", "linear_error", "unit"),
    "influence": ("variance_share", "unit"),
    "refits": ("skill_R2_volume", "whole_R2_volume", "fitted", "estimate", "whole_estimate", "frozen", "converged"),
}
"""Files of the folder, ``<name>.nc``, with the variables that are used."""

PICTURES = (
    Picture(
        "errors",
        ("errors",),
        lambda t: posterior.errors_figure(t["errors"]),
        "Errors of the observations as the error model sees them: independent and smooth errors in percent of the "
        "spread of a tracer, with the correlation lengths of the smooth ones (along circles of latitude, half of it "
        "across; in depth as a share of depth + 100 m) and their size by depth; or how many observations count as "
        "independent.",
    ),
    Picture(
        "contraction",
        ("contraction",),
        lambda t: posterior.contraction_figure(t["contraction"], t.get("importance")),
        "Posterior over prior standard deviation of every parameter, in the coordinates of the fit; the posterior one "
        "alone where the prior is flat; points: standard deviations of the weighted draws.",
    ),
    Picture(
        "asymmetry",
        ("asymmetry",),
        lambda t: posterior.asymmetry_figure(t["asymmetry"]),
        "Third derivative of the negative log posterior along the eigen-directions of its Hessian, in units of their "
        "standard deviations, the loosest on top; a Gaussian has none.",
    ),
    Picture(
        "marginals",
        ("chains", "gaussian"),
        lambda t: posterior.marginals(
            t["chains"], t["gaussian"], t.get("importance"), t["truth"]["x"] if "truth" in t else None
        ),
        "Marginal densities of the samples, in standard deviations of the Gaussian from its centre, with the Gaussian, "
        "mean and standard deviation of the weighted draws, and the truth of a twin.",
    ),
    Picture(
        "pairs",
        ("chains",),
        lambda t: posterior.pairs(t["chains"], [str(name) for name in t["chains"].data_vars]),
        "Counts of draws of the pairs furthest from a Gaussian, by the mean of z_i z_j^2 of standardised draws, whose "
        "value is in the title; j along the horizontal axis.",
    ),
    Picture(
        "ranks_of_chains",
        ("chains",),
        lambda t: posterior.rank_plots(t["chains"]),
        "Ranks of the draws of each chain among those of all chains; the lines of chains that have mixed are level. "
        "Band: two standard deviations of the counts of independent draws; those of a chain, which are not "
        "independent, vary more.",
    ),
    Picture(
        "coverage",
        ("coverage",),
        lambda t: studies.coverage_figure(t["coverage"]),
        "How often intervals hold the truth of twins, by parameter and kind of error bar; line and band: what the "
        "interval states, and two binomial standard deviations.",
    ),
    Picture(
        "ranks_of_truths",
        ("coverage",),
        lambda t: studies.rank_histograms(t["coverage"]),
        "Ranks of the truth in the posteriors of twins, of all parameters; uniform where the error bars are right, "
        "heaped at both ends where they are too short. Band: two standard deviations of independent ranks.",
    ),
    Picture(
        "members",
        ("members",),
        lambda t: studies.member_figure(t["members"]),
        "Numbers of the carbon cycle of members of different structure, each fitted, with one standard deviation of "
        "its own, their mean with the standard deviation between members as a band, and dashed the published value "
        "with the spread of four versions of the model.",
    ),
    Picture(
        "draws",
        ("draws",),
        lambda t: studies.draws_figure(t["draws"]),
        "Numbers of the carbon cycle at draws of the parameters, the normal curve of their mean and the linear error "
        "bar, and dashed the published value with the spread of four versions of the model.",
    ),
    Picture(
        "influence_shares",
        ("influence",),
        lambda t: studies.influence_shares(t["influence"]),
        "Share of the variance of numbers and parameters that the errors of each tracer cause; the prior causes the "
        "rest.",
    ),
    Picture(
        "influence_maps",
        ("influence",),
        lambda t: studies.influence_maps(t["influence"]),
        "Where the observations lie that constrain the export of organic carbon: root of the summed squares, down each "
        "column, of influence times error of its observations.",
    ),
    Picture(
        "refits",
        ("refits",),
        lambda t: studies.refit_figure(t["refits"]),
        "Fits to fewer tracers: R² by volume of all tracers, blue where it is lower than that of the whole fit, and "
        "parameters over those of the whole fit; arrow heads lie outside the frame, hollow markers are frozen because "
        "the tracers do not inform them.",
    ),
)
"""Figures in the order of the report."""

_log = logging.getLogger("invbgc")


def read_tables(folder: Path, result: xr.Dataset | None = None) -> dict[str, xr.Dataset]:
    """The tables that are in a folder; what cannot be read or lacks a variable is left out, with a warning.

    Args:
        folder: ``posterior`` beside the result of a fit.
        result: that result; of a twin, it knows the truth.

    Returns:
        Name -> dataset; with chains, ``truth`` as well (x by parameter), where it is known.
    """
    names = [f"{name}/unconstrained_posterior" if name == "chains" else name for name in TABLES]
    found = carbon_report.read_tables(folder, names)
    for name in list(found):
        missing = [variable for variable in TABLES[name] if variable not in found[name]]
        if missing:
            _log.warning("%s is left out: it has no %s", folder / f"{name}.nc", ", ".join(missing))
            del found[name]
    if "chains" in found and result is not None and "truth" in result:
        found["truth"] = _truth(result)
    return found


def figures(tables: Tables) -> dict[str, Figure]:
    """The figures that the tables at hand allow: name -> figure."""
    return carbon_report.figures(tables, PICTURES)


def posterior_section(tables: Tables, fit: str) -> str:
    """The section of the report: how far the Gaussian holds, numbers and figures, in HTML; empty without tables.

    Args:
        tables: of the folder of a fit.
        fit: fingerprint of the fit that the report is of; tables of another one are named as such.
    """
    if not tables:
        return ""
    of_the_fit = {name: table for name, table in tables.items() if name != "coverage"}  # twins know no fit
    content = stale_note(of_the_fit, fit, "laplace, sample, ensemble and sensitivity")
    parts = {
        "gaussian": _cautions,
        "importance": _importance,
        "errors": _errors,
        "sample_summary": lambda table: _summary(table, tables.get("gaussian")),
        "coverage": _coverage,
        "members": lambda table: _quantities(table, "Members of different structure", _MEMBERS, _MEMBER_NOTE),
        "draws": lambda table: _quantities(table, "Draws of the parameters", _DRAWS, _DRAW_NOTE),
        "refits": _refits,
    }
    content += "".join(write(tables[name]) for name, write in parts.items() if name in tables)
    drawn = figures(tables)
    return content + "".join(markup.image(drawn[p.name], p.caption) for p in PICTURES if p.name in drawn)


_MEMBERS = {"mean": "mean", "between_sd": "s.d. between members", "within_sd": "s.d. within a member"}
_MEMBER_NOTE = "The standard deviation within members is the root of their mean variance."
_DRAWS = {"mean": "mean", "standard_deviation": "s.d. of the draws", "linear_error": "linear error bar"}
_DRAW_NOTE = "The linear error bar is that of exact gradients; the draws hold the curvature as well."


def _truth(result: xr.Dataset) -> xr.Dataset:
    """True coordinates of the free parameters of a twin, as a table of the fit."""
    from invbgc.transforms import TRANSFORMS

    free = result["free"].values.astype(bool)
    names, kinds = (result[f"parameter_{key}"].values[free].astype(str) for key in ("name", "transform"))
    truth = zip(kinds, result["truth"].values[free], strict=True)
    x = [float(TRANSFORMS[kind].coordinate(value)) if np.isfinite(value) else np.nan for kind, value in truth]
    return xr.Dataset({"x": ("parameter", x)}, {"parameter": names}, {"fit": fingerprint(result["x"].values[free])})


def _importance(table: xr.Dataset) -> str:
    from invbgc.inference.importance import GOOD_K

    k_hat, effective = float(table.attrs["k_hat"]), float(table.attrs["effective_draws"])
    judgement = (
        f"below {GOOD_K}, so that the weighted moments can be relied on"
        if k_hat < GOOD_K
        else f"not below {GOOD_K}, so that the weighted moments cannot be relied on; the posterior should be sampled"
    )
    return (
        "<p>Draws of the Gaussian were weighted by the posterior. The tail of the weights has the shape k-hat = "
        f"{markup.fixed(k_hat)}, {judgement}. {table.sizes['draw']} draws are worth {effective:.0f} of the "
        "posterior.</p>"
    )


def _cautions(gaussian: xr.Dataset) -> str:
    notes = str(gaussian.attrs.get("laplace_warnings", "")).splitlines()
    return "".join(f'<p class="warning">{markup.safe(note)}</p>' for note in notes)


def _errors(table: xr.Dataset) -> str:
    columns = {
        "boxes": ("observed boxes", 1.0),
        "number": ("counted as independent", 1.0),
        "independent_error": ("independent error, % of the spread", 100.0),
        "smooth_error": ("smooth error, % of the spread", 100.0),
        "horizontal_scale": ("correlation length, km", 1e-3),
        "vertical_scale": ("correlation depth, m", 1.0),
        "depth_scale": ("correlation depth over depth + 100 m", 1.0),
    }
    shown = [name for name in columns if name in table]
    body = []
    for tracer in table["tracer"].values:
        values = [columns[name][1] * float(table[name].sel(tracer=tracer)) for name in shown]
        body.append([markup.safe(tracer), *(f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in values)])
    head = ["tracer", *(columns[name][0] for name in shown)]
    kind = markup.safe(str(table.attrs["error_model"]).replace("_", " "))
    return f"<h3>Error model: {kind}</h3>" + markup.table(head, body, text=(0,))


def _summary(table: xr.Dataset, gaussian: xr.Dataset | None) -> str:
    from invbgc.inference.chains import GOOD_R_HAT

    body, flags = [], []
    for name in table["parameter"].values:
        row = table.sel(parameter=name)
        low, middle, high = (float(row["quantile"].sel(probability=p)) for p in (0.16, 0.5, 0.84))
        digits = markup.significant_digits(middle, high - middle, middle - low)
        unit = "" if gaussian is None else str(gaussian["parameter_unit"].sel(parameter=name).item())
        body.append(
            [markup.safe(name), *(markup.number(value, digits) for value in (middle, low, high)), markup.unit(unit),
             f"{float(row['r_hat']):.3f}", f"{float(row['ess_bulk']):,.0f}", f"{float(row['ess_tail']):,.0f}"]
        )  # fmt: skip
        flags.append(not float(row["r_hat"]) < GOOD_R_HAT)
    head = ["parameter", "median", "16 %", "84 %", "unit", "R-hat", "ESS bulk", "ESS tail"]
    note = (
        f'<p class="note">{int(table.attrs["divergences"])} divergences; '
        f"{float(table.attrs['solves_per_effective_draw']):.1f} model solves per effective draw of the worst "
        f"parameter. Chains count as mixed where R-hat is below {GOOD_R_HAT}; other rows are shaded.</p>"
    )
    return "<h3>Samples of the posterior</h3>" + markup.table(head, body, text=(0, 4), flags=flags) + note


def _coverage(table: xr.Dataset) -> str:
    levels = table["interval"].values
    body = []
    for method in table["method"].values:
        row = table.sel({"method": method})
        pooled = [f"{100 * float(row['pooled_coverage'].sel(interval=level)):.0f} %" for level in levels]
        spread = float(np.sqrt((row["z_rms"] ** 2).mean()))
        body.append([markup.safe(str(method).replace("_", " ")), *pooled, markup.fixed(spread)])
    head = ["error bars", *(f"truths in {100 * level:.0f} % intervals" for level in levels), "r.m.s. of z"]
    binomial = " and ".join(f"{100 * float(error):.1f} %" for error in table["expected_error"].values)
    note = (
        f'<p class="note">Over all parameters of {int(table.attrs["twins"])} twins of known truth. '
        f"{int(table.attrs.get('failed', 0))} more could not be fitted. z is estimate minus truth in standard "
        "deviations; its r.m.s. is one where the error bars are right. Binomial error of one parameter: "
        f"{binomial}.</p>"
    )
    return "<h3>Twins of known truth</h3>" + markup.table(head, body, text=(0,)) + note


def _quantities(table: xr.Dataset, title: str, columns: dict[str, str], note: str) -> str:
    """Numbers with their spreads: the main ones, and all others folded away."""
    main, others = [], []
    for name in table["quantity"].values.astype(str):
        row = table.sel(quantity=name)
        values = [float(row[column]) for column in columns]
        digits = markup.significant_digits(*values)
        cells = [markup.number(values[0], digits), *(markup.number(value, 2) for value in values[1:])]
        chosen = main if name in studies.QUANTITIES else others
        label = markup.safe(studies.QUANTITIES.get(name, name))
        chosen.append([label, *cells, markup.unit(str(row["unit"].item())), published_text(name)])
    head = ["quantity", *columns.values(), "unit", "published"]
    text = (0, len(head) - 2)
    rest = (
        f"<details><summary>{len(others)} more numbers</summary>{markup.table(head, others, text=text)}</details>"
        if others
        else ""
    )
    return f'<h3>{title}</h3>{markup.table(head, main, text=text)}<p class="note">{note}</p>{rest}'


def _refits(table: xr.Dataset) -> str:
    tracers = table["tracer"].values.astype(str)

    def scores(field: xr.DataArray) -> list[str]:
        return [markup.fixed(float(field.sel(tracer=tracer))) for tracer in tracers]

    body = [["whole fit", *scores(table["whole_R2_volume"].isel(refit=0)), "–", "–"]]
    for name in table["refit"].values:
        row = table.sel(refit=name)
        frozen = table["parameter"].values[row["frozen"].values == 1]
        body.append(
            [markup.safe(str(name).replace("_", " ")), *scores(row["skill_R2_volume"]),
             markup.safe(", ".join(map(str, frozen)) or "–"), "yes" if int(row["converged"]) else "no"]
        )  # fmt: skip
    head = ["fit", *(f"R² of {markup.safe(tracer)}" for tracer in tracers), "frozen, being uninformed", "converged"]
    columns = len(head)
    return "<h3>Fits to fewer tracers</h3>" + markup.table(head, body, text=(0, columns - 2), wide=(columns - 2,))
