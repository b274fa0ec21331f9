"""Figures and section of the report on the posterior, from made-up tables: what they show, and what is left out."""

import io
import logging

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from tiny_result import tiny_result

from invbgc import markup, posterior_report, run, uncertainty
from invbgc.carbon_report import fingerprint
from invbgc.circulation import load_circulation
from invbgc.inference.chains import Chains
from invbgc.inference.members import draw_table, member_table
from invbgc.inference.twins import coverage, gaussian_rank
from invbgc.models.pco import pco_parameters
from invbgc.plots import posterior, studies
from invbgc.plots.studies import QUANTITIES
from invbgc.posterior_report import PICTURES, TABLES, figures, posterior_section, read_tables
from invbgc.runfile import RunFile

TABLE = pco_parameters("published")
NAMES = TABLE.free_names
TRACERS = ("DIP", "DIC", "ALK", "O2", "DOC")
FIT = fingerprint(TABLE.to_vector())
PANELS = {
    "errors": 2, "contraction": 1, "asymmetry": 1, "marginals": 21, "pairs": 4, "ranks_of_chains": 21, "coverage": 2,
    "ranks_of_truths": 3, "members": 6, "draws": 6, "influence_shares": 2, "influence_maps": 6, "refits": 2,
}  # fmt: skip
"""Figure -> axes, colour bars included."""


def spread_of() -> np.ndarray:
    return 0.01 * 1.2 ** np.arange(len(NAMES))


def chains_of(shift: float = 0.0) -> Chains:
    """Four chains of independent normal draws; b_C bends along kappa_ru, and chain 0 is shifted."""
    random = np.random.default_rng(1)
    z = random.normal(size=(4, 300, len(NAMES)))
    z[..., NAMES.index("b_C")] += 0.6 * (z[..., NAMES.index("kappa_ru")] ** 2 - 1.0)
    z[0] += shift
    statistics = {"diverging": np.arange(1200).reshape(4, 300) < 3}
    attrs = {"gradients": 24000.0, "values": 0.0, "seconds": 10.0, "fit": FIT}
    return Chains(TABLE, TABLE.to_vector() + spread_of() * z, statistics, attrs)


def gaussian_of() -> xr.Dataset:
    columns = {"x": TABLE.to_vector(), "standard_deviation": spread_of()}
    data = {name: ("parameter", values) for name, values in columns.items()}
    return xr.Dataset(
        data | {"parameter_unit": ("parameter", [row.unit for row in TABLE.free])},
        {"parameter": list(NAMES)},
        {"laplace_warnings": "the data hardly inform [+1.00 beta]"},
    )


def importance_of(k_hat: float = 0.31) -> xr.Dataset:
    columns = {"mean": TABLE.to_vector() + 0.5 * spread_of(), "standard_deviation": 1.2 * spread_of()}
    data = {name: ("parameter", values) for name, values in columns.items()} | {"log_weight": ("draw", np.zeros(50))}
    return xr.Dataset(data, {"parameter": list(NAMES)}, {"k_hat": k_hat, "effective_draws": 42.0})


def errors_of(kind: str = "structured") -> xr.Dataset:
    columns = {"boxes": [6891, 7099, 7189, 7680, 4124], "number": [310.0, 290.0, 250.0, 400.0, 120.0]}
    if kind == "structured":
        columns |= {"independent_error": [0.05, 0.06, 0.08, 0.1, 0.2], "smooth_error": [0.1, 0.1, 0.12, 0.2, 0.3]}
    if kind != "paper":
        columns |= {"horizontal_scale": [1.5e6] * 5}
        columns |= {"depth_scale": [0.5] * 5} if kind == "structured" else {"vertical_scale": [800.0] * 5}
    table = xr.Dataset({name: ("tracer", np.array(values)) for name, values in columns.items()})
    if kind == "structured":
        profile = np.outer(columns["smooth_error"], [3.0, 2.0, 1.0])
        table = table.assign(smooth_profile=(("tracer", "depth"), profile)).assign_coords(depth=[0.0, 300.0, 3000.0])
    return table.assign_coords(tracer=list(TRACERS)).assign_attrs(error_model=kind)


