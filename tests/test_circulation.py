"""Circulations: the audit and what it refuses, the readers, coarsening, the registry."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sparse
import xarray as xr

from invbgc.circulation import (
    Circulation,
    audit_transport,
    coarsen,
    coarsening,
    load_circulation,
    read_circulation,
    read_ocim2_grid,
    read_ocim2_operator,
    write_circulation,
)
from invbgc.circulation.core import to_house_order, transport_from_flows, wet_positions
from invbgc.circulation.toys import few_box, two_box
from invbgc.constants import DAY, YEAR
from invbgc.errors import ConservationError, InputError

COLUMN_MAJOR = ("depth", "longitude", "latitude")


@pytest.fixture(scope="module")
def ocean() -> Circulation:
    return few_box()


# --- the audit -------------------------------------------------------------------------------------------------


def test_two_box_operator_by_hand():
    """T = q [[1/v_s, -1/v_s], [-1/v_d, 1/v_d]]."""
    ocean = two_box(exchange=20.0)
    surface, deep = 3.6e14 * 74.0, 3.6e14 * (3700.0 - 74.0)
    expected = 2e7 * np.array([[1.0 / surface, -1.0 / surface], [-1.0 / deep, 1.0 / deep]])
    np.testing.assert_allclose(ocean.transport.toarray(), expected, rtol=1e-14)


def test_flows_are_carried_from_upstream():
    transport = transport_from_flows({(0, 1): 3.0, (1, 2): 3.0, (2, 0): 3.0}, np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(transport @ np.array([10.0, 0.0, 0.0]), [30.0, -15.0, 0.0])


def test_few_box_is_a_realistic_ocean(ocean):
    """Two basins, uneven depth, every box renewed within 2000 years."""
    assert (ocean.grid.n_wet, ocean.grid.n_columns) == (22, 6)
    assert ocean.audit.components == 1
    assert len(set(ocean.grid.column_depth_index)) == 2
    age = np.linalg.solve(
        ocean.transport.toarray() + np.diag(ocean.grid.layer_mask(1) / (30.0 * DAY)), np.ones(ocean.grid.n_wet)
    )
    deep = age[ocean.grid.layer >= 2] / YEAR
    assert deep.min() > 20.0
    assert deep.max() < 2500.0


def test_audit_reads_as_text(ocean):
    text = str(ocean.audit)
    assert "median turnover" in text
    assert text.endswith("passed")
    assert repr(ocean) == "Circulation('few_box', 22 boxes, 90 entries)"


def test_operator_is_copied_and_canonical(ocean):
    entries = ocean.transport.tocoo()
    doubled = sparse.coo_array(
        (np.r_[entries.data, entries.data] / 2.0, (np.r_[entries.row, entries.row], np.r_[entries.col, entries.col])),
        shape=entries.shape,
    )
    again = Circulation(ocean.grid, doubled, "again")  # pyright: ignore[reportArgumentType]
    assert again.transport.nnz == ocean.transport.nnz
    np.testing.assert_allclose(again.transport.toarray(), ocean.transport.toarray(), rtol=1e-15)


def refused(ocean: Circulation, transport, words: str, error=ConservationError) -> str:
    with pytest.raises(error, match=words) as caught:
        Circulation(ocean.grid, transport, "bad")
    return str(caught.value)


def test_refuses_wrong_sign(ocean):
    refused(ocean, -ocean.transport, "wrong sign: multiply by -1")


def test_refuses_rates_per_year(ocean):
    refused(ocean, YEAR * ocean.transport, "wrong unit.*yr-1; divide by 31536000 s")


@pytest.mark.parametrize("name", ["few_box", "column"])
def test_refuses_rates_per_day(name):
    ocean = load_circulation(name)
    refused(ocean, DAY * ocean.transport, "wrong unit.*d-1; divide by 86400 s")


def test_refuses_an_operator_divided_twice(ocean):
    refused(ocean, ocean.transport / YEAR**2, "wrong unit or empty operator")


def test_refuses_negative_diagonal(ocean):
    transport = ocean.transport.tolil()
    transport[5, 5] = -1e-8
    refused(ocean, transport.tocsr(), r"1 diagonal entries are negative, .* box 5 \(latitude 52.50, longitude 155")


def test_refuses_divergent_flow_and_names_the_box(ocean):
    transport = ocean.transport.tolil()
    transport[20, 20] *= 1.01
    message = refused(ocean, transport.tocsr(), "a uniform tracer does not stay uniform")
    assert "Worst: box 20 (latitude 0.00, longitude -25.00, depth 2500 m)" in message
    assert "creates or destroys tracer" in message


def test_refuses_a_source_of_tracer(ocean):
    """Rows still sum to zero, but what one box loses another does not gain in full."""
    transport = sparse.diags_array(np.where(np.arange(22) == 7, 1.1, 1.0)) @ ocean.transport
    message = refused(ocean, sparse.csr_array(transport), "transport creates or destroys tracer")
    assert "uniform" not in message


def test_refuses_the_transpose(ocean):
    refused(ocean, sparse.csr_array(ocean.transport.T), "the operator is transposed")


def test_refuses_c_order_declared_as_column_major(ocean):
    """T 1 = 0 survives any permutation; only the volumes betray the wrong order."""
    scrambled = to_house_order(ocean.transport, ocean.grid.wet, COLUMN_MAJOR)
    message = refused(ocean, scrambled, "in another order than declared")
    assert "does not stay uniform" not in message
    assert "depth" in message.split("Worst: ")[1]


def test_refuses_wrong_sizes_and_values(ocean):
    refused(ocean, ocean.transport[:, :-1], "22 rows and 21 columns; expected a square", InputError)
    refused(ocean, ocean.transport[:-1, :-1], "21 rows but the grid 'few_box' has 22 wet", InputError)
    transport = ocean.transport.copy()
    transport.data[transport.indptr[3]] = np.nan
    refused(ocean, transport, r"1 entries that are NaN or infinite.* box 3 \(latitude 0.00", InputError)


def test_counts_parts_that_do_not_communicate(ocean):
    """Two columns apart from each other are two null vectors; the audit reports it and leaves it to the user."""
    pairs = {(0, 6): 1e7, (6, 0): 1e7}
    transport = transport_from_flows(pairs, ocean.grid.volume)
    assert audit_transport(transport, ocean.grid).components == 21


# --- wet orders ------------------------------------------------------------------------------------------------


def test_column_major_order_is_that_of_a_fortran_scan(ocean):
    wet = ocean.grid.wet
    field = np.random.default_rng(3).normal(size=wet.shape)
    as_matlab, mask = np.transpose(field, (1, 2, 0)), np.transpose(wet, (1, 2, 0))
    theirs = as_matlab.ravel(order="F")[mask.ravel(order="F")]
    np.testing.assert_array_equal(theirs[wet_positions(wet, COLUMN_MAJOR)], field[wet])


def test_operator_survives_a_permutation_and_back(ocean):
    position = wet_positions(ocean.grid.wet, COLUMN_MAJOR)
    inverse = np.argsort(position)
    theirs = ocean.transport[inverse][:, inverse]
    assert abs(to_house_order(theirs, ocean.grid.wet, COLUMN_MAJOR) - ocean.transport).max() == 0.0


def test_refuses_unknown_order(ocean):
    with pytest.raises(InputError, match="Wet order"):
        wet_positions(ocean.grid.wet, ("depth", "lat", "lon"))


# --- coarsening ------------------------------------------------------------------------------------------------


def test_coarsening_keeps_what_is_left_over_and_the_masks(ocean):
    grid = coarsening(ocean.grid, 2, 1).coarse
    assert grid.shape == (4, 2, 2)
    np.testing.assert_array_equal(grid.latitude_edges, [-75.0, 35.0, 70.0])
    np.testing.assert_array_equal(grid.mask("atlantic"), grid.wet_longitude < 0.0)
    assert grid.wet_fraction is None


def test_coarse_box_over_land_is_partly_wet(ocean):
    """The bottom layer of the coarse column lies only over the deep fine cells."""
    grid = coarsening(ocean.grid, 3, 1).coarse
    bottom = grid.box_area[grid.layer == 3]
    np.testing.assert_allclose(bottom, ocean.grid.area[:2].sum(axis=0), rtol=1e-14)
    np.testing.assert_allclose(grid.area_below[grid.layer == 2], bottom, rtol=1e-14)
    assert np.all(grid.wet_fraction[0] == 1.0)


def test_layer_groups(ocean):
    coarse = coarsen(ocean, 1, 1, layers=[2, 1, 1])
    np.testing.assert_array_equal(coarse.grid.depth_edges, [0.0, 74.0, 1000.0, 4000.0])


def test_means_ignore_missing_values(ocean):
    relation = coarsening(ocean.grid, 3, 2)
    x = np.full(22, np.nan)
    x[[0, 3]] = 1.0, 3.0
    volume = ocean.grid.volume
    mean = relation.mean(x)
    assert mean[0] == pytest.approx((volume[0] + 3.0 * volume[3]) / (volume[0] + volume[3]), rel=1e-14)
    assert np.isnan(mean[1:]).all()
    assert relation.surface_mean(x[:6])[0] == pytest.approx(mean[0], rel=1e-14)


def test_coarsening_refuses_bad_groups(ocean):
    with pytest.raises(InputError, match="expected factors of one or more"):
        coarsen(ocean, 0, 2)
    with pytest.raises(InputError, match=r"layer groups \[1, 1\] hold 2 layers; the grid 'few_box' has 4"):
        coarsen(ocean, 1, 1, layers=[1, 1])
    with pytest.raises(InputError, match=r"shape \(3,\); expected \(22,\)"):
        coarsening(ocean.grid).mean(np.ones(3))


# --- netCDF ----------------------------------------------------------------------------------------------------


@pytest.fixture
def written(ocean, tmp_path):
    path = tmp_path / "ocean.nc"
    write_circulation(ocean, path)
    with xr.open_dataset(path) as file:
        return file.load(), path


def test_file_follows_cf(written):
    dataset, _ = written
    assert dataset.attrs["Conventions"] == "CF-1.10"
    assert dataset.attrs["source_order"] == "depth latitude longitude"
    assert dataset.attrs["licence"] == "Apache-2.0"
    assert dataset.T_data.attrs["units"] == "s-1"
    assert dataset.latitude.attrs["bounds"] == "latitude_bounds"


def test_file_in_another_wet_order_is_permuted(ocean, written):
    dataset, path = written
    inverse = np.argsort(wet_positions(ocean.grid.wet, COLUMN_MAJOR))
    theirs = sparse.csr_array(ocean.transport[inverse][:, inverse])
    dataset["T_data"] = ("nnz", theirs.data, dataset.T_data.attrs)
    dataset["T_indices"] = ("nnz", theirs.indices)
    dataset["T_indptr"] = ("row", theirs.indptr)
    dataset.to_netcdf(path.with_name("undeclared.nc"))
    with pytest.raises(ConservationError, match="in another order than declared"):
        read_circulation(path.with_name("undeclared.nc"))
    dataset.attrs["wet_order"] = "depth longitude latitude"
    dataset.to_netcdf(path.with_name("declared.nc"))
    again = load_circulation(path.with_name("declared.nc"))
    assert abs(again.transport - ocean.transport).max() == 0.0


def set_attribute(name, value):
    return lambda d: d.assign({name: d[name].assign_attrs(units=value)})


def spoil(name, position, value):
    def change(d):
        values = d[name].values.copy()
        values[position] = value
        return d.assign({name: (d[name].dims, values, d[name].attrs)})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.drop_vars("T_data"), "no variable 'T_data'; expected it on .'nnz',. in s-1"),
        (lambda d: d.drop_vars("area"), "no variable 'area'"),
        (lambda d: d.rename(latitude="lat"), "no variable 'latitude'"),
        (lambda d: d.assign(wet=d.wet.transpose()), "variable 'wet': dimensions .'longitude'.* expected .'depth'"),
        (lambda d: d.isel(row=slice(1, None)), "variable 'T_indptr': 22 values; expected 23"),
        (lambda d: d.isel(nnz=slice(1, None)), "variable 'T_indptr': runs from 0 to 90.*from 0 to 89"),
        (spoil("T_indices", 0, 22), "variable 'T_indices': values from 0 to 22; expected"),
        (set_attribute("T_data", "yr-1"), "variable 'T_data': units 'yr-1'; expected 's-1'"),
        (set_attribute("area", "km2"), "variable 'area': units 'km2'; expected 'm2'"),
        (lambda d: d.assign(area=(d.area.dims, d.area.values)), "variable 'area': no attribute 'units'; expected 'm2'"),
        (spoil("T_data", 4, np.nan), "variable 'T_data': 1 of 90 values are NaN"),
        (spoil("wet", (0, 0, 0), 3), "variable 'wet': values other than 0 and 1"),
        (spoil("volume", (0, 0, 0), np.nan), "variable 'volume': a wet box has no volume"),
        (spoil("wet", (0, 0, 0), 0), "wet boxes lie under a dry one, first at latitude -55.00"),
        (lambda d: d.assign(mask_x=d.depth), "variable 'mask_x': dimensions .'depth',."),
        (lambda d: d.drop_vars("latitude_edge"), "variable 'latitude': centres are not equally spaced"),
    ],
)
def test_unsound_files_are_refused_with_reasons(written, change, words):
    dataset, path = written
    bad = path.with_name("bad.nc")
    change(dataset).to_netcdf(bad)
    with pytest.raises(InputError, match=words) as caught:
        read_circulation(bad)
    assert str(caught.value).startswith(f"Circulation file {bad}")


def test_missing_and_foreign_files(ocean, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_circulation(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text("not a netCDF file")
    with pytest.raises(InputError, match="not a readable netCDF file"):
        read_circulation(text)
    with pytest.raises(InputError, match="does not exist"):
        write_circulation(ocean, tmp_path / "no" / "folder.nc")


# --- OCIM2-grid files ------------------------------------------------------------------------------------------


def small_operator(ocean: Circulation) -> dict:
    """The few-box ocean as a column-major npz file; its regular axes give the areas."""
    from invbgc.grid import OceanGrid

    grid = ocean.grid
    latitude, longitude = np.array([-40.0, 0.0, 40.0]), np.array([90.0, 270.0])
    height, width = 6371000.0 * np.radians(40.0), 6371000.0 * np.radians(180.0)
    regular = OceanGrid(
        wet=grid.wet,
        depth_edges=grid.depth_edges,
        latitude=latitude,
        latitude_edges=np.array([-60.0, -20.0, 20.0, 60.0]),
        longitude=longitude,
        longitude_edges=np.array([0.0, 180.0, 360.0]),
        area=height * width * np.cos(np.radians(latitude))[:, None] * np.ones(2),
        name="regular",
    )
    entries = ocean.transport.tocoo()
    off = entries.row != entries.col
    flows = -entries.data * grid.volume[entries.row]
    transport = transport_from_flows(
        {(int(c), int(r)): f for r, c, f in zip(entries.row[off], entries.col[off], flows[off], strict=True)},
        regular.volume,
    )
    inverse = np.argsort(wet_positions(grid.wet, COLUMN_MAJOR))
    theirs = sparse.csr_array(transport[inverse][:, inverse])
    return {
        "data": theirs.data,
        "indices": theirs.indices,
        "indptr": theirs.indptr,
        "mask": np.transpose(grid.wet, (1, 2, 0)),
        "lat": latitude,
        "lon": longitude,
        "z_w": grid.depth_edges[:-1],
        "dz": grid.thickness,
        "vol": regular.volume[inverse],
    }


def test_operator_file_is_read_into_house_order(ocean, tmp_path):
    content = small_operator(ocean)
    np.savez(tmp_path / "T.npz", **content)
    read = load_circulation(tmp_path / "T.npz")
    assert read.attrs["source_order"] == "depth longitude latitude"
    np.testing.assert_allclose(
        read.transport.diagonal() * read.grid.volume, ocean.transport.diagonal() * ocean.grid.volume, rtol=1e-12
    )


def test_operator_file_with_faults(ocean, tmp_path):
    content = small_operator(ocean)
    path = tmp_path / "T.npz"
    with pytest.raises(InputError, match="no file at"):
        read_ocim2_operator(path)
    path.write_text("text")
    with pytest.raises(InputError, match="not a readable npz file"):
        read_ocim2_operator(path)
    np.savez(path, **{key: value for key, value in content.items() if key != "vol"})
    with pytest.raises(InputError, match=r"no array \['vol'\]"):
        read_ocim2_operator(path)
    np.savez(path, **content)
    with pytest.raises(InputError, match="is not that of grid 'two_box'"):
        read_ocim2_operator(path, grid=two_box().grid)
    with pytest.raises(InputError, match="vol differs from area times thickness"):
        read_ocim2_operator(path, order=("depth", "latitude", "longitude"))
    np.savez(path, **(content | {"data": content["data"] * -YEAR}))
    with pytest.raises(ConservationError, match="multiply by -1"):
        read_ocim2_operator(path)
    np.savez(path, **(content | {"indptr": content["indptr"][:-1]}))
    with pytest.raises(InputError, match="not a CSR matrix of 22 rows"):
        read_ocim2_operator(path)


def test_grid_file_with_faults(tmp_path):
    path = tmp_path / "GRID.mat"
    with pytest.raises(InputError, match="no file at"):
        read_ocim2_grid(path)
    path.write_text("text")
    with pytest.raises(InputError, match="not a readable MATLAB"):
        read_ocim2_grid(path)
    scipy.io.savemat(path, {"M3d": np.ones((2, 2, 2))})
    with pytest.raises(InputError, match="no variable 'grid'"):
        read_ocim2_grid(path)
    scipy.io.savemat(path, {"M3d": np.ones((2, 2, 2)), "grid": {"yt": [1.0, 2.0]}, "MSKS": {"ATL": [1]}})
    with pytest.raises(InputError, match="without field 'xt'"):
        read_ocim2_grid(path)


# --- the registry ----------------------------------------------------------------------------------------------


def test_registry_passes_options_and_suggests_names():
    assert load_circulation("two_box", exchange=10.0).transport[0, 0] == pytest.approx(1e7 / (3.6e14 * 74.0))
    with pytest.raises(InputError, match="did you mean 'few_box'"):
        load_circulation("fewbox")
    with pytest.raises(InputError, match="Known names: two_box"):
        load_circulation("mitgcm")


# --- real files ------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_ocim2_grid_numbers(shared_data):
    """Counts, volume, area and layers of Wang et al. (2023)."""
    grid = read_ocim2_grid(shared_data / "ocim2_grid" / "GRID.mat")
    assert (grid.shape, grid.n_wet, grid.n_columns) == ((24, 91, 180), 200_160, 10_441)
    assert grid.volume.sum() == pytest.approx(1.321793e18, rel=1e-6)
    assert grid.surface_area.sum() == pytest.approx(3.56431e14, rel=1e-6)
    counts = {name: int(grid.mask(name).sum()) for name in grid.masks}
    assert counts == {"ATL": 49_779, "PAC": 92_732, "IND": 40_263, "ARC": 16_422, "MED": 964}
    assert grid.layer_mask(2).sum() == 20_882
    np.testing.assert_allclose(grid.depth_edges[[1, 2, -1]], [36.135114, 73.399450, 5750.0], rtol=1e-6)


@pytest.mark.shared_data
def test_full_size_operator(shared_data):
    grid = read_ocim2_grid(shared_data / "ocim2_grid" / "GRID.mat")
    ocean = read_ocim2_operator(shared_data / "circulation" / "ocim2_grid_operator.npz", grid)
    assert ocean.transport.nnz == 2_600_485
    assert ocean.audit.uniform_time_scale > 1e12
    assert ocean.audit.mass_time_scale > 1e12
    assert ocean.audit.positive_off_diagonal_fraction == pytest.approx(0.267, abs=5e-4)
    for factor, words in ((YEAR, "yr-1"), (DAY, "d-1")):
        with pytest.raises(ConservationError, match=words):
            Circulation(grid, ocean.transport * factor, "bad")
    with pytest.raises(ConservationError, match="in another order than declared"):
        Circulation(grid, to_house_order(ocean.transport, grid.wet, COLUMN_MAJOR), "bad")


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["circulation/reference_ocean_4deg.nc", "reference_case_4deg.nc"])
def test_four_degree_files_share_the_format(shared_data, name):
    ocean = load_circulation(shared_data / name)
    assert ocean.grid.shape == (17, 41, 90)
    assert ocean.grid.n_wet == 34_092
    assert ocean.grid.wet_fraction is None
    np.testing.assert_allclose(ocean.grid.longitude_edges[[0, -1]], [0.0, 360.0], atol=1e-9)
    assert ocean.audit.uniform_time_scale > 1e12
    coarse = coarsen(ocean, 2, 2)
    assert coarse.grid.n_wet == 9_937
    assert coarse.grid.volume.sum() == pytest.approx(ocean.grid.volume.sum(), rel=1e-13)
    assert coarse.audit.mass_time_scale > 1e12
