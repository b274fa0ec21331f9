"""The ocean that comes with the package, and the recipe that made it."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
import xarray as xr
from scipy.sparse.linalg import splu

from invbgc.circulation import load_circulation
from invbgc.circulation.assembly import (
    CONVECTIVE_DIFFUSIVITY,
    EDDY_DIFFUSIVITY,
    FaceMetrics,
    FaceMixing,
    assemble,
    background_diffusivity,
    close_continuity,
    horizontal_divergence,
    isopycnal_slopes,
)
from invbgc.circulation.embedded import FILE, embedded, embedded_fields, embedded_flow, embedded_grid
from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.grid import OceanGrid

FERRET = Path("/usr/share/ferret-vis/data")

SCHEMA_UNITS = {
    "temperature": "degC",
    "salinity": "1",
    "silicate": "mmol m-3",
    "phosphate": "mmol m-3",
    "net_primary_production": "mmol m-2 yr-1",
    "piston_velocity_660": "m s-1",
    "sea_level_pressure": "atm",
    "freshwater_flux": "s-1",
    "chemistry_temperature": "degC",
    "chemistry_salinity": "1",
    "chemistry_silicate": "umol kg-1",
    "chemistry_phosphate": "umol kg-1",
    "chemistry_pressure": "dbar",
}


@pytest.fixture(scope="module")
def age():
    """Ideal age, [n_wet] years, zero at the surface within a day."""
    circulation = embedded()
    surface = circulation.grid.layer_mask(1) * 365.0
    return splu(sparse.csc_array(YEAR * circulation.transport + sparse.diags_array(surface))).solve(
        np.ones(circulation.grid.n_wet)
    )


def test_grid_has_the_documented_size():
    grid = embedded_grid()
    assert (grid.n_wet, grid.n_columns, grid.n_layers) == (34092, 2493, 17)
    assert grid.depth_edges[2] == 74.0
    assert 1.25e18 < grid.volume.sum() < 1.40e18
    assert 3.3e14 < grid.surface_area.sum() < 3.7e14
    basins = np.stack(list(grid.masks.values()))
    assert sorted(grid.masks) == ["arctic", "atlantic", "indian", "pacific", "southern"]
    assert np.array_equal(basins.sum(axis=0), grid.wet[0])


def test_file_is_small_and_says_where_it_comes_from():
    file = files("invbgc").joinpath("data", FILE)
    assert len(file.read_bytes()) < 1_500_000
    fields = embedded_fields()
    assert "Apache-2.0" in fields.attrs["licence"] and "public domain" in fields.attrs["licence"]
    assert "ferret-datasets" in fields.attrs["source"]
    for name, variable in fields.data_vars.items():
        assert variable.attrs["units"] and variable.attrs["long_name"], name


def test_operator_passes_the_audit():
    circulation = load_circulation("embedded")
    assert circulation.audit.passed and circulation.audit.components == 1
    assert circulation.audit.uniform_time_scale > 1e12
    assert circulation.attrs["licence"]
    uniform = circulation.transport @ np.ones(circulation.grid.n_wet)
    assert np.abs(uniform).max() * YEAR < 1e-11
    off = circulation.transport.copy()
    off.setdiag(0.0)
    assert off.data[off.data > 0.0].sum() < 0.015 * -off.data[off.data < 0.0].sum()


def test_flow_is_continuous_and_close_to_the_packaged_one():
    flow, fields = embedded_flow(), embedded_fields()
    below = np.zeros_like(flow.up)
    below[:-1] = flow.up[1:]
    assert np.abs(horizontal_divergence(flow.east, flow.north) + flow.up - below).max() < 1e-7
    assert np.abs(flow.east - fields["transport_east"].values).max() < 2.0  # m3 s-1, of 1e7
    assert np.abs(flow.north - fields["transport_north"].values).max() < 2.0


def test_transports_are_those_of_an_ocean():
    grid, flow = embedded_grid(), embedded_flow()
    passage = np.searchsorted(grid.longitude_edges, 294.0, side="right") - 1
    drake = flow.east[:, grid.latitude < -52.0, passage].sum() / 1e6
    assert 130.0 < drake < 150.0
    atlantic = grid.masks["atlantic"] | grid.masks["arctic"]
    above = np.cumsum((flow.north * atlantic).sum(axis=2), axis=0) / 1e6
    latitude = grid.latitude_edges[1:]
    below_400 = grid.depth_edges[1:] > 400.0
    assert 15.0 < above[np.ix_(below_400, (latitude >= 20.0) & (latitude < 60.0))].max() < 20.0
    assert 12.0 < above[np.ix_(below_400, latitude == -32.0)].max() < 20.0


def test_ages_are_those_of_an_ocean(age):
    grid = embedded_grid()

    def mean(basin, south, north, upper, lower):
        inside = grid.mask(basin) & (grid.wet_latitude > south) & (grid.wet_latitude < north)
        inside &= (grid.wet_depth > upper) & (grid.wet_depth < lower)
        return np.average(age[inside], weights=grid.volume[inside])

    assert 1000.0 < mean("pacific", 20, 60, 1800, 3500) < 1500.0
    assert 150.0 < mean("atlantic", 20, 60, 1800, 3500) < 500.0
    assert mean("atlantic", -36, 0, 2500, 4500) < mean("indian", -35, 20, 2500, 4500)
    assert 1400.0 < age.max() < 1700.0
    assert age.min() > -10.0


def test_forcing_has_the_names_units_and_ranges_of_the_schema():
    grid, fields = embedded_grid(), embedded_fields()
    for name, unit in SCHEMA_UNITS.items():
        assert fields[name].attrs["units"] == unit
        values = grid.pack(fields[name]) if fields[name].ndim == 3 else grid.pack_surface(fields[name])
        assert np.isfinite(values).all(), name
    temperature, silicate = grid.pack(fields["temperature"]), grid.pack(fields["silicate"])
    assert fields.attrs["T_min"] == pytest.approx(temperature.min(), abs=1e-4)
    assert fields.attrs["T_max"] == pytest.approx(temperature.max(), abs=1e-4)
    assert fields.attrs["Si_max"] == pytest.approx(silicate[grid.layer_mask(2)].max(), abs=1e-3)
    assert 85.0 < grid.volume_mean(silicate) < 100.0
    area = grid.surface_area
    production = grid.pack_surface(fields["net_primary_production"]) @ area * PGC_PER_MMOL
    assert production == pytest.approx(52.0, rel=1e-4)
    piston = np.average(grid.pack_surface(fields["piston_velocity_660"]), weights=area) * 3.6e5
    assert 12.0 < piston < 18.0  # cm h-1
    pressure = grid.pack_surface(fields["sea_level_pressure"])
    assert pressure.min() > 0.95 and pressure.max() < 1.03
    flux = grid.pack_surface(fields["freshwater_flux"])
    assert abs(flux @ area) < 1e-6 * np.abs(flux) @ area


def test_freshwater_flux_is_the_sink_that_keeps_the_salinity_of_surface_restoring():
    grid, fields, transport = embedded_grid(), embedded_fields(), embedded().transport
    surface, restoring = grid.layer_mask(1), 30.0 * 86400.0
    observed = grid.pack(fields["salinity"])
    modelled = splu(sparse.csc_array(transport + sparse.diags_array(surface / restoring))).solve(
        surface * observed / restoring
    )
    mean = np.average(modelled[surface], weights=grid.volume[surface])
    loss = grid.pack_surface(fields["freshwater_flux"]) * mean
    residual = (transport @ modelled)[surface] + loss
    assert np.sqrt(np.mean(residual**2)) < 1e-4 * np.sqrt(np.mean(loss**2))


@pytest.mark.shared_data
def test_assembly_reproduces_the_reference_operator(shared_data):
    """The reference operator was made from unrounded fields; ours from its float32 temperature and salinity."""
    gsw = pytest.importorskip("gsw")
    path = shared_data / "circulation" / "reference_ocean_4deg.nc"
    if not path.is_file():
        pytest.skip(f"no reference operator at {path}; the folder of real data lacks it")
    with xr.open_dataset(path) as file:
        file = file.load()
    ours = embedded_grid()
    assert np.array_equal(file["wet"].values == 1, ours.wet)
    np.testing.assert_allclose(file["area"].values, ours.area, rtol=1e-12)
    metrics = FaceMetrics(ours)
    temperature, salinity = (
        np.nan_to_num(file[f"{name}_model"].values.astype(float)) for name in ("temperature", "salinity")
    )
    expansion, contraction = np.zeros(ours.shape), np.zeros(ours.shape)
    _, expansion[1:], contraction[1:] = gsw.rho_alpha_beta(
        (salinity[1:] + salinity[:-1]) / 2.0,
        (temperature[1:] + temperature[:-1]) / 2.0,
        ours.depth_edges[1:-1, None, None],
    )
    east, north, squared = isopycnal_slopes(metrics, temperature, salinity, expansion, contraction)
    layers, latitude = ours.wet.sum(axis=0), ours.latitude[:, None]
    shelf = (layers > 0) & (layers < 13) & (latitude < -60.0)
    shelf |= (layers > 0) & (layers < 15) & (latitude < -68.0) & (np.abs(ours.longitude - 320.0) < 40.0)
    diffusivity = background_diffusivity(ours, file["winter_mixed_layer_depth"].values.astype(float), shelf)
    diffusivity = diffusivity + CONVECTIVE_DIFFUSIVITY * file["convecting_fraction"].values + EDDY_DIFFUSIVITY * squared
    flow = close_continuity(metrics, *(file[f"transport_{name}"].values.astype(float) for name in ("east", "north")))
    transport = assemble(metrics, flow, FaceMixing(east, north, diffusivity))
    reference = sparse.csr_array(
        (file["T_data"].values, file["T_indices"].values, file["T_indptr"].values), shape=transport.shape
    )
    difference = abs(transport - reference)
    assert (sparse.diags_array(reference.diagonal() ** -1.0) @ difference).max() < 1e-3
    assert sparse.linalg.norm(difference) < 2e-5 * sparse.linalg.norm(reference)


@pytest.mark.slow
@pytest.mark.skipif(not FERRET.is_dir(), reason="needs the Debian package ferret-datasets")
@pytest.mark.skipif(find_spec("gsw") is None, reason="needs gsw (extra prep)")
def test_recipe_reproduces_the_packaged_mask_and_forcing(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1])
    from data_prep.embedded_ocean.biogeochemistry import ice_fraction, mean_squared_wind, silicate_from_salinity_anomaly
    from data_prep.embedded_ocean.forcing import make_forcing
    from data_prep.embedded_ocean.grid_and_bathymetry import make_grid

    packaged, fields = embedded_grid(), embedded_fields()
    grid = make_grid(FERRET)
    assert isinstance(grid, OceanGrid) and np.array_equal(grid.wet, packaged.wet)
    for name, mask in packaged.masks.items():
        assert np.array_equal(grid.masks[name], mask)
    forcing = make_forcing(FERRET, grid)
    for name, values in {
        "temperature": forcing.temperature,
        "salinity": forcing.salinity,
        "silicate": silicate_from_salinity_anomaly(grid),
    }.items():
        np.testing.assert_allclose(grid.pack(values), grid.pack(fields[name]), rtol=1e-6, atol=1e-6)
    for name, values in {
        "winter_mixed_layer_depth": forcing.winter_mixed_layer_depth,
        "wind_speed_squared": mean_squared_wind(FERRET, grid),
        "ice_fraction": ice_fraction(FERRET, grid, forcing.salinity[0]),
    }.items():
        np.testing.assert_allclose(grid.pack_surface(values), grid.pack_surface(fields[name]), rtol=1e-6, atol=1e-6)
