"""Datasets: the format and its refusals, binning, smoothing, virtual flux, registry."""

import logging

import numpy as np
import pytest
import scipy.io
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.circulation.toys import spherical_area
from invbgc.datasets import list_datasets, load_dataset, open_dataset
from invbgc.datasets.binning import Binning, fill_gaps, same_cells
from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D
from invbgc.datasets.idealised import idealised_forcing
from invbgc.datasets.smoothing import smooth_horizontally
from invbgc.datasets.virtual_flux import RESTORING_TIME, virtual_freshwater_flux
from invbgc.datasets.wang2023 import FILES, SourceFiles, find_file, load_wang2023
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.observations import Observations
from invbgc.run import load_ocean
from invbgc.runfile import preset


@pytest.fixture(scope="module")
def circulation():
    return load_circulation("few_box")


@pytest.fixture(scope="module")
def grid(circulation):
    return circulation.grid


@pytest.fixture
def dataset(grid):
    """A sound dataset on the few-box ocean."""
    generator = np.random.default_rng(3)
    fields = {
        "DIP": 1.0 + generator.random(grid.n_wet),
        "DIC": 2000.0 + 100.0 * generator.random(grid.n_wet),
        "ALK": 2300.0 + 50.0 * generator.random(grid.n_wet),
    }
    fields["DIP"][3] = np.nan
    observations = Observations.from_fields(fields, grid, {"source": "made up"})
    forcing = idealised_forcing(grid).to_dataset(grid)
    return forcing.merge(observations.to_dataset(), combine_attrs="override")


def regular_grid(step: float, edges: list[float], wet=None, name: str = "regular") -> OceanGrid:
    latitude_edges, longitude_edges = np.arange(-60.0, 61.0, step), np.arange(0.0, 361.0, step)
    shape = (len(edges) - 1, latitude_edges.size - 1, longitude_edges.size - 1)
    return OceanGrid(
        wet=np.ones(shape) if wet is None else wet,
        depth_edges=np.array(edges),
        latitude=0.5 * (latitude_edges[1:] + latitude_edges[:-1]),
        latitude_edges=latitude_edges,
        longitude=0.5 * (longitude_edges[1:] + longitude_edges[:-1]),
        longitude_edges=longitude_edges,
        area=spherical_area(latitude_edges, longitude_edges),
        name=name,
    )


# ---------------------------------------------------------------------- the format


def test_round_trip_through_a_file(dataset, grid, tmp_path):
    dataset.to_netcdf(tmp_path / "mine.nc")
    first, observed = open_dataset(dataset, grid)
    second, again = load_dataset(tmp_path / "mine.nc", grid)
    for name in (*FIELDS_3D, *FIELDS_2D, *CONSTANTS):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert list(observed.tracers) == list(again.tracers) == ["DIP", "DIC", "ALK"]
    np.testing.assert_array_equal(observed.tracers["DIP"].value, again.tracers["DIP"].value)
    assert second.attrs["title"] == "idealised forcing"


