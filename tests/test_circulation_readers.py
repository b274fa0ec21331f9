"""Readers of other people's circulations: each on a file written here in its true layout, and on damaged ones."""

import logging
import struct
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sparse
import xarray as xr

from invbgc.circulation import Circulation, load_circulation, write_circulation
from invbgc.circulation.aibecs import read_aibecs
from invbgc.circulation.convert import convert
from invbgc.circulation.core import transport_from_flows
from invbgc.circulation.detect import candidate_positions, cell_edges, detect_circulation, from_house_order
from invbgc.circulation.matlab import read_mat, read_matlab, write_matlab
from invbgc.circulation.petsc import read_petsc_matrix, read_petsc_vector, write_petsc_matrix, write_petsc_vector
from invbgc.circulation.tmm import read_tmm, read_tmm_periodic
from invbgc.circulation.toys import few_box, spherical_area
from invbgc.constants import DAY, EARTH_RADIUS, YEAR
from invbgc.errors import InputError
from invbgc.grid import DIMENSIONS, OceanGrid
from invbgc.sources import get_source
from tests.foreign_circulations import (
    COLUMN_MAJOR,
    STEP,
    Months,
    matlab_content,
    numbering,
    tmm_grid,
    write_hdf5_matlab,
    write_jld2,
    write_matlab_folder,
    write_petsc_folder,
)


@pytest.fixture(scope="module")
def boxes() -> Circulation:
    return few_box()


@pytest.fixture(scope="module")
def globe() -> Circulation:
    """A real coastline, partly wet cells, 5,000 boxes."""
    return load_circulation("embedded_8deg")


