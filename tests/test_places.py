"""Export in bands, regions and at stations: closed forms on made-up maps, and positions that are not in the ocean."""

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.constants import EARTH_RADIUS, PGC_PER_MMOL
from invbgc.datasets.regions import label_field
from invbgc.diagnostics.export import interface_field, surface_dataset
from invbgc.diagnostics.places import (
    STATIONS,
    at_stations,
    boxes_around,
    labelled_regions,
    region_totals,
    station_table,
    zonal_bands,
)
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

PARTS = {"poc": 3.0, "semilabile": 0.5, "labile": 0.2}
EXPONENT = 0.9


def made_up_export(grid: OceanGrid) -> xr.Dataset:
    """An export that grows with longitude, in parts of fixed proportion, and sinks by one exact power law."""
    export = surface_dataset(grid, 2)
    shape = export["area"] * 0.0 + 1.0 + export["longitude"] / 360.0
    for name, size in PARTS.items():
        export[f"{name}_export"] = (size * shape).assign_attrs(units="mol m-2 yr-1", long_name=name)
    export["toc_export"] = (sum(PARTS.values()) * shape).assign_attrs(units="mol m-2 yr-1", long_name="toc")
    export["advective_diffusive_ratio"] = (export["semilabile_export"] + export["labile_export"]) / export["toc_export"]
    export["exponent_C"] = export["area"] * 0.0 + EXPONENT
    edges, top = grid.depth_edges, grid.depth_edges[2]
    law = np.where(edges > 0, np.maximum(edges, top) / top, 1.0) ** -EXPONENT
    flux = interface_field(grid, np.tile(law[:, None], grid.n_columns))
    export["poc_flux"] = flux / flux.isel(depth_interface=2) * export["poc_export"]
    return export


@pytest.fixture(scope="module")
def grid():
    return load_circulation("embedded_8deg").grid


@pytest.fixture(scope="module")
def export(grid):
    return made_up_export(grid)


def changed(export: xr.Dataset, **maps: xr.DataArray) -> xr.Dataset:
    """The export with other maps of the same names and attributes."""
    return export.assign({name: field.assign_attrs(export[name].attrs) for name, field in maps.items()})


def test_bands_of_a_ratio_that_is_the_same_everywhere(export):
    bands = zonal_bands(export)
    ratio = (PARTS["semilabile"] + PARTS["labile"]) / sum(PARTS.values())
    np.testing.assert_allclose(bands["ratio_area_mean"], ratio, rtol=1e-13)
    np.testing.assert_allclose(bands["ratio_flux_weighted"], ratio, rtol=1e-13)
    assert list(bands["band"].values) == ["0-15", "15-30", "30-45", "45-60"]
    np.testing.assert_array_equal(bands["band_bounds"], [[0, 15], [15, 30], [30, 45], [45, 60]])


def test_bands_hold_both_hemispheres_and_two_kinds_of_mean(export):
    """Labile export only where latitude is below 20 degrees south: both means by a loop over boxes."""
    labile = export["toc_export"].where(export["latitude"] < -20.0, 0.0).where(export["wet"])
    total = export["poc_export"] + export["semilabile_export"] + labile
    dry = export["latitude"] > 45.0  # no export there: the ratio is undefined, and skipped
    total = total.where(~dry, 0.0).where(export["wet"])
    ratio = ((export["semilabile_export"] + labile) / total).where(~dry)
    other = changed(export, labile_export=labile, toc_export=total)
    other["advective_diffusive_ratio"] = ratio
    other["semilabile_export"] = export["semilabile_export"].where(~dry, 0.0).assign_attrs(long_name="semilabile")
    bands = zonal_bands(other)
    for index, (low, high) in enumerate([(0, 15), (15, 30), (30, 45), (45, 60)]):
        sums = np.zeros(4)
        for row, latitude in enumerate(export["latitude"].values):
            for column in np.flatnonzero(export["wet"].values[row]):
                if not low <= abs(latitude) < high or latitude > 45.0:
                    continue
                here = other.isel(latitude=row, longitude=column)
                base, area = float(here["area_at_base"]), float(here["area"])
                dissolved = float(here["semilabile_export"] + here["labile_export"])
                sums += [
                    base * dissolved / float(here["toc_export"]),
                    base,
                    area * dissolved,
                    area * float(here["toc_export"]),
                ]
        assert float(bands["ratio_area_mean"][index]) == pytest.approx(sums[0] / sums[1], rel=1e-12)
        assert float(bands["ratio_flux_weighted"][index]) == pytest.approx(sums[2] / sums[3], rel=1e-12)
        assert float(bands["toc_export"][index]) == pytest.approx(sums[3] * 1e3 * PGC_PER_MMOL, rel=1e-12)
    assert abs(float((bands["ratio_area_mean"] - bands["ratio_flux_weighted"])[1])) > 0.005


