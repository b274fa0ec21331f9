"""The checks themselves: they hold where they should, and fail on a wrong derivative."""

import numpy as np

from invbgc.circulation import load_circulation
from invbgc.verify import conservation_audit, taylor_orders

A = np.array([[3.0, 1.0], [1.0, 2.0]])
X, D, STEPS = np.array([0.3, -0.2]), np.array([1.0, 0.5]), [0.1 * 0.5**i for i in range(10)]


def f(x):
    return float(np.exp(0.5 * x @ A @ x))


def derivatives(x):
    g = A @ x * f(x)
    return g, f(x) * (np.outer(A @ x, A @ x) + A)


def orders(gradient, hessian):
    return taylor_orders(f, f(X), gradient, hessian, X, D, STEPS)[1][:, 5]


def test_right_derivatives_give_orders_one_two_three():
    np.testing.assert_allclose(orders(*derivatives(X)), [1, 2, 3], atol=0.05)


def test_a_wrong_gradient_is_seen():
    g, h = derivatives(X)
    np.testing.assert_allclose(orders(1.2 * g, h)[1], 1, atol=0.1)


def test_a_wrong_hessian_is_seen():
    g, h = derivatives(X)
    np.testing.assert_allclose(orders(g, 1.2 * h)[2], 2, atol=0.1)


def test_audit_of_a_sound_transport_holds():
    assert bool(conservation_audit(load_circulation("few_box"))["holds"].all())
