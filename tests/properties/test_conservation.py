"""Every circulation keeps a uniform tracer, conserves inventories, and survives coarsening and the disk."""

import numpy as np
import pytest
from cases import CIRCULATIONS
from scipy.sparse import identity
from scipy.sparse.linalg import spsolve

from invbgc.circulation import coarsen, coarsening, read_circulation, write_circulation
from invbgc.constants import YEAR


@pytest.fixture(params=CIRCULATIONS.values(), ids=CIRCULATIONS.keys(), scope="module")
def circulation(request):
    return request.param()


@pytest.fixture(scope="module")
def tracer(circulation):
    return np.random.default_rng(7).uniform(0.0, 3.0, circulation.grid.n_wet)


def test_uniform_tracer_stays_uniform(circulation):
    rate = np.abs(circulation.transport @ np.ones(circulation.grid.n_wet))
    assert rate.max() <= 1e-13 * circulation.transport.diagonal().max()
    assert circulation.audit.uniform_time_scale > 1e9


def test_inventory_is_conserved(circulation, tracer):
    volume = circulation.grid.volume
    rate = circulation.transport @ tracer
    assert abs(volume @ rate) <= 1e-13 * (volume @ np.abs(rate))
    assert circulation.audit.mass_time_scale > 1e9


def test_diagonal_is_not_negative(circulation):
    assert circulation.audit.minimum_diagonal >= 0.0
    assert circulation.audit.passed


def test_time_step_conserves_and_mixes(circulation, tracer):
    """One implicit step of ten years: the inventory stays, the variance does not grow."""
    volume = circulation.grid.volume
    matrix = identity(volume.size, format="csc") + 10.0 * YEAR * circulation.transport
    after = spsolve(matrix.tocsc(), tracer)
    assert volume @ after == pytest.approx(volume @ tracer, rel=1e-11)
    mean = circulation.grid.volume_mean(tracer)
    assert volume @ (after - mean) ** 2 <= volume @ (tracer - mean) ** 2


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 2), (100, 100)])
def test_coarsening_commutes_with_totals(circulation, tracer, factors):
    relation = coarsening(circulation.grid, *factors)
    coarse = coarsen(circulation, *factors)
    fine_volume, volume = circulation.grid.volume, coarse.grid.volume
    assert volume.sum() == pytest.approx(fine_volume.sum(), rel=1e-13)
    assert coarse.grid.surface_area.sum() == pytest.approx(circulation.grid.surface_area.sum(), rel=1e-13)
    assert volume @ relation.mean(tracer) == pytest.approx(fine_volume @ tracer, rel=1e-13)
    np.testing.assert_allclose(relation.mean(tracer), relation.average @ tracer, rtol=1e-13)
    coarse_tracer = relation.mean(tracer)
    np.testing.assert_allclose(
        coarse.transport @ coarse_tracer,
        relation.average @ (circulation.transport @ (relation.spread @ coarse_tracer)),
        rtol=1e-10,
        atol=1e-13 * coarse.transport.diagonal().max(),
    )


def test_coarse_columns_are_contiguous_and_narrow_downward(circulation):
    grid = coarsen(circulation, 2, 2).grid
    assert not np.any(grid.wet[1:] & ~grid.wet[:-1])
    assert np.all(grid.area_below <= grid.box_area * (1.0 + 1e-12))


def test_netcdf_round_trip(circulation, tmp_path):
    path = tmp_path / "circulation.nc"
    write_circulation(circulation, path)
    again = read_circulation(path)
    np.testing.assert_array_equal(again.grid.wet, circulation.grid.wet)
    np.testing.assert_allclose(again.grid.volume, circulation.grid.volume, rtol=1e-15)
    np.testing.assert_array_equal(again.grid.area, circulation.grid.area)
    np.testing.assert_array_equal(again.grid.depth_edges, circulation.grid.depth_edges)
    np.testing.assert_array_equal(again.grid.longitude_edges, circulation.grid.longitude_edges)
    assert abs(again.transport - circulation.transport).max() == 0.0
    assert again.name == circulation.name
    assert again.attrs.items() >= circulation.attrs.items()
    for name in circulation.grid.masks:
        np.testing.assert_array_equal(again.grid.mask(name), circulation.grid.mask(name))


def test_columns_invert_packing(circulation, tracer):
    grid = circulation.grid
    columns = grid.to_columns(tracer)
    assert columns.shape == (grid.n_layers, grid.n_columns)
    assert np.all(columns[~grid.column_wet] == 0.0)
    np.testing.assert_array_equal(grid.from_columns(columns), tracer)


def test_downward_flux_through_the_wet_faces_conserves_mass(circulation, tracer):
    """What leaves a box through `area_below` enters the box below; the floor is closed."""
    grid = circulation.grid
    leaving = grid.area_below * tracer
    gain = -leaving / grid.volume
    inside = grid.below >= 0
    gain[grid.below[inside]] += leaving[inside] / grid.volume[grid.below[inside]]
    assert abs(grid.volume @ gain) <= 1e-12 * max(leaving.sum(), 1.0)
