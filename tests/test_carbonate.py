"""The carbonate system: agreement with PyCO2SYS, check values, implicit derivatives, robustness."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.chemistry import carbonate as module
from invbgc.chemistry.carbonate import carbonate, co2_star, equilibrium_constants


def ocean(n, seed=0):
    """Random seawater: DIC, ALK, temperature, salinity, phosphate, silicate."""
    r = np.random.default_rng(seed)
    bounds = [(1700, 2500), (1900, 2600), (-2, 33), (20, 40), (0, 3), (0, 120)]
    return [r.uniform(low, high, n) for low, high in bounds]


@pytest.mark.parametrize("pressure", [0.0, 18.2, 4000.0])
def test_agrees_with_pyco2sys(pressure):
    pyco2 = pytest.importorskip("PyCO2SYS")
    dic, alk, t, s, phosphate, silicate = ocean(3000)
    ours = carbonate(dic, alk, t, s, phosphate, silicate, pressure)
    theirs = pyco2.sys(
        alk,
        dic,
        1,
        2,
        temperature=t,
        salinity=s,
        pressure=pressure,
        total_phosphate=phosphate,
        total_silicate=silicate,
        opt_pH_scale=1,
        opt_k_carbonic=4,
        opt_k_bisulfate=1,
        opt_total_borate=1,
    )
    np.testing.assert_allclose(ours.co2_star, theirs["CO2"], rtol=1e-10)
    np.testing.assert_allclose(ours.pco2, theirs["pCO2"], rtol=1e-10)
    np.testing.assert_allclose(ours.ph_total, theirs["pH_total"], rtol=1e-11)
    np.testing.assert_allclose(ours.bicarbonate, theirs["HCO3"], rtol=1e-10)
    np.testing.assert_allclose(ours.carbonate, theirs["CO3"], rtol=1e-10)
    np.testing.assert_allclose(ours.k0, theirs["k_CO2"] * theirs["fugacity_factor"], rtol=1e-12)


@pytest.mark.parametrize(
    ("water", "dissolved", "pco2", "ph"),
    [
        ((2000.0, 2320.0, 18.0, 35.0), 9.491336, 277.78124, 8.1793680),
        ((2130.0, 2290.0, 0.0, 34.0), 17.908051, 284.38611, 8.1641465),
        ((1920.0, 2300.0, 27.0, 35.0), 8.069091, 299.57342, 8.1404281),
    ],
)
def test_check_values(water, dissolved, pco2, ph):
    state = carbonate(*water, phosphate=0.7, silicate=10.0)
    assert float(state.co2_star) == pytest.approx(dissolved, rel=1e-6)
    assert float(state.pco2) == pytest.approx(pco2, rel=1e-6)
    assert float(state.ph_total) == pytest.approx(ph, abs=1e-6)
    if water[2] == 18.0:
        assert float(state.k0) == pytest.approx(0.0341684, abs=5e-8)


def test_moist_air_solubility():
    constants = equilibrium_constants(18.0, 34.88)
    assert float(constants.solubility_moist) == pytest.approx(0.0335103, abs=5e-8)


def test_species_add_up_and_precomputed_constants_agree():
    dic, alk, *water = ocean(200, seed=1)
    state = carbonate(dic, alk, *water)
    np.testing.assert_allclose(state.co2_star + state.bicarbonate + state.carbonate, dic, rtol=1e-14)
    constants = equilibrium_constants(*water)
    np.testing.assert_allclose(co2_star(dic, alk, constants), state.co2_star, rtol=1e-14)


def test_alkalinity_is_met_for_extreme_water():
    """Fresh and brine, hot and cold, nearly no carbon, far more or far less alkalinity than carbon."""
    axes = np.meshgrid([1e-3, 500, 2100, 6000], [-200, 0, 100, 2300, 9000], [-6.7, 15, 45], [0.5, 35, 60], [0, 50])
    dic, alk, t, s, nutrient = (axis.ravel() for axis in axes)
    constants = equilibrium_constants(t, s, nutrient, 4 * nutrient)
    log_h = module._log_hydrogen(dic * 1e-6, alk * 1e-6, constants)
    reached = module._alkalinity(log_h, dic * 1e-6, constants) * 1e6
    np.testing.assert_allclose(reached, alk, atol=1e-9, rtol=1e-12)
    assert np.all(np.isfinite(co2_star(dic, alk, constants)))


def test_monotone_in_carbon_and_alkalinity():
    _, _, *water = ocean(50, seed=2)
    constants = equilibrium_constants(*water)
    dic = np.linspace(1500, 2800, 60)[:, None]
    alk = np.linspace(1700, 2900, 60)[:, None]
    assert np.all(np.diff(co2_star(dic, 2300.0, constants), axis=0) > 0)
    assert np.all(np.diff(co2_star(2000.0, alk, constants), axis=0) < 0)


def difference(f, x, step):
    """Fourth-order central difference."""
    return (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)


@pytest.mark.parametrize("argument", ["dic", "alk", "temperature", "salinity", "phosphate", "silicate", "pressure"])
def test_first_derivatives(argument):
    water = dict(dic=2050.0, alk=2330.0, temperature=14.0, salinity=34.5, phosphate=1.2, silicate=20.0, pressure=18.2)

    def pco2(x):
        return carbonate(**{**water, argument: x}).pco2

    x = water[argument]
    slope = jax.grad(pco2)(x)
    assert float(slope) == pytest.approx(float(difference(pco2, x, 1e-3 * x)), rel=1e-7)
    assert float(jax.jvp(pco2, (x,), (1.0,))[1]) == pytest.approx(float(slope), rel=1e-13)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_are_derivatives_of_the_lower(order):
    dic, alk, *water = ocean(20, seed=3)
    constants = equilibrium_constants(*water)
    direction = np.random.default_rng(4).normal(size=(2, 20)) * 50

    def along(step):
        return co2_star(dic + step * direction[0], alk + step * direction[1], constants)

    lower = along
    for _ in range(order - 1):
        lower = lambda x, f=lower: jax.jvp(f, (x,), (1.0,))[1]  # noqa: E731
    exact = jax.jvp(lower, (0.0,), (1.0,))[1]
    estimate = difference(lower, 0.0, 1e-2)
    np.testing.assert_allclose(exact, estimate, rtol=1e-6, atol=1e-8 * np.max(np.abs(exact)))


def test_reverse_over_reverse_is_symmetric_and_matches_forward():
    constants = equilibrium_constants(10.0, 35.0, 1.0, 10.0)

    def f(x):
        return co2_star(x[0], x[1], constants)

    x = jnp.array([2080.0, 2310.0])
    hessian = jax.jacrev(jax.jacrev(f))(x)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12)
    np.testing.assert_allclose(hessian, jax.jacfwd(jax.jacfwd(f))(x), rtol=1e-12)


def test_derivative_obeys_the_implicit_function_theorem():
    """d(pH) from the rule closes the alkalinity balance to first order, whatever varies."""
    dic, alk, t, s, phosphate, silicate = ocean(30, seed=5)
    constants = equilibrium_constants(t, s, phosphate, silicate)
    primals = (dic * 1e-6, alk * 1e-6, constants)
    r = np.random.default_rng(6)
    tangents = jax.tree.map(lambda leaf: leaf * r.normal(size=30) * 1e-2, primals)
    log_h, log_h_dot = jax.jvp(module._log_hydrogen, primals, tangents)
    _, alk_dot = jax.jvp(module._alkalinity, (log_h, primals[0], primals[2]), (log_h_dot, tangents[0], tangents[2]))
    np.testing.assert_allclose(alk_dot, tangents[1], rtol=1e-10, atol=1e-16)


def test_jit_and_vmap_equal_eager():
    dic, alk, *water = ocean(40, seed=7)
    eager = carbonate(dic, alk, *water)
    for other in (jax.jit(carbonate)(dic, alk, *water), jax.vmap(carbonate)(dic, alk, *water)):
        for a, b in zip(eager, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_docstring_example():
    assert doctest.testmod(module).failed == 0
