"""The ocean grid: packing, columns, metrics, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid, regular_edges

WET = np.ones((3, 2, 3), dtype=bool)
WET[2, 0, 0] = WET[1:, 1, 2] = WET[:, 0, 1] = False


def parts() -> dict:
    return {
        "wet": WET,
        "depth_edges": np.array([0.0, 10.0, 30.0, 70.0]),
        "latitude": np.array([-10.0, 10.0]),
        "latitude_edges": np.array([-20.0, 0.0, 20.0]),
        "longitude": np.array([10.0, 30.0, 50.0]),
        "longitude_edges": np.array([0.0, 20.0, 40.0, 60.0]),
        "area": np.arange(1.0, 7.0).reshape(2, 3),
        "name": "small",
        "masks": {"south": np.array([[True] * 3, [False] * 3]), "deep": WET & (np.arange(3) > 0)[:, None, None]},
    }


@pytest.fixture(scope="module")
def grid() -> OceanGrid:
    return OceanGrid(**parts())


def test_house_order(grid):
    """C order over (depth, latitude, longitude): layers are contiguous, the surface comes first."""
    assert grid.shape == (3, 2, 3)
    assert (grid.n_wet, grid.n_layers, grid.n_columns) == (12, 3, 5)
    np.testing.assert_array_equal(grid.layer, [0] * 5 + [1] * 4 + [2] * 3)
    np.testing.assert_array_equal(grid.column, [0, 1, 2, 3, 4, 0, 1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(grid.pack(np.arange(18).reshape(3, 2, 3)), np.flatnonzero(WET.ravel()))
    np.testing.assert_array_equal(grid.column[: grid.n_columns], np.arange(grid.n_columns))


def test_metrics(grid):
    np.testing.assert_array_equal(grid.thickness, [10.0, 20.0, 40.0])
    np.testing.assert_array_equal(grid.depth, [5.0, 20.0, 50.0])
    np.testing.assert_array_equal(grid.surface_area, [1.0, 3.0, 4.0, 5.0, 6.0])
    assert grid.volume[0] == 10.0
    assert grid.volume[-1] == 5.0 * 40.0
    np.testing.assert_array_equal(grid.top, np.array([0.0, 10.0, 30.0])[grid.layer])
    np.testing.assert_array_equal(grid.column_depth_index, [2, 3, 3, 3, 1])
    np.testing.assert_array_equal(grid.below, [5, 6, 7, 8, -1, -1, 9, 10, 11, -1, -1, -1])
    np.testing.assert_allclose(grid.area_below, [1, 3, 4, 5, 0, 0, 3, 4, 5, 0, 0, 0])
    np.testing.assert_allclose(grid.box_area, grid.surface_area[grid.column])
    np.testing.assert_array_equal(grid.layer_mask(2), grid.layer < 2)
    assert grid.volume_mean(np.full(grid.n_wet, 2.5)) == pytest.approx(2.5, rel=1e-15)
    np.testing.assert_array_equal(grid.mask("south"), grid.wet_latitude < 0.0)
    np.testing.assert_array_equal(grid.mask("deep"), grid.wet_depth > 10.0)
    assert grid.describe(1) == "box 1 (latitude -10.00, longitude 50.00, depth 5 m)"


def test_pack_inverts_unpack(grid):
    x = np.random.default_rng(0).normal(size=grid.n_wet)
    labelled = grid.unpack(x, name="DIP", attrs={"units": "mmol m-3"})
    assert labelled.dims == ("depth", "latitude", "longitude")
    assert labelled.attrs["units"] == "mmol m-3"
    assert np.array_equal(np.isnan(labelled.values), ~WET)
    np.testing.assert_array_equal(grid.pack(labelled), x)
    np.testing.assert_array_equal(grid.pack(labelled.transpose("longitude", "depth", "latitude")), x)
    surface = grid.unpack_surface(x[: grid.n_columns], name="ice")
    np.testing.assert_array_equal(surface.values[WET[0]], x[: grid.n_columns])
    np.testing.assert_array_equal(grid.pack_surface(surface.transpose()), x[: grid.n_columns])


def test_pack_keeps_leading_dimensions(grid):
    field = np.arange(36.0).reshape(2, 3, 2, 3)
    assert grid.pack(field).shape == (2, grid.n_wet)
    labelled = xr.DataArray(field, dims=("month", "depth", "latitude", "longitude"))
    np.testing.assert_array_equal(grid.pack(labelled.transpose("latitude", "month", ...)), grid.pack(field))
    assert grid.pack_surface(field[:, 0]).shape == (2, grid.n_columns)


def test_columns_of_numpy_and_jax_agree(grid):
    x = np.random.default_rng(1).normal(size=(4, grid.n_wet))
    columns = grid.to_columns(x)
    assert isinstance(columns, np.ndarray)
    assert columns.shape == (4, 3, 5)
    traced = jax.jit(grid.to_columns)(jnp.asarray(x))
    np.testing.assert_array_equal(columns, traced)
    np.testing.assert_array_equal(jax.jit(grid.from_columns)(traced), x)
    np.testing.assert_array_equal(grid.from_columns(columns), x)


def test_columns_can_be_differentiated(grid):
    """The zeros below the floor must not leak into the gradient of the first box."""
    weight = np.random.default_rng(2).normal(size=(3, 5))
    gradient = jax.grad(lambda x: jnp.sum(weight * grid.to_columns(x)))(jnp.ones(grid.n_wet))
    np.testing.assert_allclose(gradient, grid.from_columns(weight), rtol=1e-15)


def test_coordinates_have_bounds_and_cf_attributes(grid):
    dataset = xr.Dataset(coords=grid.coordinates())
    assert dataset.latitude.attrs["units"] == "degrees_north"
    assert dataset.depth.attrs["positive"] == "down"
    np.testing.assert_array_equal(dataset.depth_bounds, [[0, 10], [10, 30], [30, 70]])


def test_wet_fraction_sets_the_volume_and_the_faces():
    fraction = np.where(WET, 1.0, 0.0)
    fraction[1, 1, 0] = 0.5
    fraction[2, 1, 0] = 0.25
    grid = OceanGrid(**parts(), wet_fraction=fraction)
    column = np.flatnonzero(grid.column == 2)
    np.testing.assert_allclose(grid.volume[column], 4.0 * np.array([10.0, 0.5 * 20.0, 0.25 * 40.0]))
    np.testing.assert_allclose(grid.box_area[column], [4.0, 2.0, 1.0])
    np.testing.assert_allclose(grid.area_below[column], [2.0, 1.0, 0.0])


def gap(p):
    p["wet"] = WET.copy()
    p["wet"][0, 0, 0] = False


def fraction(p, value):
    p["wet_fraction"] = np.ones(WET.shape)
    p["wet_fraction"][0, 0, 0] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gap, "lie under a dry one, first at latitude -10.00, longitude 10.00, layer 2"),
        (lambda p: p.update(wet=np.zeros_like(WET)), "no box is wet"),
        (lambda p: p.update(wet=WET[0]), "wet has 2 dimensions; expected 3"),
        (lambda p: p.update(depth_edges=np.array([0.0, 30.0, 10.0, 70.0])), "depth_edges does not increase"),
        (lambda p: p.update(depth_edges=np.array([5.0, 10.0, 30.0, 70.0])), "starts at 5.0 m; expected 0"),
        (lambda p: p.update(latitude_edges=np.array([20.0, 0.0, -20.0])), "latitude_edges does not increase"),
        (lambda p: p.update(longitude=np.array([10.0, 30.0])), r"longitude has shape \(2,\); expected \(3,\)"),
        (lambda p: p.update(area=np.zeros((2, 3))), "area is zero or negative"),
        (lambda p: p.update(area=np.full((2, 3), np.nan)), "area holds 6 values that are not finite"),
        (lambda p: p.update(masks={"ATL": np.ones((3, 2))}), "mask 'ATL' has shape"),
        (lambda p: fraction(p, 1.5), r"outside \(0, 1\]"),
        (lambda p: fraction(p, 0.5), "wet_fraction increases with depth"),
    ],
)
def test_refuses_unsound_geometry(change, words):
    arguments = parts()
    change(arguments)
    with pytest.raises(InputError, match=words):
        OceanGrid(**arguments)


def test_refuses_fields_of_another_grid(grid):
    labelled = grid.unpack(np.ones(grid.n_wet), name="silicate")
    with pytest.raises(InputError, match="'silicate' has another latitude: it differs by up to 1"):
        grid.pack(labelled.assign_coords(latitude=[-9.0, 10.0]))
    with pytest.raises(InputError, match="'silicate' has dimensions"):
        grid.pack(labelled.rename(depth="z"))
    with pytest.raises(InputError, match=r"shape \(2, 2, 3\); expected \[..., 3, 2, 3\]"):
        grid.pack(labelled.isel(depth=slice(2)))
    with pytest.raises(InputError, match=r"'DIC' has shape \(3,\); expected \(12,\)"):
        grid.unpack(np.ones(3), name="DIC")
    with pytest.raises(InputError, match="no mask named 'MED'"):
        grid.mask("MED")


def test_regular_edges():
    np.testing.assert_allclose(regular_edges([2.0, 6.0, 10.0], "longitude"), [0.0, 4.0, 8.0, 12.0])
    with pytest.raises(InputError, match="longitude: centres are not equally spaced"):
        regular_edges([2.0, 6.0, 11.0], "longitude")
    with pytest.raises(InputError, match="give them"):
        regular_edges([2.0], "longitude")
