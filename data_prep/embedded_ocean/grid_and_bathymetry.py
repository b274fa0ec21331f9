"""Step 1: layers, cells and the sea floor from the ETOPO20 relief."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from data_prep.embedded_ocean.sources import read_field
from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid

SPACING = 4.0
"""Degrees of latitude and longitude."""

SOUTH, NORTH = -80.0, 84.0
"""Limits of the grid in degrees north."""

LAYER_EDGES = np.array(
    [0, 36, 74, 125, 195, 290, 415, 575, 780, 1040, 1370, 1780, 2280, 2860, 3500, 4200, 4950, 5700], dtype=np.float64
)
"""m; the first two layers are the euphotic zone of 74 m."""

OCEAN_RELIEF = -20.0
"""m; relief below this counts as ocean."""

LEAST_OCEAN_FRACTION = 0.45
"""Cells with less ocean are land."""

DEPTH_PERCENTILE = 40.0
"""Percentile of the relief of a cell, from the deepest, that makes its depth: a little deeper than the median."""

LEAST_LAYERS = 3
"""Every column has at least so many layers."""

LEAST_BASIN_CELLS = 10
"""Deep basins of fewer cells are filled, layer by layer."""

POLAR_ROW, POLAR_LAYERS = 80.0, 13
"""Poleward of this latitude columns have at most so many layers, where meridians crowd."""

CLOSED_SEAS = {
    "eastern Mediterranean and Black Sea": (30, 48, 0, 43),
    "Baltic (east) and White Sea": (48, 66, 14, 32),
    "western Mediterranean": (30, 42, 356, 360),
    "Caspian Sea": (36, 50, 45, 60),
    "Red Sea": (12, 30, 32, 43),
    "Persian Gulf": (23, 31, 47, 57),
    "Hudson Bay": (50, 66, 262, 284),
    "Baltic (west)": (52, 66, 10, 30),
    "Panama": (8, 12, 270, 287),
    "Tehuantepec": (12, 16, 264, 274),
    "Torres Strait": (-12, -8, 136, 144),
    "Gulf of Carpentaria": (-16, -12, 136, 142),
}
"""Name -> south, north, west, east in degrees; cells whose centre lies within become land."""


def make_grid(folder: Path) -> OceanGrid:
    """The grid of the embedded ocean, with its basins as masks.

    Args:
        folder: the folder of ferret-datasets.

    Returns:
        34,092 wet boxes, 17 layers, 2,493 columns.
    """
    latitude_edges = np.arange(SOUTH, NORTH + SPACING / 2.0, SPACING)
    longitude_edges = np.arange(0.0, 360.0 + SPACING / 2.0, SPACING)
    latitude = (latitude_edges[1:] + latitude_edges[:-1]) / 2.0
    longitude = (longitude_edges[1:] + longitude_edges[:-1]) / 2.0
    layers = _remove_traps(_layer_count(_sea_floor(folder, latitude, longitude), latitude))
    band = np.diff(np.sin(np.deg2rad(latitude_edges)))
    area = EARTH_RADIUS**2 * np.deg2rad(SPACING) * np.repeat(band[:, None], longitude.size, axis=1)
    return OceanGrid(
        wet=np.arange(LAYER_EDGES.size - 1)[:, None, None] < layers,
        depth_edges=LAYER_EDGES,
        latitude=latitude,
        latitude_edges=latitude_edges,
        longitude=longitude,
        longitude_edges=longitude_edges,
        area=area,
        name="embedded",
        masks=basins(layers > 0, latitude, longitude),
    )


def _sea_floor(folder: Path, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Depth of each cell, [ny, nx] m, 0 on land."""
    relief = read_field(folder, "etopo20.cdf", "ROSE")
    depth = np.zeros((latitude.size, longitude.size))
    for j, i in np.ndindex(*depth.shape):
        rows = np.abs(relief.latitude - latitude[j]) < SPACING / 2.0
        cells = np.abs(relief.longitude - longitude[i]) < SPACING / 2.0
        block = relief.values[np.ix_(rows, cells)]
        ocean = block[block < OCEAN_RELIEF]
        if ocean.size >= LEAST_OCEAN_FRACTION * block.size:
            depth[j, i] = -np.percentile(ocean, DEPTH_PERCENTILE)
    row, column = np.meshgrid(latitude, longitude, indexing="ij")
    for south, north, west, east in CLOSED_SEAS.values():
        depth[(row >= south) & (row <= north) & (column >= west) & (column <= east)] = 0.0
    return depth


