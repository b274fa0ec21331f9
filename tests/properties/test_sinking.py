"""Sinking particles conserve mass in columns whose cells are partly wet."""

import numpy as np
import pytest

from invbgc.particles import (
    Columns,
    exact_exponential_law,
    exact_power_law,
    exponential_law,
    remineralise,
    upwind_power_law,
)
from tests.properties.cases import CIRCULATIONS

LAWS = {
    "upwind_power": (upwind_power_law, 0.9),
    "exact_power": (exact_power_law, 0.9),
    "upwind_exponential": (exponential_law, 800.0),
    "exact_exponential": (exact_exponential_law, 800.0),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", CIRCULATIONS)
def test_all_production_dissolves(name, law):
    build, parameter = LAWS[law]
    grid = CIRCULATIONS[name]().grid
    columns = Columns.of(grid)
    source = np.random.default_rng(0).uniform(size=grid.n_wet) * grid.layer_mask(2)
    particles = remineralise(grid.to_columns(source), build(parameter, columns), columns)
    dissolved = grid.from_columns(np.asarray(particles.remineralisation))
    assert np.all(dissolved >= 0.0)
    assert grid.volume @ dissolved == pytest.approx(grid.volume @ source, rel=1e-12)
