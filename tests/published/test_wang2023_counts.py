"""The data processing of Wang et al. (2023): numbers of observed boxes, percentiles, weights and forcing checks."""

import json

import numpy as np
import pytest

from invbgc.datasets.smoothing import smooth_horizontally
from invbgc.datasets.wang2023 import (
    CORRECTED_DIC_FILE,
    DOC_FILE,
    FRESHWATER_FILE,
    GAS_EXCHANGE_FILE,
    GLODAP_FILE,
    PHOSPHATE_FILE,
    TEMPERATURE_FILE,
    load_wang2023,
    observed_on_source,
)
from invbgc.errors import InputError
from invbgc.models.pco.parameters import pco_parameters
from invbgc.observations import observe
from invbgc.stoichiometry import normalise_temperature, top_layer_mean

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def loaded(folder):
    return load_wang2023(folder)


@pytest.fixture(scope="module")
def released(folder):
    """Without any conversion of units but that of alkalinity, as the released code does."""
    return load_wang2023(folder, factors={"DIC": 1.0, "O2": 1.0})[1]


@pytest.fixture(scope="module")
def raw(files):
    return observed_on_source(files, dic="raw")


def test_boxes_per_step(loaded, raw):
    counts = json.loads(loaded[1].attrs["step_counts"])
    boxes = {
        tracer: [value for step, value in steps.items() if not step.startswith("percentile")]
        for tracer, steps in counts.items()
    }
    assert boxes == {
        "DIP": [77_840, 77_684, 76_496, 76_482],
        "DIC": [61_474, 58_275, 58_159, 58_159],
        "ALK": [62_592, 59_211, 59_093, 59_093],
        "O2": [83_907, 83_739, 83_739],
        "DOC": [23_631, 21_336, 21_295, 21_295],
    }
    assert [raw["DIC"].counts[step] for step in ("valid", "basins_masked", "outliers_dropped")] == [
        66_462,
        63_211,
        63_085,
    ]


def test_doc_compilation_has_25869_boxes_on_sea_and_land(files):
    assert np.sum(files.array(DOC_FILE, "DOCobs", (91, 180, 24)) > 0.0) == 25_869


def test_boxes_in_only_one_of_the_two_dic_files(files):
    corrected = np.isfinite(files.field(CORRECTED_DIC_FILE, "gc12new")).any(axis=0)
    measured = np.isfinite(files.field(GLODAP_FILE, "dicraw"))
    assert np.sum(corrected & ~measured) == 742
    assert np.sum(measured & ~corrected) == 5_730


@pytest.mark.parametrize(
    ("tracer", "low", "high", "digits"),
    [
        ("DOC", 34.30, 97.21, 2),
        ("ALK", 2175.19, 2444.56, 2),
        ("DIC", 1793.24, 2391.70, 2),
        ("O2", 1.657, 391.44, 2),
        ("DIP", 0.00127, 3.2763, 4),
    ],
)
def test_percentiles(loaded, tracer, low, high, digits):
    steps = json.loads(loaded[1].attrs["step_counts"])[tracer]
    assert steps["percentile_0.1"] == pytest.approx(low, abs=0.51 * 10.0**-digits)
    assert steps["percentile_99.9"] == pytest.approx(high, abs=0.51 * 10.0**-digits)


def test_percentiles_of_raw_dic(raw):
    steps = raw["DIC"].counts
    assert (round(steps["percentile_0.1"], 2), round(steps["percentile_99.9"], 2)) == (1882.98, 2395.86)


def significant(value, printed):
    """The value rounded to the digits that are printed."""
    digits = len(printed.split(".")[1]) if "." in printed else 0
    return f"{value:.{digits}f}"


@pytest.mark.parametrize(
    ("case", "tracer", "count", "fraction", "mean", "deviation", "variance"),
    [
        ("released", "DIP", 76_482, "0.3931", "2.0693", "0.67682", "0.458087"),
        ("released", "DIC", 58_159, "0.3066", "2237.1", "92.436", "8544.33"),
        ("consistent", "DIC", 58_159, "0.3066", "2291.9", "94.700", "8968.13"),
        ("raw", "DIC", 63_085, "0.3364", "2244.9", "81.153", "6585.75"),
        ("consistent", "ALK", 59_093, "0.3180", "2415.0", "44.933", "2019.0"),
        ("released", "O2", 83_739, "0.4241", "176.17", "66.310", "4397.06"),
        ("consistent", "DOC", 21_295, "0.1068", "41.745", "5.9747", "35.6965"),
    ],
)
def test_weights(loaded, released, raw, files, case, tracer, count, fraction, mean, deviation, variance):
    sources = {"consistent": lambda: loaded[1].tracers[tracer], "released": lambda: released.tracers[tracer]}
    data = sources[case]() if case in sources else observe(tracer, raw[tracer].values, files.grid)
    assert data.count == count
    assert significant(data.volume_fraction, fraction) == fraction
    assert significant(data.mean, mean) == mean
    assert significant(data.variance**0.5, deviation) == deviation
    assert significant(data.variance, variance) == variance


