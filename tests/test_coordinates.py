"""Coordinates that straighten valleys, against a density whose straightening is known exactly."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from invbgc.errors import ConvergenceError
from invbgc.inference.checkpoint import digest
from invbgc.inference.coordinates import NODES, from_dataset, straightened, to_dataset, whitened
from invbgc.inference.importance import GOOD_K, importance

NAMES = ("t", "u", "v", "w")
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(4, 4)))[0]
ROOT = TURN * np.array([1.0, 0.5, 0.2, 0.1])  # x = R z; the loosest direction first


class Banana:
    """U = t^2/2 + |M(t) (q - c t^2) - d(...)|^2/2 in z = (t, q), of mode zero and curvature one there.

    M is upper triangular with the diagonal exp(a t), so that M^T is the Cholesky factor of the curvature across; the
    last coordinate across bends along the first one by d.
    """

    def __init__(self, c=(1.2, -0.8, 0.5), a=(0.09, 0.08, 0.07), d=0.0, coupling=0.4, wall=np.inf):
        self.a, self.wall = np.array(a), wall
        c, a = jnp.array(c), jnp.array(a)

        def potential(x):
            z = jnp.linalg.solve(ROOT, x)
            m = jnp.diag(jnp.exp(a * z[0])) + coupling * z[0] * jnp.eye(3, k=1)
            w = m @ (z[1:] - c * z[0] ** 2)
            return 0.5 * (z[0] ** 2 + w @ w) - d * w[2] * w[0] ** 2 + 0.5 * d**2 * w[0] ** 4

        self.potential = potential
        self._value, self._slope, self._curve = (jax.jit(f(potential)) for f in (lambda f: f, jax.grad, jax.hessian))

    def admissible(self, x):
        return "too far" if abs(np.linalg.solve(ROOT, x)[0]) > self.wall else None

    def value(self, x):
        return float(self._value(jnp.asarray(x)))

    def value_grad(self, x, guess=None):
        return SimpleNamespace(gradient=self._slope(jnp.asarray(x)))

    def value_grad_hess(self, x, guess=None):
        return SimpleNamespace(gradient=self._slope(jnp.asarray(x)), hessian=self._curve(jnp.asarray(x)))


LAPLACE = SimpleNamespace(x=np.zeros(4), root=ROOT, direction_names=NAMES)


def coordinates_of(posterior, told=lambda line: None):
    return straightened(posterior, LAPLACE, posterior.value_grad_hess(LAPLACE.x), told)


@pytest.fixture(scope="module")
def banana():
    posterior = Banana()
    return posterior, coordinates_of(posterior)


GAUSSIAN = Banana(c=(0, 0, 0), a=(0, 0, 0), coupling=0.0)
POINTS = np.random.default_rng(6).uniform(-2.5, 2.5, size=(200, 4))


def in_y(posterior, y):
    """-ln p that straightening leaves: normal, tilted along t since the valley becomes narrower by exp(-a t)."""
    return 0.5 * np.sum(y**2, axis=-1) + posterior.a.sum() * y[..., 0]


def in_coordinates(posterior, coordinates, y):
    """-ln p of the coordinates [..., 4], up to a constant."""

    def at(y):
        return posterior.potential(coordinates.to_x(y)) - coordinates.to_z(y)[1]

    return np.asarray(jax.jit(jnp.vectorize(at, signature="(p)->()"))(y))


def test_the_valley_is_found_and_followed():
    lines = []
    coordinates = coordinates_of(Banana(), lines.append)
    assert coordinates.valley.index == 0 and coordinates.loose == ()
    assert list(coordinates.valley.nodes) == sorted([0.0, *NODES, *(-t for t in NODES)])
    assert len(lines) == 1 and "[t] is bent" in lines[0]


def test_a_side_branch_is_straightened_as_well():
    lines = []
    posterior = Banana(d=0.3)
    coordinates = coordinates_of(posterior, lines.append)
    assert coordinates.loose == (1,) and "[u]" in lines[1]
    np.testing.assert_allclose(coordinates.bend[0], [[0.0, 0.0, 0.0, 0.3], [0.0] * 4], atol=1e-12)
    found = in_coordinates(posterior, coordinates, POINTS)
    np.testing.assert_allclose(found, in_y(posterior, POINTS), atol=0.1)


def test_a_valley_that_changes_its_width_is_no_further_bend():
    posterior = Banana(a=(0.09, 0.08, 0.15), d=0.3)
    coordinates = coordinates_of(posterior)
    assert coordinates.loose == (1,)
    np.testing.assert_allclose(in_coordinates(posterior, coordinates, POINTS), in_y(posterior, POINTS), atol=0.1)


def test_the_floor_is_the_one_of_the_density(banana):
    _, coordinates = banana
    for t in (-2.0, 0.4, 2.9):
        floor, _ = coordinates.valley.at(t)
        np.testing.assert_allclose(floor, [0.0, 1.2 * t**2, -0.8 * t**2, 0.5 * t**2], atol=1e-10)


def test_the_density_becomes_a_standard_normal(banana):
    posterior, coordinates = banana
    found = in_coordinates(posterior, coordinates, POINTS)
    np.testing.assert_allclose(found, in_y(posterior, POINTS), atol=1e-9)
    plain = in_coordinates(posterior, whitened(LAPLACE), POINTS)
    assert np.median(np.abs(plain - in_y(posterior, POINTS))) > 2.0


def test_log_volume_is_that_of_the_map(banana):
    _, coordinates = banana
    jacobians = jax.jit(jax.vmap(jax.jacfwd(coordinates.to_x)))(POINTS)
    found = jax.jit(jax.vmap(lambda y: coordinates.to_z(y)[1]))(POINTS)
    expected = np.linalg.slogdet(jacobians)[1] - np.linalg.slogdet(ROOT)[1]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert np.ptp(found) > 0.1


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_beyond_its_last_node_the_valley_goes_straight_on(banana, side):
    """The map stays smooth, so that samplers pass: value and slope agree on both sides of the last node."""
    _, coordinates = banana
    edge = jnp.array([side * NODES[-1], 0.3, -0.2, 0.1])
    inner, outer = edge.at[0].multiply(1 - 1e-9), edge.at[0].multiply(1 + 1e-9)
    np.testing.assert_allclose(coordinates.to_x(outer), coordinates.to_x(inner), atol=1e-7)
    far = [np.asarray(coordinates.valley.at(side * (NODES[-1] + step))[0]) for step in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(far[2] - far[1], far[1] - far[0], atol=1e-10)


def test_a_gaussian_is_only_whitened():
    coordinates = coordinates_of(GAUSSIAN)
    assert coordinates.valley is None and coordinates.bend is None
    y = POINTS[0]
    np.testing.assert_allclose(coordinates.to_x(y), ROOT @ y, rtol=1e-12)
    assert float(coordinates.to_z(y)[1]) == 0.0


def test_a_valley_is_followed_as_far_as_the_model_allows():
    posterior = Banana(wall=2.0)
    coordinates = coordinates_of(posterior)
    assert list(coordinates.valley.nodes) == [-1.5, -0.75, 0.0, 0.75, 1.5]
    y = np.array([1.2, 0.5, -0.3, 0.8])
    assert in_coordinates(posterior, coordinates, y) == pytest.approx(in_y(posterior, y), abs=1e-9)


def test_a_valley_is_found_from_where_the_curvature_across_is_negative():
    """Half a standard deviation off its floor, where a side branch of the steepest direction makes it so."""
    c = (1.2, -0.8, -3.0)
    posterior = Banana(c=c, d=0.9)
    level = ROOT @ np.array([0.5, 0.0, 0.0, 0.0])
    curvature = ROOT.T @ np.asarray(posterior.value_grad_hess(level).hessian) @ ROOT
    assert np.linalg.eigvalsh(curvature[1:, 1:])[0] < 0.0
    coordinates = coordinates_of(posterior)
    assert len(coordinates.valley.nodes) == 2 * len(NODES) + 1
    for t in (-2.0, 0.4, 2.9):
        np.testing.assert_allclose(coordinates.valley.at(t)[0], [0.0, *(np.array(c) * t**2)], atol=1e-2)


def test_a_direction_without_steady_states_is_left_alone():
    posterior = Banana()

    def nowhere(x, guess=None):
        raise ConvergenceError("no steady state")

    posterior.value_grad = nowhere
    assert coordinates_of(posterior).valley is None


@pytest.mark.parametrize("posterior", [Banana(), Banana(d=0.3), GAUSSIAN])
def test_saved_coordinates_are_the_same_to_the_last_bit(posterior, tmp_path):
    coordinates = coordinates_of(posterior)
    to_dataset(coordinates).to_netcdf(tmp_path / "coordinates.nc")
    with xr.open_dataset(tmp_path / "coordinates.nc") as data:
        back = from_dataset(data.load())
    assert digest(back) == digest(coordinates)
    assert np.array_equal(back.to_x(POINTS[0]), coordinates.to_x(POINTS[0]))


def test_draws_are_those_of_the_standard_normal(banana):
    _, coordinates = banana
    y, x, volume = coordinates.draw(jax.random.PRNGKey(0), 500)
    np.testing.assert_allclose(x[7], coordinates.to_x(y[7]), rtol=1e-12)
    assert volume[7] == pytest.approx(float(coordinates.to_z(y[7])[1]))
    assert np.abs(y.mean(axis=0)).max() < 4 / np.sqrt(500)


def test_importance_weights_become_reliable(banana):
    posterior, coordinates = banana
    plain, straight = (
        importance(posterior.value, NAMES, chosen, jax.random.PRNGKey(0), 400)
        for chosen in (whitened(LAPLACE), coordinates)
    )
    assert plain.k_hat > GOOD_K > straight.k_hat and straight.reliable and not plain.reliable
    assert straight.effective > 0.9 * 400 > 4 * plain.effective
    t = straight.x @ np.linalg.inv(ROOT)[0]  # its exact marginal is normal, of mean -sum a and variance one
    assert straight.weight @ t == pytest.approx(-posterior.a.sum(), abs=4 / np.sqrt(400))
