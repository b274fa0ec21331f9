"""From raw fields and bottles: published numbers that the other tests of this folder do not look at."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import xarray as xr

from data_prep.doc import make, reference_doc
from invbgc.circulation.ocim import read_ocim2_operator
from invbgc.datasets.bottle_files import read_dom_bottles
from invbgc.datasets.gridding import bin_bottles
from invbgc.datasets.smoothing import smooth_horizontally
from invbgc.datasets.virtual_flux import RESTORING_TIME, virtual_freshwater_flux
from invbgc.datasets.wang2023 import (
    CORRECTED_DIC_FILE,
    FRESHWATER_FILE,
    GLODAP_FILE,
    PHOSPHATE_FILE,
    SALINITY_FILE,
    SILICATE_FILE,
    TEMPERATURE_FILE,
    load_wang2023,
)
from invbgc.observations import drop_outliers

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def forcing(folder):
    return load_wang2023(folder)[0]


# ---------------------------------------------------------------------- means, from MATLAB order and by hand


@pytest.fixture(scope="module")
def matlab(folder):
    """Arrays as MATLAB has them, (latitude, longitude, depth), without this package's reader or order."""

    def read(name, variable, where=folder):
        return scipy.io.loadmat(where / name, squeeze_me=True, struct_as_record=False)[variable]

    grid = read("GRID.mat", "grid", folder.parent / "ocim2_grid")
    basins = read("GRID.mat", "MSKS", folder.parent / "ocim2_grid")
    wet = read("M3d91x180x24.mat", "M3d") > 0
    volume = grid.Areat[..., None] * grid.dzt
    marginal = (basins.ARC > 0) | (basins.MED > 0)
    return read, wet, volume, marginal


def by_hand(values, wet, floor=0.0):
    """Negative values missing, then outliers by the mid-point percentiles, on wet boxes."""
    values = np.where(wet & (values >= 0.0), values, np.nan)
    low, high = np.nanpercentile(values, [0.1, 99.9], method="hazen")
    return np.where((values >= max(low, floor)) & (values <= high), values, np.nan)


def test_means_from_matlab_order(matlab, forcing):
    read, wet, volume, marginal = matlab

    def mean(values, layers=slice(None)):
        values, weights = values[..., layers], volume[..., layers]
        return np.nansum(weights * values) / weights[np.isfinite(values)].sum()

    phosphate = by_hand(read(GLODAP_FILE, "po4raw"), wet, floor=0.05)
    alkalinity = by_hand(np.where(marginal, np.nan, read(GLODAP_FILE, "alkraw")), wet) * 1.0245
    slices = read(CORRECTED_DIC_FILE, "gc12new")
    number = np.isfinite(slices).sum(axis=-1)
    carbon = np.where(number > 0, np.nansum(slices, axis=-1) / np.maximum(number, 1), np.nan)
    carbon = by_hand(np.where(marginal, np.nan, carbon), wet) * 1.0245
    surface = slice(0, 1)
    own = [mean(phosphate), mean(alkalinity), mean(carbon, surface), mean(alkalinity, surface)]
    rounded = [round(float(x), digits) for x, digits in zip(own, (4, 2, 2, 2), strict=True)]
    assert rounded == [2.0692, 2415.05, 2028.23, 2364.49]
    ours = [forcing.DIP_mean, forcing.ALK_mean, forcing.DIC_surface_mean, forcing.ALK_surface_mean]
    np.testing.assert_allclose(own, ours, rtol=1e-13)


# ---------------------------------------------------------------------- smoothing


def test_range_of_temperature_needs_exactly_one_smoothing(files):
    """31.91244 degC ties the slopes of b to degrees; the raw field and one smoothed twice are far from it."""
    clamped = np.maximum(files.field(TEMPERATURE_FILE, "tempobs"), -2.0)
    once = smooth_horizontally(clamped, files.grid)
    assert round(float(np.ptp(once)), 5) == 31.91244
    assert np.ptp(clamped) == pytest.approx(32.8166, abs=1e-4)
    assert np.ptp(smooth_horizontally(once, files.grid)) < 31.90