def same(found: Circulation, expected: Circulation) -> None:
    """Equal to machine precision: operator, volumes, mask, layers."""
    np.testing.assert_array_equal(found.grid.wet, expected.grid.wet)
    np.testing.assert_allclose(found.grid.depth_edges, expected.grid.depth_edges, rtol=1e-15, atol=1e-12)
    np.testing.assert_allclose(found.grid.latitude_edges, expected.grid.latitude_edges, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(found.grid.longitude_edges, expected.grid.longitude_edges, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(found.grid.volume, expected.grid.volume, rtol=1e-14)
    assert abs(found.transport - expected.transport).max() <= 1e-15 * abs(expected.transport).max()


@pytest.fixture(scope="module")
def months(boxes) -> Months:
    return Months(boxes)


# --- detection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("unit", "seconds"), [("s-1", 1.0), ("d-1", DAY), ("yr-1", YEAR)])
@pytest.mark.parametrize("order", [DIMENSIONS, COLUMN_MAJOR, ("longitude", "latitude", "depth")])
def test_sign_unit_and_order_are_found_and_reported(boxes, sign, unit, seconds, order, caplog):
    theirs = from_house_order(boxes.transport, boxes.grid.wet, order) * (sign * seconds)
    with caplog.at_level(logging.INFO, logger="invbgc"):
        found = detect_circulation(theirs, boxes.grid, "file", candidate_positions(boxes.grid.wet))
    same(found, boxes)
    assert found.attrs["source_sign"] == {1.0: "divergence", -1.0: "convergence"}[sign]
    assert found.attrs["source_unit"] == unit
    assert found.attrs["source_order"] == " ".join(order)
    assert found.attrs["detection"] in caplog.text
    assert "median turnover 296 days; declared: nothing" in caplog.text


def test_nothing_is_guessed_when_the_turnover_is_not_plausible():
    """One column renewed in 38 years: the unit could be another, so it must be declared."""
    ocean = load_circulation("column")
    positions = candidate_positions(ocean.grid.wet)
    assert len(positions) == 1
    with pytest.raises(InputError, match=r"no combinations .* divergence, s-1: .* 1.4e\+04 days") as caught:
        detect_circulation(ocean.transport, ocean.grid, "file", positions)
    for candidate in ("divergence, d-1", "divergence, yr-1", "convergence, s-1: 100.0% of the boxes would gain"):
        assert candidate in str(caught.value)
    same(detect_circulation(ocean.transport, ocean.grid, "file", positions, unit="s-1"), ocean)


def test_several_sound_orders_are_refused_until_one_is_declared():
    """Equal volumes: every numbering conserves tracer."""
    edges = np.array([0.0, 10.0, 20.0])
    grid = OceanGrid(np.ones((2, 2, 2)), edges, edges[1:] - 5, edges, edges[1:] - 5, edges, np.full((2, 2), 1e12))
    flow = {(i, (i + 1) % 8): 1e6 for i in range(8)}
    ocean = Circulation(grid, transport_from_flows(flow, grid.volume), "cube")
    with pytest.raises(InputError, match=r"6 combinations of sign.*order depth longitude latitude: conserves.*Declare"):
        detect_circulation(ocean.transport, grid, "file", candidate_positions(grid.wet))
    found = detect_circulation(ocean.transport, grid, "file", candidate_positions(grid.wet, "depth latitude longitude"))
    same(found, ocean)


def test_no_order_conserves_a_foreign_volume(boxes):
    grid = replace(boxes.grid, area=boxes.grid.area * np.array([[1.0], [1.3], [1.0]]))
    with pytest.raises(InputError, match=r"no combinations.*order depth latitude longitude: inventories would be kept"):
        detect_circulation(boxes.transport, grid, "file", candidate_positions(grid.wet))


def test_detection_refuses_what_cannot_be_an_operator(boxes):
    positions = candidate_positions(boxes.grid.wet)
    with pytest.raises(InputError, match=r"shape \(21, 21\); expected \(22, 22\)"):
        detect_circulation(boxes.transport[:-1, :-1], boxes.grid, "file", positions)
    broken = boxes.transport.copy()
    broken.data[3] = np.nan
    with pytest.raises(InputError, match="1 of 90 entries are NaN"):
        detect_circulation(broken, boxes.grid, "file", positions)
    with pytest.raises(InputError, match="unit 'h-1' is unknown; expected one of s-1, d-1, yr-1"):
        detect_circulation(boxes.transport, boxes.grid, "file", positions, unit="h-1")
    with pytest.raises(InputError, match="Wet order"):
        candidate_positions(boxes.grid.wet, "depth lat lon")


def test_edges_come_from_widths_only_where_centres_are_in_the_middle():
    np.testing.assert_array_equal(cell_edges(np.array([1.0, 4.0]), np.array([2.0, 4.0]), "x"), [0.0, 2.0, 6.0])
    np.testing.assert_array_equal(cell_edges(np.array([1.0, 3.0]), np.array([1.0, 1.0]), "x"), [0.0, 2.0, 4.0])
    with pytest.raises(InputError, match="x: centres are not equally spaced"):
        cell_edges(np.array([1.0, 3.0, 7.0]), None, "x")


# --- MATLAB ------------------------------------------------------------------------------------------------------


def write_version(path, content: dict, version: str) -> None:
    if version == "5":
        scipy.io.savemat(path, content, do_compression=True)
    else:
        write_hdf5_matlab(path, content)


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("name", ["boxes", "globe"])
def test_matlab_round_trip(version, name, request, tmp_path):
    ocean = request.getfixturevalue(name)
    path = tmp_path / "OCIM2_toy.mat"
    write_version(path, {"output": matlab_content(ocean)}, version)
    found = load_circulation(path)
    same(found, ocean)
    assert (found.name, found.attrs["source"]) == ("OCIM2_toy", "OCIM2_toy.mat")
    assert (found.attrs["source_sign"], found.attrs["source_unit"]) == ("convergence", "yr-1")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_variants_of_the_family(boxes, version, tmp_path):
    """OCIM0: T at the top level, per second, divergence; `grd` for `grid`; an operator apart from its grid."""
    content = matlab_content(boxes, "T", factor=1.0)
    content["grd"] = {key: value for key, value in content.pop("grid").items() if not key.endswith("3d")}
    basin = np.moveaxis(np.broadcast_to(boxes.grid.masks["atlantic"], boxes.grid.shape), 0, 2).astype(float)
    content["MSKS"] = {"ATL": basin}
    write_version(tmp_path / "ocim0.mat", content, version)
    found = read_matlab(tmp_path / "ocim0.mat")
    same(found, boxes)
    assert found.attrs["source_sign"] == "divergence"
    np.testing.assert_array_equal(found.grid.mask("ATL"), boxes.grid.mask("atlantic"))
    write_version(tmp_path / "alone.mat", {"A": content["T"]}, version)
    with pytest.raises(InputError, match=r"alone.mat: no sparse matrix TR or T; found A"):
        read_matlab(tmp_path / "alone.mat")
    with pytest.raises(InputError, match=r"no M3d or no structure grid or grd; found A.*option grid"):
        read_matlab(tmp_path / "alone.mat", variable="A")
    same(read_matlab(tmp_path / "alone.mat", variable="A", grid=tmp_path / "ocim0.mat"), boxes)
    same(read_matlab(tmp_path / "alone.mat", variable="A", grid=boxes.grid), boxes)


def test_matlab_text_and_selection(boxes, tmp_path):
    write_hdf5_matlab(tmp_path / "a.mat", {"TR": boxes.transport.tocsc(), "zt": boxes.grid.depth})
    assert read_mat(tmp_path / "a.mat")["note"] == "steady"
    assert list(read_mat(tmp_path / "a.mat", ["zt"])) == ["zt"]


def test_written_matlab_file_reads_back(globe, boxes, tmp_path):
    write_matlab(globe, tmp_path / "globe.mat")
    same(load_circulation(tmp_path / "globe.mat"), globe)
    write_matlab(boxes, tmp_path / "boxes.mat", "divergence", "d-1", DIMENSIONS)
    same(load_circulation(tmp_path / "boxes.mat"), boxes)
    assert scipy.io.loadmat(tmp_path / "boxes.mat", simplify_cells=True)["output"]["M3d"].shape == (3, 2, 4)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_refuses_damaged_files(boxes, version, tmp_path):
    good, bad = tmp_path / "good.mat", tmp_path / "bad.mat"
    write_version(good, {"output": matlab_content(boxes)}, version)
    for part in (0.3, 0.9):
        bad.write_bytes(good.read_bytes()[: int(part * good.stat().st_size)])
        with pytest.raises(InputError, match=r"bad.mat: not readable as version 5 or 7.3, or truncated"):
            read_matlab(bad)
    bad.write_text("not MATLAB")
    with pytest.raises(InputError, match=r"bad.mat: not readable"):
        read_matlab(bad)
    with pytest.raises(InputError, match="no such file"):
        read_matlab(tmp_path / "missing.mat")

    def refused(change, words):
        content = matlab_content(boxes)
        change(content)
        write_version(bad, {"output": content}, version)
        with pytest.raises(InputError, match=words):
            read_matlab(bad)

    refused(lambda c: c.update(tr=c.pop("TR")), "no sparse matrix TR or T; found M3d, grid")
    refused(lambda c: c.update(mask=c.pop("M3d")), r"no M3d .* found TR, grid, mask")
    refused(lambda c: c["grid"].pop("dzt"), "structure grid without dzt; found Areat")
    refused(lambda c: c.update(M3d=c["M3d"][:, :, :-1]), r"M3d has shape \(3, 2, 3\); expected \(3, 2, 4\)")
    refused(lambda c: c.update(TR=c["TR"][:-1, :-1]), r"TR: the operator has shape \(21, 21\); expected \(22, 22\)")
    refused(lambda c: c["grid"].update(zw=c["grid"]["zw"][:-1]), "zw has 3 values; expected 4")


def write_48_layers(path, grid: OceanGrid, **changes) -> None:
    """The netCDF file beside the operator of OCIM2-48L: every coordinate as a field, axes reversed."""
    shape, volume = grid.shape, np.zeros(grid.shape)
    volume[grid.wet] = grid.volume
    fields = {
        "ocnmask": grid.wet.astype(float),
        "tz": grid.depth[:, None, None],
        "wz": grid.depth_edges[:-1, None, None],
        "tlat": grid.latitude[None, :, None],
        "tlon": grid.longitude[None, None, :],
        "area": grid.area[None],
        "vol": volume,
    } | changes
    axes = ("z", "x", "y")
    arrays = {name: (axes, np.swapaxes(np.broadcast_to(field, shape), 1, 2)) for name, field in fields.items()}
    xr.Dataset(arrays).to_netcdf(path)


@pytest.fixture(scope="module")
def regular() -> Circulation:
    """Four by three columns at equal spacing that exchange water; the deepest cells are partly wet."""
    latitude, longitude = np.array([-70.0, -30.0, 10.0, 50.0]), np.array([0.0, 90.0, 180.0, 270.0, 360.0])
    fraction = np.ones((2, 3, 4))
    fraction[1] = np.linspace(0.3, 1.0, 12).reshape(3, 4)
    grid = OceanGrid(
        wet=np.ones((2, 3, 4)),
        depth_edges=np.array([0.0, 100.0, 3000.0]),
        latitude=0.5 * (latitude[1:] + latitude[:-1]),
        latitude_edges=latitude,
        longitude=0.5 * (longitude[1:] + longitude[:-1]),
        longitude_edges=longitude,
        area=spherical_area(latitude, longitude),
        name="regular",
        wet_fraction=fraction,
    )
    number = np.arange(24).reshape(2, 3, 4)
    pairs = {
        (int(a), int(b))
        for axis in range(3)
        for a, b in zip(number.ravel(), np.roll(number, 1, axis).ravel(), strict=True)
    }
    flows = {pair: 5e7 for pair in pairs if pair[0] != pair[1]}
    flows |= {(b, a): 5e7 for a, b in flows}
    return Circulation(grid, transport_from_flows(flows, grid.volume), "regular")


def test_operator_with_its_grid_in_netcdf(regular, tmp_path):
    scipy.io.savemat(tmp_path / "transport.mat", {"TR": matlab_content(regular)["TR"]})
    write_48_layers(tmp_path / "data.nc", regular.grid)
    same(read_matlab(tmp_path / "transport.mat", grid=tmp_path / "data.nc"), regular)
    slanted = regular.grid.depth[:, None, None] + regular.grid.latitude[None, :, None]
    write_48_layers(tmp_path / "bad.nc", regular.grid, tlat=slanted)
    with pytest.raises(InputError, match="tlat changes along 2 dimensions; expected one"):
        read_matlab(tmp_path / "transport.mat", grid=tmp_path / "bad.nc")
    xr.load_dataset(tmp_path / "data.nc").drop_vars("wz").to_netcdf(tmp_path / "worse.nc")
    with pytest.raises(InputError, match=r"worse.nc: no wz; found area, ocnmask"):
        read_matlab(tmp_path / "transport.mat", grid=tmp_path / "worse.nc")
    (tmp_path / "worse.nc").write_bytes((tmp_path / "data.nc").read_bytes()[:500])
    with pytest.raises(InputError, match=r"worse.nc: not a readable netCDF file"):
        read_matlab(tmp_path / "transport.mat", grid=tmp_path / "worse.nc")
    with pytest.raises(InputError, match=r"missing.nc: no such file"):
        read_matlab(tmp_path / "transport.mat", grid=tmp_path / "missing.nc")


# --- AIBECS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flip", "bits"), [("boxes", False, True), ("boxes", True, False), ("globe", False, True)]
)
def test_aibecs_round_trip(name, flip, bits, request, tmp_path):
    ocean = request.getfixturevalue(name)
    write_jld2(tmp_path / "toy.jld2", ocean, flip=flip, bits=bits)
    found = load_circulation(tmp_path / "toy.jld2")
    same(found, ocean)
    assert found.attrs["source_unit"] == "s-1"
    assert found.attrs["source_order"] == "depth longitude latitude"


def test_aibecs_archive_in_another_unit(boxes, tmp_path):
    write_jld2(tmp_path / "toy.jld2", boxes, factor=-YEAR)
    assert read_aibecs(tmp_path / "toy.jld2").attrs["source_unit"] == "yr-1"


def test_aibecs_archive_that_the_hdf5_library_refuses(boxes, tmp_path, monkeypatch):
    """HDF5 2.0 does not open compressed data whose chunk header is longer than need be, as JLD2 writes it."""
    write_jld2(tmp_path / "toy.jld2", boxes)

    def fail(self, name, *rest):
        raise OSError("stored chunk dimension encoding length does not match")

    monkeypatch.setattr(h5py.File, "__getitem__", fail)
    with pytest.raises(InputError, match=r"OSError: stored chunk.*try h5py < 3.16"):
        read_aibecs(tmp_path / "toy.jld2")


def test_aibecs_refuses_damaged_files(boxes, tmp_path):
    good, bad = tmp_path / "good.jld2", tmp_path / "bad.jld2"
    write_jld2(good, boxes)
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with pytest.raises(InputError, match=r"bad.jld2: not readable as HDF5, or truncated \(OSError: .*\)\.$"):
        read_aibecs(bad)
    with pytest.raises(InputError, match="no such file"):
        read_aibecs(tmp_path / "missing.jld2")

    def refused(words, **changes):
        write_jld2(bad, boxes, **changes)
        with pytest.raises(InputError, match=words):
            read_aibecs(bad)

    refused("no variable 'T'; it has TR, grid", matrix_name="TR")
    refused("no variable 'grid'; it has T, grd", grid_name="grd")
    refused("'grid' without lat; found lon", lat=None)
    refused(r"wet3D has shape \(3, 2, 4\); expected \(2, 2, 4\)", lat=np.array([0.0, 1.0]))
    refused("expected both from 1, and rows up to 22", base=0)
    refused("22 columns with 23 column pointers that end at 91, 90 row indices and 89 values", entries=89)
    with pytest.raises(InputError, match=r"'grid' is a structure of .*; expected a sparse matrix with the fields m, n"):
        read_aibecs(good, matrix="grid")


# --- PETSc -------------------------------------------------------------------------------------------------------


def test_petsc_matrix_by_hand(tmp_path):
    """[[0, 2, 0], [3, 0, -1]]."""
    head = struct.pack(">4i", 1211216, 2, 3, 3) + struct.pack(">2i", 1, 2) + struct.pack(">3i", 1, 0, 2)
    content = head + struct.pack(">3d", 2.0, 3.0, -1.0)
    (tmp_path / "m").write_bytes(content)
    expected = [[0.0, 2.0, 0.0], [3.0, 0.0, -1.0]]
    np.testing.assert_array_equal(read_petsc_matrix(tmp_path / "m").toarray(), expected)
    write_petsc_matrix(sparse.csr_array(expected), tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == content
    long = struct.pack(">4q", 1211216, 2, 3, 3) + struct.pack(">5q", 1, 2, 1, 0, 2) + content[-24:]
    (tmp_path / "long").write_bytes(long)
    np.testing.assert_array_equal(read_petsc_matrix(tmp_path / "long").toarray(), expected)


def test_petsc_vector_by_hand(tmp_path):
    content = struct.pack(">2i", 1211214, 2) + struct.pack(">2d", 0.1, -5.0)
    (tmp_path / "v").write_bytes(content)
    np.testing.assert_array_equal(read_petsc_vector(tmp_path / "v"), [0.1, -5.0])
    write_petsc_vector([0.1, -5.0], tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == content


def test_petsc_round_trip_is_exact(globe, tmp_path):
    write_petsc_matrix(globe.transport, tmp_path / "m")
    assert abs(read_petsc_matrix(tmp_path / "m") - globe.transport).max() == 0.0
    write_petsc_vector(globe.grid.volume, tmp_path / "v")
    np.testing.assert_array_equal(read_petsc_vector(tmp_path / "v"), globe.grid.volume)


def test_petsc_refuses_damaged_files(boxes, tmp_path):
    write_petsc_matrix(boxes.transport, tmp_path / "good")
    content = (tmp_path / "good").read_bytes()
    cases = {
        content[:-8]: "truncated",
        content[:10]: "truncated in the header",
        content + b"\0" * 8: "longer than one matrix",
        content[:2]: "not PETSc",
        b"\x00\x00\x00\x01" + content[4:]: "starts with 1 .*; expected class id 1211216, big-endian",
        content[:8] + struct.pack(">i", 5) + content[12:]: "column indices from 0 to 21; expected 0 to 4",
        content[:16] + struct.pack(">i", 99) + content[20:]: "the rows hold .* entries; expected 90",
        struct.pack(">4i", 1211216, 2, 2, -1): "a dense one has -1 entries",
    }
    for damaged, words in cases.items():
        (tmp_path / "bad").write_bytes(damaged)
        with pytest.raises(InputError, match=words):
            read_petsc_matrix(tmp_path / "bad")
    write_petsc_vector([1.0], tmp_path / "v")
    with pytest.raises(InputError, match=r"\(a vector\); expected class id 1211216"):
        read_petsc_matrix(tmp_path / "v")
    (tmp_path / "v").write_bytes((tmp_path / "v").read_bytes()[:-1])
    with pytest.raises(InputError, match="15 bytes; expected 16 for 1 entries"):
        read_petsc_vector(tmp_path / "v")
    with pytest.raises(InputError, match="cannot be read"):
        read_petsc_vector(tmp_path / "missing")


# --- the transport matrix method ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "first", "suffix"), [("propagator", 0, ""), ("tendency", 1, ".petsc")])
def test_folder_of_petsc_matrices(months, kind, first, suffix, tmp_path):
    """A_e = I + dt A_exp loses digits of A_exp to the one on its diagonal: 1e-16 / dt is 2e-21 s-1."""
    write_petsc_folder(tmp_path / "run", months, kind, first, suffix)
    found = load_circulation(tmp_path / "run", time_step=STEP)
    np.testing.assert_array_equal(found.grid.wet, months.ocean.grid.wet)
    np.testing.assert_allclose(found.grid.volume, months.ocean.grid.volume, rtol=1e-14)
    assert abs(found.transport - months.transport).max() <= 1e-20
    assert (found.attrs["source_sign"], found.attrs["source_order"]) == ("convergence", "of the box indices")
    assert "12 explicit and 12 implicit matrices, step 43200 s" in found.attrs["source"]


@pytest.mark.parametrize(("annual", "indexed"), [(False, True), (True, True), (False, False)])
def test_folder_as_distributed(months, annual, indexed, tmp_path):
    write_matlab_folder(tmp_path / "mit", months, indexed)
    found = read_tmm(tmp_path / "mit", annual=annual)
    same(found, replace(months.expected, transport=found.transport))
    assert abs(found.transport - months.transport).max() <= 1e-20
    assert found.attrs["source_order"] == ("of the box indices" if indexed else "depth latitude longitude")


def test_months_in_house_order(months, tmp_path):
    write_petsc_folder(tmp_path / "run", months)
    year = read_tmm_periodic(tmp_path / "run", time_step=STEP)
    for found, expected in zip(year.explicit, months.explicit, strict=True):
        assert abs(found - expected).max() < 1e-20
    for found, expected in zip(year.implicit, months.implicit, strict=True):
        assert abs(found - expected).max() == 0.0
    assert abs(year.annual_mean() + months.transport).max() < 1e-20


def test_step_of_the_months(months, tmp_path):
    """c' = A_i A_i (I + 2 dt A_exp) c half way between two months, both interpolated; tracer is conserved."""
    write_petsc_folder(tmp_path / "run", months)
    year = read_tmm_periodic(tmp_path / "run", time_step=STEP)
    assert year.weights(0.5 / 12.0) == pytest.approx((0, 1, 1.0))
    assert year.weights(0.0) == pytest.approx((11, 0, 0.5))
    assert year.weights(7.0 + 2.75 / 12.0) == pytest.approx((2, 3, 0.75))
    volume = year.grid.volume
    tracer = np.random.default_rng(1).normal(size=volume.size)
    explicit = 0.5 * (months.explicit[2] + months.explicit[3]).toarray()
    implicit = 0.5 * (months.implicit[2] + months.implicit[3]).toarray()
    expected = implicit @ implicit @ (tracer + 2.0 * STEP * (explicit @ tracer + 1e-8))
    np.testing.assert_allclose(year.step(tracer, 3.0 / 12.0, 2.0 * STEP, 1e-8), expected, rtol=1e-12)
    after = year.step(tracer, 0.3, STEP)
    assert volume @ after == pytest.approx(volume @ tracer, rel=1e-10)
    np.testing.assert_allclose(year.step(np.ones(volume.size), 0.9, STEP), 1.0, rtol=1e-12)
    with pytest.raises(InputError, match=r"expected a multiple of 43200.0 s"):
        year.step(tracer, 0.0, 1.5 * STEP)


def test_tmm_refuses_damaged_folders(months, tmp_path):
    folder = tmp_path / "run"
    write_petsc_folder(folder, months)

    def refused(words, time_step: float | None = STEP, annual: bool = False):
        with pytest.raises(InputError, match=words):
            read_tmm(folder, time_step, annual)

    refused("give it in s by the option time_step", time_step=None)
    refused("0 matrices Ae; expected Ae", annual=True)
    (folder / "Ai_05").rename(folder / "Ax_05")
    refused(r"11 matrices Ai; expected Ai, or twelve .* Found Ae_00")
    (folder / "Ax_05").rename(folder / "Ai_05")
    content = (folder / "Ae_03").read_bytes()
    (folder / "Ae_03").write_bytes(content[:-5])
    refused("Ae_03: .* truncated")
    write_petsc_matrix(sparse.eye_array(21), folder / "Ae_03")
    refused(r"Ae_03: \(21, 21\); expected a sparse matrix, \(22, 22\)")
    write_petsc_matrix(3.0 * sparse.eye_array(22), folder / "Ae_03")
    refused("rows sum to 3; expected 1")
    (folder / "Ae_03").write_bytes(content)
    grid, indices = tmm_grid(months.ocean.grid), numbering(months.ocean.grid)[1]
    scipy.io.savemat(folder / "grid.mat", {key: value for key, value in grid.items() if key != "da"})
    refused("grid.mat: no variable da; found bathy")
    scipy.io.savemat(folder / "grid.mat", grid | {"da": grid["da"][:, :-1]})
    refused(r"da has shape \(2, 2, 4\); expected \(2, 3, 4\)")
    scipy.io.savemat(folder / "grid.mat", grid)
    scipy.io.savemat(folder / "boxes.mat", indices | {"ixBox": indices["ixBox"] + 1})
    refused("izBox, iyBox, ixBox have shapes")
    scipy.io.savemat(folder / "boxes.mat", {"izBox": indices["izBox"]})
    refused("boxes.mat: no izBox, iyBox, ixBox; found izBox")
    (folder / "grid.mat").unlink()
    refused("no grid.mat; found Ae_00")
    with pytest.raises(InputError, match="no such folder"):
        read_tmm(tmp_path / "missing")


def test_tmm_refuses_explicit_matrices_of_another_convention(months, tmp_path):
    for number, factor in enumerate((-1.0, YEAR)):
        other = Months(months.ocean)
        other.explicit = [factor * matrix for matrix in months.explicit]
        write_matlab_folder(tmp_path / str(number), other)
        with pytest.raises(InputError, match=r"convergence in s-1|no combinations"):
            read_tmm(tmp_path / str(number))


# --- conversion --------------------------------------------------------------------------------------------------


def test_convert_every_format(boxes, globe, months, tmp_path):
    write_matlab(globe, tmp_path / "a.mat")
    write_jld2(tmp_path / "b.jld2", boxes)
    write_petsc_folder(tmp_path / "run", months)
    expected = {"a.mat": globe, "b.jld2": boxes, "run": months.expected}
    for name, ocean in expected.items():
        options = {"time_step": STEP} if name == "run" else {}
        report = convert(tmp_path / name, tmp_path / f"{name}.nc", **options)
        again = load_circulation(tmp_path / f"{name}.nc")
        np.testing.assert_allclose(again.grid.volume, ocean.grid.volume, rtol=1e-14)
        assert abs(again.transport - ocean.transport).max() < 1e-15 * abs(ocean.transport).max() + 1e-20
        assert "passed" in report and f"{ocean.grid.n_wet} wet boxes" in report
        assert "read as" in report and again.attrs["detection"] in report


@pytest.mark.parametrize("name", ["boxes", "globe"])
def test_convert_to_matlab_and_back(name, request, tmp_path):
    """TR is per year: only the change of unit rounds."""
    ocean = request.getfixturevalue(name)
    write_circulation(ocean, tmp_path / "a.nc")
    report = convert(tmp_path / "a.nc", tmp_path / "b.mat")
    assert "written to" in report and "passed" in report
    convert(tmp_path / "b.mat", tmp_path / "c.nc")
    again = load_circulation(tmp_path / "c.nc")
    same(again, ocean)
    entries, expected = again.transport.tocoo(), ocean.transport.tocoo()
    np.testing.assert_allclose(entries.data, expected.data, rtol=1e-15)
    np.testing.assert_array_equal(entries.col, expected.col)
    assert f"licence: {ocean.attrs['licence']}" in again.attrs["about"]
    assert set(again.grid.masks) == set(ocean.grid.masks)
    for key in ocean.grid.masks:
        np.testing.assert_array_equal(again.grid.mask(key), ocean.grid.mask(key))


def test_the_matlab_file_serves_programs_of_the_ocim_family(globe, tmp_path):
    """The lines that such programs begin with: volumes, the divergence form, and the tops of the layers."""
    write_matlab(globe, tmp_path / "a.mat")
    content = scipy.io.loadmat(tmp_path / "a.mat", squeeze_me=True, struct_as_record=False)
    output, grd = content["output"], content["output"].grid
    wet = output.M3d.ravel(order="F") == 1
    volume = (grd.DXT3d * grd.DYT3d * grd.DZT3d).ravel(order="F")[wet]
    assert volume.sum() == pytest.approx(globe.grid.volume.sum(), rel=1e-14)
    divergence = -output.TR / YEAR
    assert abs(divergence @ np.ones(wet.sum())).max() < 1e-18 and divergence.diagonal().min() > 0.0
    assert abs(divergence.T @ volume).max() < 1e-14 * abs(divergence.data).max() * volume.max()
    assert grd.DYT3d[3, 0, 0] == pytest.approx(np.radians(grd.dyt[3]) * EARTH_RADIUS, rel=1e-15)
    assert grd.ZW3d.shape == output.M3d.shape and np.all(grd.ZW3d[2, 3] == grd.zw)
    assert np.all(grd.YT3d[:, 0, 0] == grd.yt) and np.all(grd.XT3d[0, :, 0] == grd.xt)
    assert "dC/dt = TR C in yr-1" in content["about"] and "licence: " in content["about"]


def test_a_published_file_brings_its_citation_through_conversion(globe, tmp_path):
    path = tmp_path / "OCIM2_CTL_He.mat"
    write_matlab(globe, path)
    convert(path, tmp_path / "ocean.nc")
    source = get_source("ocim2_mat")
    for ocean in (load_circulation(path), load_circulation(tmp_path / "ocean.nc")):
        assert ocean.attrs["citation"] == source.citation and ocean.attrs["licence"] == source.licence
    write_matlab(globe, tmp_path / "mine.mat")
    assert "citation" not in load_circulation(tmp_path / "mine.mat").attrs


def test_convert_leaves_nothing_behind_when_it_fails(boxes, tmp_path):
    source, target = tmp_path / "a.mat", tmp_path / "a.nc"
    write_version(source, {"output": matlab_content(boxes) | {"TR": boxes.transport.tocsc()[:-1]}}, "5")
    target.write_text("older file")
    with pytest.raises(InputError, match="shape"):
        convert(source, target)
    assert target.read_text() == "older file"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mat", "a.nc"]
    with pytest.raises(InputError, match=r"a.jld2: expected a name that ends in .nc or .mat"):
        convert("few_box", tmp_path / "a.jld2")
    with pytest.raises(InputError, match="it is the source"):
        convert(target, target)
    with pytest.raises(InputError, match=r"unexpected keyword argument 'gird'"):
        convert(source, target, gird="x.mat")
    with pytest.raises(InputError, match=r"folder of transport matrices, or a path that ends in .nc or .npz or .mat"):
        convert("few_boxes.txt", target)


@pytest.mark.shared_data
def test_full_size_operator_converts(shared_data, tmp_path):
    """200,160 boxes through netCDF and MATLAB; the documentation states time and memory."""
    source = shared_data / "circulation" / "ocim2_grid_operator.npz"
    report = convert(source, tmp_path / "full.nc")
    assert "200160 wet boxes in 10441 columns and 24 layers" in report
    ocean = load_circulation(tmp_path / "full.nc")
    original = load_circulation(source)
    assert abs(ocean.transport - original.transport).max() == 0.0
    np.testing.assert_allclose(ocean.grid.volume, original.grid.volume, rtol=1e-14)
    assert ocean.audit.passed
    write_matlab(original, tmp_path / "full.mat")
    found = load_circulation(tmp_path / "full.mat")
    assert (found.attrs["source_sign"], found.attrs["source_unit"]) == ("convergence", "yr-1")
    same(found, original)
