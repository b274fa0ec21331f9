"""Regions on other grids: volume majority, nearest label, and the counts of the OCIM2 files."""

import numpy as np
import pytest
from test_gridding import ocean

from invbgc.circulation import read_ocim2_grid
from invbgc.datasets.binning import Binning
from invbgc.datasets.regions import basin_labels, label_field, ocim2_basins, teng_regions
from invbgc.errors import InputError


def test_the_larger_volume_decides():
    source, target = ocean(nx=6), ocean(nx=2)
    labels = np.broadcast_to(np.array([1, 1, 2, 3, 2, 2]), source.shape).ravel()
    found = Binning(source, target).labels(labels).reshape(target.shape)
    np.testing.assert_array_equal(found, np.broadcast_to([1, 2], target.shape))
    np.testing.assert_array_equal(Binning(source, source).labels(labels), labels)


def test_boxes_without_overlap_take_the_nearest_label():
    wet = np.ones((3, 4, 6), dtype=bool)
    wet[:, :, 3:] = False
    wet[2] = False
    source, target = ocean(wet=wet), ocean()
    labels = np.broadcast_to(np.array([1, 2, 3]), (2, 4, 3)).ravel()
    found = Binning(source, target).labels(labels).reshape(target.shape)
    # the fourth cell is nearest to the third, the sixth to the first; the fifth is as far from both
    np.testing.assert_array_equal(found[:, :, [0, 1, 2, 3, 5]], np.broadcast_to([1, 2, 3, 3, 1], (3, 4, 5)))


def test_no_overlap_at_the_surface_is_refused():
    source, target = ocean(west=0.0, span=60.0), ocean(west=180.0, span=60.0)
    with pytest.raises(InputError, match="no overlap of its first layer"):
        Binning(source, target).labels(np.ones(source.n_wet, dtype=int))


def test_label_field_has_flags():
    grid = ocean()
    field = label_field(np.ones(grid.n_wet, dtype=int), grid, "basin", ("ATL",))
    assert field.attrs["flag_meanings"] == "ATL" and field.dtype == np.int8


@pytest.mark.shared_data
def test_ocim2_counts(shared_data):
    path = shared_data / "ocim2_grid" / "GRID.mat"
    grid = read_ocim2_grid(path)
    counts = np.bincount(basin_labels(grid), minlength=6)
    np.testing.assert_array_equal(counts, [0, 49779, 92732, 40263, 16422, 964])
    np.testing.assert_array_equal(ocim2_basins(path, grid), basin_labels(grid))
    regions = teng_regions(shared_data / "wang2023_observations", grid)
    assert set(np.unique(regions)) == set(range(1, 13))
