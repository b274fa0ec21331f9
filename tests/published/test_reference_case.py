"""An independent code's steady state for real observations on the 4-degree ocean, field by field."""

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.datasets import open_dataset
from invbgc.inference.posterior import Posterior
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import misfit

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]

FIELDS = ("DIP", "POP", "DOP", "DIC", "POC", "DOC", "PIC", "ALK", "DOCr", "O2", "air_sea_co2_flux")


@pytest.fixture(scope="module")
def reference(shared_data):
    return xr.load_dataset(shared_data / "reference_states_4deg.nc")


@pytest.fixture(scope="module")
def posterior(shared_data):
    case = shared_data / "reference_case_4deg.nc"
    circulation = load_circulation(case)
    forcing, observations = open_dataset(case, circulation.grid)
    table = pco_parameters("published")
    options = PCOOptions(exponent_layers=3, chemistry_units="released")
    return Posterior(PCOModel(circulation, forcing, options, table), observations)


@pytest.fixture(scope="module")
def evaluation(posterior, reference):
    linear = ("bP_T", "bC_T", "R_Si")
    stored = zip(reference["parameter"].values, reference["parameter_value"].values, strict=True)
    values = {str(name): x if name in linear else np.exp(x) for name, x in stored}
    return posterior.value(posterior.table.with_values(values).to_vector())


@pytest.mark.parametrize("name", FIELDS)
def test_field_agrees(evaluation, reference, name):
    """Volume-weighted RMS difference over standard deviation below 1e-6."""
    grid = evaluation.state.model.grid
    everything = {**evaluation.state.fields, **evaluation.state.diagnostics}
    expected, v = grid.pack(reference[name]), grid.volume / grid.volume.sum()
    deviation = np.sqrt(v @ (expected - v @ expected) ** 2)
    assert np.sqrt(v @ (np.asarray(everything[name]) - expected) ** 2) / deviation < 1e-6


def test_objective_agrees(evaluation, reference):
    np.testing.assert_allclose(evaluation.value, float(reference["objective"]), rtol=1e-6)


def test_parts_of_the_objective_agree(evaluation, posterior, reference):
    """The stored labels of DOC and ALK are exchanged: the reference's own fields show which part is whose."""
    grid, observations = posterior.model.grid, posterior.observations
    stored = dict(zip(reference["tracer"].values, reference["objective_part"].values, strict=True))
    stored["DOC"], stored["ALK"] = stored["ALK"], stored["DOC"]
    fields = {name: grid.pack(reference[name]) for name in ("DIP", "DIC", "ALK", "O2")}
    fields["DOC"] = grid.pack(reference["DOC"]) + grid.pack(reference["DOCr"])
    for tracer, data in observations.tracers.items():
        own = float(misfit(fields[tracer][data.index], data))
        np.testing.assert_allclose(own, stored[tracer], rtol=1e-6)
        np.testing.assert_allclose(evaluation.stats["misfit"][tracer], stored[tracer], rtol=1e-6)
