"""Seasonal transport made from a steady one, and its steps in JAX against those in NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse

from invbgc.circulation import coarsen, load_circulation
from invbgc.circulation.periodic import PeriodicTransport
from invbgc.circulation.propagation import Propagation
from invbgc.circulation.seasonal import seasonal_transport, vertical_exchange
from invbgc.circulation.toys import column, few_box, two_box
from invbgc.errors import InputError

DAY_AND_NIGHT = 43200.0
TIMES = (0.0, 0.5 / 12.0, 0.3, 0.517, 0.99, 3.0)

CASES = {
    "column": (column, 3600.0),
    "few_box": (few_box, DAY_AND_NIGHT),
    "8 degrees": (lambda: coarsen(load_circulation("embedded"), 2, 2), DAY_AND_NIGHT),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    """A circulation, its year of matrices, and their steps."""
    make, step = CASES[request.param]
    ocean = make()
    year = seasonal_transport(ocean, step)
    return ocean, year, Propagation(year, step)


@pytest.fixture(scope="module")
def small():
    """As `case`, for few boxes, with explicit matrices that differ in value and pattern."""
    year = seasonal_transport(few_box(), DAY_AND_NIGHT)
    explicit = [matrix * (1.0 + 0.02 * month) for month, matrix in enumerate(year.explicit)]
    explicit[4] = sparse.csr_array(explicit[4] + sparse.coo_array(([1e-8], ([0], [21])), shape=explicit[4].shape))
    year = replace(year, explicit=tuple(explicit))
    return year, Propagation(year, DAY_AND_NIGHT)


def tracers(year: PeriodicTransport, number: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.5, 2.0, (number, year.grid.n_wet))


def mixing_operator(year: PeriodicTransport, month: int) -> sparse.csr_array:
    """T_V = (A_i^-1 - I) / dt, column by column."""
    grid, entries = year.grid, year.implicit[month].tocoo()
    rows, columns = entries.coords
    blocks = np.tile(np.eye(grid.n_layers), (grid.n_columns, 1, 1))
    place = grid.column[rows], grid.layer[rows], grid.layer[columns]
    blocks[place] = entries.data
    values = (np.linalg.inv(blocks) - np.eye(grid.n_layers))[place] / year.implicit_step
    return sparse.csr_array((values, (rows, columns)), shape=entries.shape)


# --- the seasonal matrices --------------------------------------------------------------------------------------


def test_annual_mean_is_the_steady_operator(case):
    """mean(T_V) - A_exp = T, entry by entry."""
    ocean, year, _ = case
    found = sum(mixing_operator(year, month) for month in range(12)) / 12.0 - year.explicit[0]
    assert abs(found - ocean.transport).max() < 1e-13 / year.implicit_step


def test_linearised_annual_mean_is_near(case):
    ocean, _, _ = case
    short = seasonal_transport(ocean, 1.0)
    largest = ocean.transport.diagonal().max()
    assert abs(short.annual_mean() + ocean.transport).max() < 3.0 * largest**2 + 1e-14


def test_matrices_keep_uniform_tracers_and_inventories(case):
    _, year, _ = case
    volume = year.grid.volume
    for matrix in year.implicit:
        np.testing.assert_allclose(matrix @ np.ones(volume.size), 1.0, rtol=0.0, atol=1e-13)
        np.testing.assert_allclose(matrix.T @ volume, volume, rtol=1e-13)
        assert matrix.data.min() >= 0.0
    rate = year.attrs["explicit_rate"]
    assert np.max(np.abs(year.explicit[0] @ np.ones(volume.size))) <= 1e-13 * max(rate, 1e-9)
    assert year.implicit_step * rate <= 1.0


def test_mixing_is_strongest_in_the_winter_of_each_hemisphere():
    ocean = few_box()
    year = seasonal_transport(ocean, DAY_AND_NIGHT, amplitude=0.5)
    grid = ocean.grid
    box = int(np.flatnonzero((grid.layer == 0) & (grid.wet_latitude > 50.0))[0])
    south = int(np.flatnonzero((grid.layer == 0) & (grid.wet_latitude < -50.0))[0])
    mixing = np.array([mixing_operator(year, month).diagonal() for month in range(12)])
    assert mixing[:, box].argmax() == 1
    assert mixing[:, south].argmax() == 7
    exchange = vertical_exchange(ocean)[box] / grid.volume[box]
    expected = exchange * (1.0 + 0.5 * np.sin(np.deg2rad(52.5)) * np.cos(2.0 * np.pi * (np.arange(12) - 1) / 12.0))
    np.testing.assert_allclose(mixing[:, box], expected, rtol=1e-10)
    tropics = (grid.layer == 0) & (grid.wet_latitude == 0.0)
    assert np.ptp(mixing[:, tropics], axis=0).max() < 1e-12 * mixing[0, tropics].min()


def test_exchange_by_hand():
    """Exchange without net flow is mixing; 6 Sv that rise beside an exchange of 300 Sv are not."""
    np.testing.assert_allclose(vertical_exchange(two_box(20.0)), [2e7, 0.0])
    ocean = few_box()
    north_pacific = int(np.flatnonzero((ocean.grid.layer == 0) & (ocean.grid.wet_latitude > 50.0))[1])
    assert vertical_exchange(ocean)[north_pacific] == pytest.approx(300e6)


def test_seasonal_transport_refuses():
    with pytest.raises(InputError, match=r"amplitude 1.0; expected at least 0 and less than 1"):
        seasonal_transport(few_box(), amplitude=1.0)
    with pytest.raises(InputError, match=r"0 months; expected one or more"):
        seasonal_transport(few_box(), months=0)
    with pytest.raises(InputError, match=r"time step 0.0 s; expected more than 0"):
        seasonal_transport(few_box(), 0.0)
    with pytest.raises(InputError, match=r"'few_box': time step 1e\+09 s; the explicit part is unstable beyond"):
        seasonal_transport(few_box(), 1e9)


# --- steps ------------------------------------------------------------------------------------------------------


def test_steps_agree_with_numpy(case):
    _, year, steps = case
    before, step = tracers(year), jax.jit(steps.step)
    for time in TIMES:
        expected = year.step(before.T, time, year.implicit_step).T
        np.testing.assert_allclose(step(before, time), expected, rtol=1e-13)
    assert (steps.months, steps.step_seconds) == (12, year.implicit_step)
    assert steps.grid is year.grid


def test_steps_with_explicit_matrices_of_every_month(small):
    year, steps = small
    before, step = tracers(year), jax.jit(steps.step)
    for time in TIMES:
        np.testing.assert_allclose(step(before, time), year.step(before.T, time, DAY_AND_NIGHT).T, rtol=1e-13)


def test_layouts_agree_and_the_sea_floor_stays_dry(case):
    _, year, steps = case
    grid, before = year.grid, tracers(year, 2)
    expected = np.asarray(grid.to_columns(np.asarray(steps.step(before, 0.2))))
    columns = grid.to_columns(before)
    np.testing.assert_array_equal(steps.step_columns(columns, 0.2), expected)
    np.testing.assert_array_equal(steps.step_native(columns.transpose(2, 1, 0), 0.2), expected.transpose(2, 1, 0))


def test_hundred_steps_keep_uniform_tracers_and_inventories(case):
    _, year, steps = case
    before = np.concatenate([np.ones((1, year.grid.n_wet)), tracers(year, 2)])
    start = year.grid.to_columns(before).transpose(2, 1, 0)
    times = jnp.arange(100) * year.implicit_step / (360.0 * 86400.0)
    after, _ = jax.lax.scan(lambda state, time: (steps.step_native(state, time), None), start, times)
    after = year.grid.from_columns(np.asarray(after).transpose(2, 1, 0))
    np.testing.assert_allclose(after[0], 1.0, rtol=1e-12)
    np.testing.assert_allclose(after @ year.grid.volume, before @ year.grid.volume, rtol=1e-12)
    assert np.abs(after[1] - before[1]).max() > 1e-6


def test_longer_steps_take_powers_of_the_implicit_matrices(small):
    """c' = (w A_1^3 + (1 - w) A_2^3) (I + 3 dt A_exp) c; `PeriodicTransport.step` agrees in the middle of a month."""
    year, _ = small
    steps, before = Propagation(year, 3.0 * DAY_AND_NIGHT), tracers(year)
    middle = 4.5 / 12.0
    expected = year.step(before.T, middle, 3.0 * DAY_AND_NIGHT).T
    np.testing.assert_allclose(steps.step(before, middle), expected, rtol=1e-12)
    explicit = 0.25 * year.explicit[4] + 0.75 * year.explicit[5]
    one, two = (np.linalg.matrix_power(year.implicit[month].toarray(), 3) for month in (4, 5))
    expected = (0.25 * one + 0.75 * two) @ (before.T + 3.0 * DAY_AND_NIGHT * (explicit @ before.T))
    np.testing.assert_allclose(steps.step(before, 5.25 / 12.0).T, expected, rtol=1e-13)
    assert steps.step_seconds == 3.0 * DAY_AND_NIGHT


