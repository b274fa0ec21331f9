"""From face transports and mixing to an operator: closed forms on small grids."""

import numpy as np
import pytest

from invbgc.circulation.assembly import (
    MAXIMUM_SLOPE,
    FaceFlow,
    FaceMetrics,
    FaceMixing,
    assemble,
    background_diffusivity,
    close_continuity,
    density_gradient,
    exchange,
    horizontal_divergence,
    isopycnal_slopes,
)
from invbgc.circulation.core import Circulation
from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid


def global_grid(wet=None):
    """A periodic grid of 5 x 8 cells and four layers, with an island and a ridge unless `wet` is given."""
    if wet is None:
        wet = np.ones((4, 5, 8), dtype=bool)
        wet[:, 2, 3] = False
        wet[2:, :, 6] = False
    latitude_edges, longitude_edges = np.linspace(-50.0, 50.0, 6), np.linspace(0.0, 360.0, 9)
    band = np.diff(np.sin(np.deg2rad(latitude_edges)))
    return OceanGrid(
        wet=wet,
        depth_edges=np.array([0.0, 50.0, 200.0, 1000.0, 4000.0]),
        latitude=(latitude_edges[1:] + latitude_edges[:-1]) / 2.0,
        latitude_edges=latitude_edges,
        longitude=(longitude_edges[1:] + longitude_edges[:-1]) / 2.0,
        longitude_edges=longitude_edges,
        area=EARTH_RADIUS**2 * np.deg2rad(45.0) * np.repeat(band[:, None], 8, axis=1),
        name="small",
    )


def no_flow(grid):
    return FaceFlow(*(np.zeros(grid.shape) for _ in range(3)))


def no_mixing(grid):
    return FaceMixing(*(np.zeros(grid.shape) for _ in range(3)))


def test_random_flow_is_closed_and_its_operator_passes_the_audit():
    grid = global_grid()
    metrics = FaceMetrics(grid)
    generator = np.random.default_rng(1)
    east, north = generator.normal(scale=1e7, size=(2, *grid.shape))
    flow = close_continuity(metrics, east, north)
    below = np.zeros(grid.shape)
    below[:-1] = flow.up[1:]
    residual = horizontal_divergence(flow.east, flow.north) + flow.up - below
    assert np.abs(residual).max() < 1e-6
    assert np.all(flow.up[0] == 0.0)
    assert np.all(flow.east[~metrics.open_east] == 0.0) and np.all(flow.north[~metrics.open_north] == 0.0)
    slope = np.where(metrics.open_up, generator.normal(scale=1e-3, size=(2, *grid.shape)), 0.0)
    mixing = FaceMixing(slope[0], slope[1], np.where(metrics.open_up, 1e-4 + 1e3 * (slope**2).sum(axis=0), 0.0))
    circulation = Circulation(grid, assemble(metrics, flow, mixing), "random")
    assert circulation.audit.passed and circulation.audit.components == 1


def test_a_flow_that_is_closed_already_stays_as_it_is():
    grid = global_grid()
    metrics = FaceMetrics(grid)
    first = close_continuity(metrics, *np.random.default_rng(2).normal(scale=1e7, size=(2, *grid.shape)))
    second = close_continuity(metrics, first.east, first.north)
    for name in ("east", "north", "up"):
        np.testing.assert_allclose(getattr(second, name), getattr(first, name), atol=1e-5)


def test_exchange_has_its_two_limits():
    conductance = np.array([1.0, 1.0, 1.0, 0.0])
    flow = np.array([0.0, 1e-5, -1e4, 3.0])
    np.testing.assert_allclose(exchange(flow, conductance), [1.0, 1.0, 5e3, 1.5])
    assert exchange(np.array([2.0]), np.array([1.0]))[0] == pytest.approx(1.0 / np.tanh(1.0))


def test_exponential_weights_give_the_exact_profile_of_upwelling_and_diffusion():
    """W C' = K A C'' between two given values has C ~ exp(W z / (K A)); the operator vanishes on it."""
    wet = np.ones((4, 5, 8), dtype=bool)
    grid = global_grid(wet)
    grid = OceanGrid(
        wet=wet,
        depth_edges=np.linspace(0.0, 400.0, 5),
        latitude=grid.latitude,
        latitude_edges=grid.latitude_edges,
        longitude=grid.longitude,
        longitude_edges=grid.longitude_edges,
        area=grid.area,
    )
    metrics = FaceMetrics(grid)
    velocity, diffusivity = 1e-6, 1e-4
    up = np.where(metrics.open_up, velocity * grid.area, 0.0)
    mixing = FaceMixing(np.zeros(grid.shape), np.zeros(grid.shape), np.full(grid.shape, diffusivity))
    transport = assemble(metrics, FaceFlow(np.zeros(grid.shape), np.zeros(grid.shape), up), mixing)
    profile = np.exp(-velocity / diffusivity * grid.wet_depth)
    inner = (grid.layer == 1) | (grid.layer == 2)
    np.testing.assert_allclose((transport @ profile)[inner], 0.0, atol=1e-22)