def test_units_and_order_of_dimensions_are_adapted(dataset, grid):
    expected, observed = open_dataset(dataset, grid)
    changed = dataset.copy()
    changed["temperature"] = (dataset["temperature"] + 273.15).assign_attrs(units="K")
    changed["phosphate"] = (dataset["phosphate"] / 1.0245).assign_attrs(units="umol kg-1")
    changed["salinity"] = dataset["salinity"].assign_attrs(units="1e-3")
    changed["net_primary_production"] = dataset["net_primary_production"].assign_attrs(units="mmol C m-2 yr-1")
    changed["observed_DIC"] = (dataset["observed_DIC"] / 1.0245).assign_attrs(units="umol/kg")
    changed["sea_level_pressure"] = dataset["sea_level_pressure"].transpose("longitude", "latitude")
    forcing, again = open_dataset(changed.transpose("longitude", "latitude", "depth", ...), grid)
    for name in (*FIELDS_3D, *FIELDS_2D):
        np.testing.assert_allclose(getattr(forcing, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(again.tracers["DIC"].value, observed.tracers["DIC"].value, rtol=1e-14)


def test_rounding_of_the_freshwater_flux_is_taken_away(dataset, grid, caplog):
    """Its sum over the ocean sets the mean of alkalinity, whose restoring is weak."""
    volume = grid.volume[: grid.n_columns]
    flux = open_dataset(dataset, grid)[0].freshwater_flux
    flux = flux - np.average(flux, weights=volume) + 1e-9 * np.sin(np.arange(flux.size))
    flux = flux - np.average(flux, weights=volume)

    def read(values):
        changed = dataset.assign(freshwater_flux=grid.unpack_surface(values, attrs={"units": "s-1"}))
        found = open_dataset(changed, grid)[0].freshwater_flux
        return found, abs(volume @ found) / (volume @ np.abs(found))

    rounded, rest = read(flux.astype(np.float32).astype(np.float64))
    assert rest < 1e-15 and np.abs(rounded - flux).max() < 1e-6 * np.abs(flux).max()
    assert not caplog.records
    kept, rest = read(flux + 0.01 * np.abs(flux).max())
    assert rest > 1e-3 and "expected zero" in caplog.text
    np.testing.assert_array_equal(kept, flux + 0.01 * np.abs(flux).max())


def test_freshwater_flux_of_the_embedded_twin_sums_to_zero():
    ocean = load_circulation("embedded").grid
    flux = load_dataset("embedded", ocean)[0].freshwater_flux
    volume = ocean.volume[: ocean.n_columns]
    assert abs(volume @ flux) < 1e-15 * (volume @ np.abs(flux))


def test_freshwater_flux_may_have_depth(dataset, grid):
    expected = open_dataset(dataset, grid)[0].freshwater_flux
    deep = np.zeros(grid.n_wet)
    deep[: grid.n_columns] = expected
    changed = dataset.assign(freshwater_flux=grid.unpack(deep, attrs={"units": "s-1"}))
    np.testing.assert_array_equal(open_dataset(changed, grid)[0].freshwater_flux, expected)
    deep[-1] = 1e-9
    changed = dataset.assign(freshwater_flux=grid.unpack(deep, attrs={"units": "s-1"}))
    with pytest.raises(InputError, match=r"variable 'freshwater_flux': 1 boxes below the first layer are not zero"):
        open_dataset(changed, grid)


def test_constants_are_formed_where_not_given(dataset, grid):
    without = dataset.copy()
    without.attrs = {"T_min": -2.0}
    forcing, observations = open_dataset(without, grid)
    surface = grid.layer_mask(1)
    assert forcing.T_min == -2.0
    assert forcing.T_max == forcing.temperature.max()
    assert forcing.Si_max == forcing.silicate[grid.layer_mask(2)].max()
    assert forcing.DIP_mean == pytest.approx(observations.tracers["DIP"].mean)
    carbon = observations.vector("DIC")[surface]
    assert forcing.DIC_surface_mean == pytest.approx(np.average(carbon, weights=grid.volume[surface]))


def change_units(name, unit):
    return lambda d: d.assign({name: d[name].assign_attrs(units=unit)})


def change_value(name, value, box=0):
    def change(d):
        values = d[name].values.copy()
        values[tuple(index[box] for index in np.nonzero(np.isfinite(values)))] = value
        return d.assign({name: d[name].copy(data=values)})

    return change


def without_units(d):
    variable = d["silicate"].copy()
    del variable.attrs["units"]
    return d.assign(silicate=variable)


def without_constants(d):
    d = d.drop_vars("observed_ALK").copy()
    d.attrs = {}
    return d


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("silicate"), r"no variable 'silicate'; expected it on \('depth', .* in 'mmol m-3'"),
        (lambda d: d.drop_vars("chemistry_pressure"), r"no variable 'chemistry_pressure'; expected it on \('latitude'"),
        (lambda d: d.assign(phosphate=d["phosphate"][0]), r"variable 'phosphate': dimensions .*expected \('depth'"),
        (lambda d: d.isel(longitude=[0]), r"variable 'temperature': not on the grid of the model.*shape"),
        (lambda d: d.assign_coords(latitude=d["latitude"] + 1.0), r"variable 'temperature'.*another latitude"),
        (change_units("temperature", "mmol m-3"), r"variable 'temperature': units 'mmol m-3'; expected 'degC'"),
        (change_units("observed_DIC", "mg/l"), r"variable 'observed_DIC': units 'mg/l'; expected 'mmol m-3'"),
        (change_units("piston_velocity_660", "knots per"), r"variable 'piston_velocity_660': units"),
        (without_units, r"variable 'silicate': no attribute 'units'; expected 'mmol m-3'"),
        (change_value("temperature", np.nan), r"variable 'temperature': 1 of 22 wet boxes are NaN.*first box 0"),
        (change_value("sea_level_pressure", np.inf), r"variable 'sea_level_pressure': 1 of 6 wet boxes are NaN"),
        (change_value("observed_DIP", -9.999), r"variable 'observed_DIP': 1 negative values, first -9.999 in box 0"),
        (change_value("observed_DIP", np.inf), r"variable 'observed_DIP': 1 infinite values; expected NaN"),
        (
            lambda d: d.assign(observed_ALK=d["observed_ALK"].copy(data=np.full(d["observed_ALK"].shape, np.nan))),
            r"variable 'observed_ALK': no observation in any of 22 wet boxes",
        ),
        (
            lambda d: d.drop_vars([f"observed_{t}" for t in ("DIP", "DIC", "ALK")]),
            r"no observations; expected at least",
        ),
        (lambda d: d.assign_attrs(DIP_mean="two"), r"attribute 'DIP_mean': found 'two'; expected a finite number"),
        (lambda d: d.assign_attrs(T_min=40.0), r"T_min is 40 and T_max is 30; expected T_min < T_max"),
        (without_constants, r"no attribute ALK_mean, ALK_surface_mean and no observations to form it from"),
        (lambda d: d.assign(wet=d["temperature"] * 0.0 + 1.0).isel(depth=[0]), r"variable 'wet': .*not the mask"),
        (lambda d: d.assign(temperature=d["temperature"].astype(str)), r"variable 'temperature': values of type"),
    ],
)
def test_bad_datasets_are_refused(dataset, grid, change, message):
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(change(dataset), grid)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files_are_refused(grid, tmp_path):
    with pytest.raises(InputError, match=r"Dataset .*nothing.nc: no such file"):
        open_dataset(tmp_path / "nothing.nc", grid)
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(InputError, match=r"Dataset .*text.nc: not a readable netCDF file"):
        open_dataset(tmp_path / "text.nc", grid)


