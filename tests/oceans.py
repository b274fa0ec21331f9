"""States that several test modules look at; each is made once per process."""

from functools import cache

from invbgc.datasets.idealised import idealised_forcing
from invbgc.inference.posterior import Posterior
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import Observations
from invbgc.run import prepare
from invbgc.runfile import preset
from invbgc.state import State
from tests.properties.cases import CIRCULATIONS


@cache
def toy_state(circulation: str, options: PCOOptions) -> State:
    """The steady state of a toy ocean under made-up forcing, with the published parameters."""
    ocean = CIRCULATIONS[circulation]()
    forcing = idealised_forcing(ocean.grid)
    model = PCOModel(ocean, forcing, options, pco_parameters("published"), "superlu")
    posterior = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, ocean.grid))
    return posterior.simulate(model.table.to_vector())


@cache
def embedded_8deg_state() -> State:
    """The steady state of the 8-degree embedded ocean with the published parameters."""
    return prepare(preset("embedded_8deg")).simulate(pco_parameters("published").to_vector())
