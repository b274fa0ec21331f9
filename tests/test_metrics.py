"""Results open in xgcm: its integrals are the toolkit's inventories, its derivatives those of formulas."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
import xgcm

import invbgc as ib
from invbgc.constants import EARTH_RADIUS
from invbgc.diagnostics.export import column_integral, flux_per_surface, interface_field, surface_dataset
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.metrics import xgcm_arguments
from invbgc.state import State


@pytest.fixture(scope="module", params=["few_box", "embedded"])
def grid(request) -> OceanGrid:
    """Full cells; and cells of 24 degrees that are partly land, around the globe."""
    ocean = ib.load_circulation(request.param)
    return (ib.coarsen(ocean, 6, 6) if request.param == "embedded" else ocean).grid


@pytest.fixture(scope="module")
def tracer(grid) -> np.ndarray:
    return np.random.default_rng(1).uniform(1.0, 3.0, grid.n_wet)


@pytest.fixture(scope="module")
def result(grid, tracer, tmp_path_factory) -> xr.Dataset:
    """A state as it comes back from a file."""
    model = SimpleNamespace(grid=grid, diagnose=lambda fields, x: {}, long_names={})
    path = tmp_path_factory.mktemp("state") / "state.nc"
    State(model, np.zeros(0), {"alpha": 2.0}, {"DIP": tracer}).to_dataset().to_netcdf(path)
    with xr.open_dataset(path) as file:
        return file.load()


def test_inventories_are_those_of_the_toolkit(grid, tracer, result):
    opened = xgcm.Grid(**ib.xgcm_arguments(result))
    field = result["DIP"]
    assert field.attrs["cell_measures"] == "area: area volume: volume"
    assert float(opened.integrate(field, ["X", "Y", "Z"])) == pytest.approx(grid.volume @ tracer, rel=1e-12)
    assert float(opened.average(field, ["X", "Y", "Z"])) == pytest.approx(grid.volume_mean(tracer), rel=1e-12)
    columns = grid.pack_surface(opened.integrate(field, "Z"))
    np.testing.assert_allclose(columns, column_integral(grid, tracer), rtol=1e-12)
    surface = float(opened.integrate(result["area"].where(False, 1.0), ["X", "Y"]))
    assert surface == pytest.approx(grid.surface_area.sum(), rel=1e-12)


def test_lengths_make_areas_and_volumes(grid, result):
    opened = xgcm.Grid(**xgcm_arguments(result))
    dx, dy, dz = (opened.get_metric(result["DIP"], (axis,)) for axis in "XYZ")
    np.testing.assert_allclose(grid.pack(dx * dy * dz), grid.volume, rtol=1e-12)


def test_cumulative_integral_ends_at_the_integral(grid, result):
    opened = xgcm.Grid(**xgcm_arguments(result))
    depth = opened.cumint(result["DIP"].fillna(0.0), "Z", to="outer", padding="fill", fill_value=0.0)
    assert depth.dims == ("depth_edge", "latitude", "longitude")
    np.testing.assert_allclose(depth[-1], opened.integrate(result["DIP"], "Z"), rtol=1e-12)


def test_derivatives_are_those_of_linear_fields(grid, result):
    """d(az + b y)/dz = a and /dy = b at every face between wet boxes; zero at the ends; periodic in longitude."""
    opened = xgcm.Grid(**xgcm_arguments(result))
    metre = EARTH_RADIUS * np.pi / 180.0
    middle = 0.5 * (grid.latitude_edges[1:] + grid.latitude_edges[:-1])
    latitude = xr.DataArray(middle, dims="latitude")
    ones = xr.ones_like(result["DIP"]).where(grid.wet)
    vertical = opened.derivative(ones * result["depth"] * 0.02, "Z")
    inner = vertical[1:-1].values[grid.wet[1:]]
    np.testing.assert_allclose(inner, 0.02, rtol=1e-12)
    assert float(abs(vertical[0]).max()) == 0.0
    assert np.all(np.isnan(vertical[1:-1].values[~grid.wet[1:]]))  # no gradient across the sea floor
    meridional = opened.derivative(ones * 3.0 * metre * latitude, "Y")
    both = grid.wet[:, 1:] & grid.wet[:, :-1]
    np.testing.assert_allclose(meridional.values[:, 1:-1][both], 3.0, rtol=1e-9)
    index = xr.DataArray(np.arange(grid.shape[2], dtype=float), dims="longitude")
    zonal = opened.derivative(ones * index, "X").values[0]
    width = np.diff(grid.longitude_edges)
    apart = 0.5 * (width + np.roll(width, 1)) * metre * np.cos(np.radians(grid.latitude))[:, None]
    jump = np.r_[1.0 - grid.shape[2], np.ones(grid.shape[2] - 1)]
    both = grid.wet[0] & np.roll(grid.wet[0], 1, axis=1)
    np.testing.assert_allclose(zonal[both], np.broadcast_to(jump / apart, both.shape)[both], rtol=1e-12)


def test_divergence_of_a_flux_on_the_interfaces(grid, tracer):
    """Exports have their faces in `depth_interface` and no cells; a column loses what leaves it less what enters."""
    flux = flux_per_surface(grid, np.concatenate([grid.to_columns(tracer), np.zeros((1, grid.n_columns))]))
    exported = surface_dataset(grid, 2).assign(poc_flux=interface_field(grid, flux))
    arguments = xgcm_arguments(exported, grid)
    assert arguments["coords"]["Z"] == {"center": "depth", "outer": "depth_interface"}
    opened, total = xgcm.Grid(**arguments), exported["poc_flux"].fillna(0.0)
    divergence = opened.derivative(total, "Z", to="center")
    assert divergence.dims == ("depth", "latitude", "longitude")
    left = grid.pack_surface(opened.integrate(divergence.where(grid.wet), "Z"))
    np.testing.assert_allclose(left, grid.pack_surface(total[-1] - total[0]), rtol=1e-12)
    maps = xgcm_arguments(surface_dataset(grid, 2))
    assert set(maps["coords"]) == {"X", "Y"}


def test_a_region_is_not_periodic():
    wet = np.ones((2, 2, 3), dtype=bool)
    depth, latitude, longitude = (np.array(edges) for edges in ([0.0, 50, 200], [0.0, 2, 4], [10.0, 12, 14, 16]))
    centres = [0.5 * (edges[1:] + edges[:-1]) for edges in (latitude, longitude)]
    region = OceanGrid(wet, depth, centres[0], latitude, centres[1], longitude, np.full((2, 3), 4e10))
    arguments = xgcm_arguments(region.to_dataset())
    assert arguments["padding"]["X"] == "extend" and arguments["ds"].sizes["longitude_edge"] == 4
    volume = xgcm.Grid(**arguments).integrate(arguments["ds"]["wet"], ["X", "Y", "Z"])
    assert float(volume) == pytest.approx(region.volume.sum(), rel=1e-14)


def test_the_file_of_a_circulation_opens(grid, tmp_path):
    if grid.wet_fraction is None:
        ib.write_circulation(ib.load_circulation("few_box"), tmp_path / "ocean.nc")
        with xr.open_dataset(tmp_path / "ocean.nc") as file:
            opened = xgcm.Grid(**xgcm_arguments(file))
            assert float(opened.integrate(file["wet"], ["X", "Y", "Z"])) == pytest.approx(grid.volume.sum(), rel=1e-12)


def test_what_is_missing_is_named(result):
    with pytest.raises(InputError, match=r"no latitude_bounds, volume; expected fields on latitude and longitude with"):
        xgcm_arguments(result.drop_vars(["latitude_bounds", "volume"]))
    with pytest.raises(InputError, match=r"Dataset 'ages' on time: no"):
        xgcm_arguments(xr.Dataset({"age": ("time", [1.0])}, attrs={"title": "ages"}))