def test_forcing_that_is_smoothed_and_that_is_not(files, forcing):
    np.testing.assert_array_equal(forcing.silicate, files.field(SILICATE_FILE, "Siobs"))
    np.testing.assert_array_equal(forcing.salinity, files.field(SALINITY_FILE, "Sobs"))
    floored = np.maximum(files.field(PHOSPHATE_FILE, "po4obs"), 0.05)
    np.testing.assert_array_equal(forcing.phosphate, smooth_horizontally(floored, files.grid))
    assert (forcing.phosphate.min(), forcing.phosphate.max()) == pytest.approx((0.05026, 3.77168), abs=5e-6)


# ---------------------------------------------------------------------- anthropogenic DIC, DOP


def test_anthropogenic_dic_that_was_removed(files):
    """Medians by layer (counted from one) at common boxes, and surface means beside the mapped product, umol kg-1."""
    slices = files.field(CORRECTED_DIC_FILE, "gc12new")
    boxes = np.isfinite(slices).sum(axis=1)
    assert (boxes.size, boxes[0], boxes[1], boxes.max()) == (31, 0, 1_719, 10_058)
    number = np.isfinite(slices).sum(axis=0)
    corrected = np.where(number > 0, np.nansum(slices, axis=0) / np.maximum(number, 1), np.nan)
    removed = files.field(GLODAP_FILE, "dicraw") - corrected
    layer = files.grid.layer + 1
    medians = {k: round(float(np.nanmedian(removed[layer == k])), 1) for k in (1, 2, 3, 6, 10, 13, 16, 19)}
    assert medians == {1: 42.8, 2: 42.4, 3: 40.5, 6: 31.1, 10: 12.7, 13: 3.3, 16: 1.6, 19: 0.6}
    common = np.isfinite(removed) & (layer == 1)
    mapped = files.field("DICant_91x180x24.mat", "DICant")
    assert (round(removed[common].mean(), 1), round(mapped[common].mean(), 1)) == (48.6, 58.1)


def test_dop_boxes(files):
    values = files.field("DOPobs_91x180x24.mat", "DOPobs")
    assert np.isfinite(files.array("DOPobs_91x180x24.mat", "DOPobs", (91, 180, 24))).sum() == 1_812
    assert np.isfinite(values).sum() == 1_785
    assert np.isfinite(drop_outliers(values)[0]).sum() == 1_783


# ---------------------------------------------------------------------- bottles of DOC


@pytest.fixture(scope="module")
def dom(shared_data):
    return read_dom_bottles(shared_data / "doc" / "DOMobs.csv")


def test_doc_bottles(dom):
    assert len(dom) == 73_748
    assert [dom.count(name) for name in ("DON", "DOP", "DOC")] == [19_070, 2_482, 34_984]
    assert np.sum(dom.month == 0) == 336


def test_binned_doc_against_the_paper(shared_data, folder, tmp_path):
    """Nine tenths of the boxes are in the paper's file, which holds more cruises, and the median difference is nil."""
    grid_file = shared_data / "ocim2_grid" / "GRID.mat"
    scores = make(shared_data / "doc" / "DOMobs.csv", grid_file, folder, tmp_path)
    assert [scores[name] for name in ("bottles binned", "boxes", "boxes of the reference", "common boxes")] == [
        33_188,
        13_466,
        23_631,
        12_247,
    ]
    assert (scores["bottles dropped, on_land"], scores["bottles dropped, below_bottom"]) == (221, 1_575)
    assert scores["share of own boxes that are common"] == pytest.approx(0.9095, abs=5e-5)
    assert abs(scores["median difference"]) < 1e-9
    assert scores["share of common boxes within 0.01 mmol m-3"] == pytest.approx(0.2406, abs=5e-5)
    assert scores["correlation"] == pytest.approx(0.984, abs=5e-4)
    assert (tmp_path / "doc_comparison.png").read_bytes().startswith(b"\x89PNG")
    with xr.open_dataset(tmp_path / "doc_binned.nc") as file:
        assert int(file["count_DOC"].sum()) == 33_188


