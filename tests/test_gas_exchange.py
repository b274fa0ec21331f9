"""Air-sea gas exchange."""

import jax
import numpy as np
import pytest

from invbgc.chemistry.carbonate import carbonate, equilibrium_constants
from invbgc.chemistry.gas_exchange import (
    co2_flux,
    o2_flux,
    oxygen_saturation,
    piston_velocity,
    schmidt_co2,
    schmidt_o2,
)
from invbgc.errors import InputError


def test_schmidt_numbers_and_piston_velocity():
    assert float(schmidt_co2(20.0)) == pytest.approx(665.99, abs=5e-3)
    assert float(schmidt_o2(20.0)) == pytest.approx(530.57, abs=5e-3)
    assert float(piston_velocity(3e-5, 660.0)) == pytest.approx(3e-5, rel=1e-15)
    assert float(piston_velocity(3e-5, 165.0)) == pytest.approx(6e-5, rel=1e-15)
    temperature = np.linspace(-2, 33, 100)
    for schmidt in (schmidt_co2, schmidt_o2):
        assert np.all(np.diff(schmidt(temperature)) < 0)
        assert np.all(schmidt(temperature) > 0)


@pytest.mark.parametrize(("t", "s", "expected"), [(10.0, 35.0, 282.015), (18.0, 34.88, 240.040), (2.0, 34.5, 341.059)])
def test_oxygen_saturation(t, s, expected):
    assert float(oxygen_saturation(t, s)) == pytest.approx(expected, abs=6e-4)


def test_oxygen_flux_vanishes_at_saturation_under_the_local_pressure():
    saturation = oxygen_saturation(5.0, 34.0)
    assert float(o2_flux(0.98 * saturation, saturation, 1e-6, pressure=0.98)) == pytest.approx(0.0, abs=1e-18)
    assert float(o2_flux(0.9 * saturation, saturation, 1e-6)) == pytest.approx(1e-7 * float(saturation), rel=1e-12)


@pytest.fixture
def water():
    return equilibrium_constants(np.array([18.0, 0.0]), np.array([35.0, 34.0]), 0.7, 10.0)


def test_co2_flux_vanishes_at_equilibrium(water):
    dic, alk = np.array([2000.0, 2130.0]), np.array([2320.0, 2290.0])
    pco2 = carbonate(dic, alk, np.array([18.0, 0.0]), np.array([35.0, 34.0]), 0.7, 10.0).pco2
    consistent = co2_flux(1.0245 * dic, 1.0245 * alk, water, 1e-6, pco2)
    np.testing.assert_allclose(consistent, 0.0, atol=1e-18)
    released = co2_flux(dic, alk, water, 1e-6, pco2, units="released")
    np.testing.assert_allclose(released, 0.0, atol=1e-18)


def test_released_units_raise_the_pco2_of_the_water_by_about_one_and_a_half_percent(water):
    """From 277.8 to 281.9 uatm at 18 degC."""
    dic, alk, scale = np.array([2000.0, 2130.0]) * 1.0245, np.array([2320.0, 2290.0]) * 1.0245, 1.0245
    kappa = 1e-6
    pco2 = [-co2_flux(dic, alk, water, kappa, 0.0, units=u) / (kappa * scale * water.solubility) for u in
            ("consistent", "released")]  # fmt: skip
    assert float(pco2[0][0]) == pytest.approx(277.78, abs=0.01)
    assert float(pco2[1][0]) == pytest.approx(281.9, abs=0.1)


def test_ocmip2_atmosphere(water):
    """Humidity takes the vapour pressure (about 2 % at 18 degC) off the dry pressure, and pressure scales the rest."""
    dic, alk = np.array([2050.0, 2180.0]), np.array([2377.0, 2346.0])

    def equilibrium(**atmosphere):
        return co2_flux(dic, alk, water, 1.0, 278.0, **atmosphere) - co2_flux(dic, alk, water, 1.0, 0.0)

    moist = equilibrium(pressure=1.0) / equilibrium()
    np.testing.assert_allclose(moist, [1 - 0.0199, 1 - 0.0059], atol=1e-3)
    np.testing.assert_allclose(equilibrium(pressure=0.97), 0.97 * equilibrium(pressure=1.0), rtol=1e-12)


def test_co2_flux_derivatives_and_jit(water):
    alk = np.array([2377.0, 2346.0])

    def total(x):
        return co2_flux(x, alk, water, 1e-6, 278.0).sum()

    dic = np.array([2050.0, 2180.0])
    slope = jax.grad(total)(dic)
    assert np.all(slope < 0)
    for i, step in enumerate(np.eye(2)):
        difference = (
            8 * (total(dic + step) - total(dic - step)) - (total(dic + 2 * step) - total(dic - 2 * step))
        ) / 12
        assert float(difference) == pytest.approx(float(slope[i]), rel=1e-7)
    assert float(jax.jit(total)(dic)) == pytest.approx(float(total(dic)), rel=1e-12)


def test_unknown_units_are_refused(water):
    with pytest.raises(InputError, match="expected 'consistent' or 'released'"):
        co2_flux(2000.0, 2300.0, water, 1e-6, 278.0, units="mol")  # pyright: ignore[reportArgumentType]