@pytest.mark.parametrize("edges", [(0.0,), (0.0, 30.0, 15.0), (-15.0, 15.0), (0.0, 100.0), (0.0, np.nan)])
def test_wrong_bands(export, edges):
    with pytest.raises(InputError, match="edges of the bands"):
        zonal_bands(export, edges)


def test_basins_add_up_to_the_ocean():
    grid = load_circulation("embedded").grid
    export = made_up_export(grid)
    basins = region_totals(export, grid.masks)
    for name in ("poc_export", "semilabile_export", "labile_export", "toc_export"):
        whole = float((export[name] * export["area"]).sum()) * 1e3 * PGC_PER_MMOL
        assert float(basins[name].sum()) == pytest.approx(whole, rel=1e-12)
        assert basins[name].attrs["units"] == "Pg C yr-1"
    assert float(basins["area"].sum()) == pytest.approx(grid.surface_area.sum(), rel=1e-12)
    inside = grid.masks["pacific"] & grid.wet[0]
    expected = np.nansum((export["poc_export"] * export["area"]).values[inside]) * 1e3 * PGC_PER_MMOL
    assert float(basins["poc_export"].sel(region="pacific")) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(basins["advective_diffusive_ratio"], 0.7 / 3.7, rtol=1e-12)


def test_labels_become_regions(export, grid):
    labels = np.where(grid.wet_latitude < 0.0, 1, 3)
    field = label_field(labels, grid, "region", ["south", "nowhere", "north"])
    regions = labelled_regions(field)
    assert list(regions) == ["south", "north"]
    totals = region_totals(export, regions)
    south = (export["toc_export"] * export["area"]).where(export["latitude"] < 0.0).sum()
    assert float(totals["toc_export"][0]) == pytest.approx(float(south) * 1e3 * PGC_PER_MMOL, rel=1e-12)


def test_wrong_regions(export, grid):
    with pytest.raises(InputError, match=r"region 'small' has shape \(2, 2\)"):
        region_totals(export, {"small": np.ones((2, 2))})
    with pytest.raises(InputError, match="region 'land' holds no water"):
        region_totals(export, {"land": ~grid.wet[0]})
    with pytest.raises(InputError, match="0 flag_values"):
        labelled_regions(xr.DataArray(np.ones(grid.shape), dims=("depth", "latitude", "longitude")))


def test_boxes_around_a_position_in_the_open_ocean(export):
    mask, own = boxes_around(export, *STATIONS["ALOHA"])
    rows, columns = np.nonzero(mask)
    assert own and set(export["latitude"].values[rows]) == {12.0, 20.0, 28.0}
    assert set(export["longitude"].values[columns]) == {196.0, 204.0, 212.0}
    np.testing.assert_array_equal(mask, boxes_around(export, 22.75, 202.0)[0])


def test_longitude_is_periodic(export):
    for longitude in (1.0, 360.0, -0.5):
        mask, _ = boxes_around(export, -45.0, longitude)
        east = set(export["longitude"].values[np.nonzero(mask)[1]])
        assert east == ({4.0, 12.0, 356.0} if longitude >= 0.0 else {348.0, 356.0, 4.0})


def test_station_on_a_coast_takes_the_wet_boxes_around():
    export = made_up_export(load_circulation("embedded").grid)
    mask, own = boxes_around(export, *STATIONS["CARIACO"])
    assert not own and 0 < mask.sum() < 9 and not (mask & ~export["wet"].values).any()


def test_station_on_land_names_the_nearest_water(export):
    with pytest.raises(
        InputError, match=r"Station Tibet: latitude 33, longitude 88: on land.*nearest wet box"
    ) as error:
        at_stations(export, export, {"Tibet": (33.0, 88.0)})
    words = str(error.value).split()
    latitude, longitude = (float(words[words.index(word, 9) + 1].rstrip(",")) for word in ("latitude", "longitude"))
    distance = float(words[words.index("km") - 1])
    angle = np.degrees(distance * 1e3 / EARTH_RADIUS)
    a, b = np.radians([33.0, latitude])
    cosine = np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(np.radians(longitude - 88.0))
    assert angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.01)
    assert bool(export["wet"].sel(latitude=latitude, longitude=longitude))


@pytest.mark.parametrize("position", [(95.0, 0.0), (0.0, 400.0), (0.0, -181.0), (np.nan, 0.0), (0.0, np.nan)])
def test_positions_that_are_not_on_the_globe(export, position):
    with pytest.raises(InputError, match="expected degrees"):
        boxes_around(export, *position)


