"""Theory of carbon storage: the numbers of the paper and of its worked examples, closed forms and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from invbgc.errors import InputError
from invbgc.storage import (
    HORIZONS,
    Storage,
    exponent_of_pco2,
    exponent_of_ratio,
    flux_integral,
    flux_ratio,
    log_flux_integral_slope,
    pco2_of_ratio,
    pco2_of_storage,
    preformed_phosphate,
    ratio_of_pco2,
    respired_ratio,
    soft_tissue_carbon,
    theory_lines,
    upwind_flux_integral,
    well_mixed_pco2,
)

EXPONENTS = (-3.0, 0.0, 0.5, 0.86, 0.999, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 1.003, 1.25, 1.46, 4.0)


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        (0.5, (1.16228, 4.32456, 6.94427)),
        (0.75, (1.02973, 3.11312, 4.45897)),
        (0.86, (0.97766, 2.71703, 3.72180)),
        (1.0, (0.91629, 2.30259, 2.99573)),
        (1.25, (0.81892, 1.75063, 2.10852)),
        (1.46, (0.74768, 1.42014, 1.62593)),
        (1.75, (0.66270, 1.09623, 1.19235)),
    ],
)
def test_flux_integrals_of_the_worked_table(b, expected):
    np.testing.assert_allclose(flux_integral(b, np.array(HORIZONS)) / 100.0, expected, atol=5.1e-6)


@pytest.mark.parametrize("b", EXPONENTS)
def test_flux_integral_is_the_integral(b):
    expected = quad(lambda z: (z / 100.0) ** -b, 100.0, 1000.0, epsabs=0.0, epsrel=1e-13)[0]
    assert float(flux_integral(b, 1000.0)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("b", EXPONENTS)
@pytest.mark.parametrize("horizon", HORIZONS)
def test_slope_of_the_integral_is_its_derivative(b, horizon):
    by_jax = jax.grad(lambda x: jnp.log(flux_integral(x, horizon)))(b)
    assert float(by_jax) == pytest.approx(float(log_flux_integral_slope(b, horizon)), rel=1e-12)


def test_slope_is_the_mean_of_log_depth():
    b = 0.86
    weight = quad(lambda z: (z / 100.0) ** -b, 100.0, 2000.0, epsrel=1e-12)[0]
    mean = quad(lambda z: np.log(z / 100.0) * (z / 100.0) ** -b, 100.0, 2000.0, epsrel=1e-12)[0] / weight
    assert float(log_flux_integral_slope(b, 2000.0)) == pytest.approx(-mean, rel=1e-10)


def test_second_derivative_through_one():
    curve = jax.vmap(jax.grad(jax.grad(lambda b: jnp.log(flux_integral(b, 1000.0)))))(jnp.linspace(0.9, 1.1, 81))
    assert np.all(np.abs(np.diff(curve)) < 2e-3)
    np.testing.assert_allclose(curve[40], np.log(10.0) ** 2 / 12.0, rtol=1e-9)  # variance of a uniform ln z


@pytest.mark.parametrize(
    ("b_C", "expected"),
    [
        (0.5, (1.390, 2.406, 3.216)),
        (0.75, (1.260, 1.831, 2.218)),
        (1.0, (1.154, 1.442, 1.611)),
        (1.25, (1.064, 1.169, 1.223)),
        (1.75, (0.924, 0.827, 0.787)),
    ],
)
def test_the_upwind_scheme_of_the_papers_model(b_C, expected):
    horizons = np.array(HORIZONS)
    np.testing.assert_allclose(
        upwind_flux_integral(b_C, horizons) / upwind_flux_integral(1.46, horizons), expected, atol=5.1e-4
    )
    # with thin layers it is the power law
    fine = upwind_flux_integral(b_C, 1000.0, np.geomspace(100.0, 2000.0, 20001))
    assert float(fine) == pytest.approx(float(flux_integral(b_C, 1000.0)), rel=1e-3)


def test_preformed_phosphate():
    water = (2.2, 180.0, 2.0, 34.7)
    assert float(preformed_phosphate(*water)) == pytest.approx(1.1372, abs=2e-3)
    assert float(preformed_phosphate(*water, oxygen_ratio=170.0)) == pytest.approx(1.2554, abs=2e-3)
    assert float(jax.grad(preformed_phosphate, argnums=1)(*water)) == pytest.approx(1.0 / 151.1, rel=1e-12)


def test_numbers_of_the_paper():
    limit = Storage().fully_regenerated
    assert float(pco2_of_ratio(117.0, limit)) == pytest.approx(183.0, rel=1e-12)
    assert -limit.log_pco2_slope * 117.0 == pytest.approx(1.26902, abs=5e-6)
    assert float(respired_ratio(0.75, 1.46, 141.0)) == pytest.approx(309.1, abs=0.05)
    assert soft_tissue_carbon(142.0) - soft_tissue_carbon(117.0) == pytest.approx(422.0, abs=0.1)
    assert soft_tissue_carbon(142.0) / soft_tissue_carbon(117.0) == pytest.approx(1.21, abs=5e-3)
    assert float(respired_ratio(0.75, 1.46, 142.0)) / 142.0 == pytest.approx(
        2.19, abs=5e-3
    )  # storage more than doubles
    assert Storage().buffered_carbon == pytest.approx(3172.0, abs=0.1)
    np.testing.assert_allclose(pco2_of_ratio(jnp.array([117.0, 142.0, 309.0])), [349.3, 305.8, 125.7], atol=0.05)
    np.testing.assert_allclose(ratio_of_pco2(jnp.array([305.0, 128.0, 280.0])), [142.47, 305.6, 158.5], atol=0.05)
    assert soft_tissue_carbon(1.0) == pytest.approx(16.880, abs=1e-3)


def test_printed_derivative():
    slope = jax.grad(lambda r: jnp.log(pco2_of_ratio(r)))(200.0)
    assert float(slope) == pytest.approx(-0.00532181, abs=5e-9)
    assert float(slope) == pytest.approx(Storage().log_pco2_slope, rel=1e-12)


def test_table_of_exponents():
    lines = theory_lines([0.5, 0.75, 0.86, 1.0, 1.25, 1.46, 1.75])
    ratios = [
        [220.7, 195.6, 185.7, 174.0, 155.5, 142.0, 125.9],
        [432.4, 311.3, 271.7, 230.2, 175.0, 142.0, 109.6],
        [606.5, 389.4, 325.0, 261.6, 184.1, 142.0, 104.1],
    ]
    pco2 = [
        [201.1, 229.9, 242.3, 257.9, 284.5, 305.8, 333.2],
        [65.2, 124.2, 153.3, 191.2, 256.5, 305.8, 363.3],
        [25.8, 81.9, 115.4, 161.8, 244.3, 305.8, 374.0],
    ]
    np.testing.assert_allclose(lines["respired_ratio"].T, ratios, atol=0.051)
    np.testing.assert_allclose(lines["pco2"].T, pco2, atol=0.051)


def _chain(b_C, b_P, ratio):
    return pco2_of_ratio(respired_ratio(b_C, b_P, ratio))


@pytest.mark.parametrize("b_C", [0.5, 0.75, 1.0, 1.46, 1.75])
def test_gradient_of_pco2_is_the_analytic_one(b_C):
    arguments = (b_C, 1.46, 142.0)
    found = jax.grad(_chain, argnums=(0, 1, 2))(*arguments)
    pco2, respired = _chain(*arguments), respired_ratio(*arguments)
    per_ratio = pco2 * Storage().log_pco2_slope
    expected = (
        per_ratio * respired * log_flux_integral_slope(b_C, 1000.0),
        -per_ratio * respired * log_flux_integral_slope(1.46, 1000.0),
        per_ratio * respired / 142.0,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_gradient_of_the_flux_ratio():
    value = 3.0**0.3
    np.testing.assert_allclose(flux_ratio(300.0, 0.98, 1.28, 1.0), value, rtol=1e-14)
    found = jax.grad(lambda z, b_C, b_P: flux_ratio(z, b_C, b_P, 1.0), argnums=(0, 1, 2))(300.0, 0.98, 1.28)
    np.testing.assert_allclose(found, [0.3 * value / 300.0, -value * np.log(3.0), value * np.log(3.0)], rtol=1e-12)
    # the published exponents let C:P grow by 23 % between 150 and 300 m
    np.testing.assert_allclose(flux_ratio(300.0, 0.98, 1.28, 1.0, 150.0), 1.231, atol=5e-4)


def test_gradient_of_storage_by_its_constants():
    by_storage = jax.grad(lambda s: jnp.log(pco2_of_ratio(142.0, s)))(Storage())
    slope = Storage().log_pco2_slope * 142.0
    assert float(by_storage.phosphate) == pytest.approx(slope / 1.05, rel=1e-12)
    assert float(by_storage.preformed_phosphate) == pytest.approx(-slope / 1.05, rel=1e-12)
    assert float(by_storage.abiotic_pco2) == pytest.approx(1.0 / 651.0, rel=1e-12)
    assert float(by_storage.volume) == pytest.approx(slope / 1.3385e18, rel=1e-12)
    assert float(by_storage.buffered_carbon) == pytest.approx(-slope / Storage().buffered_carbon, rel=1e-12)


@pytest.mark.parametrize("b_C", [-2.0, 0.3, 0.75, 1.0, 1.46, 3.0])
def test_inverse_functions_undo_the_forward_ones(b_C):
    ratio = respired_ratio(b_C, 1.46, 142.0)
    assert float(exponent_of_ratio(ratio, 1.46, 142.0)) == pytest.approx(b_C, abs=1e-12)
    assert float(ratio_of_pco2(pco2_of_ratio(ratio))) == pytest.approx(float(ratio), rel=1e-12)


def test_inverse_derivatives_are_reciprocal():
    pco2 = _chain(0.9, 1.46, 142.0)
    forward = jax.grad(_chain, argnums=(0, 1, 2))(0.9, 1.46, 142.0)
    inverse = jax.grad(exponent_of_pco2, argnums=(0, 1, 2))(pco2, 1.46, 142.0)
    np.testing.assert_allclose(
        inverse, [1.0 / forward[0], -forward[1] / forward[0], -forward[2] / forward[0]], rtol=1e-11
    )
    by_horizon = jax.grad(exponent_of_pco2, argnums=3)(pco2, 1.46, 142.0, 1000.0)
    steps = [exponent_of_pco2(pco2, 1.46, 142.0, 1000.0 + h) for h in (-0.1, 0.1)]
    assert float(by_horizon) == pytest.approx(float(steps[1] - steps[0]) / 0.2, rel=1e-6)
    second = jax.grad(jax.grad(exponent_of_pco2))(pco2, 1.46, 142.0)
    assert np.isfinite(second)


def test_no_exponent_gives_an_impossible_ratio():
    assert np.isnan(exponent_of_ratio(jnp.array([-1.0, 1e30]), 1.46, 142.0)).all()
    assert np.isnan(exponent_of_pco2(1000.0, 1.46, 142.0))  # above what an ocean without soft tissue gives


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (2.0, (634.8, 347.2, 305.0, 188.6, 135.7)),
        (4.0, (623.5, 345.9, 305.0, 191.2, 138.6)),
        (8.0, (601.5, 343.4, 305.0, 196.0, 144.0)),
        (18.0, (554.9, 338.6, 305.0, 205.2, 154.4)),
    ],
)
def test_real_chemistry_in_one_box(temperature, expected):
    """An independent carbonate system with other constants; they agree to half a per cent."""
    carbon = np.array([0.0, 1975.0, 2397.0, 4025.0, 5216.0])
    found = well_mixed_pco2(carbon, temperature)
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert float(found[2]) == pytest.approx(305.0, rel=1e-12)
    if temperature == 2.0:  # the closed form holds where deep water is made
        np.testing.assert_allclose(pco2_of_storage(carbon), found, rtol=0.08)


def test_buffered_carbon_of_the_box():
    """C_buf = -dOCS / d ln pCO2 at 305 uatm, in Pg C."""
    for temperature, expected in ((2.0, 3276.0), (8.0, 3581.0), (18.0, 4057.0)):
        slope = jax.grad(lambda carbon, t=temperature: jnp.log(well_mixed_pco2(carbon, t)))(2397.0)
        assert -1.0 / float(slope) == pytest.approx(expected, rel=0.01)
    steps = [np.log(well_mixed_pco2(2397.0 + h, 18.0)) for h in (-1.0, 1.0)]
    assert float(slope) == pytest.approx((steps[1] - steps[0]) / 2.0, rel=1e-6)


def test_theory_refuses_nonsense():
    with pytest.raises(InputError, match="below 100 m"):
        theory_lines([1.0], horizons=[50.0])
    with pytest.raises(InputError, match="positive ratio"):
        theory_lines([1.0], ratio=-1.0)
