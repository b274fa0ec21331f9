"""Coordinates that straighten valleys, against a density whose straightening is known exactly."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from invbgc.errors import ConvergenceError
from invbgc.inference.checkpoint import digest
from invbgc.inference.coordinates import Shear, Valley, from_dataset, to_dataset, whitened
from invbgc.inference.importance import GOOD_K, importance
from invbgc.inference.straighten import NODES, straightened

NAMES = ("t", "u", "v", "w")
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(4, 4)))[0]
ROOT = TURN * np.array([1.0, 0.5, 0.2, 0.1])  # x = R z; the loosest direction first


class Banana:
    """U = t^2/2 + |M(t) (q - c t^2 - e t^3) - d(...)|^2/2 in z = (t, q), of mode zero and curvature one there.

    M is upper triangular with the diagonal exp(a t), so that M^T is the Cholesky factor of the curvature across; the
    last coordinate across bends along the first one by d.
    """

    def __init__(self, c=(2.4, -1.6, 1.0), a=(0.09, 0.08, 0.07), d=0.0, coupling=0.0, e=(0.1, 0.2, -0.3), wall=np.inf):
        self.a, self.wall = np.array(a), wall
        self.floor = lambda t: np.array(c) * t**2 + np.array(e) * t**3
        c, a, e = jnp.array(c), jnp.array(a), jnp.array(e)

        def potential(x):
            z = jnp.linalg.solve(ROOT, x)
            m = jnp.diag(jnp.exp(a * z[0])) + coupling * z[0] * jnp.eye(3, k=1)
            w = m @ (z[1:] - c * z[0] ** 2 - e * z[0] ** 3)
            return 0.5 * (z[0] ** 2 + w @ w) - d * w[2] * w[0] ** 2 + 0.5 * d**2 * w[0] ** 4

        self.potential = potential
        self._value, self._slope, self._curve = (jax.jit(f(potential)) for f in (lambda f: f, jax.grad, jax.hessian))

    def admissible(self, x):
        return "too far" if abs(np.linalg.solve(ROOT, x)[0]) > self.wall else None

    def value(self, x):
        return float(self._value(jnp.asarray(x)))

    def value_grad_hess(self, x, guess=None):
        x = jnp.asarray(x)
        return SimpleNamespace(value=self._value(x), gradient=self._slope(x), hessian=self._curve(x))


LAPLACE = SimpleNamespace(x=np.zeros(4), root=ROOT, direction_names=NAMES)


def coordinates_of(posterior, told=lambda line: None):
    return straightened(posterior, LAPLACE, posterior.value_grad_hess(LAPLACE.x), told)


@pytest.fixture(scope="module")
def banana():
    posterior = Banana()
    return posterior, coordinates_of(posterior)


FLAT = (0.0, 0.0, 0.0)
GAUSSIAN = Banana(c=FLAT, a=FLAT, e=FLAT)
PARABOLA = Banana(c=(0.0, -0.8, 0.5), a=FLAT, d=0.3, e=FLAT)
POINTS = np.random.default_rng(6).uniform(-2.5, 2.5, size=(200, 4))


NORMAL = 0.5 * np.sum(POINTS**2, axis=-1)


def in_coordinates(posterior, coordinates, y=POINTS):
    """-ln p of the coordinates [..., 4], zero where y is."""

    def at(y):
        return posterior.potential(coordinates.to_x(y)) - coordinates.to_z(y)[1]

    at = jax.jit(jnp.vectorize(at, signature="(p)->()"))
    return np.asarray(at(y) - at(np.zeros(4)))


def distances(valley):
    """T at the nodes of a valley but the last."""
    return valley.along[3]


def test_the_curved_directions_and_the_valley_are_found():
    lines = []
    coordinates = coordinates_of(Banana(), lines.append)
    shear, valley = coordinates.maps
    assert isinstance(shear, Shear) and list(shear.index) == [1, 2, 3]
    assert isinstance(valley, Valley) and valley.index == 0
    np.testing.assert_allclose(distances(valley), sorted([0.0, *NODES, *(-t for t in NODES)])[:-1])
    assert "[u] by 4.8" in lines[1] and "[w] by 2" in lines[3] and "[t] is bent" in lines[4]
    assert len(lines) == 5 + 2 * len(NODES) and lines[-1] == "its floor at +3.00 standard deviations"


def test_level_sets_that_are_parabolas_need_a_shear_alone():
    """Along t two directions bend, along u one of them: quadratic forms of what is looser, known exactly."""
    coordinates = coordinates_of(PARABOLA)
    (shear,) = coordinates.maps
    third = np.zeros((4, 4, 4))
    third[2, 0, 0], third[3, 0, 0] = 2.0 * 0.8, -2.0 * 0.5
    third[3, 1, 1] = -2.0 * 0.3
    np.testing.assert_allclose(shear.third, third[shear.index], atol=1e-10)
    np.testing.assert_allclose(in_coordinates(PARABOLA, coordinates), NORMAL, atol=1e-9)


def test_a_shear_takes_its_third_derivatives_out():
    posterior = Banana(c=(0.0, -0.8, 0.5), d=0.3, coupling=0.4)
    third = jax.jit(jax.jacfwd(jax.hessian(posterior.potential)))(jnp.zeros(4))
    third = np.einsum("abc,ai,bj,ck->ijk", third, ROOT, ROOT, ROOT)
    (shear, *_) = coordinates_of(posterior).maps
    below = np.array([[[i > max(j, k) for k in range(4)] for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(shear.third, np.where(below, third, 0.0)[shear.index], atol=0.05)
    in_w = jax.jit(jax.jacfwd(jax.hessian(lambda w: posterior.potential(jnp.asarray(ROOT) @ shear(w)[0]))))
    assert np.abs(np.where(below, in_w(jnp.zeros(4)), 0.0)).max() < 0.05 < 0.2 * np.abs(third).max()


def test_a_valley_that_only_changes_its_width_is_followed():
    posterior = Banana(c=FLAT, e=FLAT)
    coordinates = coordinates_of(posterior)
    (valley,) = coordinates.maps
    assert isinstance(valley, Valley) and np.abs(valley.floor).max() < 1e-10
    np.testing.assert_allclose(in_coordinates(posterior, coordinates), NORMAL, atol=1e-3)


def test_a_density_far_from_a_normal_gives_a_smooth_map_all_the_same():
    """A valley that becomes narrower by exp(-6 t): its mass lies 6 deviations away, and its last nodes are not used."""
    posterior = Banana(c=FLAT, e=FLAT, a=(2.0, 2.0, 2.0))
    coordinates = coordinates_of(posterior)
    valley = coordinates.maps[0]
    assert np.all(np.diff(valley.nodes) > 0.0) and np.abs(valley.nodes).max() < 5.0
    assert np.all(np.isfinite(in_coordinates(posterior, coordinates)))


def test_a_normal_beside_the_optimum_is_found(banana):
    """Where a valley becomes narrower by exp(-a t), the density along it is a normal shifted by -sum a."""
    posterior, coordinates = banana
    valley = coordinates.maps[1]
    np.testing.assert_allclose(valley.nodes[:-1] - distances(valley), posterior.a.sum(), atol=1e-4)


def test_the_floor_is_the_one_of_the_density(banana):
    posterior, coordinates = banana
    for t in (-2.0, 0.4, 2.9):
        z, _ = coordinates.to_z(jnp.zeros(4).at[0].set(t + posterior.a.sum()))
        np.testing.assert_allclose(z, [t, *posterior.floor(t)], atol=1e-3)


def test_the_density_becomes_a_standard_normal(banana):
    posterior, coordinates = banana
    np.testing.assert_allclose(in_coordinates(posterior, coordinates), NORMAL, atol=1e-3)
    assert np.median(np.abs(in_coordinates(posterior, whitened(LAPLACE)) - NORMAL)) > 2.0


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
    last = coordinates.maps[1].nodes[int(side > 0) * -1]
    edge = jnp.array([last, 0.3, -0.2, 0.1])
    inner, outer = edge.at[0].multiply(1 - 1e-9), edge.at[0].multiply(1 + 1e-9)
    np.testing.assert_allclose(coordinates.to_x(outer), coordinates.to_x(inner), atol=1e-7)
    far = [np.asarray(coordinates.maps[1](edge.at[0].add(side * step))[0]) for step in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(far[2] - far[1], far[1] - far[0], atol=1e-10)


def test_a_gaussian_is_only_whitened():
    coordinates = coordinates_of(GAUSSIAN)
    assert coordinates.maps == ()
    y = POINTS[0]
    np.testing.assert_allclose(coordinates.to_x(y), ROOT @ y, rtol=1e-12)
    assert float(coordinates.to_z(y)[1]) == 0.0


def test_a_valley_is_followed_as_far_as_the_model_allows():
    posterior = Banana(wall=2.0)
    coordinates = coordinates_of(posterior)
    np.testing.assert_allclose(distances(coordinates.maps[1]), [-1.5, -0.75, 0.0, 0.75])
    y = np.array([1.2, 0.5, -0.3, 0.8])
    assert in_coordinates(posterior, coordinates, y) == pytest.approx(0.5 * y @ y, abs=1e-3)


def test_a_valley_is_found_from_where_the_curvature_across_is_negative():
    """Off its floor, where a side branch of the steepest direction makes it so."""
    posterior = Banana(c=FLAT, d=0.9, e=(0.0, 0.0, -4.0))
    level = ROOT @ np.array([NODES[0], 0.0, 0.0, 0.0])
    curvature = ROOT.T @ np.asarray(posterior.value_grad_hess(level).hessian) @ ROOT
    assert np.linalg.eigvalsh(curvature[1:, 1:])[0] < 0.0
    valley = coordinates_of(posterior).maps[1]
    assert len(valley.nodes) == 2 * len(NODES) + 1
    t = distances(valley)
    np.testing.assert_allclose(valley.floor[3, :, 3], -4.0 * t**3, atol=0.01)


def test_a_direction_without_steady_states_is_left_alone():
    posterior = Banana()

    def nowhere(x, guess=None):
        raise ConvergenceError("no steady state")

    at_optimum, posterior.value_grad_hess = posterior.value_grad_hess(LAPLACE.x), nowhere
    lines = []
    assert straightened(posterior, LAPLACE, at_optimum, lines.append).maps == ()
    assert sum("its level sets stay curved" in line for line in lines) == 4
    assert sum("it is not straightened" in line for line in lines) == 4


@pytest.mark.parametrize("posterior", [Banana(), PARABOLA, GAUSSIAN])
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