def contraction_of() -> xr.Dataset:
    """Priors of 0.25; that of the last parameter is flat."""
    prior = np.where(np.arange(len(NAMES)) < len(NAMES) - 1, 0.25, np.nan)
    columns = {"prior_sd": prior, "posterior_sd": spread_of(), "contraction": 1.0 - (spread_of() / prior) ** 2}
    return xr.Dataset({name: ("parameter", values) for name, values in columns.items()}, {"parameter": list(NAMES)})


def asymmetry_of() -> xr.Dataset:
    """The stiffest direction comes first; the second had no steady state."""
    third = np.linspace(0.01, 0.3, len(NAMES))
    third[1] = np.nan
    names = [f"+0.74 {name} -0.56 b_P +0.27 kappa_dP" for name in NAMES]
    columns = {"third_derivative": third, "eigenvalue": np.geomspace(1e5, 1.0, len(NAMES)), "direction_name": names}
    return xr.Dataset({name: ("direction", values) for name, values in columns.items()})


def coverage_of(number: int = 60) -> xr.Dataset:
    """Twins whose error bars are right, and by the authors' count too short by a factor of three."""
    random, twins = np.random.default_rng(2), []
    for _ in range(number):
        truth = 0.2 * random.normal(size=len(NAMES))
        estimate = truth + spread_of() * random.normal(size=len(NAMES))
        rows = {"authors": spread_of() / 3.0, "effective": 1.3 * spread_of(), "structured": spread_of()}
        columns = {
            "estimate": np.array([estimate for _ in rows]),
            "standard_deviation": np.array(list(rows.values())),
            "rank": np.array([gaussian_rank(truth, estimate, deviation) for deviation in rows.values()]),
        }
        twins.append(
            xr.Dataset(
                {"truth": ("parameter", truth)} | {n: (("method", "parameter"), c) for n, c in columns.items()},
                {"method": list(rows), "parameter": list(NAMES)},
            )
        )
    return coverage(twins).assign_attrs(failed=2)


def numbers_of(seed: int) -> xr.Dataset:
    random = np.random.default_rng(seed)
    names, units = [*QUANTITIES, "sigma_P", "misfit"], ["Pg C yr-1"] * len(QUANTITIES) + ["1", "1"]
    centre = np.array([10.6, 1.7, 2.7, 15.0, 10.7, 8.2, 0.3, 1.0])
    columns = {"value": centre * (1.0 + 0.05 * random.normal(size=8)), "error": 0.02 * centre, "unit": units}
    columns["error"][-1] = np.nan
    return xr.Dataset({name: ("quantity", values) for name, values in columns.items()}, {"quantity": names})


def members_of(number: int = 4) -> xr.Dataset:
    return member_table({f"member_exponent-{i}_layers_of_export-{i % 2}": numbers_of(i) for i in range(number)})


def draws_of() -> xr.Dataset:
    draws = {f"draw_{i:04d}": numbers_of(i).drop_sel(quantity=["sigma_P", "misfit"]) for i in range(200)}
    return draw_table(draws, xr.DataArray(np.full(6, 0.3), {"quantity": list(QUANTITIES)}, ["quantity"]))