def test_observations_on_land_are_reported(dataset, grid, caplog):
    values = dataset["observed_DIP"].values.copy()
    values[~grid.wet] = 1.0
    with caplog.at_level(logging.INFO, "invbgc"):
        open_dataset(dataset.assign(observed_DIP=dataset["observed_DIP"].copy(data=values)), grid)
    assert "2 observed boxes are dry" in caplog.text


# ---------------------------------------------------------------------- binning, smoothing, virtual flux


def test_binning_conserves_the_inventory():
    source, target = regular_grid(5.0, [0.0, 20.0, 50.0, 130.0]), regular_grid(20.0, [0.0, 30.0, 130.0])
    values = np.random.default_rng(1).random(source.n_wet)
    binned, filled = Binning(source, target).forcing(values)
    assert not filled.any()
    assert target.volume @ binned == pytest.approx(source.volume @ values, rel=1e-13)


def test_binning_of_a_uniform_field_and_of_another_origin():
    source = regular_grid(5.0, [0.0, 20.0, 50.0])
    target = regular_grid(15.0, [0.0, 50.0])
    shifted = OceanGrid(
        wet=target.wet,
        depth_edges=target.depth_edges,
        latitude=target.latitude,
        latitude_edges=target.latitude_edges,
        longitude=target.longitude - 180.0,
        longitude_edges=target.longitude_edges - 180.0,
        area=target.area,
    )
    np.testing.assert_allclose(Binning(source, shifted).observations(np.full(source.n_wet, 3.0)), 3.0, rtol=1e-14)
    east = source.wet_longitude
    there = Binning(source, target).observations(east)
    here = Binning(source, shifted).observations(east)
    np.testing.assert_allclose(
        target.unpack(there).roll(longitude=target.longitude.size // 2).values, shifted.unpack(here).values, rtol=1e-13
    )


def test_observations_need_five_percent_of_the_box():
    source, target = regular_grid(5.0, [0.0, 50.0]), regular_grid(20.0, [0.0, 50.0])
    values = np.full(source.n_wet, np.nan)
    box = np.flatnonzero((source.wet_latitude == 2.5) & (source.wet_longitude == 2.5))[0]
    values[box] = 2.0
    binned = Binning(source, target).observations(values)  # one of 16 boxes is 6 percent
    assert np.isfinite(binned).sum() == 1 and np.nanmax(binned) == 2.0
    coarser = regular_grid(40.0, [0.0, 50.0])
    assert np.isnan(Binning(source, coarser).observations(values)).all()


def test_same_grid_passes_values_through():
    grid = regular_grid(10.0, [0.0, 50.0])
    values = np.random.default_rng(2).random(grid.n_wet)
    values[4] = np.nan
    assert same_cells(grid, regular_grid(10.0, [0.0, 50.0]))
    np.testing.assert_array_equal(Binning(grid, grid).observations(values), values)


def test_forcing_gaps_are_filled_and_flagged():
    source, target = regular_grid(20.0, [0.0, 50.0]), regular_grid(20.0, [0.0, 50.0, 100.0])
    values = np.full(source.n_wet, 5.0)
    values[:3] = np.nan
    filled, gaps = Binning(source, target).forcing(values)
    np.testing.assert_allclose(filled, 5.0)
    assert gaps.sum() == 3 + source.n_wet  # three holes, and the layer that the source does not reach
    surface, holes = Binning(source, target).surface_forcing(values)
    np.testing.assert_allclose(surface, 5.0)
    assert holes.sum() == 3


def test_gaps_take_the_mean_of_their_neighbours_around_the_earth():
    grid = regular_grid(20.0, [0.0, 50.0])
    field = np.full(grid.shape, np.nan)
    field[0, 2, 1], field[0, 2, -1] = 1.0, 3.0
    filled = fill_gaps(field, grid)
    assert filled[0, 2, 0] == 2.0 and filled[0, 3, 0] == 2.0 and np.isfinite(filled).all()
    with pytest.raises(InputError, match="no overlap of its first layer"):
        fill_gaps(np.full(grid.shape, np.nan), grid)


def test_binning_refuses_wrong_lengths():
    grid = regular_grid(20.0, [0.0, 50.0])
    with pytest.raises(InputError, match="Binning from grid 'regular': shape"):
        Binning(grid, regular_grid(40.0, [0.0, 50.0])).observations(np.ones(3))


def test_smoothing_keeps_constants_and_damps_noise():
    wet = np.ones((2, 12, 36), dtype=bool)
    wet[1, :, :20] = False
    grid = regular_grid(10.0, [0.0, 50.0, 100.0], wet)
    np.testing.assert_allclose(smooth_horizontally(np.full(grid.n_wet, 4.0), grid), 4.0, rtol=1e-13)
    noise = np.random.default_rng(5).random(grid.n_wet)
    smoothed = smooth_horizontally(noise, grid)
    assert smoothed.std() < noise.std()
    assert noise.min() < smoothed.min() and smoothed.max() < noise.max()


def test_smoothing_damps_a_zonal_wave_as_the_operator_says():
    grid = regular_grid(10.0, [0.0, 50.0])
    wave = np.cos(np.radians(9.0 * grid.wet_longitude))
    smoothed = smooth_horizontally(wave * (np.abs(grid.wet_latitude) < 1e9), grid)
    # The wave is the same on every parallel, but its second difference is not, so solve the meridional problem.
    width = 6.371e6 * np.cos(np.radians(grid.latitude)) * np.radians(10.0)
    height = 6.371e6 * np.radians(10.0)
    n = grid.latitude.size
    second = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    second[0, 0] = second[-1, -1] = -1.0
    matrix = np.eye(n) - 1e10 * (second / height**2 - np.diag(2.0 * (1.0 - np.cos(np.radians(90.0))) / width**2))
    amplitude = np.linalg.matrix_power(np.linalg.inv(matrix), 3) @ np.ones(n)
    expected = amplitude[:, None] * np.cos(np.radians(9.0 * grid.longitude))
    np.testing.assert_allclose(grid.unpack(smoothed).values[0], expected, atol=1e-13)


def test_virtual_flux_reproduces_the_salinity(circulation):
    grid = circulation.grid
    salinity = 34.0 + np.arange(grid.n_columns) / 10.0
    flux, modelled = virtual_freshwater_flux(circulation, salinity)
    volume, surface = grid.volume[: grid.n_columns], modelled[: grid.n_columns]
    assert volume @ flux == pytest.approx(0.0, abs=1e-12 * (volume @ np.abs(flux)))
    # Salt that is diluted by the flux, plus the uniform part that restoring adds, is what transport carries away.
    restoring = (surface - salinity) / RESTORING_TIME
    np.testing.assert_allclose((circulation.transport @ modelled)[: grid.n_columns], -restoring, atol=1e-20)
    assert np.average(restoring, weights=volume) == pytest.approx(0.0, abs=1e-18)
    np.testing.assert_allclose(flux * np.average(surface, weights=volume), restoring, atol=1e-19)


def test_virtual_flux_refuses_bad_salinity(circulation):
    with pytest.raises(InputError, match="Virtual freshwater flux: salinity of shape"):
        virtual_freshwater_flux(circulation, np.array([35.0]))


# ---------------------------------------------------------------------- registry and files


def test_records(tmp_path):
    records = {record.name: record for record in list_datasets(tmp_path)}
    assert list(records) == ["embedded", "wang2023"]
    assert not records["wang2023"].present
    assert "10.1038/s41586-023-06772-4" in records["wang2023"].citation
    assert all(record.title and record.licence and record.origin and record.files for record in records.values())
    for name in FILES:
        (tmp_path / name).touch()
    assert {record.name: record.present for record in list_datasets(tmp_path)}["wang2023"]


def test_names_and_options_are_checked(grid, tmp_path):
    with pytest.raises(InputError, match=r"Dataset 'wang2033' is unknown; did you mean 'wang2023'\?"):
        load_dataset("wang2033", grid)
    with pytest.raises(InputError, match="'wang2023': no source"):
        load_dataset("wang2023", grid)
    with pytest.raises(InputError, match=r"options \['npp'\] are unknown; expected"):
        load_dataset("embedded", grid, npp="satellite_pattern")
    with pytest.raises(InputError, match="no grid; expected the grid of the circulation"):
        load_dataset(tmp_path / "mine.nc")


def test_files_of_wang2023_are_checked(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        load_wang2023(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no file GRID.mat in .*, nor in .*ocim2_grid; expected 12 files"):
        find_file(tmp_path, "GRID.mat")
    (tmp_path / "GRID.mat").write_text("no MATLAB")
    with pytest.raises(InputError, match=r"GRID.mat: not a readable MATLAB 5 file"):
        load_wang2023(tmp_path)
    scipy.io.savemat(tmp_path / "tempobs_91x180x24.mat", {"tempobs": np.zeros((3, 4))})
    files = SourceFiles(tmp_path)
    with pytest.raises(InputError, match=r"no variable 'temp'; expected it of shape \(91, 180, 24\)"):
        files.array("tempobs_91x180x24.mat", "temp", (91, 180, 24))
    with pytest.raises(InputError, match=r"variable 'tempobs': shape \(3, 4\); expected \(91, 180, 24\)"):
        files.array("tempobs_91x180x24.mat", "tempobs", (91, 180, 24))
    (tmp_path / "tempobs_91x180x24.mat").write_text("no MATLAB")
    with pytest.raises(InputError, match=r"tempobs_91x180x24.mat: not a readable MATLAB 5 file"):
        files.array("tempobs_91x180x24.mat", "tempobs", (91, 180, 24))


def test_the_embedded_dataset_opens_or_says_that_it_is_absent(grid):
    record = list_datasets()[0]
    if not record.present:
        with pytest.raises(InputError, match=r"embedded_twin.nc: no such file"):
            load_dataset("embedded", grid)
    else:
        forcing, observations = load_dataset("embedded")
        assert str(forcing.attrs["synthetic"]).lower() in ("1", "true", "yes")
        assert observations.tracers


def test_forcing_to_dataset_has_units(grid):
    dataset = idealised_forcing(grid).to_dataset(grid)
    assert isinstance(dataset, xr.Dataset)
    for name, (unit, _) in (FIELDS_3D | FIELDS_2D).items():
        assert dataset[name].attrs["units"] == unit


def test_the_embedded_data_follow_their_coarsened_ocean():
    ocean = load_circulation("embedded_8deg")
    forcing, observations = load_dataset("embedded", ocean.grid)
    expected = load_ocean(preset("embedded_8deg"))
    np.testing.assert_array_equal(forcing.temperature, expected[1].temperature)
    np.testing.assert_array_equal(observations.vector("DIC"), expected[2].vector("DIC"))
    with pytest.raises(InputError, match=r"34092 boxes.*9937"):
        load_dataset("embedded")[0].require(ocean.grid)