def test_horizontal_diffusion_has_the_closed_form():
    """K A / d times the difference to each neighbour, over the volume."""
    grid = global_grid(np.ones((4, 5, 8), dtype=bool))
    metrics = FaceMetrics(grid)
    tracer = np.zeros(grid.shape)
    tracer[0, 2, 3] = 1.0
    loss = assemble(metrics, no_flow(grid), no_mixing(grid), 500.0) @ grid.pack(tracer)
    box = np.flatnonzero(grid.pack(tracer))[0]
    thickness, latitude = 50.0, np.deg2rad(grid.latitude[2])
    dx, dy = EARTH_RADIUS * np.cos(latitude) * np.deg2rad(45.0), EARTH_RADIUS * np.deg2rad(20.0)
    edges = np.cos(np.deg2rad(grid.latitude_edges[2:4])).sum() * EARTH_RADIUS * np.deg2rad(45.0)
    expected = 500.0 * thickness * (2.0 * dy / dx + edges / dy) / grid.volume[box]
    assert loss[box] == pytest.approx(expected, rel=1e-12)
    assert np.count_nonzero(loss) == 5


def test_skew_flux_has_the_closed_form():
    """Upward flux -2 K s dC/dy at the face below the first layer, for a tracer with a northward gradient."""
    grid = global_grid(np.ones((4, 5, 8), dtype=bool))
    metrics = FaceMetrics(grid)
    slope = np.zeros(grid.shape)
    slope[1] = 1e-3
    zero = np.zeros(grid.shape)
    tracer = np.broadcast_to(1e-6 * EARTH_RADIUS * np.deg2rad(grid.latitude)[None, :, None], grid.shape)
    with_skew = assemble(metrics, no_flow(grid), FaceMixing(zero, slope, zero), 1000.0) @ grid.pack(tracer)
    without = assemble(metrics, no_flow(grid), no_mixing(grid), 1000.0) @ grid.pack(tracer)
    change = grid.unpack(with_skew - without).values[:, 2, :]
    np.testing.assert_allclose(change[0], 2.0 * 1000.0 * 1e-3 * 1e-6 / 50.0, rtol=1e-10)
    np.testing.assert_allclose(change[1], -2.0 * 1000.0 * 1e-3 * 1e-6 / 150.0, rtol=1e-10)
    np.testing.assert_allclose(change[2:], 0.0, atol=1e-25)


def test_slopes_of_a_tilted_density_field():
    """Temperature a y + b z has slope -a / b; the taper halves the slope flux at 0.004 and closes steep ones."""
    grid = global_grid(np.ones((4, 5, 8), dtype=bool))
    metrics = FaceMetrics(grid)
    y = EARTH_RADIUS * np.deg2rad(grid.latitude)[None, :, None]
    expansion, contraction = np.full(grid.shape, 2e-4), np.full(grid.shape, 8e-4)
    salinity = np.full(grid.shape, 35.0)
    for slope, taper in ((1e-4, 1.0), (MAXIMUM_SLOPE, 0.5), (0.02, 0.0)):
        temperature = np.broadcast_to(0.01 * (-grid.depth[:, None, None] - slope * y), grid.shape)
        east, north, squared = isopycnal_slopes(metrics, temperature, salinity, expansion, contraction)
        assert np.all(density_gradient(metrics, temperature, salinity, expansion, contraction)[1:] < 0.0)
        np.testing.assert_allclose(north[2:, 1:-1], slope * taper, rtol=1e-3, atol=1e-12)
        np.testing.assert_allclose(squared[2:, 1:-1], slope**2 * taper, rtol=1e-3, atol=1e-12)
        np.testing.assert_allclose(north[1, 1:-1], north[2, 1:-1] / 3.0)  # 50 m of 150 m
        np.testing.assert_allclose(east, 0.0, atol=1e-15)


def test_background_diffusivity_adds_winter_and_shelf_mixing():
    grid = global_grid()
    mixed, shelf = np.full((5, 8), 30.0), np.zeros((5, 8), dtype=bool)
    mixed[1], shelf[4] = 500.0, True
    diffusivity = background_diffusivity(grid, mixed, shelf)
    assert np.all(diffusivity[0] == 0.0)
    assert np.all(np.diff(diffusivity[1:, 0], axis=0)[1:] > 0.0)
    assert diffusivity[1, 0, 0] == pytest.approx(1e-3)
    assert diffusivity[2, 1, 0] - diffusivity[2, 0, 0] == pytest.approx(3e-3)
    np.testing.assert_allclose(diffusivity[1:, 4], diffusivity[1:, 0] + 0.01)


def test_a_regional_grid_is_not_periodic():
    grid = global_grid(np.ones((4, 5, 8), dtype=bool))
    regional = OceanGrid(
        wet=grid.wet,
        depth_edges=grid.depth_edges,
        latitude=grid.latitude,
        latitude_edges=grid.latitude_edges,
        longitude=grid.longitude / 4.0,
        longitude_edges=grid.longitude_edges / 4.0,
        area=grid.area / 4.0,
    )
    assert FaceMetrics(grid).open_east[:, :, -1].all()
    assert not FaceMetrics(regional).open_east[:, :, -1].any()
