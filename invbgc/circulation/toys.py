"""Small circulations for tests, tutorials and first ideas; all of them pass the audit that real ones pass."""

from itertools import pairwise

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation, transport_from_flows
from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid

SVERDRUP = 1e6
"""m3 s-1 per Sv."""

LAYER_EDGES = np.array(
    [0, 36, 74, 125, 195, 290, 420, 590, 810, 1090, 1440, 1870, 2380, 2960, 3600, 4280, 4990, 5700], dtype=float
)
"""Layer faces of the 17-layer toys, m; the first two layers are a euphotic zone of 74 m."""


def two_box(exchange: float = 40.0) -> Circulation:
    """Surface and deep ocean exchanging water: v_s dC_s/dt = q (C_d - C_s), and the reverse.

    Args:
        exchange: q, Sv. 40 Sv renews the deep ocean in about 1000 years.

    Returns:
        two boxes in one column, 0 to 74 m and 74 to 3700 m deep over the area of the ocean.
    """
    grid = OceanGrid(
        wet=np.ones((2, 1, 1)),
        depth_edges=np.array([0.0, 74.0, 3700.0]),
        latitude=np.array([0.0]),
        latitude_edges=np.array([-90.0, 90.0]),
        longitude=np.array([180.0]),
        longitude_edges=np.array([0.0, 360.0]),
        area=np.array([[3.6e14]]),
        name="two_box",
    )
    flow = exchange * SVERDRUP
    transport = transport_from_flows({(0, 1): flow, (1, 0): flow}, grid.volume)
    return Circulation(grid, transport, "two_box", {"source": "invbgc, two-box ocean", "licence": "Apache-2.0"})


def few_box() -> Circulation:
    """An overturning ocean of 22 boxes: two basins, three latitude bands, four layers, two shallow corners.

    Water rises in the Southern Ocean and the north Pacific, crosses into the north Atlantic at the surface,
    sinks there and returns at depth (16 Sv in two branches); a current of 130 Sv circles the Southern Ocean;
    neighbours exchange water horizontally and vertically. Layers 1 and 2 are a euphotic zone.

    Returns:
        22 boxes in 6 columns, with masks "atlantic" and "pacific".
    """
    wet = np.ones((4, 3, 2), dtype=bool)
    wet[3, 2, :] = False
    latitude_edges, longitude_edges = np.array([-75.0, -35.0, 35.0, 70.0]), np.array([-70.0, 20.0, 290.0])
    grid = OceanGrid(
        wet=wet,
        depth_edges=np.array([0.0, 36.0, 74.0, 1000.0, 4000.0]),
        latitude=0.5 * (latitude_edges[1:] + latitude_edges[:-1]),
        latitude_edges=latitude_edges,
        longitude=0.5 * (longitude_edges[1:] + longitude_edges[:-1]),
        longitude_edges=longitude_edges,
        area=spherical_area(latitude_edges, longitude_edges),
        name="few_box",
        masks={"atlantic": np.array([[True, False]] * 3), "pacific": np.array([[False, True]] * 3)},
    )
    number = np.full(wet.shape, -1)
    number[wet] = np.arange(grid.n_wet)
    flows: dict[tuple[int, int], float] = {}

    def add(first: tuple[int, int, int], second: tuple[int, int, int], flow: float) -> None:
        pair = (int(number[first]), int(number[second]))
        flows[pair] = flows.get(pair, 0.0) + flow * SVERDRUP

    def loop(boxes: list[tuple[int, int, int]], flow: float) -> None:
        for first, second in pairwise([*boxes, boxes[0]]):
            add(first, second, flow)

    rise = [(3, 0, 0), (2, 0, 0), (1, 0, 0), (0, 0, 0)]
    loop([*rise, (0, 1, 0), (0, 2, 0), (1, 2, 0), (2, 2, 0), (2, 1, 0), (3, 1, 0)], 10.0)
    north_pacific = [(3, 0, 1), (3, 1, 1), (2, 1, 1), (2, 2, 1), (1, 2, 1), (0, 2, 1), (0, 1, 1), (0, 0, 1)]
    loop([(3, 0, 0), *north_pacific, (0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 2, 0), (2, 2, 0), (2, 1, 0), (3, 1, 0)], 6.0)
    for layer, current in enumerate((3.0, 3.0, 44.0, 80.0)):
        loop([(layer, 0, 0), (layer, 0, 1)], current)
    vertical, horizontal = (300.0, 20.0, 5.0), (2.0, 2.0, 12.0, 6.0)
    for k, j, i in zip(*np.nonzero(wet), strict=True):
        if k + 1 < 4 and wet[k + 1, j, i]:
            loop([(k, j, i), (k + 1, j, i)], vertical[k])
        if j + 1 < 3 and wet[k, j + 1, i]:
            loop([(k, j, i), (k, j + 1, i)], horizontal[k])
    transport = transport_from_flows(flows, grid.volume)
    return Circulation(grid, transport, "few_box", {"source": "invbgc, box ocean", "licence": "Apache-2.0"})


def column() -> Circulation:
    """One water column of 17 layers with vertical diffusion: dC/dt = d/dz (K dC/dz), no flux at either end.

    K is the profile of Bryan and Lewis (1979), 0.3e-4 m2 s-1 in the thermocline and 1.3e-4 in the abyss, plus
    1e-2 m2 s-1 that fades below a mixed layer of 60 m.

    Returns:
        17 boxes over 5700 m in one column of 1e12 m2.
    """
    grid = OceanGrid(
        wet=np.ones((LAYER_EDGES.size - 1, 1, 1)),
        depth_edges=LAYER_EDGES,
        latitude=np.array([30.0]),
        latitude_edges=np.array([25.0, 35.0]),
        longitude=np.array([325.0]),
        longitude_edges=np.array([320.0, 330.0]),
        area=np.array([[1e12]]),
        name="column",
    )
    face = LAYER_EDGES[1:-1]
    background = 0.8e-4 + 1.05e-4 / np.pi * np.arctan(4.5e-3 * (face - 2500.0))
    diffusivity = background + 1e-2 / (1.0 + np.exp((face - 60.0) / 10.0))
    flow = diffusivity * 1e12 / np.diff(grid.depth)
    flows = {(k, k + 1): value for k, value in enumerate(flow)}
    flows |= {(k + 1, k): value for k, value in enumerate(flow)}
    transport = sparse.csr_array(transport_from_flows(flows, grid.volume))
    return Circulation(grid, transport, "column", {"source": "invbgc, diffusive column", "licence": "Apache-2.0"})


def spherical_area(latitude_edges: np.ndarray, longitude_edges: np.ndarray) -> np.ndarray:
    """Area of the cells of a latitude-longitude grid: R^2 (sin phi_2 - sin phi_1) (lambda_2 - lambda_1).

    Args:
        latitude_edges: [ny + 1] degrees.
        longitude_edges: [nx + 1] degrees.

    Returns:
        [ny, nx] m2.
    """
    height = np.diff(np.sin(np.radians(latitude_edges)))
    return EARTH_RADIUS**2 * height[:, None] * np.diff(np.radians(longitude_edges))[None, :]