def test_unit_and_rule_of_the_doc_compilation(dom, files, folder):
    """Another density, or the western box for bottles on even meridians, agrees with the paper in fewer boxes."""
    mean = bin_bottles(dom, "DOC", files.grid).mean
    western = replace(dom, longitude=np.maximum(dom.longitude - 1e-9, -180.0))
    west = bin_bottles(western, "DOC", files.grid).mean

    def close(own, density):
        return int(np.sum(np.abs(own - reference_doc(folder, files.grid, density)) < 0.01))

    assert close(mean, 1025.0) > 2_900
    assert max(close(mean, 1024.5), close(mean, 1000.0), close(mean, 1027.0)) < 200
    assert close(west, 1025.0) < close(mean, 1025.0)
    assert np.sum(np.isfinite(west) & np.isfinite(reference_doc(folder, files.grid))) < 12_000


# ---------------------------------------------------------------------- virtual fluxes


def test_distributed_freshwater_flux_follows_from_the_distributed_salinity(files, forcing):
    """The equation is the authors': their own salinity gives their flux to rounding."""
    columns = files.grid.n_columns
    observed = files.field(SALINITY_FILE, "Sobs")[:columns]
    modelled = files.field(FRESHWATER_FILE, "modS")[:columns]
    area = files.grid.surface_area
    flux = (modelled - observed) / (RESTORING_TIME * np.average(modelled, weights=area))
    flux -= np.average(flux, weights=area)
    assert np.abs(flux - forcing.freshwater_flux).max() < 1e-12 * np.abs(forcing.freshwater_flux).max()


@pytest.mark.slow
def test_freshwater_flux_of_a_full_size_operator(shared_data, files, forcing):
    """An operator on the OCIM2 grid that is not OCIM2: the same size of flux, correlated at 0.65 with the paper's.

    As the equation is exact (the test above), the difference is that of the two circulations.
    """
    ocean = read_ocim2_operator(shared_data / "circulation" / "ocim2_grid_operator.npz", files.grid)
    grid, columns = ocean.grid, ocean.grid.n_columns
    flux, salinity = virtual_freshwater_flux(ocean, files.field(SALINITY_FILE, "Sobs")[:columns])
    area = grid.surface_area
    mean_salinity = np.average(salinity[:columns], weights=area)
    # The flux times mean salinity is the sink that keeps the salinity: T S + flux S_mean = 0, up to the mean removed.
    source = ocean.transport @ salinity
    assert np.abs(source[columns:]).max() < 1e-9 * np.abs(source[:columns]).max()
    sink = -source[:columns] / mean_salinity
    np.testing.assert_allclose(sink - np.average(sink, weights=area), flux, atol=1e-6 * np.abs(flux).max())
    paper = forcing.freshwater_flux
    assert np.mean(np.abs(flux)) == pytest.approx(7.30e-10, abs=0.01e-10)
    assert np.mean(np.abs(paper)) == pytest.approx(8.73e-10, abs=0.01e-10)
    covariance = np.cov(flux, paper, aweights=area)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(0.646, abs=0.001)
    misfit = np.sqrt(np.average((flux - paper) ** 2, weights=area) / np.average(paper**2, weights=area))
    assert misfit == pytest.approx(0.859, abs=0.001)
    difference = salinity - files.field(FRESHWATER_FILE, "modS")
    assert grid.volume_mean(difference) == pytest.approx(-0.029, abs=0.001)
    assert np.sqrt(grid.volume_mean(difference**2)) == pytest.approx(0.156, abs=0.001)