def _layer_count(depth: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Number of layers whose centre lies above the sea floor, [ny, nx], at least three in the ocean."""
    centre = (LAYER_EDGES[1:] + LAYER_EDGES[:-1]) / 2.0
    layers = np.searchsorted(centre, depth)
    polar = latitude > POLAR_ROW
    layers[polar] = np.minimum(layers[polar], POLAR_LAYERS)
    return np.where(depth > 0.0, np.maximum(layers, LEAST_LAYERS), 0)


def _remove_traps(layers: np.ndarray) -> np.ndarray:
    """Keep the largest connected ocean, then fill holes of one cell and basins of fewer than ten."""
    layers = layers.copy()
    label = _connected(layers > 0)
    size = np.bincount(label.ravel())
    size[0] = 0
    layers[label != size.argmax()] = 0
    level = np.arange(LAYER_EDGES.size - 1)[:, None, None]
    for _ in range(3):
        wet = level < layers
        neighbours = np.roll(wet, 1, axis=2).astype(int) + np.roll(wet, -1, axis=2)
        neighbours[:, 1:] += wet[:, :-1]
        neighbours[:, :-1] += wet[:, 1:]
        trapped = wet & (neighbours == 0)
        layers = np.where(trapped.any(axis=0), trapped.argmax(axis=0), layers)
    for k in range(LAYER_EDGES.size - 2, 2, -1):
        label = _connected(layers > k)
        size = np.bincount(label.ravel())
        layers[(label > 0) & (size[label] < LEAST_BASIN_CELLS)] = k
    return np.where(layers < LEAST_LAYERS, 0, layers)


def _connected(ocean: np.ndarray) -> np.ndarray:
    """Labels of the connected parts of a horizontal mask that is periodic in longitude, 0 outside."""
    label, _ = ndimage.label(ocean)  # pyright: ignore[reportGeneralTypeIssues]
    for west, east in zip(label[:, 0], label[:, -1], strict=True):
        if west and east:
            label[label == east] = west
    return label


def basins(ocean: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> dict[str, np.ndarray]:
    """Five basins that together are the ocean: southern (south of 36 S), arctic (north of 66 N) and three between.

    Args:
        ocean: [ny, nx], true in the ocean.
        latitude: [ny] degrees north.
        longitude: [nx] degrees east.

    Returns:
        name -> [ny, nx].
    """
    y, x = np.meshgrid(latitude, np.where(longitude > 180.0, longitude - 360.0, longitude), indexing="ij")
    southern, arctic = ocean & (y < -36.0), ocean & (y > 66.0)
    between = ocean & ~southern & ~arctic
    caribbean = (x > -84.0) & (x < -70.0) & (y > 8.0) & (y < 18.0)
    gulf_and_labrador = (x > -100.0) & (x < -70.0) & (y > 17.0)
    atlantic = between & (((x >= -70.0) & (x < 20.0)) | caribbean | gulf_and_labrador)
    south_of_indonesia = (x < 145.0) & (y < -8.0)
    west_of_malaya = (x < 100.0) & (y < 30.0)
    indian = between & ~atlantic & (x > 20.0) & (south_of_indonesia | west_of_malaya)
    return {
        "atlantic": atlantic,
        "pacific": between & ~atlantic & ~indian,
        "indian": indian,
        "southern": southern,
        "arctic": arctic,
    }
