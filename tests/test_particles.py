"""Sinking particles: published tables, closed forms, conservation, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.errors import InputError
from invbgc.particles import (
    Columns,
    exact_exponential_law,
    exact_power_law,
    exponential_law,
    remineralise,
    unit_response,
    upwind_power_law,
)

# fmt: off
OCIM2_THICKNESS = np.array([
    36.135114, 37.264336, 40.652003, 46.298115, 54.202671, 64.365672, 76.787117, 91.467007,
    108.405342, 127.602121, 149.057345, 172.771013, 198.743126, 226.973684, 257.462687, 290.210134,
    325.216025, 362.480361, 402.003142, 443.784368, 487.824038, 534.122152, 582.678712, 633.493716,
])
# fmt: on
INTERFACE = np.r_[0.0, np.cumsum(OCIM2_THICKNESS)]
LAWS = {
    "upwind power": (upwind_power_law, 1.2),
    "exact power": (exact_power_law, 1.2),
    "upwind exponential": (exponential_law, 900.0),
    "exact exponential": (exact_exponential_law, 900.0),
}


def make_columns(floors):
    """Columns on the OCIM2 layers with the given numbers of wet boxes."""
    wet = np.arange(24)[:, None] < np.asarray(floors)[None, :]
    return Columns(OCIM2_THICKNESS, INTERFACE, wet)


@pytest.fixture
def columns():
    return make_columns([24, 24, 13, 5, 2, 1, 20])


@pytest.fixture
def source(columns):
    return np.where(columns.wet, np.random.default_rng(1).uniform(-0.1, 1.0, columns.wet.shape), 0.0)


def flux_relative_to_euphotic_base(law, depths):
    deep = make_columns([24])
    source = np.zeros((24, 1))
    source[:2, 0] = 1.0
    flux = np.asarray(remineralise(source, law(deep), deep).flux[:, 0])
    index = [int(np.argmin(abs(INTERFACE - depth))) for depth in depths]
    return flux[index] / flux[2]


@pytest.mark.parametrize(
    ("b", "upwind", "exact"),
    [
        (0.7, [0.8003, 0.4231, 0.2284, 0.1665, 0.1056], [0.7345, 0.3313, 0.1601, 0.1114, 0.0667]),
        (0.8, [0.7781, 0.3785, 0.1882, 0.1315, 0.0784], [0.7029, 0.2829, 0.1233, 0.0814, 0.0453]),
        (1.0, [0.7372, 0.3052, 0.1293, 0.0831, 0.0439], [0.6436, 0.2064, 0.0730, 0.0435, 0.0209]),
        (1.27, [0.6884, 0.2315, 0.0796, 0.0459, 0.0207], [0.5714, 0.1348, 0.0360, 0.0187, 0.0074]),
        (1.6, [0.6368, 0.1684, 0.0454, 0.0230, 0.0086], [0.4940, 0.0801, 0.0152, 0.0066, 0.0021]),
    ],
)
def test_power_law_attenuation_on_ocim2_layers(b, upwind, exact):
    depths = [114, 356, 1005, 1688, 3512]
    measured = flux_relative_to_euphotic_base(lambda c: upwind_power_law(b, c), depths)
    np.testing.assert_allclose(measured, upwind, atol=6e-5)
    measured = flux_relative_to_euphotic_base(lambda c: exact_power_law(b, c), depths)
    np.testing.assert_allclose(measured, exact, atol=6e-5)


def test_exponential_attenuation_on_ocim2_layers():
    depths = [356, 1005, 3512]
    measured = flux_relative_to_euphotic_base(lambda c: exponential_law(4550.0, c), depths)
    np.testing.assert_allclose(measured, [0.9402, 0.8169, 0.4800], atol=6e-5)
    measured = flux_relative_to_euphotic_base(lambda c: exact_exponential_law(4550.0, c), depths)
    np.testing.assert_allclose(measured, [0.9398, 0.8149, 0.4697], atol=6e-5)


def test_export_from_the_euphotic_zone():
    deep = make_columns([24])
    source = np.zeros((24, 1))
    source[:2, 0] = 0.5 / OCIM2_THICKNESS[:2]  # half of a unit column production in each layer
    flux = remineralise(source, upwind_power_law(1.27, deep), deep).flux
    assert float(flux[2, 0]) == pytest.approx(0.5 * (1 / 2.27 + 1) / (1 + 0.50769 * 1.27), rel=1e-5)
    assert float(flux[2, 0]) == pytest.approx(0.438, abs=5e-4)


def test_exact_laws_are_the_continuous_flux_of_uniform_production():
    """Compare with quadrature of the continuous law over the depths of production, on the midpoints of thin slices."""
    deep = make_columns([24])
    source = np.random.default_rng(2).uniform(0, 1, (24, 1))
    slices = 4000
    depth = INTERFACE[:-1, None] + OCIM2_THICKNESS[:, None] * (np.arange(slices) + 0.5) / slices
    made = source * OCIM2_THICKNESS[:, None] / slices
    for law, profile in [
        (exact_power_law(0.9, deep), lambda z, start: (z / start) ** -0.9),
        (exact_exponential_law(700.0, deep), lambda z, start: np.exp(-(z - start) / 700.0)),
    ]:
        flux = remineralise(source, law, deep).flux
        for k in (1, 2, 5, 20, 23):
            expected = np.sum(made[:k] * profile(INTERFACE[k], depth[:k]))
            assert float(flux[k, 0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_dissolution_equals_production_in_every_column(name, columns, source):
    law, value = LAWS[name]
    result = remineralise(source, law(value, columns), columns)
    dz = OCIM2_THICKNESS[:, None]
    np.testing.assert_allclose((result.remineralisation * dz).sum(axis=0), (source * dz).sum(axis=0), rtol=1e-12)
    assert np.all(result.flux[0] == 0)
    assert np.all(np.where(columns.wet, 0.0, result.remineralisation) == 0)
    assert np.all(np.where(columns.wet, 0.0, result.flux[1:]) == 0)
    floor = columns.wet.sum(axis=0)
    assert np.all(np.asarray(result.flux)[floor, np.arange(len(floor))] == 0)


def test_solves_the_upwind_scheme(columns, source):
    """The concentrations satisfy the discrete sinking equation for any dissolution rate."""
    b, dz = 1.1, OCIM2_THICKNESS[:, None]
    remineralisation = np.asarray(remineralise(source, upwind_power_law(b, columns), columns).remineralisation)
    for kappa in (1 / 30, 1 / 60):
        concentration = remineralisation / kappa
        speed = np.where(columns.open_below, kappa / b * INTERFACE[1:, None], 0.0)
        below = speed * concentration
        above = np.concatenate([np.zeros_like(below[:1]), below[:-1]])
        balance = (below - above) / dz + kappa * concentration - source
        np.testing.assert_allclose(np.where(columns.wet, balance, 0.0), 0.0, atol=1e-13)


@pytest.mark.parametrize("name", LAWS)
def test_dry_boxes_are_ignored(name, columns, source):
    law, value = LAWS[name]
    dirty = np.where(columns.wet, source, np.nan)
    clean = remineralise(source, law(value, columns), columns)
    np.testing.assert_array_equal(remineralise(dirty, law(value, columns), columns).flux, clean.flux)


@pytest.mark.parametrize("name", LAWS)
def test_unit_response_is_remineralise(name, columns, source):
    law, value = LAWS[name]
    euphotic = source * (np.arange(24) < 2)[:, None]
    sinking = law(value, columns)
    response = unit_response(sinking, columns, layers=2)
    assert response.shape == (2, *columns.wet.shape)
    np.testing.assert_allclose(
        jnp.einsum("lkc,lc->kc", response, euphotic[:2]),
        remineralise(euphotic, sinking, columns).remineralisation,
        rtol=1e-12,
        atol=1e-15,
    )


def test_exponents_per_column_under_jit_and_vmap(columns, source):
    b = np.linspace(0.5, 1.6, columns.wet.shape[1])

    def flux(exponent):
        return remineralise(source, upwind_power_law(exponent, columns), columns).flux

    together = flux(b)
    for c, exponent in enumerate(b):
        np.testing.assert_allclose(together[:, c], flux(exponent)[:, c], rtol=1e-14)
    np.testing.assert_allclose(jax.jit(flux)(b), together, rtol=1e-13)
    np.testing.assert_allclose(jax.vmap(flux)(np.stack([b, 2 * b]))[1], flux(2 * b), rtol=1e-13)


def test_steeper_exponents_export_less(columns, source):
    positive = np.abs(source)
    for law in (upwind_power_law, exact_power_law):
        flux = np.stack([remineralise(positive, law(b, columns), columns).flux for b in (0.4, 0.8, 1.6)])
        assert np.all(np.diff(flux, axis=0) <= 0)


@pytest.mark.parametrize("name", LAWS)
def test_first_and_second_derivatives(name, columns, source):
    law, value = LAWS[name]
    weight = np.random.default_rng(3).normal(size=columns.wet.shape)

    def scalar(factor, scale):
        sinking = law(value * factor, columns)
        return jnp.sum(weight * remineralise(scale * source, sinking, columns).remineralisation ** 2)

    def difference(f, h):
        return (8 * (f(1 + h) - f(1 - h)) - (f(1 + 2 * h) - f(1 - 2 * h))) / (12 * h)

    first = jax.grad(scalar)
    assert float(first(1.0, 1.0)) == pytest.approx(difference(lambda x: float(scalar(x, 1.0)), 1e-3), rel=1e-8)
    second = float(jax.grad(first)(1.0, 1.0))
    assert second == pytest.approx(difference(lambda x: float(first(x, 1.0)), 1e-3), rel=1e-8)
    mixed = float(jax.grad(first, argnums=1)(1.0, 1.0))
    assert mixed == pytest.approx(2.0 * float(first(1.0, 1.0)), rel=1e-12)


def test_columns_are_checked():
    with pytest.raises(InputError, match="wet box below a dry one"):
        Columns(np.ones(3), np.arange(4.0), np.array([[True], [False], [True]]))
    with pytest.raises(InputError, match="increase by the thickness"):
        Columns(np.ones(3), np.arange(1.0, 5.0), np.ones((3, 1), bool))
    with pytest.raises(InputError, match="expected"):
        Columns(np.ones(3), np.arange(4.0), np.ones((4, 1), bool))