def influence_of() -> xr.Dataset:
    """Shares that leave a tenth to the prior; only DIC is observed everywhere, DOC nowhere in the south."""
    grid = load_circulation("embedded_8deg").grid
    scalars = [*QUANTITIES, "advective_share_0-15", "respired_stock", *NAMES]
    units = [*["Pg C yr-1"] * len(QUANTITIES), "1", "Pg C", *["1"] * len(NAMES)]
    shares = np.random.default_rng(4).dirichlet(np.ones(5), len(scalars)) * 0.9
    place = ("scalar", "latitude", "longitude")
    north = np.where(grid.latitude > 0.0, 1.0, 0.0)[:, None]
    pattern = np.where(grid.wet[0], np.cos(np.radians(grid.latitude))[:, None], np.nan)
    maps = {t: 0.01 * (i + 1) * pattern * (north if t == "DOC" else 1.0) for i, t in enumerate(TRACERS)}
    return xr.Dataset(
        {
            "variance_share": (("scalar", "tracer"), shares),
            "standard_deviation": ("scalar", np.ones(len(scalars))),
            "unit": ("scalar", units),
            **{f"weight_{t}": (place, np.broadcast_to(f, (len(scalars), *f.shape))) for t, f in maps.items()},
        },
        {"scalar": scalars, "tracer": list(TRACERS), "latitude": grid.latitude, "longitude": grid.longitude},
    )


def refits_of() -> xr.Dataset:
    """Without DIP two parameters are frozen, one moves by a factor of 20, and one changes its sign."""
    names = [*(f"without_{t}" for t in TRACERS), "only_O2_DOC"]
    fitted = np.array([[t not in n if n.startswith("without") else t in n for t in TRACERS] for n in names]).astype(int)
    score = np.where(fitted, 0.93, 0.55)
    score[5, 1] = -21.4
    ratio = np.exp(0.1 * np.random.default_rng(5).normal(size=(6, len(NAMES))))
    frozen = np.zeros(ratio.shape, int)
    frozen[0, :2], ratio[0, :4] = 1, [1.0, 1.0, 20.0, -1.0]
    pair = ("refit", "parameter")
    return xr.Dataset(
        {
            "skill_R2_volume": (("refit", "tracer"), score),
            "whole_R2_volume": (("refit", "tracer"), np.full(score.shape, 0.9)),
            "fitted": (("refit", "tracer"), fitted),
            "estimate": (pair, 2.0 * ratio),
            "whole_estimate": (pair, np.full(ratio.shape, 2.0)),
            "frozen": (pair, frozen),
            "converged": ("refit", [1, 1, 1, 1, 1, 0]),
        },
        {"refit": names, "parameter": list(NAMES), "tracer": list(TRACERS)},
    )


