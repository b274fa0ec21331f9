"""Transient runs: balances, means over steps, restarts and refinement in time."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.constants import YEAR
from invbgc.datasets.idealised import idealised_forcing
from invbgc.errors import ConvergenceError, InputError
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.transient import integrate
from invbgc.transient.atmosphere import load_atmosphere
from invbgc.transient.equilibrium import SteadyTracer
from invbgc.transient.industrial import history, industrial_carbon
from invbgc.transient.integrate import Clock, Samples, Simulation, TransientModel
from tests.oceans import toy_state
from tests.properties.cases import CIRCULATIONS

CLOCK = Clock(1950.0, 8, 6)


class Case(NamedTuple):
    """The industrial era of a toy ocean: a compiled simulation that looks at some boxes, and a steady start."""

    model: PCOModel
    simulation: Simulation
    theta: dict[str, Any]
    start: np.ndarray


def make_model() -> PCOModel:
    ocean = CIRCULATIONS["few_box"]()
    return PCOModel(ocean, idealised_forcing(ocean.grid), None, pco_parameters("published"), "superlu")


def make_samples(model: PCOModel, clock: Clock) -> Samples:
    """Fifty boxes and steps, several of some steps and twice the same."""
    rng, steps = np.random.default_rng(0), clock.years * clock.steps_per_year
    step = np.append(rng.integers(0, steps, 49), 0)
    box = rng.integers(0, model.grid.n_wet, 50)
    step[1], box[1] = step[0], box[0]
    return Samples(step, np.arange(50) // 2 % 2, box)


@pytest.fixture(scope="module")
def case() -> Case:
    state = toy_state("few_box", PCOOptions())
    model, fields = state.model, {name: part for name, part in state.fields.items() if name != "O2"}
    theta = {"x": model.table.to_vector(), "fields": fields}
    forcing = history(model, load_atmosphere())
    simulation = Simulation(industrial_carbon(model), CLOCK, forcing, samples=make_samples(model, CLOCK))
    dic = np.asarray(theta["fields"]["DIC"])
    still = forcing(1850.0)._replace(pco2=np.asarray(model.options.pco2_atm))
    ratio = SteadyTracer(simulation.model, "DI14C", still).solve(np.stack([dic, dic]), theta)
    return Case(model, simulation, theta, np.stack([dic, ratio]))


def relaxing(model: PCOModel, loss: float = 0.0) -> TransientModel:
    """Two tracers; the surface is drawn to the forcing at theta a year, the second by half of it. Cheap to compile."""
    columns, share = model.grid.n_columns, jnp.array([[1.0], [0.5]])

    def source(c, now, rate):
        return jnp.zeros_like(c).at[:, :columns].set(share * rate * (now - c[:, :columns]))

    losses = np.stack([np.zeros(model.grid.n_wet), np.full(model.grid.n_wet, loss)])
    volume = model.grid.volume
    return TransientModel(("one", "two"), model.systems["tracer"], losses, volume, lambda rate: rate / YEAR, source)


def wave(year: float) -> np.ndarray:
    return np.asarray(10.0 + np.sin(year))


# ---------------------------------------------------------------------- clock


def test_steps_of_times():
    clock = Clock(1990.0, 10, 6)
    year = np.array([1990.0, 1990.0 + 1 / 6, 1990.16, 1999.999, 1989.9999, 2000.0, 2020.0, 1995.5])
    np.testing.assert_array_equal(clock.step_of(year), [0, 1, 0, 59, -1, -1, -1, 33])
    # Every start of a step belongs to it, in spite of rounding.
    for steps in (6, 7, 12):
        fine = Clock(1850.0, 170, steps)
        np.testing.assert_array_equal(fine.step_of(fine.times[:-1]), np.arange(1, 170 * steps))
    assert clock.times[0] == pytest.approx(1990.0 + 1 / 6) and clock.times[-1] == 2000.0
    assert clock.times.size == 60 and clock.step == YEAR / 6


@pytest.mark.parametrize("numbers", [(0, 6), (10, 0)])
def test_empty_clocks_are_refused(numbers):
    with pytest.raises(InputError, match="expected one at least"):
        Clock(1850.0, *numbers)


# ---------------------------------------------------------------------- balances


@pytest.mark.parametrize("scheme", ["dirk2", "trapezoid"])
def test_uniform_tracers_stay_uniform_without_sources(scheme):
    """Theta zero: nothing but transport, and a loss of the second tracer."""
    model, loss = make_model(), 1.0 / (5.0 * YEAR)
    simulation = Simulation(relaxing(model, loss), Clock(1950.0, 5, 12), wave, scheme)
    start = np.stack([np.full(model.grid.n_wet, 3.0), np.full(model.grid.n_wet, 2.0)])
    run = simulation.run(start, 0.0)
    np.testing.assert_allclose(run.final[0], 3.0, rtol=1e-12)
    np.testing.assert_allclose(run.final[1], 2.0 * np.exp(-1.0), rtol=1e-3)
    np.testing.assert_allclose(run.final[1], run.final[1, 0], rtol=1e-12)
    assert np.all(run.series["gained"] == 0.0)


def test_a_steady_start_stays(case, monkeypatch):
    still = case.simulation.forcing(1850.0)._replace(pco2=np.asarray(case.model.options.pco2_atm))
    monkeypatch.setattr(case.simulation, "forcing", lambda year: still)
    run = case.simulation.run(case.start, case.theta)
    np.testing.assert_allclose(run.final, case.start, rtol=1e-10)
    samples = case.simulation.samples
    np.testing.assert_allclose(run.samples, case.start[samples.tracer, samples.box], rtol=1e-10)


def test_inventories_change_by_what_was_gained(case):
    run = case.simulation.run(case.start, case.theta)
    inventory, gained = run.series["inventory"].values, run.series["gained"].values
    first = 1e-3 * case.start @ case.model.grid.volume
    change = np.diff(np.vstack([first, inventory]), axis=0)
    np.testing.assert_allclose(change, gained, atol=1e-10 * np.abs(gained).max())
    np.testing.assert_allclose(inventory[-1], 1e-3 * run.final @ case.model.grid.volume, rtol=1e-14)
    assert gained[:, 0].sum() > 1e-4 * first[0]
    np.testing.assert_allclose(run.series["time"], CLOCK.times)


def test_values_that_are_not_finite_are_an_error():
    """An explicit restoring far too stiff for the step."""
    model = make_model()
    simulation = Simulation(relaxing(model), Clock(1950.0, 60, 6), wave)
    with pytest.raises(ConvergenceError):
        simulation.run(np.zeros((2, model.grid.n_wet)), 1e9)


# ---------------------------------------------------------------------- samples


def test_samples_are_means_over_step_and_box():
    """One step a year, so that the states at the start of every year are all there are."""
    model, clock = make_model(), Clock(1950.0, 6, 1)
    samples = make_samples(model, clock)
    simulation = Simulation(relaxing(model), clock, wave, samples=samples)
    run = simulation.run(np.zeros((2, model.grid.n_wet)), 0.7, keep=True)
    states = np.array([*run.yearly, run.final])
    means = 0.5 * (states[1:] + states[:-1])
    np.testing.assert_allclose(run.samples, means[samples.step, samples.tracer, samples.box], rtol=1e-13)
    assert np.unique(run.samples).size > 40 and run.samples[0] == run.samples[1]
    assert len(run.yearly) == 6
    for bad in (-1, 6):
        with pytest.raises(InputError, match=f"samples of steps .*{bad}.*; the run has 6"):
            Simulation(relaxing(model), clock, wave, samples=Samples(np.array([0, bad]), np.zeros(2, int), [0, 0]))


def test_no_samples():
    model = make_model()
    run = Simulation(relaxing(model), Clock(1950.0, 1, 2), wave).run(np.ones((2, model.grid.n_wet)), 0.1)
    assert run.samples.shape == (0,) and not run.yearly and not run.book and not run.snapshots


# ---------------------------------------------------------------------- restarts


class Interrupted(Exception):
    """What stops a run in the tests."""


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(case, tmp_path, monkeypatch):
    monkeypatch.setattr(integrate, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(integrate, "TELL_EVERY", 0.0)
    rows: list[int] = []

    def book(state):
        rows.append(1)
        return {"mean": state.mean(), "top": state[:, :3]}

    def stop(line):
        if line.startswith("year 1954"):
            raise Interrupted

    run, path = case.simulation.run, tmp_path / "restart.nc"
    more = {"book": book, "snapshots": (1952.0, 1955.0, 1958.0)}
    straight = run(case.start, case.theta, **more)
    assert len(rows) == CLOCK.years + 1
    with pytest.raises(Interrupted):
        run(case.start, case.theta, stop, path, **more)
    rows.clear()
    lines: list[str] = []
    resumed = run(case.start, case.theta, lines.append, path, **more)
    assert lines[0] == f"continued from {path}, year 1953" and len(rows) == 5
    np.testing.assert_array_equal(resumed.final, straight.final)
    np.testing.assert_array_equal(resumed.samples, straight.samples)
    assert resumed.series.equals(straight.series)
    assert set(resumed.book) == {"mean", "top"} and resumed.book["top"].shape == (9, 2, 3)
    for name, values in straight.book.items():
        np.testing.assert_array_equal(resumed.book[name], values)
    assert list(resumed.snapshots) == list(straight.snapshots) == [1952.0, 1955.0, 1958.0]
    for year, state in straight.snapshots.items():
        np.testing.assert_array_equal(resumed.snapshots[year], state)
    np.testing.assert_array_equal(straight.snapshots[1958.0], straight.final)
    # A file of the finished run is all of it.
    rows.clear()
    again = run(case.start, case.theta, None, path, **more)
    np.testing.assert_array_equal(again.final, straight.final)
    assert not rows


def test_files_of_other_runs_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(integrate, "SAVE_EVERY", 0.0)
    model, path = make_model(), tmp_path / "restart.nc"
    simulation = Simulation(relaxing(model), Clock(1950.0, 4, 2), wave)
    zeros = np.zeros((2, model.grid.n_wet))
    simulation.run(zeros, 0.7, restart=path)
    for start, rate in ((zeros + 1.0, 0.7), (zeros, 0.6)):
        lines: list[str] = []
        fresh = simulation.run(start, rate, lines.append, path)
        assert not any("continued" in line for line in lines)
        np.testing.assert_array_equal(fresh.final, simulation.run(start, rate).final)
    # A forcing that differs on the way but not at the ends.
    monkeypatch.setattr(simulation, "forcing", lambda year: wave(year) + 5.0 * (1950.5 < year < 1953.5))
    assert simulation.run(zeros, 0.6, restart=path).final.max() > 1.01 * fresh.final.max()
    path.write_bytes(b"not a file of ours")
    np.testing.assert_array_equal(simulation.run(zeros, 0.6, restart=path).final, simulation.run(zeros, 0.6).final)


# ---------------------------------------------------------------------- refinement


def test_second_order_in_time_with_gas_exchange(case):
    """Excess DIC and radiocarbon after two years of the bomb, with ever shorter steps."""
    forcing, finals = case.simulation.forcing, {}
    for steps in (6, 12, 24, 96):
        simulation = Simulation(case.simulation.model, Clock(1962.0, 2, steps), forcing)
        finals[steps] = simulation.run(case.start, case.theta).final
    errors = np.array([np.abs(finals[steps] - finals[96]).max(axis=1) for steps in (6, 12, 24)])
    change = np.abs(finals[96] - case.start).max(axis=1)
    assert np.all(errors[0] < 0.02 * change)
    # Against 96 steps instead of the limit, ratios of order two are 4.05 and 4.2.
    np.testing.assert_allclose(errors[:-1] / errors[1:], [[4.05] * 2, [4.2] * 2], rtol=0.15)