def test_a_steady_transport_needs_no_months():
    ocean = few_box()
    steady, single = seasonal_transport(ocean, amplitude=0.0), seasonal_transport(ocean, months=1)
    before = tracers(steady)
    found = Propagation(steady, DAY_AND_NIGHT).step(before, 0.7)
    np.testing.assert_allclose(found, steady.step(before.T, 0.1, DAY_AND_NIGHT).T, rtol=1e-13)
    np.testing.assert_allclose(Propagation(single, DAY_AND_NIGHT).step(before, 0.2), found, rtol=1e-13)


def test_backward_is_the_transpose_of_forward(small):
    """u . (J v) = v . (J^T u) over a loop of steps, and J v is the loop itself, which is linear."""
    year, steps = small
    grid = year.grid
    v, u = tracers(year), np.random.default_rng(2).normal(size=(3, grid.n_wet))

    def loop(state):
        return jax.lax.scan(lambda c, n: (steps.step(c, n / 72.0), None), state, jnp.arange(20))[0]

    after, forward = jax.jvp(loop, (v,), (v,))
    np.testing.assert_allclose(forward, after, rtol=1e-14)
    (backward,) = jax.jit(lambda x: jax.vjp(loop, v)[1](x))(u)
    assert np.vdot(backward, v) == pytest.approx(float(np.vdot(u, forward)), rel=1e-11)


