"""Every formula of MOPS with flexible C:P against the worked numbers of its specification, and against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.errors import InputError
from invbgc.models.mops import MopsOptions, mops_parameters
from invbgc.models.mops.carbon import uptake_ratio, zooplankton_ratio
from invbgc.models.mops.decay import decay, nitrate_demand
from invbgc.models.mops.environment import lit_layers
from invbgc.models.mops.light import Daylight, daylight, light_limitation
from invbgc.models.mops.plankton import fixation_temperature, plankton_rates, temperature_factor
from invbgc.models.mops.shapes import Shapes
from invbgc.models.mops.sinking import buried_fraction, sink, sinking_speed
from invbgc.particles import Columns
from invbgc.storage import ECCO_EDGES

P = dict(mops_parameters().values)
HARD, SMOOTH = Shapes(False), Shapes(True)


def one(value: float) -> jax.Array:
    return jnp.full((1, 1), float(value))


@pytest.mark.parametrize(
    ("day", "latitude", "radiation", "lit"),
    [
        (0, 0, 159.3255, 0.499999),
        (0, 45, 47.69899, 0.360032),
        (180, 45, 198.4207, 0.640098),
        (90, 30, 160.8228, 0.515192),
    ],
)
def test_insolation(day, latitude, radiation, lit):
    light = daylight(day / 360, float(latitude))
    assert float(light.radiation) == pytest.approx(radiation, rel=1e-4)  # the reference has 3.1416 for pi
    assert float(light.day) == pytest.approx(lit, rel=1e-4)


def test_there_is_always_some_light_and_finite_growth_in_the_polar_night():
    light = daylight(0.0, 85.0)
    night = Daylight(light.radiation[None], light.day[None])
    limited = light_limitation(one(0.1), one(1.0), night, jnp.ones(1), jnp.array([50.0]), P)
    assert 0.0 <= float(limited[0, 0]) < 1e-3


def noon() -> Daylight:
    light = daylight(0.5, 30.0)
    return Daylight(light.radiation[None], light.day[None])


def test_light_limitation():
    factor = temperature_factor(one(20.0), P)
    limited = light_limitation(one(0.02), factor, noon(), jnp.zeros(1), jnp.array([10.0]), P)
    assert float(factor[0, 0]) == pytest.approx(3.58929, rel=1e-6)
    assert float(limited[0, 0]) == pytest.approx(0.491001, rel=1e-5)


def test_plankton_rates():
    rates = plankton_rates(
        *(one(value) for value in (0.1, 1.2, 0.02, 0.01, 20.0)),
        *(noon(), jnp.zeros(1), jnp.array([10.0]), P, HARD, 0.0625, 0.0),
    )
    found = {name: float(value[0, 0]) for name, value in rates._asdict().items()}
    assert found["uptake"] == pytest.approx(5.62291e-3, rel=1e-6)
    assert found["grazing"] == pytest.approx(9.71450e-4, rel=1e-6)
    assert found["mortality"] == pytest.approx(4.548e-4, rel=1e-12)
    assert found["exudation"] == pytest.approx(6e-4) and found["excretion"] == pytest.approx(3e-4)
    assert found["fixation"] == pytest.approx(P["fixation"] * 0.18413 * (1 - 1.2 / 1.6), rel=1e-4)


def test_growth_is_the_mean_over_times_of_the_year():
    times = daylight(jnp.array([0.0, 0.5])[:, None], jnp.array([45.0]))
    arguments = (one(2.0), one(30.0), one(0.02), one(0.01), one(10.0))
    rest = (jnp.zeros(1), jnp.array([10.0]), P, HARD, 0.0625, 0.0)
    both = plankton_rates(*arguments, times, *rest).uptake
    each = [plankton_rates(*arguments, Daylight(times.radiation[i], times.day[i]), *rest).uptake for i in range(2)]
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, rtol=1e-14)
    assert float(each[0][0, 0]) != float(each[1][0, 0])


def test_fixation_has_its_optimum_near_27_degrees():
    expected = {20.0: 0.18413, 24.0: 0.86054, 26.82: 1.00014, 28.0: 0.97578, 30.0: 0.82296, 15.0: 0.0}
    found = [float(fixation_temperature(jnp.array(t))) for t in expected]
    np.testing.assert_allclose(found, list(expected.values()), atol=5e-6)


def test_limitation_of_decay():
    oxygen = jnp.array([5.0, 20.0, 100.0])
    part = decay(oxygen, jnp.full(3, 25.0), jnp.zeros(3), P, HARD, 0.0625)
    np.testing.assert_allclose(part.oxic, [0.933222, 0.996839, 0.999883], atol=5e-7)
    np.testing.assert_allclose(part.suboxic[0] / (1 - part.oxic[0]), 0.131791, atol=5e-7)
    assert float(part.suboxic[2]) == 0.0  # above 36 mmol m-3 nitrate is never used
    assert nitrate_demand(P) == pytest.approx(104.88)


def test_decay_never_uses_more_than_there_is():
    oxygen, nitrate, demand, step = jnp.array([1.2]), jnp.array([16.5]), jnp.array([5.0]), 0.0625
    part = decay(oxygen, nitrate, demand, P, HARD, step)
    assert float((part.oxic * demand * P["r_O2P"] * step)[0]) == pytest.approx(0.2)
    assert float((part.suboxic * demand * 104.88 * step)[0]) <= 0.5 + 1e-12


def test_ratio_of_uptake_and_of_zooplankton():
    cases = {(0.57, 18): 117.0, (0.3, 18): 133.88, (0.1, 25): 183.68, (0.05, 25): 212.46, (0.02, 20): 242.33}
    cases |= {(0.01, 27): 250.0, (1.5, 5): 117.0, (2.0, -1): 117.0, (1e-7, 25): 117.0}
    found = [float(uptake_ratio(po4, t, P)) for po4, t in cases]
    np.testing.assert_allclose(found, list(cases.values()), atol=5e-3)
    found = [float(zooplankton_ratio(q, P)) for q in (142.0, 180.0, 200.0, 250.0)]
    np.testing.assert_allclose(found, [118.827, 121.102, 122.127, 124.327], atol=5e-4)


def test_excess_carbon_makes_rich_pellets():
    """The worked example: r_Y = q_Y = 200, G = 1e-3 leaves detritus of C:P 474.8."""
    r_Y, grazing, eps, sig = 200.0, 1e-3, P["assimilation"], P["dissolved_fraction"]
    r_Z = float(zooplankton_ratio(200.0, P))
    excess = eps * (r_Y * grazing - r_Z * grazing)
    carbon = (1 - sig) * (1 - eps) * r_Y * grazing + excess
    assert excess == pytest.approx(0.0584041, rel=1e-5)
    assert carbon / ((1 - sig) * (1 - eps) * grazing) == pytest.approx(474.8, abs=0.05)


def test_burial():
    found = [float(buried_fraction(jnp.array(rain))) for rain in (0.0, 1e-3, 1e-2, 5e-2, 1.0)]
    np.testing.assert_allclose(found, [0.0, 0.00675, 0.0425, 0.154, 1.0], rtol=3e-3)
    assert np.isfinite(jax.grad(lambda rain: buried_fraction(rain))(0.0))


ECCO = np.concatenate([[0.0, 10.0, 20.0, 35.0, 55.0, 75.0], ECCO_EDGES])


def ecco_column() -> Columns:
    return Columns(np.diff(ECCO), ECCO, np.ones((len(ECCO) - 1, 1), dtype=bool))


def steady_flux(scheme: str, b: float) -> np.ndarray:
    """Flux at the interfaces below 100 m, relative, of a column without transport that is fed above 100 m."""
    columns, rate = ecco_column(), P["detritus_rate"]
    speed = sinking_speed(b, rate, columns, 6, scheme)

    def tendency(detritus):
        return sink(detritus, speed, columns).source - rate * detritus

    size = len(columns.thickness)
    matrix = jax.jacfwd(lambda d: tendency(d[:, None])[:, 0])(jnp.full(size, 1e-9))
    source = np.where(np.arange(size) < 6, 1.0, 0.0)
    detritus = np.linalg.solve(np.asarray(matrix), -source)
    flux = np.asarray(speed) * detritus
    return flux / flux[5]


def test_the_scheme_of_the_model_attenuates_less_than_its_exponent():
    flux = dict(zip(ECCO[1:], steady_flux("mid_depth", 1.46), strict=True))
    found = [flux[z] for z in (260.0, 510.0, 985.0, 2200.0)]
    np.testing.assert_allclose(found, [0.321, 0.145, 0.0665, 0.0249], rtol=5e-3)
    assert np.log(flux[985.0]) / np.log(100 / 985) == pytest.approx(1.185, abs=2e-3)


def test_the_exact_scheme_follows_the_power_law():
    flux = steady_flux("exact_profile", 1.46)[5:-1]
    np.testing.assert_allclose(flux, (ECCO[6:-1] / 100.0) ** -1.46, rtol=1e-10)
    assert float(sinking_speed(1.46, 0.05, ecco_column(), 6, "exact_profile")[12]) == pytest.approx(22.4, abs=0.05)


def test_lit_layers_of_the_published_grids():
    class Grid:
        depth = 0.5 * (ECCO[1:] + ECCO[:-1])

    assert lit_layers(Grid()) == 6


@pytest.mark.parametrize("x", [-3.0, -0.4, 0.0, 0.3, 2.0])
def test_smooth_corners_stay_near_the_hard_ones(x):
    assert float(SMOOTH.positive(x, 0.5)) == pytest.approx(float(HARD.positive(x, 0.5)), abs=0.126)
    assert float(SMOOTH.between(x, 0.0, 1.0, 0.1)) == pytest.approx(float(HARD.between(x, 0.0, 1.0, 0.1)), abs=0.026)
    low = abs(x)
    assert 0.94 * min(low, 1.0) <= float(SMOOTH.minimum(low, 1.0)) <= min(low, 1.0)
    slope = jax.grad(lambda y: SMOOTH.positive(y, 0.5))
    assert float(slope(0.5 - 1e-9)) == pytest.approx(1.0) and float(slope(-0.5 + 1e-9)) == pytest.approx(0.0, abs=1e-8)


def test_wrong_options_are_refused():
    for wrong in (
        {"sinking": "fast"},
        {"euphotic_layers": 0},
        {"excess_to_doc": 2.0},
        {"biology_step": 0.0},
        {"seasons": 0},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            MopsOptions(**wrong)
    with pytest.raises(InputError, match="ecco"):
        mops_parameters("unknown")


def test_calibrations():
    assert mops_parameters("mit28")["r_O2P"].value == 173.7
    assert mops_parameters("mops2")["b_P"].value == 0.858
    assert mops_parameters(b_C=0.75)["b_C"].value == 0.75
    assert mops_parameters().free_names[:2] == ("b_P", "b_C")
