"""Fits: the optimum, progress, checkpoints, interruption, resumption."""

import logging

import jax
import numpy as np
import pytest
from mock_posterior import TRUTH, MockPosterior, fail_at, interrupt_at

from invbgc.errors import CheckpointError, InputError
from invbgc.inference.fit import Fit, Iteration, fit

NOT_COMPARED = ("seconds", "memory", "remaining")


def assert_same(one: Fit, two: Fit):
    for name in ("x", "gradient", "hessian"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.value == two.value and one.status == two.status
    assert one.history.drop_vars(NOT_COMPARED).identical(two.history.drop_vars(NOT_COMPARED))
    kept = {key: value for key, value in one.stats.items()}
    assert kept == pytest.approx(dict(two.stats), rel=1e-12)
    assert one.fields.identical(two.fields) and one.skill.identical(two.skill)


@pytest.fixture(scope="module")
def straight():
    return fit(MockPosterior())


def test_finds_the_optimum(straight):
    posterior = MockPosterior()
    assert straight.status == "converged" and straight.converged
    assert np.abs(np.asarray(jax.grad(posterior)(straight.x))).max() < 1e-8
    assert np.linalg.eigvalsh(straight.hessian)[0] > 0
    for name, value in TRUTH.items():
        assert straight.table[name].value == pytest.approx(value, rel=0.25, abs=0.1), name
    assert straight.table["kappa_dP"].value == 5.0
    assert straight.initial["alpha"] == pytest.approx(1.2)
    assert float(straight.skill["R2_volume"].min()) > 0.99
    assert straight.stats["evaluations"] == straight.history["evaluations"][-1]
    assert straight.stats["max_residual"] == 1e-14
    assert set(straight.fields) >= {"model_DIP", "observed_O2", "volume", "area", "poc_export", "latitude_bounds"}
    assert float(straight.fields["poc_export"].max()) == pytest.approx(1e-4 * 1e-3 * 3.1536e7)


def test_rejected_trials_cost_only_a_value_and_guesses_are_passed(straight):
    posterior = MockPosterior(hook=fail_at(2, 4))
    result = fit(posterior)
    accepted = result.history["accepted"].values
    assert posterior.completed == accepted.sum()
    assert posterior.count == result.stats["evaluations"]
    assert accepted.size - accepted.sum() >= 2
    assert all(guess is not None for guess in posterior.guesses[1:])
    assert result.status == "converged"
    assert result.x == pytest.approx(straight.x, abs=1e-6)
    reasons = result.history["reason"].values
    assert sum("no steady state" in reason for reason in reasons) == 2


def test_progress_callback_and_log(straight, caplog):
    lines: list[Iteration] = []
    with caplog.at_level(logging.INFO, logger="invbgc"):
        fit(MockPosterior(), progress=lines.append)
        fit(MockPosterior())
    assert [line.iteration for line in lines] == list(straight.history["iteration"].values)
    assert all(word in str(lines[-1]) for word in ("iteration", "|g|", "radius", "factorisations", "GB"))
    assert sum(message.startswith("iteration") for message in caplog.messages) == len(lines)
    assert lines[-1].factorisations == 3 * lines[-1].evaluations


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_resumed_in_pieces_equals_straight_run(straight, tmp_path, budget):
    pieces = 0
    while True:
        result = fit(MockPosterior(), max_evaluations=budget, checkpoint=tmp_path)
        pieces += 1
        if result.status != "max_evaluations":
            break
        assert pieces < 60
    assert pieces > 1
    assert_same(result, straight)
    again = MockPosterior()
    assert_same(fit(again, checkpoint=tmp_path), straight)
    assert again.count == 0, "a finished fit is read, not computed"


@pytest.mark.parametrize("number", [1, 3, 6])
def test_interrupt_leaves_a_usable_checkpoint(straight, tmp_path, number):
    with pytest.raises(KeyboardInterrupt, match="continue"):
        fit(MockPosterior(hook=interrupt_at(number)), checkpoint=tmp_path)
    assert_same(fit(MockPosterior(), checkpoint=tmp_path), straight)


def test_interrupt_before_anything_is_saved(straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(MockPosterior(hook=interrupt_at(0)), checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        fit(MockPosterior(hook=interrupt_at(2)))
    assert_same(fit(MockPosterior(), checkpoint=tmp_path), straight)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
def test_corrupted_checkpoint_falls_back(straight, tmp_path, caplog, damage):
    fit(MockPosterior(), max_evaluations=6, checkpoint=tmp_path)
    files = sorted(tmp_path.glob("checkpoint_*.npz"))
    assert len(files) == 3
    content = bytearray(files[-1].read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[content.index(b"hessian.npy") + 200] ^= 0x01
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(b"not a checkpoint at all")
    files[-1].write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="invbgc"):
        result = fit(MockPosterior(), checkpoint=tmp_path)
    assert any("damaged" in message and files[-1].name in message for message in caplog.messages)
    assert_same(result, straight)


def test_all_checkpoints_corrupted(straight, tmp_path):
    fit(MockPosterior(), max_evaluations=4, checkpoint=tmp_path)
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of them readable"):
        fit(MockPosterior(), checkpoint=tmp_path)
    assert_same(fit(MockPosterior(), checkpoint=tmp_path, resume=False), straight)
    assert_same(fit(MockPosterior(), checkpoint=tmp_path), straight)


def test_another_problem_is_refused(tmp_path):
    fit(MockPosterior(), max_evaluations=3, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="observations: "):
        fit(MockPosterior(seed=1), checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="start: "):
        fit(MockPosterior(), MockPosterior().x0 + 0.1, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="method: newton there, optax here"):
        fit(MockPosterior(), checkpoint=tmp_path, method="optax")
    frozen = MockPosterior()
    frozen.table = frozen.table.freeze(["eta"])
    with pytest.raises(CheckpointError, match="free parameters"):
        fit(frozen, checkpoint=tmp_path)
    other = MockPosterior()
    other.model.forcing.temperature[0] += 1e-9
    with pytest.raises(CheckpointError, match="forcing"):
        fit(other, checkpoint=tmp_path)


def test_killed_while_writing_leaves_no_trace(tmp_path, monkeypatch):
    fit(MockPosterior(), max_evaluations=3, checkpoint=tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("invbgc.files.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(MockPosterior(), checkpoint=tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_first_order_route_reaches_the_same_optimum(straight):
    result = fit(MockPosterior(), method="optax", max_evaluations=2000, gtol=1e-7)
    assert result.status == "converged", result.message
    assert result.x == pytest.approx(straight.x, abs=1e-5)
    assert result.value == pytest.approx(straight.value, rel=1e-10)
    assert np.all(np.diff(result.history["value"]) <= 0)


def test_first_order_route_stays_where_it_is_admissible(straight):
    posterior = MockPosterior()
    beta = posterior.names.index("beta")
    wall = straight.x[beta] - 0.05  # between the start and the optimum
    seen = []

    def admissible(x):
        seen.append(x[beta])
        return "beyond the wall" if x[beta] > wall else None

    posterior.admissible = admissible
    found = fit(posterior, method="optax", max_evaluations=100)
    assert max(seen) > wall, "the wall was never reached"
    assert found.x[beta] <= wall and np.isfinite(found.value)
    assert found.value < float(posterior(posterior.x0))
    assert found.status != "converged"


def test_first_order_route_resumes(tmp_path):
    whole = fit(MockPosterior(), method="optax", max_evaluations=12)
    assert whole.status == "max_evaluations"
    for _ in range(12):
        result = fit(MockPosterior(), method="optax", max_evaluations=5, checkpoint=tmp_path)
        if result.history["evaluations"][-1] >= whole.history["evaluations"][-1]:
            break
    shared = whole.history.sizes["iteration"]
    for name in ("value", "x", "step_norm"):
        assert np.array_equal(result.history[name][:shared], whole.history[name])


def test_bad_options():
    posterior = MockPosterior()
    with pytest.raises(InputError, match="method 'bfgs'"):
        fit(posterior, method="bfgs")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_evaluations"):
        fit(posterior, max_evaluations=0)
    with pytest.raises(InputError, match="x0 has shape"):
        fit(posterior, np.zeros(3))
    with pytest.raises(InputError, match="not admissible: eta"):
        fit(posterior, posterior.x0 + 2.0)
    with pytest.raises(InputError, match="not admissible: eta"):
        fit(posterior, posterior.x0 + 2.0, method="optax")
    assert posterior.count == 0


def test_never_evaluates_inadmissible_points():
    seen = []
    posterior = MockPosterior(extra=lambda x: 30.0 * (x[-1] - 1.0) ** 2)  # pulls eta towards exp(1) > 1.5
    evaluate = posterior.value
    posterior.value = lambda x, guess=None: (seen.append(x), evaluate(x, guess))[1]
    result = fit(posterior)
    assert all(posterior.admissible(x) is None for x in seen)
    assert any("inadmissible" in reason for reason in result.history["reason"].values)


def test_progress_says_how_long_the_rest_may_take(straight):
    lines = []
    fit(MockPosterior(), max_evaluations=3, progress=lines.append)
    assert lines[0].remaining == 2 and str(lines[0]).endswith("s left")
    assert straight.history["remaining"].values[-1] == 0
