"""Calibration of the gas exchange in a twin: alone, jointly with the parameters, and in rounds."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

from invbgc.datasets.idealised import idealised_forcing
from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.models.pco.parameters import GAS_EXCHANGE
from invbgc.observations import TRACERS, Observations
from invbgc.transient import rounds
from invbgc.transient.atmosphere import load_atmosphere
from invbgc.transient.bottles import CellMeans, DatedBottles, cell_means
from invbgc.transient.calibrate import (
    JointFit,
    JointProblem,
    ScaleFit,
    by_box,
    era_of,
    fit_scale,
    with_background,
)
from invbgc.transient.era import IndustrialEra
from invbgc.transient.integrate import Clock
from invbgc.transient.rounds import Calibration, alternate
from tests.properties.cases import CIRCULATIONS

FREE = ("sigma_C", "b_C", "kappa_dC")
TRUE = 0.7
CLOCK = Clock(1945.0, 50, 6)
NOISE = {"D14C": 5.0, "DIC": 2.0}


class Twin(NamedTuple):
    """The joint problem, whose era serves all calibrations, and the truth."""

    joint: JointProblem
    era: IndustrialEra
    x: np.ndarray


@pytest.fixture(scope="module")
def twin() -> Twin:
    """Steady tracers everywhere with 5 per cent of noise; 300 bottles of DIC and D14C each, of 1970 to 1995."""
    ocean = CIRCULATIONS["few_box"]()
    forcing, grid, atmosphere = idealised_forcing(ocean.grid), ocean.grid, load_atmosphere()
    published = pco_parameters("published")
    table = published.freeze([name for name in published.names if name not in FREE])
    model = PCOModel(ocean, forcing, PCOOptions(), table, "superlu")
    blank = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, grid))
    rng = np.random.default_rng(0)
    box, year = rng.integers(0, grid.n_wet, 300), 1970.0 + 25.0 * rng.random(300)
    places = tuple(cell_means(DatedBottles(name, box, year, rng.normal(size=300)), CLOCK, grid) for name in NOISE)
    # The trapezoid compiles in half the time; its errors are the same in the truth and in the model.
    source = era_of(blank, atmosphere, CLOCK, places, "trapezoid")
    x = source.posterior.table.with_values({GAS_EXCHANGE: TRUE}).to_vector()
    truth = source.simulate(source.posterior.value(x))
    observable = truth.evaluation.state.observable
    cells = []
    for cell in places:
        value = truth.predicted[cell.name] + NOISE[cell.name] * rng.normal(size=cell.value.size)
        if cell.name == "DIC":
            value = value + np.asarray(observable["DIC"])[cell.box]
        middle = CLOCK.start + (cell.step + 0.5) / CLOCK.steps_per_year
        cells.append(cell_means(DatedBottles(cell.name, cell.box, middle, value), CLOCK, grid))
    boxes = dict.fromkeys(TRACERS, np.arange(grid.n_wet))
    made = synthetic_observations(observable, boxes, grid, 0.05, 0.0, seed=3)
    fields = {tracer: np.full(grid.n_wet, np.nan) for tracer in TRACERS}
    for tracer, data in made.items():
        fields[tracer][data.index] = data.noisy
    posterior = Posterior(model, Observations.from_fields(fields, grid))
    joint = JointProblem(era_of(posterior, atmosphere, CLOCK, tuple(cells), "trapezoid"))
    return Twin(joint, joint.era, x)


@pytest.fixture(scope="module")
def alone(twin) -> ScaleFit:
    return fit_scale(twin.era, twin.era.posterior.x0)


@pytest.fixture(scope="module")
def jointly(twin) -> JointFit:
    return twin.joint.fit(twin.joint.x0)


@pytest.mark.slow
def test_radiocarbon_alone_recovers_the_scale(twin, alone):
    assert abs(np.log(alone.scale / TRUE)) < 3.0 * alone.error
    assert 1e-4 < alone.error < 0.05
    scales, misfits = zip(*alone.trials, strict=True)
    assert scales[0] == pytest.approx(1.0) and scales[-1] == alone.scale
    assert min(misfits) <= misfits[-1] * (1.0 + 1e-6) and misfits[0] > 5.0 * misfits[-1]
    # What is left is the noise that was put in.
    cells = twin.era.cells[0]
    residual = alone.predicted["D14C"] - cells.value
    assert np.std(residual) == pytest.approx(NOISE["D14C"] / np.sqrt(cells.count.mean()), rel=0.2)
    table = alone.to_dataset()
    assert table.sizes["trial"] == len(scales) and float(table["scale_best"]) == alone.scale
    assert float(table["scale_error"]) == pytest.approx(alone.scale * alone.error)


@pytest.mark.slow
def test_gradient_of_the_joint_problem_is_that_of_differences(twin):
    joint, x = twin.joint, twin.joint.x0 + 0.05 * np.array([1.0, -1.0, 1.0, -2.0])
    here = joint.evaluate(x)
    assert joint.value(x, here.steady) == pytest.approx(here.value, rel=1e-12)
    h = 2e-3
    for direction in (np.cos(np.arange(4.0)), np.eye(4)[joint.posterior.names.index(GAS_EXCHANGE)]):
        near, far = (
            joint.value(x + k * h * direction, here.steady) - joint.value(x - k * h * direction, here.steady)
            for k in (1, 2)
        )
        difference = (8.0 * near - far) / (12.0 * h)
        assert here.gradient @ direction == pytest.approx(difference, rel=1e-7)
    eigenvalues = np.linalg.eigvalsh(here.curvature)
    assert np.all(eigenvalues > 0.0)
    np.testing.assert_allclose(here.curvature, here.curvature.T, rtol=1e-12)


@pytest.mark.slow
def test_joint_fit_agrees_with_radiocarbon_alone(twin, alone, jointly):
    assert abs(np.log(jointly.scale / TRUE)) < 3.0 * jointly.error
    assert abs(np.log(jointly.scale / alone.scale)) < jointly.error
    assert jointly.error == pytest.approx(alone.error, rel=0.1)
    assert np.all(np.diff(jointly.history) < 0.0) and len(jointly.history) <= 8
    row = twin.joint.posterior.names.index(GAS_EXCHANGE)
    assert np.exp(jointly.x[row]) == jointly.scale
    assert np.abs(jointly.gradient).max() < 1e-3 * np.abs(twin.joint.evaluate(twin.joint.x0).gradient).max()
    assert np.all(np.abs(jointly.x - twin.x) < 0.3)


# ---------------------------------------------------------------------- background


def test_background_is_measured_minus_excess():
    """Two cells of box 4 with one and three bottles, one of box 7."""
    grid = CIRCULATIONS["few_box"]().grid
    dic = CellMeans("DIC", np.array([4, 7, 4]), np.array([0, 1, 2]), np.array([2010.0, 2100.0, 2030.0]),
                    np.array([1, 2, 3]), np.ones(3), 0)  # fmt: skip
    boxes, means = by_box(dic, np.array([1.0, 2.0, 5.0]))
    np.testing.assert_array_equal(boxes, [4, 7])
    np.testing.assert_allclose(means, [4.0, 2.0])
    observed = Observations.from_fields({"ALK": np.full(grid.n_wet, 2300.0) + np.arange(grid.n_wet)}, grid)
    found = with_background(observed, dic, np.array([10.0, 20.0, 30.0]))
    np.testing.assert_array_equal(found.tracers["DIC"].index, [4, 7])
    np.testing.assert_allclose(found.tracers["DIC"].value, [2000.0, 2080.0])
    np.testing.assert_array_equal(found.tracers["ALK"].value, observed.tracers["ALK"].value)
    assert found.attrs["processing_DIC"].startswith("6 dated bottles in 2 boxes")


# ---------------------------------------------------------------------- rounds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rounds")


@pytest.fixture(scope="module")
def calibration(twin, folder) -> Calibration:
    return alternate(twin.era, folder, lambda line: None, most=6)


@pytest.mark.slow
def test_rounds_recover_the_scale(twin, alone, jointly, calibration, folder):
    last = calibration.rounds[-1]
    assert 2 <= len(calibration.rounds) <= 6 and last.moved < 0.1
    assert abs(np.log(last.scale / TRUE)) < 3.0 * last.error
    assert abs(np.log(last.scale / jointly.scale)) < last.error
    assert calibration.rounds[0].scale == pytest.approx(alone.scale, rel=1e-3)
    assert [round_.moved for round_ in calibration.rounds] == sorted(
        (round_.moved for round_ in calibration.rounds), reverse=True
    )
    # Rounds and the joint problem differ in the weights of the background alone.
    others = np.delete(jointly.x, twin.joint.posterior.names.index(GAS_EXCHANGE))
    np.testing.assert_allclose(last.x, others, atol=1e-3)
    table = calibration.to_dataset()
    np.testing.assert_array_equal(table["round_scale"], [round_.scale for round_ in calibration.rounds])
    assert set(calibration.predicted) == {"D14C", "DIC"}
    for number in range(1, len(calibration.rounds) + 1):
        assert (folder / f"round_{number:02d}" / "fit.nc").is_file()
        with xr.open_dataset(folder / f"round_{number:02d}" / "scale.nc") as data:
            assert float(data["scale_best"]) == calibration.rounds[number - 1].scale


@pytest.mark.slow
def test_rounds_go_on_from_their_files(twin, calibration, folder, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("computed again")

    monkeypatch.setattr(rounds, "fit_scale", refuse)
    monkeypatch.setattr(rounds, "find_optimum", refuse)
    lines: list[str] = []
    again = alternate(twin.era, folder, lines.append, most=6)
    assert len(again.rounds) == len(calibration.rounds)
    assert sum("taken from" in line for line in lines) == 2 * len(again.rounds)
    for one, two in zip(calibration.rounds, again.rounds, strict=True):
        assert one[:5] == two[:5]
        np.testing.assert_array_equal(one.x, two.x)
    for name, values in calibration.predicted.items():
        np.testing.assert_array_equal(again.predicted[name], values)
    with pytest.raises(ConvergenceError, match=r"1 rounds did not agree; the last moved by .* error bars"):
        alternate(twin.era, folder, lambda line: None, most=1)
    # Other cells are another calibration.
    d14c, dic = twin.era.cells
    other = replace(twin.era, cells=(replace(d14c, value=d14c.value + 1.0), dic))
    with pytest.raises(AssertionError, match="computed again"):
        alternate(other, folder, lambda line: None)


# ---------------------------------------------------------------------- errors


@pytest.mark.slow  # of the twin
@pytest.mark.parametrize("kept", ["D14C", "DIC"])
def test_missing_cells_are_refused(twin, kept, tmp_path):
    poor = replace(twin.era, cells=tuple(cell for cell in twin.era.cells if cell.name == kept))
    lacking = {"D14C": "DIC", "DIC": "D14C"}[kept]
    message = f"calibration needs dated bottles of {lacking}; found those of {kept}"
    with pytest.raises(InputError, match=message):
        JointProblem(poor)
    with pytest.raises(InputError, match=message):
        alternate(poor, tmp_path) if kept == "D14C" else fit_scale(poor, poor.posterior.x0)
    with pytest.raises(InputError, match="found those of nothing"):
        fit_scale(replace(poor, cells=()), poor.posterior.x0)
