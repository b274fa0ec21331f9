"""Datasets to MATLAB and back, with the names and the order of OCIM-BGC."""

import numpy as np
import pytest
import scipy.io

import invbgc as ib
from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D
from invbgc.datasets.matlab import read_matlab_dataset, write_matlab_dataset
from invbgc.errors import InputError


@pytest.fixture(scope="module", params=["few_box", "embedded_8deg"])
def grid(request):
    return ib.load_circulation(request.param).grid


@pytest.fixture(scope="module")
def dataset(grid):
    """Every field different in every box; DIP observed above 1000 m only."""
    random = np.random.default_rng(5)
    dataset = ib.idealised_forcing(grid).to_dataset(grid)
    for name in (*FIELDS_3D, *FIELDS_2D):
        if name != "freshwater_flux":
            dataset[name] = dataset[name] * random.uniform(0.9, 1.1, dataset[name].shape)
    observed = np.where(grid.wet_depth < 1000.0, random.uniform(0.5, 2.5, grid.n_wet), np.nan)
    dataset["observed_DIP"] = grid.unpack(observed, attrs={"units": "mmol m-3"})
    dataset["observed_DIC"] = grid.unpack(random.uniform(1900.0, 2300.0, grid.n_wet), attrs={"units": "mmol m-3"})
    return dataset.assign_attrs(ALK_mean=2300.0, ALK_surface_mean=2250.0, licence="none")


def test_round_trip(grid, dataset, tmp_path):
    path = write_matlab_dataset(dataset, grid, tmp_path / "data.mat")
    read = read_matlab_dataset(path, grid)
    forcing, observations = ib.open_dataset(read, grid)
    expected, observed = ib.open_dataset(dataset, grid)
    for name in (*FIELDS_3D, *FIELDS_2D, *CONSTANTS):
        np.testing.assert_array_equal(getattr(forcing, name), getattr(expected, name), err_msg=name)
    assert list(observations.tracers) == ["DIP", "DIC"]
    for name in observations.tracers:
        np.testing.assert_array_equal(observations.tracers[name].index, observed.tracers[name].index)
        np.testing.assert_array_equal(observations.tracers[name].value, observed.tracers[name].value)
    assert "licence: none" in forcing.attrs["source"]


def test_members_lie_as_matlab_programs_index_them(grid, dataset, tmp_path):
    """Fields as (latitude, longitude, depth); vectors in the order of find(M3d(:)) and of its first layer."""
    path = write_matlab_dataset(dataset, grid, tmp_path / "data.mat")
    par = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["par"]
    wet = np.moveaxis(grid.wet, 0, 2)
    np.testing.assert_array_equal(par.Temp[1, 1, 2], dataset["temperature"].values[2, 1, 1])
    surface = dataset["chemistry_pressure"].values.ravel(order="F")[wet[:, :, 0].ravel(order="F")]
    np.testing.assert_array_equal(par.co2syspar.pres, surface)
    layered = np.zeros(wet.shape)
    layered[:, :, 0] = dataset["freshwater_flux"].fillna(0.0).values
    np.testing.assert_allclose(par.pme, layered.ravel(order="F")[wet.ravel(order="F")], atol=1e-25)


def test_what_does_not_fit_is_named(grid, dataset, tmp_path):
    path = write_matlab_dataset(dataset, grid, tmp_path / "data.mat")
    par = scipy.io.loadmat(path, simplify_cells=True)["par"]

    def refused(words, **changes):
        content = {key: value for key, value in (par | changes).items() if value is not None}
        scipy.io.savemat(tmp_path / "bad.mat", {"par": content})
        with pytest.raises(InputError, match=words):
            read_matlab_dataset(tmp_path / "bad.mat", grid)

    refused(r"bad.mat: no par.Temp; expected \(.*\); found ALKbar", Temp=None)
    refused(r"bad.mat: par.npp has shape \(2,\); expected", npp=np.ones(2))
    refused(r"bad.mat: no par.co2syspar.temp; expected \(.*\); found nothing", co2syspar=None)
    with pytest.raises(InputError, match=r"no such file"):
        read_matlab_dataset(tmp_path / "missing.mat", grid)