@pytest.mark.parametrize("position", [(0.0, 325.0), (30.0, 200.0), (30.0, -20.0)])
def test_positions_outside_the_grid(position):
    with pytest.raises(InputError, match="outside the grid, which spans latitude 25 to 35 and longitude 320 to 330"):
        boxes_around(made_up_export(load_circulation("column").grid), *position)


def test_mean_and_spread_over_the_boxes(export):
    found = at_stations(export, export, {"ALOHA": STATIONS["ALOHA"], "here": (-45.0, 200.0)})
    for index, position in enumerate([STATIONS["ALOHA"], (-45.0, 200.0)]):
        values = export["toc_export"].values[boxes_around(export, *position)[0]]
        assert float(found["toc_export"][index]) == pytest.approx(values.mean(), rel=1e-13)
        assert float(found["toc_export_sd"][index]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        assert int(found["boxes"][index]) == values.size
    assert found["toc_export_sd"].attrs["units"] == "mol m-2 yr-1"
    np.testing.assert_array_equal(found["latitude"], [22.75, -45.0])


def test_one_box_has_no_spread():
    alone = made_up_export(load_circulation("column").grid)
    found = at_stations(alone, alone, {"there": (30.0, -35.0)})
    assert int(found["boxes"][0]) == 1 and np.isnan(found["toc_export_sd"][0])
    assert float(found["poc_export"][0]) == pytest.approx(3.0 * (1.0 + 325.0 / 360.0), rel=1e-13)


def test_table_of_stations(export, grid):
    """One exponent everywhere: fluxes and respiration are fixed shares of the export."""
    mixed = (export["area"] * 0.0 + 250.0).assign_attrs(units="m")
    deep = float(grid.depth_edges[6])
    table = station_table(export, depths=[100.0, deep], mixed_layer_depth=mixed)
    assert list(table["station"].values) == list(STATIONS)
    top = export.attrs["euphotic_depth"]

    def share(depth):
        return (depth / top) ** -EXPONENT

    toc, poc = table["toc_export"], table["poc_export"]
    np.testing.assert_array_equal(table["depth"], [100.0, deep])
    np.testing.assert_allclose(table["toc_flux_continuous"].sel(depth=100.0), toc * share(100.0), rtol=1e-12)
    np.testing.assert_allclose(table["poc_flux_continuous"].sel(depth=deep), poc * share(deep), rtol=1e-12)
    np.testing.assert_allclose(table["poc_flux_discrete"].sel(depth=deep), poc * share(deep), rtol=1e-12)
    between = (share(74.0) * 25.0 + share(125.0) * 26.0) / 51.0
    np.testing.assert_allclose(table["poc_flux_discrete"].sel(depth=100.0), poc * between, rtol=1e-12)
    np.testing.assert_allclose(table["toc_respiration"], toc * (1.0 - share(1000.0)), rtol=1e-12)
    np.testing.assert_allclose(table["poc_respiration_continuous"], poc * (1.0 - share(1000.0)), rtol=1e-12)
    np.testing.assert_allclose(table["toc_respiration_sd"], table["toc_export_sd"] * (1 - share(1000.0)), rtol=1e-10)
    kept = (PARTS["poc"] + PARTS["semilabile"]) / sum(PARTS.values())
    np.testing.assert_allclose(table["toc_flux_mixed_layer"], toc * kept * share(250.0), rtol=1e-12)
    np.testing.assert_allclose(
        table["toc_respiration_mixed_layer"], toc * kept * (share(250.0) - share(1000.0)), rtol=1e-12
    )
    for name in table.data_vars:
        assert table[name].attrs["long_name"], name
    deeper = station_table(export, depths=[100.0], lower=200.0, mixed_layer_depth=mixed)
    assert deeper["toc_respiration_mixed_layer"].isnull().all() and deeper["toc_flux_mixed_layer"].notnull().all()


def test_profile_below_the_sea_floor_is_empty(export):
    floor = export["sea_floor_depth"].where(export["latitude"] < 0.0, 2000.0).where(export["wet"])
    shallow = export.assign(sea_floor_depth=floor)
    table = station_table(shallow, {"north": STATIONS["OSP"], "south": (-45.0, 200.0)}, depths=[1000.0, 2500.0])
    for name in ("poc_flux_continuous", "poc_flux_discrete", "toc_flux_continuous", "toc_flux_continuous_sd"):
        np.testing.assert_array_equal(np.isfinite(table[name]), [[True, False], [True, True]])
