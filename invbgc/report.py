"""The report of a fit: one HTML file that needs nothing else, made from the result files alone."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc import __version__, markup, summary
from invbgc.errors import InputError
from invbgc.plots import inference, maps, sections
from invbgc.plots.style import robust_range

_MIDDLE_DEPTH = 1000.0  # m, of the second row of maps


def write_report(result: str | Path | xr.Dataset, path: str | Path, carbon: str = "", posterior: str = "") -> Path:
    """Write the report of a fit as one HTML file without links to anything outside it.

    Args:
        result: result file of a fit, or its content.
        path: HTML file to write.
        carbon: a section on where the carbon goes, see `invbgc.carbon_report`.
        posterior: a section on how sure the fit is, see `invbgc.posterior_report`.

    Returns:
        The path written.

    Raises:
        InputError: the result cannot be read, or the file cannot be written.
    """
    dataset = result if isinstance(result, xr.Dataset) else summary.open_result(result)
    text = build_report(dataset, carbon, posterior)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the report {path}: {error.strerror}.") from error
    return path


def build_report(result: xr.Dataset, carbon: str = "", posterior: str = "") -> str:
    """Build the report of a fit.

    Args:
        result: content of the result file.
        carbon: a section on where the carbon goes, in HTML.
        posterior: a section on how sure the fit is, in HTML.

    Returns:
        A complete HTML document.
    """
    parts = (
        ("summary", "Summary", _summary(result)),
        ("parameters", "Parameters", _parameters(result)),
        ("fit", "Agreement with observations", _agreement(result)),
        ("tracers", "Tracer by tracer", _tracers(result)),
        ("global", "Global numbers", _global(result)),
        ("carbon", "Where the carbon goes", carbon),
        ("posterior", "How sure", posterior),
        ("uncertainty", "Uncertainty", _uncertainty(result)),
        ("convergence", "Convergence and cost", _convergence(result)),
        ("provenance", "How it was made", _provenance(result)),
    )
    kept = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in kept)
    body = "".join(f'<section id="{key}"><h2>{title}</h2>{content}</section>' for key, title, content in kept)
    style = files("invbgc").joinpath("data/report.css").read_text(encoding="utf-8")
    name = _name(result)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{markup.safe(name)}: invbgc</title><style>{style}</style></head><body>"
        f"{_header(result, name)}<nav><div>{links}</div></nav><main>{body}</main>"
        f"<footer>Made by invbgc {__version__} from the result files alone. Published values: Wang et al. (2023), "
        "Nature, doi 10.1038/s41586-023-06772-4.</footer></body></html>\n"
    )


def _header(result: xr.Dataset, name: str) -> str:
    about = [
        ("circulation", result.attrs.get("circulation", "not stated")),
        ("observations", result.attrs.get("observations", result.attrs.get("data_source", "not stated"))),
        ("date", summary.manifest(result).get("date", "not stated")),
    ]
    lines = "".join(f"<p>{markup.safe(key)}: {markup.safe(value)}</p>" for key, value in about)
    banner = (
        '<div class="synthetic" role="note">Synthetic observations (identical twin): made by the model itself, '
        "not measured. Nothing here is a finding about the real ocean.</div>"
        if summary.is_synthetic(result)
        else ""
    )
    return (
        f'<header><div><p class="kicker">Inverse model of the ocean carbon cycle</p><h1>{markup.safe(name)}</h1>'
        f"{lines}</div></header>{banner}"
    )


def _summary(result: xr.Dataset) -> str:
    tiles = (
        [(markup.number(float(result.attrs["value"]), 5), "misfit f at the optimum")] if "value" in result.attrs else []
    )
    if "status" in result.attrs:
        status = str(result.attrs["status"])
        tiles.append(("yes" if status == "converged" else "no", f"converged (status: {markup.safe(status)})"))
    if "skill_R2_volume" in result:
        scores = zip(result["tracer"].values, result["skill_R2_volume"].values, strict=True)
        tiles += [
            (f"{float(score):.2f}".replace("-", "−"), f"R² of {markup.safe(tracer)}, by volume")
            for tracer, score in scores
        ]
    tiles += [
        (f"{number.value:.2f}", f"Pg C yr<sup>−1</sup> {number.label}")
        for number in summary.global_numbers(result)
        if number.label == "POC export"
    ]
    grid = "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles)
    warnings = [f'<p class="warning">{markup.safe(note)}</p>' for note in summary.cautions(result)]
    notes = "".join(warnings[:3])
    if warnings[3:]:
        notes += f"<details><summary>{len(warnings) - 3} more warnings</summary>{''.join(warnings[3:])}</details>"
    return f'<div class="tiles">{grid}</div>{notes}<p>{markup.safe(summary.trust(result))}</p>'


def _parameters(result: xr.Dataset) -> str:
    rows = summary.parameter_rows(result)
    twin = summary.has_truth(result)
    known = summary.covariance(result) is not None
    head = ["parameter", "symbol", "unit", "start", "estimate", "− error", "+ error", "published"]
    head += ["truth", "z"] if twin else ["estimate ÷ published"]
    body, flags = [], []
    for row in rows:
        digits = markup.significant_digits(row.estimate, row.lower, row.upper)
        last = (
            [markup.plain(row.truth), f"{row.z_score:+.1f}".replace("-", "−") if np.isfinite(row.z_score) else "–"]
            if twin
            else [f"{row.estimate / row.published:.3g}".replace("-", "−") if row.published else "–"]
        )
        body.append(
            [markup.safe(row.name) + (" <small>fixed</small>" if known and np.isnan(row.lower) else ""),
             markup.symbol(row.symbol), markup.unit(row.unit), markup.plain(row.initial),
             markup.number(row.estimate, digits), markup.number(row.lower, 2), markup.number(row.upper, 2),
             markup.plain(row.published), *last]
        )  # fmt: skip
        flags.append(bool(np.isfinite(row.z_score) and abs(row.z_score) > 3))
    note = (
        '<p class="note">Errors are one standard deviation; those of a parameter fitted as a logarithm are asymmetric. '
        + (
            "z is the distance of the estimate from the truth in standard deviations; beyond 3 the row is shaded."
            if twin
            else ""
        )
        + "</p>"
    )
    shown = [row for row in rows if not (known and np.isnan(row.lower))]

    def column(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in shown])

    columns = (column(name) for name in ("estimate", "lower", "upper", "published", "initial"))
    truth, z_score = (column("truth"), column("z_score")) if twin and known else (None, None)
    figure = inference.parameter_figure([row.name for row in shown], *columns, truth=truth, z_score=z_score)
    derived = summary.derived_numbers(result)
    more = (
        "<h3>The same in familiar terms</h3>"
        + markup.table(
            ["quantity", "estimate", "unit", "published"],
            [
                [
                    markup.safe(part.label),
                    markup.number(part.value),
                    markup.unit(part.unit),
                    markup.safe(part.reference),
                ]
                for part in derived
            ],
            text=(0, 2),
        )
        if derived
        else ""
    )
    caption = "Estimates with one-sigma errors, as ratios to the published values" + (
        "; right, their distance from the known truth." if twin else "."
    )
    return markup.table(head, body, text=(0, 1, 2), flags=flags) + note + markup.image(figure, caption) + more


def _agreement(result: xr.Dataset) -> str:
    names = summary.tracers(result)
    content = ""
    if "skill_n" in result:
        head = ["tracer", "n", "R²", "R² published", "R² by volume", "bias", "RMSE", "unit", "misfit", "share"]
        skill = {key: result[f"skill_{key}"].values for key in ("n", "R2", "R2_volume", "bias", "rmse", "misfit")}
        share = 100 * skill["misfit"] / skill["misfit"].sum()
        body = [
            [
                markup.safe(tracer),
                f"{skill['n'][row]:,.0f}",
                markup.fixed(skill["R2"][row]),
                markup.fixed(summary.PUBLISHED_R2.get(tracer)),
                markup.fixed(skill["R2_volume"][row]),
                markup.number(skill["bias"][row], 3),
                markup.number(skill["rmse"][row], 3),
                markup.unit(_units(result, tracer)),
                markup.number(skill["misfit"][row], 4),
                f"{share[row]:.0f} %",
            ]
            for row, tracer in enumerate(result["tracer"].values.astype(str))
        ]
        content += markup.table(head, body, text=(0,))
        content += (
            '<p class="note">R² counts every box alike, as published; R² by volume weights them by their volume, as '
            "the misfit does. A negative value means that the mean of the data would do better. The published values "
            "belong to the 2-degree OCIM2 circulation.</p>"
        )
    if not names:
        return content
    volume = summary.box_volume(result)
    panels, fields = [], {}
    for name in names:
        model, observed = result[f"model_{name}"], result[f"observed_{name}"]
        both = np.isfinite(model.values) & np.isfinite(observed.values)
        if both.any():
            weights = volume.transpose(*model.dims).values
            panels.append(
                (name, observed.values[both], model.values[both], weights[both], model.attrs.get("units", ""))
            )
            fields[name] = (model, observed)
    if not panels:
        return content
    density = inference.joint_density(panels)
    mean = sections.profiles(fields, volume)
    return (
        content
        + markup.image(
            density,
            "Share of the observed volume at each pair of observed and modelled values; the line is perfect agreement.",
        )
        + markup.image(
            mean,
            "Mean profiles over the observed boxes of each layer, weighted by volume; shading: spread along the layer.",
        )
    )


def _tracers(result: xr.Dataset) -> str:
    volume = summary.box_volume(result)
    basins = _basins(result)
    blocks = []
    for number, name in enumerate(summary.tracers(result)):
        model, observed = result[f"model_{name}"], result[f"observed_{name}"]
        wet = model.notnull()
        middle = int(np.argmin(np.abs(result["depth"].values - _MIDDLE_DEPTH)))
        pictures = markup.image(
            maps.compare_maps(model, observed, wet, name, sorted({0, middle})),
            f"{name} at the surface and near {_MIDDLE_DEPTH:.0f} m. Pale blue-grey: ocean without data.",
        ) + markup.image(
            sections.compare_sections(model, observed, volume, name, basins),
            f"Zonal means of {name} weighted by volume; the difference uses observed boxes only.",
        )
        blocks.append(
            f"<details{' open' if number == 0 else ''}><summary>{markup.safe(name)}</summary>{pictures}</details>"
        )
    return "".join(blocks)


def _global(result: xr.Dataset) -> str:
    numbers = summary.global_numbers(result)
    body = [
        [markup.safe(part.label), markup.number(part.value, 5), markup.unit(part.unit), markup.safe(part.reference)]
        for part in numbers
    ]
    content = markup.table(["quantity", "value", "unit", "compare with"], body, text=(0, 2, 3)) if body else ""
    if "poc_export" in result:
        field = result["poc_export"]
        field.attrs["units"] = "mol C m-2 yr-1"
        wet = (
            result[f"model_{summary.tracers(result)[0]}"].isel(depth=0).notnull()
            if summary.tracers(result)
            else field.notnull()
        )
        limits = robust_range(field.values)
        limits.vmin = 0.0
        figure = maps.map_figure(
            field, wet, "poc_export", "Sinking flux of organic carbon at the base of the euphotic zone", limits
        )
        content += markup.image(figure, "Annual export of particulate organic carbon.", narrow=True)
    return content


def _uncertainty(result: xr.Dataset) -> str:
    names = result["parameter_name"].values.astype(str)
    content = ""
    counts = [
        [markup.safe(name), f"{number:,.0f}", f"{factor:.2f}"]
        for name, number, factor in summary.scalings(result)
        if np.isfinite(number)
    ]
    if counts:
        head = ["scaling", "observations counted as independent", "length of the error bars"]
        content += "<h3>What counts as independent</h3>" + markup.table(head, counts, text=(0,))
    curvature = summary.hessian(result)
    if curvature is not None:
        free = np.isfinite(np.diag(curvature))
        labels = list(names[free])
        values, vectors = np.linalg.eigh(curvature[np.ix_(free, free)])
        rows = [
            [str(rank + 1), markup.number(float(values[rank]), 3), _direction(labels, vectors[:, rank])]
            for rank in range(min(5, len(values)))
        ]
        content += "<h3>The least constrained combinations</h3>" + markup.table(
            ["rank", "eigenvalue of the Hessian", "made of"], rows, text=(2,)
        )
        content += markup.image(
            inference.eigen_directions(labels, values, vectors),
            "Spectrum of the Hessian, and the combinations of parameters that the data constrain least and most.",
        )
    found = summary.covariance(result)
    if found is not None:
        matrix = found[0]
        free = np.isfinite(np.diag(matrix)) & (np.diag(matrix) > 0)
        inner = matrix[np.ix_(free, free)]
        scale = np.sqrt(np.diag(inner))
        content += markup.image(
            inference.correlation_matrix(list(names[free]), inner / np.outer(scale, scale)),
            "Posterior correlations; values are printed where they exceed 0.5.",
            narrow=True,
        )
    return content


def _convergence(result: xr.Dataset) -> str:
    history = {
        str(name).removeprefix("history_"): part.values
        for name, part in result.data_vars.items()
        if str(name).startswith("history_") and part.ndim == 1 and np.issubdtype(part.dtype, np.number)
    }
    content = ""
    gradient = next((key for key in ("gradient_norm", "gradient_max", "gradient_inf", "gnorm") if key in history), None)
    if "value" in history and gradient:
        gtol = result.attrs.get("gtol")
        figure = inference.convergence(history["value"], history[gradient], float(gtol) if gtol is not None else None)
        content += markup.image(figure, "Misfit and gradient at each iteration.")
    if history:
        length = len(next(iter(history.values())))
        body = [
            [str(step), *(markup.number(float(column[step]), 6) for column in history.values())]
            for step in range(length)
        ]
        head = ["iteration", *(key.replace("_", " ") for key in history)]
        content += f"<details><summary>All {length} iterations</summary>{markup.table(head, body)}</details>"
    stats = _stats(result)
    if stats:
        rows = [[markup.safe(key.replace("_", " ")), markup.plain(value)] for key, value in stats.items()]
        content += "<h3>Cost</h3>" + markup.table(["counter", "value"], rows, text=(0,))
    return content


def _provenance(result: xr.Dataset) -> str:
    record = {
        key: " ".join(value) if isinstance(value, list) and all(isinstance(word, str) for word in value) else value
        for key, value in summary.manifest(result).items()
    }
    rows = [
        [markup.safe(key), markup.safe(value)] for key, value in record.items() if not isinstance(value, dict | list)
    ]
    content = markup.table(["item", "value"], rows, text=(0, 1), wide=(1,)) if rows else ""
    citations = json.loads(str(result.attrs.get("citations", "[]")))
    if citations:
        items = "".join(f"<li>{markup.safe(citation)}</li>" for citation in citations)
        content += f"<h3>What to cite for the circulation and the data</h3><ul>{items}</ul>"
    if "licence" in result.attrs:
        content += f'<p class="note">Licence of the data: {markup.safe(result.attrs["licence"])}</p>'
    nested = {key: value for key, value in record.items() if isinstance(value, dict | list)}
    if nested:
        text = markup.safe(json.dumps(nested, indent=2, ensure_ascii=False))
        content += (
            f"<details><summary>Manifest: versions, inputs with checksums, options</summary><pre>{text}</pre></details>"
        )
    return content


def _stats(result: xr.Dataset) -> dict[str, float]:
    """Cost counters: a JSON text in the attribute ``stats``, or attributes that start with ``stats_``."""
    text = result.attrs.get("stats")
    stored = json.loads(text) if isinstance(text, str) else {}
    stored |= {
        str(key).removeprefix("stats_"): value for key, value in result.attrs.items() if str(key).startswith("stats_")
    }
    if "history_memory" in result:
        stored["peak_memory_GB"] = float(result["history_memory"].max())
    return {key: float(value) for key, value in stored.items() if isinstance(value, int | float | np.number)}


def _units(result: xr.Dataset, tracer: str) -> str:
    field = result.get(f"model_{tracer}")
    return "" if field is None else str(field.attrs.get("units", ""))


def _basins(result: xr.Dataset) -> dict[str, np.ndarray] | None:
    """Basin masks stored as ``basin_<name>`` (latitude, longitude); None lets the sections draw their own."""
    stored = {
        str(name).removeprefix("basin_").replace("_", " ").capitalize(): part.values.astype(bool)
        for name, part in result.data_vars.items()
        if str(name).startswith("basin_") and part.dims == ("latitude", "longitude")
    }
    return stored or None


def _name(result: xr.Dataset) -> str:
    return str(result.attrs.get("run_name", result.attrs.get("name", result.attrs.get("title", "fit"))))


def _direction(labels: Sequence[str], vector: np.ndarray) -> str:
    order = [index for index in np.argsort(-np.abs(vector))[:4] if abs(vector[index]) > 0.15]
    return ", ".join(f"{markup.safe(labels[index])} ({vector[index]:+.2f})".replace("-", "−") for index in order)
