"""Schemes of time stepping: order, damping and exact books on small dense problems."""

import numpy as np
import pytest

from invbgc.errors import InputError
from invbgc.transient.schemes import GAMMA, SCHEMES, get_scheme

SIZE = 5
VOLUME = np.array([1.0, 2.0, 0.5, 3.0, 1.5])
END = 2.0


def conservative_matrix() -> np.ndarray:
    """Exchange between five boxes of `VOLUME`: what leaves one enters another, and uniform values stay."""
    rng = np.random.default_rng(1)
    flow = rng.uniform(0.1, 1.0, (SIZE, SIZE))
    flow = flow + flow.T
    np.fill_diagonal(flow, 0.0)
    return (np.diag(flow.sum(axis=1)) - flow) / VOLUME[:, None]


def pull(c, t):
    """A source that depends on the state, not linearly, and on time; for numbers of order one."""
    return np.sin(3.0 * t + np.arange(SIZE)) - 0.3 * c**2 + 0.2 * np.roll(c, 1)


def march(name: str, matrix: np.ndarray, source, steps: int, c=None) -> tuple[np.ndarray, np.ndarray]:
    """State at `END` and the sum of what was gained."""
    scheme, h = get_scheme(name), END / steps
    inverse = np.linalg.inv(np.eye(len(matrix)) + scheme.shift * h * matrix)
    c = 1.0 + 0.5 * np.cos(np.arange(len(matrix))) if c is None else c
    total = np.zeros_like(c)
    for step in range(steps):

        def at_fraction(state, number, start=step * h):
            return source(state, start + scheme.fractions[number] * h)

        c, gained = scheme.step(lambda rhs: inverse @ rhs, at_fraction, c, h)
        total = total + gained
    return c, total


def runge_kutta(matrix: np.ndarray, source, steps: int = 4000) -> np.ndarray:
    """The classical scheme of fourth order: nothing in common with those under test."""
    h, c = END / steps, 1.0 + 0.5 * np.cos(np.arange(len(matrix)))

    def slope(c, t):
        return source(c, t) - matrix @ c

    for step in range(steps):
        t = step * h
        k1 = slope(c, t)
        k2 = slope(c + 0.5 * h * k1, t + 0.5 * h)
        k3 = slope(c + 0.5 * h * k2, t + 0.5 * h)
        k4 = slope(c + h * k3, t + h)
        c = c + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return c


def nothing(c, t):
    return np.zeros_like(c)


@pytest.mark.parametrize(
    ("name", "source", "order"),
    [("dirk2", pull, 2.0), ("dirk2", nothing, 2.0), ("trapezoid", nothing, 2.0), ("trapezoid", pull, 1.0)],
)
def test_order_by_refinement(name, source, order):
    matrix = conservative_matrix() + np.diag([0.0, 0.3, 0.0, 1.0, 0.1])
    reference = runge_kutta(matrix, source)
    errors = [np.abs(march(name, matrix, source, steps)[0] - reference).max() for steps in (40, 80, 160, 320)]
    found = np.log2(np.divide(errors[:-1], errors[1:]))
    assert errors[-1] > 1e-9  # far above what the reference is good for
    np.testing.assert_allclose(found, order, atol=0.1)
    assert found[-1] == pytest.approx(order, abs=0.05)


def test_second_order_scheme_is_far_better_with_few_steps():
    matrix = conservative_matrix()
    reference = runge_kutta(matrix, pull)
    error = {name: np.abs(march(name, matrix, pull, 40)[0] - reference).max() for name in SCHEMES}
    assert error["dirk2"] < 0.1 * error["trapezoid"]


def test_stiff_modes_vanish_or_are_reflected():
    """Amplification in one step of decay at a rate far beyond the step."""
    stiff, start = np.array([[1e8]]), np.ones(1)
    after = {name: march(name, stiff, nothing, 1, start)[0][0] for name in SCHEMES}
    assert abs(after["dirk2"]) < 1e-6
    assert after["trapezoid"] == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("rate", [0.01, 1.0, 5.0, 50.0, 1e4])
def test_amplification_is_that_of_the_scheme(rate):
    """The rational functions of Ascher, Ruuth and Spiteri's (2,2,2) and of the trapezoid; both are A-stable."""
    z, start = END * rate, np.ones(1)
    expected = {
        "dirk2": (1.0 - (1.0 - 2.0 * GAMMA) * z) / (1.0 + GAMMA * z) ** 2,
        "trapezoid": (1.0 - 0.5 * z) / (1.0 + 0.5 * z),
    }
    for name, value in expected.items():
        found = march(name, np.array([[rate]]), nothing, 1, start)[0][0]
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert abs(found) <= 1.0


@pytest.mark.parametrize("name", SCHEMES)
def test_limit_of_explicit_sources(name):
    """A constant restoring by f alone stays bounded up to the limit, and no further."""
    limit = get_scheme(name).limit

    def restoring(rate):
        return lambda c, t: -rate * c

    still = np.zeros((1, 1))
    below = march(name, still, restoring(0.98 * limit * 400 / END), 400, np.ones(1))[0]
    beyond = march(name, still, restoring(1.02 * limit * 400 / END), 400, np.ones(1))[0]
    assert abs(below[0]) < 1.0 < 1e3 < abs(beyond[0])


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("stiffness", [1.0, 1e4])
def test_gained_is_what_the_inventory_gained(name, stiffness):
    matrix, start = stiffness * conservative_matrix(), 2000.0 + np.arange(SIZE)
    final, gained = march(name, matrix, lambda c, t: 100.0 * pull(c / 2000.0, t), 50, start)
    change = VOLUME @ (final - start)
    assert abs(change) > 50.0
    assert abs(change - VOLUME @ gained) < 1e-13 * 50 * (VOLUME @ start)
    assert abs(VOLUME @ gained) > 50.0


@pytest.mark.parametrize("name", SCHEMES)
def test_steady_state_stays(name):
    matrix = conservative_matrix() + np.diag(np.full(SIZE, 0.1))
    steady = 1.0 + np.arange(SIZE)
    final, _ = march(name, matrix, lambda c, t: matrix @ steady + 0.5 * (steady - c), 30, steady)
    np.testing.assert_allclose(final, steady, rtol=1e-13)


def test_unknown_scheme_is_refused():
    with pytest.raises(InputError, match="unknown time-stepping scheme 'euler'; known: trapezoid, dirk2"):
        get_scheme("euler")
