"""Every formula of MOPS with flexible C:P against the worked numbers of its specification, and against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.chemistry.carbonate import co2_star
from invbgc.chemistry.equilibrium import BORON_UPPSTROM, EquilibriumConstants, equilibrium_constants
from invbgc.chemistry.gas_exchange import co2_flux
from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.errors import InputError
from invbgc.models.mops import MopsOptions, mops_parameters
from invbgc.models.mops.carbon import uptake_ratio, zooplankton_ratio
from invbgc.models.mops.decay import decay, nitrate_demand
from invbgc.models.mops.environment import ALKALINITY, FAST_EXCHANGE, PHOSPHATE_OF_CHEMISTRY, SILICATE, lit_layers
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


def water(temperature: float, salinity: float) -> EquilibriumConstants:
    """Constants of the surface chemistry, as the environment of the model makes them."""
    nutrients = (PHOSPHATE_OF_CHEMISTRY / SEAWATER_DENSITY_FACTOR, SILICATE / SEAWATER_DENSITY_FACTOR)
    return equilibrium_constants(temperature, salinity, *nutrients, 0.0, BORON_UPPSTROM)


def mole_fraction(dic, alkalinity: float, constants: EquilibriumConstants) -> jax.Array:
    """CO2 of moist air at 1 atm in equilibrium with water, ppm."""
    dissolved = co2_star(dic / SEAWATER_DENSITY_FACTOR, alkalinity / SEAWATER_DENSITY_FACTOR, constants)
    return dissolved / constants.solubility_moist


def test_constants_of_the_surface_chemistry():
    """At 18 degC and 34.88; the worked numbers are on the seawater scale, where all are larger by one factor."""
    found = water(18.0, 34.88)
    assert float(found.solubility_moist) == pytest.approx(0.0335103, abs=5e-8)
    expected = {
        **{"carbonic_1": 1.25609e-6, "carbonic_2": 8.52938e-10, "boric": 2.12936e-9, "water": 3.22126e-14},
        **{"phosphoric_1": 0.0252061, "phosphoric_2": 9.79105e-7, "phosphoric_3": 1.14463e-9, "silicic": 3.16965e-10},
    }
    sulfate = 1.0 + found.total_sulfate / found.bisulfate
    per_total = float((sulfate + found.total_fluoride / found.hydrogen_fluoride) / sulfate)
    assert per_total == pytest.approx(1.0209, abs=1e-4)
    for name, value in expected.items():
        assert float(getattr(found, name)) * per_total == pytest.approx(value, rel=5e-6), name


@pytest.mark.parametrize(
    ("temperature", "salinity", "alkalinity", "dic", "revelle"),
    [
        (18.0, 34.88, 2366.595, [1856.06, 1942.39, 2039.08, 2057.44, 2200.92], [7.56, 8.22, 9.40, 9.69, 13.26]),
        (2.0, 34.5, 2340.812, [2007.76, 2080.54, 2156.90, 2170.88, 2277.85], [9.40, 10.78, 12.99, 13.50, 18.11]),
    ],
)
def test_dic_in_equilibrium_and_revelle_factors(temperature, salinity, alkalinity, dic, revelle):
    constants, x = water(temperature, salinity), jnp.array(dic)

    def gas(carbon):
        return mole_fraction(carbon, alkalinity, constants)

    found, slope = jax.jvp(gas, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(found, [128.0, 183.0, 280.0, 305.0, 651.0], rtol=1e-4)
    np.testing.assert_allclose(x * slope / found, revelle, atol=6e-3)


def test_fast_exchange_relaxes_within_days():
    """160 m per day over 10 m and 1/16 d is one: a step adds the deficit of CO2*. States at the start of steps."""
    constants, dic, found = water(18.0, 34.88), jnp.array(2000.0), []
    step = FAST_EXCHANGE / 10.0 * 0.0625
    assert step == 1.0
    for _ in range(59):
        found.append(float(mole_fraction(dic, ALKALINITY, constants)))
        dic = dic + co2_flux(dic, ALKALINITY, constants, step, 280.0, pressure=1.0)
    np.testing.assert_allclose(
        [found[n - 1] for n in (1, 8, 16, 32, 59)], [234.7, 245.1, 254.5, 266.9, 276.0], atol=0.06
    )


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


@pytest.mark.parametrize(
    ("b", "expected", "effective"),
    [
        (1.75, [0.267, 0.107, 0.0432, 0.0137], 1.374),
        (1.46, [0.321, 0.145, 0.0665, 0.0249], 1.185),
        (0.75, [0.529, 0.338, 0.218, 0.126], 0.665),
        (0.5, [0.644, 0.473, 0.350, 0.240], 0.459),
    ],
)
def test_the_scheme_of_the_model_attenuates_less_than_its_exponent(b, expected, effective):
    flux = dict(zip(ECCO[1:], steady_flux("mid_depth", b), strict=True))
    np.testing.assert_allclose([flux[z] for z in (260.0, 510.0, 985.0, 2200.0)], expected, rtol=5e-3)
    assert np.log(flux[985.0]) / np.log(100 / 985) == pytest.approx(effective, abs=2e-3)


def test_sinking_speeds_on_the_published_layers():
    speed = sinking_speed(1.46, P["detritus_rate"], ecco_column(), 6, "mid_depth")
    middle = [int(np.searchsorted(ECCO, depth)) - 1 for depth in (5.0, 87.5, 847.5, 5450.0)]
    np.testing.assert_allclose(speed[np.array(middle)], [0.17, 3.0, 29.0, 186.6], rtol=8e-3)


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
