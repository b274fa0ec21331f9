"""Observations: outlier rule, weights, misfit and skill."""

import jax
import numpy as np
import pytest

from invbgc.circulation import load_circulation
from invbgc.errors import InputError
from invbgc.observations import TRACERS, Observations, drop_outliers, misfit, observe, skill


@pytest.fixture(scope="module")
def grid():
    return load_circulation("few_box").grid


@pytest.fixture
def values(grid):
    result = np.linspace(1.0, 3.0, grid.n_wet)
    result[::4] = np.nan
    return result


def test_weights_follow_equations_7_and_8(grid, values):
    data = observe("DIP", values, grid)
    observed = np.isfinite(values)
    fraction = grid.volume[observed] / grid.volume[observed].sum()
    mean = np.sum(fraction * values[observed])
    variance = np.sum(fraction * (values[observed] - mean) ** 2)
    assert data.count == observed.sum()
    assert data.mean == pytest.approx(mean, rel=1e-14)
    assert data.variance == pytest.approx(variance, rel=1e-14)
    assert data.volume_fraction == pytest.approx(grid.volume[observed].sum() / grid.volume.sum(), rel=1e-14)
    np.testing.assert_array_equal(data.index, np.flatnonzero(observed))
    np.testing.assert_allclose(data.weight, fraction / variance, rtol=1e-14)


def test_misfit_of_the_mean_is_one_half(grid, values):
    data = observe("O2", values, grid)
    assert float(misfit(np.full(data.count, data.mean), data)) == pytest.approx(0.5, rel=1e-13)


def test_misfit_is_differentiable_and_compiles(grid, values):
    data = observe("DIC", values, grid)
    model = data.value + np.linspace(-1.0, 1.0, data.count)
    gradient = jax.jit(jax.grad(lambda x: misfit(x, data)))(model)
    np.testing.assert_allclose(gradient, data.weight * (model - data.value), rtol=1e-13)


def test_outliers_use_midpoint_percentiles_after_dropping_negatives():
    values = np.r_[-9.999, np.nan, np.arange(1.0, 2001.0)]
    kept, (low, high) = drop_outliers(values)
    # The i-th of 2000 values sits at 100 (i - 1/2)/2000 percent: 0.1 percent lies between the second and third.
    assert (low, high) == pytest.approx((2.5, 1998.5))
    assert np.isfinite(kept).sum() == 1996
    assert np.nanmin(kept) == 3.0 and np.nanmax(kept) == 1998.0
    assert values[0] == -9.999


def test_outliers_keep_the_percentiles_themselves():
    kept, bounds = drop_outliers(np.full(10, 4.0))
    assert bounds == (4.0, 4.0) and np.isfinite(kept).all()


def test_outlier_rule_needs_values():
    with pytest.raises(InputError, match="no finite value"):
        drop_outliers([-1.0, np.nan])


def test_tracers_come_in_the_house_order(grid, values):
    observations = Observations.from_fields({name: values for name in reversed(TRACERS)}, grid)
    assert tuple(observations.tracers) == TRACERS
    assert tuple(observations.subset(["DOC", "DIP"]).tracers) == ("DIP", "DOC")
    with pytest.raises(InputError, match="present are"):
        observations.subset(["DIP"]).subset(["O2"])


def test_dataset_round_trip(grid, values):
    observations = Observations.from_fields({"ALK": values}, grid, {"source": "made up"})
    dataset = observations.to_dataset()
    assert dataset.attrs["source"] == "made up"
    assert dataset["observed_ALK"].attrs["units"] == "mmol m-3"
    np.testing.assert_array_equal(grid.pack(dataset["observed_ALK"]), values)


@pytest.mark.parametrize(
    ("tracer", "change", "message"),
    [
        ("DIP", lambda x: x[:-1], "shape"),
        ("DIP", lambda x: np.full_like(x, np.nan), "0 observed boxes"),
        ("DIP", lambda x: np.ones_like(x), "expected them to vary"),
    ],
)
def test_bad_observations_are_refused(grid, values, tracer, change, message):
    with pytest.raises(InputError, match=message):
        observe(tracer, change(values), grid)


def test_tracers_of_other_models_come_last_and_nothing_is_refused(grid, values):
    fields = {"C14": values, "O2": values, "DIP": values}
    assert list(Observations.from_fields(fields, grid).tracers) == ["DIP", "O2", "C14"]
    with pytest.raises(InputError, match="no tracer"):
        Observations.from_fields({}, grid)


def test_skill_of_a_perfect_model(grid, values):
    observations = Observations.from_fields({"DIP": values, "O2": values}, grid)
    state = {name: np.nan_to_num(values, nan=7.0) for name in ("DIP", "O2")}
    table = skill(state, observations)
    assert list(table["tracer"].values) == ["DIP", "O2"]
    np.testing.assert_array_equal(table["R2"], 1.0)
    np.testing.assert_array_equal(table["R2_volume"], 1.0)
    np.testing.assert_array_equal(table["rmse"], 0.0)


def test_skill_counts_positive_boxes_only(grid, values):
    data = observe("O2", values, grid)
    model = np.nan_to_num(values) + 0.5
    model[data.index[0]] = -1.0
    table = skill({"O2": model}, Observations({"O2": data}, grid)).sel(tracer="O2")
    observed, residual = data.value[1:], model[data.index[1:]] - data.value[1:]
    expected = 1.0 - np.sum(residual**2) / np.sum((observed - observed.mean()) ** 2)
    assert int(table["n"]) == data.count - 1
    assert float(table["R2"]) == pytest.approx(expected, rel=1e-13)
    assert float(table["misfit"]) == pytest.approx(float(misfit(model[data.index], data)), rel=1e-13)
    assert float(table["R2_volume"]) == pytest.approx(1.0 - 2.0 * float(table["misfit"]), rel=1e-12)


def test_skill_bias_and_clipped_r2(grid, values):
    observations = Observations.from_fields({"DIC": values}, grid)
    table = skill({"DIC": np.nan_to_num(values) + 10.0}, observations)
    assert float(table["bias"][0]) == pytest.approx(10.0) == float(table["rmse"][0])
    assert float(table["R2"][0]) == 0.0 and float(table["R2_volume"][0]) < 0.0


def test_skill_needs_every_tracer(grid, values):
    observations = Observations.from_fields({"DIC": values}, grid)
    with pytest.raises(InputError, match="expected what is observed"):
        skill({"DIP": values}, observations)
    with pytest.raises(InputError, match="modelled shape"):
        skill({"DIC": values[:-1]}, observations)
