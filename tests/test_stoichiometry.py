"""Elemental ratios and rate laws."""

import jax
import numpy as np
import pytest

from invbgc.stoichiometry import (
    galbraith_martiny_p_to_c,
    linear_p_to_c,
    normalise,
    normalise_temperature,
    q10_rate,
    rain_ratio,
    top_layer_mean,
)

YEAR = 365 * 86400.0


def test_carbon_to_phosphorus_of_the_paper():
    assert galbraith_martiny_p_to_c(0.0) == 0.006
    assert 1 / galbraith_martiny_p_to_c(2.0) == pytest.approx(50.505, abs=1e-3)
    # with the published slope and intercept, C:P spans 92.5 to 112.7 in the euphotic zone
    phosphate = np.array([0.05, 2.36])
    np.testing.assert_allclose(1 / linear_p_to_c(phosphate, 8.38e-4, 8.83e-3), [112.7, 92.5], atol=0.1)


def test_normalised_temperature():
    t = np.array([-1.98871, 29.92372])
    np.testing.assert_allclose(normalise_temperature(t, *t), [1 / 31.91243, 32.91243 / 31.91243], rtol=1e-12)
    assert normalise_temperature(10.0, *t) == pytest.approx((10.0 + 2.98871) / 31.91243, rel=1e-12)


def test_rain_ratio_spans_its_range():
    silicate = np.array([0.40284, 98.80669])
    np.testing.assert_allclose(normalise(silicate, *silicate), [0.0, 1.0])
    np.testing.assert_allclose(rain_ratio(normalise(silicate, *silicate), 0.10, 0.0234), [0.0234, 0.1234])


def test_top_layer_mean_counts_wet_boxes_only():
    field = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, np.nan]])
    wet = np.array([[True, True], [True, False], [True, False]])
    np.testing.assert_allclose(top_layer_mean(field, wet, 2), [2.0, 2.0])
    np.testing.assert_allclose(top_layer_mean(field, wet, 3), [3.0, 2.0])


def test_decay_times_of_the_published_parameters():
    t = np.array([30.0, -1.98871])
    np.testing.assert_allclose(1 / q10_rate(5.42e-9, 1.05, t) / YEAR, [5.85, 6.84], atol=0.01)
    np.testing.assert_allclose(1 / q10_rate(1.86e-8, 2.28, t) / YEAR, [1.70, 23.8], atol=0.05)
    np.testing.assert_allclose(q10_rate(2.0, 2.5, np.array([40.0, 20.0])), [5.0, 0.8])


def test_q10_rate_derivatives():
    def rate(q10):
        return q10_rate(1.0, q10, 12.0)

    exponent = (12.0 - 30.0) / 10.0
    assert float(jax.grad(rate)(1.7)) == pytest.approx(exponent * 1.7 ** (exponent - 1), rel=1e-14)
    second = exponent * (exponent - 1) * 1.7 ** (exponent - 2)
    assert float(jax.grad(jax.grad(rate))(1.7)) == pytest.approx(second, rel=1e-13)
    assert float(jax.jit(rate)(1.7)) == pytest.approx(float(rate(1.7)), rel=1e-15)