def test_one_backward_step_by_hand(small):
    """J^T = (I + dt A_exp)^T A_i^T, box by box; mapped over cotangents as well."""
    year, steps = small
    one, two, weight = year.weights(0.3)
    explicit, implicit = (
        (weight * part[one] + (1.0 - weight) * part[two]).toarray() for part in (year.explicit, year.implicit)
    )
    expected = implicit @ (np.eye(year.grid.n_wet) + DAY_AND_NIGHT * explicit)
    jacobian = jax.jacrev(lambda c: steps.step(c[None], 0.3)[0])(np.ones(year.grid.n_wet))
    np.testing.assert_allclose(jacobian, expected, rtol=1e-12, atol=1e-18)
    jacobian = jax.jacfwd(lambda c: steps.step(c[None], 0.3)[0])(np.ones(year.grid.n_wet))
    np.testing.assert_allclose(jacobian, expected, rtol=1e-12, atol=1e-18)


def test_propagation_refuses(small):
    year, _ = small
    with pytest.raises(InputError, match=r"time step 64800.0 s: expected a multiple of 43200.0 s"):
        Propagation(year, 1.5 * DAY_AND_NIGHT)
    stray = sparse.csr_array(year.implicit[0] + sparse.coo_array(([1e-3], ([0], [1])), shape=(22, 22)))
    with pytest.raises(InputError, match=r"'few_box': 1 entries of an implicit matrix couple .* first box 0 .* box 1 "):
        Propagation(replace(year, implicit=(stray, *year.implicit[1:])), DAY_AND_NIGHT)
    with pytest.raises(InputError, match=r"12 explicit and 11 implicit matrices; expected one of each per month"):
        Propagation(replace(year, implicit=year.implicit[1:]), DAY_AND_NIGHT)
    large = sparse.eye_array(23, format="csr")
    with pytest.raises(InputError, match=r"explicit matrix of month 3 has shape \(23, 23\); expected \(22, 22\)"):
        Propagation(replace(year, explicit=(*year.explicit[:2], large, *year.explicit[3:])), DAY_AND_NIGHT)
