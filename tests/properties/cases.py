"""The cases over which the property tests run; a new circulation costs one entry."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from invbgc.circulation import Circulation, coarsen, load_circulation
from invbgc.circulation.core import transport_from_flows
from invbgc.circulation.toys import spherical_area
from invbgc.grid import OceanGrid
from invbgc.linalg.backend import ON_A_GPU, available_backends


def random_ocean(seed: int = 0) -> Circulation:
    """A 4 x 7 x 6 ocean with islands, a random sea floor, random mixing and random closed flows."""
    generator = np.random.default_rng(seed)
    nz, ny, nx = 4, 7, 6
    floor = generator.integers(0, nz + 1, size=(ny, nx))
    wet = np.arange(nz)[:, None, None] < floor
    latitude_edges, longitude_edges = np.linspace(-70.0, 70.0, ny + 1), np.linspace(0.0, 120.0, nx + 1)
    grid = OceanGrid(
        wet=wet,
        depth_edges=np.array([0.0, 40.0, 90.0, 500.0, 3000.0]),
        latitude=0.5 * (latitude_edges[1:] + latitude_edges[:-1]),
        latitude_edges=latitude_edges,
        longitude=0.5 * (longitude_edges[1:] + longitude_edges[:-1]),
        longitude_edges=longitude_edges,
        area=spherical_area(latitude_edges, longitude_edges),
        name="random_ocean",
        masks={"south": np.broadcast_to(np.arange(ny)[:, None] < 3, (ny, nx))},
    )
    number = np.full(np.add(wet.shape, 1), -1)
    number[:-1, :-1, :-1][wet] = np.arange(grid.n_wet)
    flows: dict[tuple[int, int], float] = {}
    for k, j, i in np.argwhere(wet):
        here = int(number[k, j, i])
        for there in (int(number[k + 1, j, i]), int(number[k, j + 1, i]), int(number[k, j, i + 1])):
            if there >= 0:
                flows[here, there] = flows[there, here] = generator.uniform(1e6, 2e7)
    for k, j, i in np.argwhere(wet):
        square = [number[k, j, i], number[k, j + 1, i], number[k, j + 1, i + 1], number[k, j, i + 1]]
        if min(square) >= 0:
            current = generator.uniform(0.0, 2e7)
            for first, second in zip(square, [*square[1:], square[0]], strict=True):
                flows[int(first), int(second)] += current
    return Circulation(grid, transport_from_flows(flows, grid.volume), "random_ocean")


CIRCULATIONS: dict[str, Callable[[], Circulation]] = {
    "two_box": partial(load_circulation, "two_box"),
    "few_box": partial(load_circulation, "few_box"),
    "column": partial(load_circulation, "column"),
    "random_ocean": random_ocean,
    "few_box_2x2": lambda: coarsen(load_circulation("few_box"), 2, 2),
    "random_ocean_2x3": lambda: coarsen(random_ocean(1), 2, 3),
    "random_ocean_layers": lambda: coarsen(random_ocean(2), 3, 1, layers=[1, 1, 2]),
    "column_layers": lambda: coarsen(load_circulation("column"), 1, 1, layers=[1, 1, 3, 4, 8]),
    "embedded_8deg": partial(load_circulation, "embedded_8deg"),
}
"""Name -> builder."""

TRACERS = ["radiocarbon"]
"""Names in the registry of tracers; a new tracer costs one entry."""

BACKENDS = [pytest.param(name, marks=[pytest.mark.gpu] if name in ON_A_GPU else []) for name in available_backends()]
"""The sparse solvers that can run here, those on a GPU marked."""