def result_of() -> xr.Dataset:
    """What a result file knows of the truth: one standard deviation above the centre."""
    values = TABLE.to_values(TABLE.to_vector() + spread_of())
    columns = {
        "parameter_name": list(NAMES),
        "parameter_transform": [row.transform for row in TABLE.free],
        "truth": [float(values[name]) for name in NAMES],
        "x": TABLE.to_vector(),
        "free": [1] * len(NAMES),
    }
    return xr.Dataset({name: ("parameter", column) for name, column in columns.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("posterior")
    chains = chains_of()
    chains.save(path / "chains.nc")
    tables = {
        "errors": errors_of(), "gaussian": gaussian_of(), "contraction": contraction_of(), "asymmetry": asymmetry_of(),
        "importance": importance_of(), "sample_summary": chains.summary(), "coverage": coverage_of(),
        "members": members_of(), "draws": draws_of(), "influence": influence_of(), "refits": refits_of(),
    }  # fmt: skip
    for name, table in tables.items():
        table.assign_attrs(fit=FIT).to_netcdf(path / f"{name}.nc")
    return path


@pytest.fixture(scope="module")
def tables(folder):
    return read_tables(folder, result_of())


@pytest.fixture(scope="module")
def drawn(tables):
    return figures(tables)


def words(figure: Figure) -> str:
    """Everything that is written in a figure."""
    axes = [text for part in figure.axes for text in (part.get_xlabel(), part.get_ylabel(), part.get_title(loc="left"))]
    ticks = [text.get_text() for part in figure.axes for text in (*part.get_yticklabels(), *part.get_xticklabels())]
    legends = [*figure.legends, *(part.get_legend() for part in figure.axes)]
    return " | ".join([*axes, *ticks, *(text.get_text() for part in legends if part for text in part.get_texts())])


def curve(axes, label):
    return next(part for part in [*axes.lines, *axes.patches, *axes.containers] if part.get_label() == label)


def ends(band) -> tuple[float, float]:
    """Limits of a band across, or of one along where it spans the panel across."""
    box = band.get_bbox()
    return (box.x0, box.x1) if (box.y0, box.y1) == (0.0, 1.0) else (box.y0, box.y1)


@pytest.mark.parametrize("name", PANELS)
def test_every_figure_is_drawn(drawn, name):
    assert len(drawn[name].axes) == PANELS[name]
    buffer = io.BytesIO()
    drawn[name].savefig(buffer, format="png", dpi=30)
    assert buffer.getbuffer().nbytes > 2000


def test_the_figures_are_those_of_the_report(drawn):
    assert set(drawn) == set(PANELS) == {picture.name for picture in PICTURES}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "errors",
            (
                "independent",
                "smooth",
                "% of the spread",
                "DIC\n1500 km\n0.5 (z + 100 m)",
                "error model: structured",
                "smooth error by depth",
            ),
        ),
        ("contraction", (*NAMES, "posterior over prior", "posterior alone, flat prior")),
        ("asymmetry", ("+0.74 sigma_P −0.56 b_P +0.27 kappa_dP", "third derivative")),
        ("marginals", (*NAMES, "truth", "Gaussian", "weighted ± 1 s.d.")),
        ("pairs", ("third co-moment +", "kappa_ru (s.d.)")),
        ("ranks_of_chains", (*NAMES, "chain 3", "uniform ± 2 s.d.")),
        ("coverage", (*NAMES, "68 % intervals of 60 twins", "intervals that hold the truth (%)", "structured: ")),
        ("ranks_of_truths", ("authors", "effective", "structured", "rank of the truth")),
        ("members", ("exponent-0_layers_of_export-0", "Pg C yr$^{−1}$", "between members", "published ± spread")),
        ("draws", (*QUANTITIES.values(), "linear error bar", "published ± spread")),
        ("influence_shares", (*NAMES, "respired_stock", *TRACERS, "prior", "share of the variance (%)")),
        ("influence_maps", ("DIP: ", "% of the variance", "change of TOC export", "Pg C yr$^{−1}$")),
        ("refits", (*NAMES, "whole fit", "without DIP", "only O2 DOC, not converged", "ratio to the whole fit")),
    ],
)
def test_labels(drawn, name, expected):
    for word in expected:
        assert word in words(drawn[name]), word


def test_ranks_of_chains_are_counted_against_their_band(drawn):
    axes = drawn["ranks_of_chains"].axes[0]
    counts = [part.get_data().values for part in axes.patches if part.get_label().startswith("chain")]
    assert len(counts) == 4 and all(count.sum() == 300 for count in counts)
    np.testing.assert_allclose(np.sum(counts, axis=0), 100.0)  # 1200 ranks in 12 bins
    bins = len(counts[0])
    spread = 2.0 * np.sqrt(300.0 / bins * (1.0 - 1.0 / bins))
    band = next(part for part in axes.patches if part.get_label().startswith("uniform"))
    assert ends(band) == pytest.approx((300.0 / bins - spread, 300.0 / bins + spread))


def test_a_chain_apart_leaves_the_band():
    chains = chains_of(shift=2.0).to_datatree()["unconstrained_posterior"].to_dataset()
    axes = posterior.rank_plots(chains[["sigma_P"]]).axes[0]
    first = next(part for part in axes.patches if part.get_label() == "chain 0").get_data().values
    assert first[-1] > 3 * 25 and first[0] < 5