def test_constants(loaded):
    forcing = loaded[0]
    assert round(forcing.DIP_mean, 4) == 2.0692
    assert round(forcing.ALK_mean, 2) == 2415.05
    assert round(forcing.DIC_surface_mean, 2) == 2028.23
    assert round(forcing.DIC_surface_mean / 1.0245, 2) == 1979.73
    assert round(forcing.ALK_surface_mean, 2) == 2364.49
    assert (round(forcing.T_min, 5), round(forcing.T_max, 5)) == (-1.98871, 29.92372)
    assert round(forcing.T_max - forcing.T_min, 4) == 31.9124
    assert (round(forcing.Si_min, 5), round(forcing.Si_max, 5)) == (0.40284, 98.80673)


@pytest.mark.parametrize(
    ("element", "layers", "low", "high", "mean"),
    [("C", 2, 0.683, 1.634, 1.270), ("C", 3, 0.684, 1.625, 1.246), ("P", 2, 0.781, 1.098, 0.977)],
)
def test_maps_of_the_published_exponents(loaded, files, element, layers, low, high, mean):
    forcing, grid, p = loaded[0], files.grid, pco_parameters("published").values
    normalised = normalise_temperature(forcing.temperature, forcing.T_min, forcing.T_max)
    b = p[f"b_{element}"] + p[f"b_{element}_slope"] * top_layer_mean(
        grid.to_columns(normalised), grid.column_wet, layers
    )
    assert (round(b.min(), 3), round(b.max(), 3)) == (low, high)
    assert round(np.average(b, weights=grid.surface_area), 3) == mean


def test_boxes_behind_the_surface_means(loaded):
    observations = loaded[1]
    columns = observations.grid.n_columns
    assert np.sum(observations.tracers["DIC"].index < columns) == 3_384
    assert np.sum(observations.tracers["ALK"].index < columns) == 3_375


def test_floors_of_the_forcing(files):
    temperature = files.field(TEMPERATURE_FILE, "tempobs")
    phosphate = files.field(PHOSPHATE_FILE, "po4obs")
    assert np.sum(temperature < -2.0) == 1_419
    assert np.sum(phosphate < 0.05) == 308
    assert np.sum((phosphate < 0.05) & files.grid.layer_mask(2)) == 262


def test_smoothed_temperature_has_the_published_range(files):
    smoothed = smooth_horizontally(np.maximum(files.field(TEMPERATURE_FILE, "tempobs"), -2.0), files.grid)
    assert round(smoothed.min(), 5) == -1.98871
    assert round(smoothed.max(), 5) == 29.92372


def test_gas_exchange(files, loaded):
    velocity = files.surface(GAS_EXCHANGE_FILE, "Kw660")
    area = files.grid.surface_area
    to_cm_per_hour = 3.6e5
    assert np.sum(velocity < 0.0) == 140
    assert np.average(velocity, weights=area) * to_cm_per_hour == pytest.approx(19.69, abs=0.005)
    assert np.average(loaded[0].piston_velocity_660, weights=area) * to_cm_per_hour == pytest.approx(13.67, abs=0.005)
    assert np.average(loaded[0].sea_level_pressure, weights=area) == pytest.approx(0.99854, abs=5e-6)


def test_distributed_freshwater_flux(files, loaded):
    flux = loaded[0].freshwater_flux
    everywhere = files.array(FRESHWATER_FILE, "pme", (files.grid.n_wet,))
    assert np.flatnonzero(everywhere).max() == files.grid.n_columns - 1
    assert (flux.min(), flux.max()) == pytest.approx((-5.63e-9, 1.513e-8), rel=1e-3)
    area = files.grid.surface_area
    assert abs(area @ flux) < 1e-12 * (area @ np.abs(flux))
    assert np.mean(np.abs(flux)) == pytest.approx(8.73e-10, abs=0.005e-10)


def test_mean_dic_above_and_below(loaded):
    """Volume-weighted means of the corrected data, mmol m-3; the paper's model has 2046.8 and 2308.4 (100 m)."""
    observations = loaded[1]
    data, grid = observations.tracers["DIC"], observations.grid
    for layers, expected in ((2, 2040.8), (3, 2058.2)):
        use = grid.layer_mask(layers)[data.index]
        assert np.average(data.value[use], weights=grid.volume[data.index][use]) == pytest.approx(expected, abs=0.05)
    use = ~grid.layer_mask(3)[data.index]
    assert np.average(data.value[use], weights=grid.volume[data.index][use]) == pytest.approx(2300.0, abs=0.05)


def test_options_are_checked(folder, files):
    with pytest.raises(InputError, match="dic is 'corrected'; expected 'anthropogenic_removed' or 'raw'"):
        observed_on_source(files, dic="corrected")
    with pytest.raises(InputError, match="no net primary production 'cafe'; it has satellite_pattern"):
        files.production("cafe")
    with pytest.raises(InputError, match=r"unit factors of \['PO4'\]"):
        load_wang2023(folder, factors={"PO4": 1.0})