def test_marginals_are_in_standard_deviations_of_the_gaussian(drawn):
    for axes in drawn["marginals"].axes:
        assert curve(axes, "truth").get_xdata() == pytest.approx([1.0, 1.0])
        weighted = curve(axes, "weighted ± 1 s.d.")
        assert weighted.lines[0].get_xdata() == pytest.approx([0.5])
        density, edges, _ = curve(axes, "draws").get_data()
        middle = 0.5 * (edges[1:] + edges[:-1])
        assert np.sum(density * np.diff(edges)) == pytest.approx(1.0, abs=0.01)
        assert np.sum(density * middle * np.diff(edges)) == pytest.approx(0.0, abs=0.15)


def test_marginals_without_truth_or_weights(tables):
    figure = posterior.marginals(tables["chains"], tables["gaussian"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["draws", "Gaussian"]


def test_the_bent_pair_comes_first(drawn):
    axes = drawn["pairs"].axes[0]
    hexagons = next(part for part in axes.collections if isinstance(part, PolyCollection))
    assert np.sum(hexagons.get_array()) == 1200
    assert axes.get_xlabel() == "kappa_ru (s.d.)" and axes.get_ylabel() == "b_C (s.d.)"
    assert float(axes.get_title(loc="left").split()[-1]) == pytest.approx(1.2 / np.sqrt(1.72), abs=0.2)


def test_coverage_is_drawn_in_percent_with_its_binomial_band(drawn, tables):
    table = tables["coverage"]
    for axes, level in zip(drawn["coverage"].axes, (0.68, 0.95), strict=True):
        error = np.sqrt(level * (1.0 - level) / 60)
        assert ends(axes.patches[0]) == pytest.approx((100 * (level - 2 * error), 100 * (level + 2 * error)))
        pooled = 100 * float(table["pooled_coverage"].sel({"method": "authors", "interval": level}))
        points = curve(axes, f"authors: {pooled:.0f} % pooled")
        np.testing.assert_allclose(
            points.get_xdata(), 100 * table["coverage"].sel({"method": "authors", "interval": level})
        )


def test_ranks_of_truths_are_pooled_over_parameters(drawn):
    for axes in drawn["ranks_of_truths"].axes:
        counts, *_ = next(part for part in axes.patches if hasattr(part, "get_data")).get_data()
        number = 60 * len(NAMES)
        assert counts.sum() == number
        spread = 2.0 * np.sqrt(0.1 * 0.9 * number)
        assert ends(curve(axes, "uniform ± 2 s.d.")) == pytest.approx((0.1 * number - spread, 0.1 * number + spread))
    heaped = drawn["ranks_of_truths"].axes[0].patches[0].get_data().values
    assert min(heaped[0], heaped[-1]) > 2 * heaped[4]


def test_members_with_their_mean_spread_and_published_values(drawn, tables):
    axes, row = drawn["members"].axes[0], tables["members"].sel(quantity="poc_export")
    mean, between = float(row["mean"]), float(row["between_sd"])
    assert ends(curve(axes, "between members")) == pytest.approx((mean - between, mean + between))
    assert curve(axes, "mean").get_xdata()[0] == pytest.approx(mean)
    assert curve(axes, "published ± spread").get_xdata()[0] == 10.63
    np.testing.assert_allclose(curve(axes, "member ± 1 s.d.").lines[0].get_xdata(), row["value"])


def test_one_member_has_no_spread():
    figure = studies.member_figure(members_of(1))
    left, right = ends(curve(figure.axes[0], "between members"))
    assert left == right


def test_draws_beside_their_linear_error_bar(drawn, tables):
    axes, row = drawn["draws"].axes[3], tables["draws"].sel(quantity="toc_export")
    line = curve(axes, "linear error bar")
    assert line.get_xdata()[np.argmax(line.get_ydata())] == pytest.approx(float(row["mean"]))
    assert np.max(line.get_ydata()) == pytest.approx(1.0 / (0.3 * np.sqrt(2.0 * np.pi)))
    density, edges, _ = curve(axes, "draws").get_data()
    assert np.sum(density * np.diff(edges)) == pytest.approx(1.0)


def test_bars_of_contraction_end_at_the_ratio(drawn):
    axes = drawn["contraction"].axes[0]
    informed, flat = curve(axes, "posterior over prior"), curve(axes, "posterior alone, flat prior")
    np.testing.assert_allclose([bar.get_x() + bar.get_width() for bar in informed], spread_of()[:-1] / 0.25)
    assert [bar.get_x() + bar.get_width() for bar in flat] == pytest.approx([spread_of()[-1]])
    assert axes.get_xscale() == "log"


def test_shares_add_up_to_all(drawn, tables):
    for axes, count in zip(drawn["influence_shares"].axes, (8, 21), strict=True):
        ends_of_rows = np.array([[bar.get_x() + bar.get_width() for bar in bars] for bars in axes.containers])
        assert ends_of_rows.shape == (6, count)
        np.testing.assert_allclose(ends_of_rows[-1], 100.0)
    first = drawn["influence_shares"].axes[0].containers[0][0].get_width()
    assert first == pytest.approx(100 * float(tables["influence"]["variance_share"][0, 0]))


def test_maps_leave_out_where_nothing_is_observed(drawn, tables):
    meshes = [[m for m in axes.collections if isinstance(m, QuadMesh)][-1] for axes in drawn["influence_maps"].axes[:5]]
    weights = tables["influence"].sel(scalar="toc_export")
    for mesh, tracer in zip(meshes, TRACERS, strict=True):
        seen = np.ma.masked_invalid(mesh.get_array()).compressed()
        field = weights[f"weight_{tracer}"].values
        np.testing.assert_allclose(np.sort(seen), np.sort(field[field > 0.0]))
    assert len({mesh.norm.vmax for mesh in meshes}) == 1


def test_refits_beside_the_whole_fit(drawn):
    left, right = drawn["refits"].axes
    cells = [text.get_text() for text in left.texts]
    assert cells[:5] == ["0.90"] * 5 and cells[5:10] == ["0.55", *["0.93"] * 4] and cells[-4] == "−21"
    assert len(left.lines) == 5 + 5 * 4 + 2  # dots of fitted tracers
    assert not any(isinstance(part, PathCollection) for part in right.collections)
    marks = [(line.get_marker(), line.get_markerfacecolor()) for line in right.lines[:4]]
    assert [mark for mark, _ in marks] == ["o", "o", ">", "<"]
    assert [face for _, face in marks[:2]] == ["white", "white"] and "white" not in marks[2]


@pytest.mark.parametrize(("kind", "tick"), [("paper", "DIP"), ("per_tracer", "DIP\n1500 km\n800 m")])
def test_errors_without_a_smooth_part_show_what_counts(kind, tick):
    axes = posterior.errors_figure(errors_of(kind)).axes[0]
    assert [bar.get_height() for bar in curve(axes, "counted as independent")] == [310.0, 290.0, 250.0, 400.0, 120.0]
    assert axes.get_yscale() == "log" and axes.get_xticklabels()[0].get_text() == tick


def test_directions_without_a_steady_state_have_no_bar(drawn):
    bars = drawn["asymmetry"].axes[0].patches
    assert bars[0].get_width() == pytest.approx(0.3)  # the loosest, which the table has last
    assert bars[-2].get_width() == 0.0


@pytest.fixture
def section(monkeypatch):
    """The section of some tables, without figures, which take most of the time."""
    monkeypatch.setattr(posterior_report, "figures", lambda tables: {})
    return lambda tables, fit=FIT: posterior_section(tables, fit)


def test_the_section_holds_the_numbers(section, tables):
    text = section(tables)
    pooled = 100 * float(tables["coverage"]["pooled_coverage"].sel({"method": "structured", "interval": 0.68}))
    for word in (
        "k-hat = 0.31, below 0.7, so that the weighted moments can be relied on. 50 draws are worth 42",
        '<p class="warning">the data hardly inform [+1.00 beta]</p>',
        "Error model: structured", "<td>7,680</td><td>400</td><td>10</td><td>20</td><td>1,500</td><td>0.5</td>",
        "Samples of the posterior", "3 divergences", f"<td class=\"text\">structured</td><td>{pooled:.0f} %</td>",
        "60 twins of known truth. 2 more could not be fitted", "Binomial error of one parameter: 6.0 % and 2.8 %",
        "s.d. between members", "10.63 ± 0.14", "2 more numbers", "linear error bar", "<td>0.30</td>",
        "sigma_P, Q10_P", "<td>−21.40</td>",
    ):  # fmt: skip
        assert word in text, word
    assert "another fit" not in text


def test_weights_that_cannot_be_relied_on_and_chains_that_have_not_mixed(section, tables):
    apart = chains_of(shift=2.0).summary().assign_attrs(fit=FIT)
    text = section({"importance": importance_of(0.9).assign_attrs(fit=FIT), "sample_summary": apart})
    assert "not below 0.7, so that the weighted moments cannot be relied on" in text
    assert text.count('<tr class="flag">') == 21


def test_tables_of_another_fit_are_named(section, tables):
    text = section(tables, "another")
    named = sorted(set(tables) - {"coverage", "truth"})
    assert f"Computed from another fit than this one: {', '.join(sorted([*named, 'truth']))}." in text
    assert "commands laplace, sample, ensemble and sensitivity again" in text


def test_a_figure_follows_the_numbers_where_its_tables_are_there(tables):
    text = posterior_section({"errors": tables["errors"]}, FIT)
    assert text.count("data:image/png") == 1 and PICTURES[0].caption in text
    assert posterior_section({}, FIT) == ""


def test_what_cannot_be_read_is_left_out(folder, tmp_path, caplog):
    (tmp_path / "errors.nc").write_text("no netCDF")
    xr.Dataset({"something": 1.0}).to_netcdf(tmp_path / "coverage.nc")
    xr.Dataset({"something": 1.0}).to_netcdf(tmp_path / "chains.nc")
    (tmp_path / "importance.nc").write_bytes((folder / "importance.nc").read_bytes())
    with caplog.at_level(logging.WARNING, "invbgc"):
        found = read_tables(tmp_path, result_of())
    assert set(found) == {"importance"} and figures(found) == {}
    assert [name for name in TABLES if f"{name}.nc is left out" in caplog.text] == ["errors", "chains", "coverage"]
    assert "coverage.nc is left out: it has no coverage, pooled_coverage" in caplog.text


def test_tables_are_written_with_their_figures(tmp_path):
    described = RunFile.model_validate({"run": {"output": str(tmp_path)}})
    folder = uncertainty.save(described, {"errors": errors_of("paper")})
    assert folder == tmp_path / "posterior"
    assert {path.name for path in folder.iterdir()} == {"errors.nc", "errors.png"}


def test_the_report_takes_the_section_up(tmp_path, monkeypatch):
    monkeypatch.setattr(markup, "image", lambda figure, caption, narrow=False: f"<p>{caption}</p>")
    whole = tiny_result(twin=False)
    heavy = ("model_", "observed_", "poc", "hessian", "covariance", "history")
    result = whole.drop_vars([name for name in whole.data_vars if str(name).startswith(heavy)])
    result["free"] = "parameter", [1, 1, 0]
    result.to_netcdf(tmp_path / "fit.nc")
    (tmp_path / "posterior").mkdir()
    mark = fingerprint(result["x"].values[:2])
    importance_of().assign_attrs(fit=mark).to_netcdf(tmp_path / "posterior" / "importance.nc")
    page = run.write_report(tmp_path / "fit.nc").read_text(encoding="utf-8")
    assert '<section id="posterior"><h2>How sure</h2><p>Draws of the Gaussian were weighted' in page
    assert "another fit" not in page
