"""From face transports and mixing to a transport operator on a latitude-longitude-depth grid.

Fluxes live on the faces of the boxes: the eastern, the northern and the upper face of box (k, j, i) carry the
index of that box, so that every face field is an array [nz, ny, nx], zero where the face is closed. The flux of
a tracer C through a face of area A, from box a to box b at distance d, with volume transport F and diffusivity K is

    F (C_a + C_b) / 2 - D (C_b - C_a),   D = |F| / 2 coth(|F| d / (2 K A)),

the exact flux of one-dimensional advection and diffusion between the two values (Fiadeiro and Veronis 1977), which
is centred where diffusion is strong and upstream where it is weak. Mesoscale eddies mix along density surfaces
(Redi 1982) and overturn them (Gent and McWilliams 1990); with one diffusivity K for both, the horizontal fluxes are
plain diffusion and the vertical one is skew (Griffies 1998):

    flux per area through an upper face = -2 K (s_x dC/dx + s_y dC/dy) - (K_v + K s^2) dC/dz.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid

EDDY_DIFFUSIVITY = 1000.0
"""K, m2 s-1: isopycnal and thickness diffusivity of the embedded ocean."""

MAXIMUM_SLOPE = 0.004
"""Slope at which eddy fluxes are halved; they vanish within a few 0.001 (Danabasoglu and McWilliams 1995)."""

SLOPE_TAPER_WIDTH = 0.001
"""Width of the taper, in slope."""

TAPER_DEPTH = 150.0
"""m; above, eddy fluxes shrink linearly towards the surface, where density surfaces meet the mixed layer."""

STRATIFICATION_FLOOR = 1e-6
"""kg m-4; weakest stable density gradient used in a slope."""

DENSITY = 1027.5
"""kg m-3, the reference density of seawater."""

THERMOCLINE_DIFFUSIVITY, ABYSSAL_DIFFUSIVITY = 0.15e-4, 1.0e-4
"""m2 s-1; limits of the vertical diffusivity, an arctangent in depth (Bryan and Lewis 1979)."""

DIFFUSIVITY_DEPTH, DIFFUSIVITY_WIDTH = 2500.0, 1.0 / 4.5e-3
"""m; middle and width of that arctangent."""

WINTER_DIFFUSIVITY = 3e-3
"""m2 s-1 within the deepest mixed layer of the year."""

FIRST_FACE_DIFFUSIVITY = 1e-3
"""m2 s-1, least value under the first layer, which wind and waves stir everywhere."""

SHELF_DIFFUSIVITY = 0.01
"""m2 s-1 on Antarctic shelf columns, where brine makes dense water sink down the slope."""

CONVECTIVE_DIFFUSIVITY = 0.05
"""m2 s-1 times the fraction of time in which a face convects."""


@dataclass(frozen=True, eq=False)
class FaceFlow:
    """Volume transports through the faces of the boxes.

    Args:
        east: [nz, ny, nx] m3 s-1 through the eastern face, positive eastward.
        north: [nz, ny, nx] m3 s-1 through the northern face, positive northward.
        up: [nz, ny, nx] m3 s-1 through the upper face, positive upward; zero in the first layer.
    """

    east: np.ndarray
    north: np.ndarray
    up: np.ndarray


@dataclass(frozen=True, eq=False)
class FaceMixing:
    """Mixing at the upper faces of the boxes.

    Args:
        slope_east: tapered eastward slope of density surfaces, [nz, ny, nx].
        slope_north: tapered northward slope of density surfaces, [nz, ny, nx].
        vertical_diffusivity: [nz, ny, nx] m2 s-1, the part K s^2 of eddies included.
    """

    slope_east: np.ndarray
    slope_north: np.ndarray
    vertical_diffusivity: np.ndarray


@dataclass(frozen=True, eq=False)
class FaceMetrics:
    """Openness, length and distance of the faces of a grid with full cells.

    The grid is taken as periodic in longitude if its edges span 360 degrees.
    """

    grid: OceanGrid

    @cached_property
    def periodic(self) -> bool:
        """True if the last column of cells borders the first."""
        return bool(np.isclose(np.ptp(self.grid.longitude_edges), 360.0))

    @cached_property
    def open_east(self) -> np.ndarray:
        """True where water lies on both sides of the eastern face, [nz, ny, nx]."""
        both = self.grid.wet & np.roll(self.grid.wet, -1, axis=2)
        if not self.periodic:
            both[:, :, -1] = False
        return both

    @cached_property
    def open_north(self) -> np.ndarray:
        """True where water lies on both sides of the northern face, [nz, ny, nx]."""
        both = np.zeros_like(self.grid.wet)
        both[:, :-1] = self.grid.wet[:, :-1] & self.grid.wet[:, 1:]
        return both

    @cached_property
    def open_up(self) -> np.ndarray:
        """True where water lies above the upper face, which the sea surface is not, [nz, ny, nx]."""
        both = self.grid.wet.copy()
        both[0] = False
        return both

    @cached_property
    def distance_east(self) -> np.ndarray:
        """Distance to the next centre in the east, [ny, nx] m."""
        step = np.diff(self.grid.longitude, append=self.grid.longitude[0] + 360.0)
        return EARTH_RADIUS * np.cos(np.deg2rad(self.grid.latitude))[:, None] * np.deg2rad(step)[None]

    @cached_property
    def distance_north(self) -> np.ndarray:
        """Distance to the next centre in the north, [ny, 1] m; the last repeats the one before."""
        step = np.diff(self.grid.latitude)
        return EARTH_RADIUS * np.deg2rad(np.append(step, step[-1]))[:, None]

    @cached_property
    def distance_up(self) -> np.ndarray:
        """Distance to the centre above, [nz, 1, 1] m; in the first layer the depth of its centre."""
        return np.diff(self.grid.depth, prepend=0.0)[:, None, None]

    @cached_property
    def length_east(self) -> np.ndarray:
        """Length of the eastern faces, [ny, 1] m."""
        return EARTH_RADIUS * np.deg2rad(np.diff(self.grid.latitude_edges))[:, None]

    @cached_property
    def length_north(self) -> np.ndarray:
        """Length of the northern faces, [ny, nx] m."""
        width = np.deg2rad(np.diff(self.grid.longitude_edges))[None]
        return EARTH_RADIUS * np.cos(np.deg2rad(self.grid.latitude_edges[1:]))[:, None] * width

    @cached_property
    def conductance_east(self) -> np.ndarray:
        """Area over distance of the eastern faces, [nz, ny, nx] m."""
        return self.grid.thickness[:, None, None] * (self.length_east / self.distance_east)[None]

    @cached_property
    def conductance_north(self) -> np.ndarray:
        """Area over distance of the northern faces, [nz, ny, nx] m."""
        return self.grid.thickness[:, None, None] * (self.length_north / self.distance_north)[None]

    @cached_property
    def conductance_up(self) -> np.ndarray:
        """Area over distance of the upper faces, [nz, ny, nx] m."""
        return self.grid.area[None] / self.distance_up

    def gradient(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal gradient at box centres: half the sum over the two faces, a closed face counting as zero.

        Args:
            field: [nz, ny, nx], any unit.

        Returns:
            eastward and northward gradient, [nz, ny, nx] unit per m.
        """
        east = np.where(self.open_east, (np.roll(field, -1, axis=2) - field) / self.distance_east, 0.0)
        north = np.zeros_like(field)
        north[:, :-1] = np.diff(field, axis=1) / self.distance_north[:-1]
        north = np.where(self.open_north, north, 0.0)
        return (east + np.roll(east, 1, axis=2)) / 2.0, (north + _from_south(north)) / 2.0

    def at_upper_face(self, field: np.ndarray) -> np.ndarray:
        """Mean of the boxes above and below each open upper face, zero elsewhere, [nz, ny, nx]."""
        mean = np.zeros_like(field)
        mean[1:] = (field[1:] + field[:-1]) / 2.0
        return np.where(self.open_up, mean, 0.0)


def _from_south(north: np.ndarray) -> np.ndarray:
    """What northern faces give to the next box: the array shifted by one row, [..., ny, nx]."""
    shifted = np.zeros_like(north)
    shifted[..., 1:, :] = north[..., :-1, :]
    return shifted


def horizontal_divergence(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """What leaves each box sideways, of transports through eastern and northern faces [..., ny, nx]."""
    return east - np.roll(east, 1, axis=-1) + north - _from_south(north)


def close_continuity(metrics: FaceMetrics, east: np.ndarray, north: np.ndarray) -> FaceFlow:
    """The nearest flow without divergence: a depth-independent correction, then the upward transport.

    A potential phi on the water columns, with transports proportional to the open height of the faces,
    removes the divergence of the depth-integrated flow, which no vertical motion can balance under a rigid lid:
    div(h grad phi) = -div(sum_k F_k). The upward transport follows from continuity from the sea floor up.

    Args:
        metrics: faces of the grid.
        east: [nz, ny, nx] m3 s-1; closed faces are ignored.
        north: [nz, ny, nx] m3 s-1.

    Returns:
        the flow; its divergence in float64 is of the order of 1e-9 m3 s-1.
    """
    grid = metrics.grid
    east, north = np.where(metrics.open_east, east, 0.0), np.where(metrics.open_north, north, 0.0)
    surface = grid.wet[0]
    number = np.full(surface.shape, -1)
    number[surface] = np.arange(grid.n_columns)
    thickness = grid.thickness[:, None, None]
    height_east = (thickness * metrics.open_east).sum(axis=0)
    height_north = (thickness * metrics.open_north).sum(axis=0)
    rows_east, rows_north = np.nonzero(height_east), np.nonzero(height_north)
    low = np.concatenate([number[rows_east], number[rows_north]])
    high = np.concatenate([np.roll(number, -1, axis=1)[rows_east], np.roll(number, -1, axis=0)[rows_north]])
    height = np.concatenate([height_east[rows_east], height_north[rows_north]])
    incidence = _incidence(low, high, grid.n_columns)
    laplacian = sparse.csc_array(incidence @ sparse.diags_array(height) @ incidence.T)
    pin = sparse.csc_array(([height.mean()], ([0], [0])), shape=laplacian.shape)
    factor = splu(sparse.csc_array(laplacian + pin))
    for _ in range(2):  # the second pass removes the rounding errors of the first
        divergence = horizontal_divergence(east, north).sum(axis=0)[surface]
        potential = np.zeros(surface.shape)
        potential[surface] = factor.solve(-divergence)
        east = east + metrics.open_east * thickness * (potential - np.roll(potential, -1, axis=1))
        north = north + metrics.open_north * thickness * (potential - np.roll(potential, -1, axis=0))
    up = -np.cumsum(horizontal_divergence(east, north)[::-1], axis=0)[::-1]
    return FaceFlow(east, north, np.where(metrics.open_up, up, 0.0))


def isopycnal_slopes(
    metrics: FaceMetrics,
    temperature: np.ndarray,
    salinity: np.ndarray,
    expansion: np.ndarray,
    contraction: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes of the density surfaces at upper faces, tapered where eddies cannot follow them.

    s = -grad_h rho / (d rho / dz), with d rho = rho_0 (-alpha dT + beta dS) locally referenced; the taper is
    (1 + tanh((s_max - |s|) / w)) / 2, times depth / 150 m above 150 m.

    Args:
        metrics: faces of the grid.
        temperature: [nz, ny, nx] degC, any number on land.
        salinity: [nz, ny, nx].
        expansion: alpha at the upper faces, [nz, ny, nx] 1/degC.
        contraction: beta at the upper faces, [nz, ny, nx] per unit of salinity.

    Returns:
        eastward slope, northward slope, and squared slope times taper (for the vertical diffusivity K s^2), each
        [nz, ny, nx], 1, zero at closed faces.
    """
    east_t, north_t = (metrics.at_upper_face(part) for part in metrics.gradient(temperature))
    east_s, north_s = (metrics.at_upper_face(part) for part in metrics.gradient(salinity))
    east = DENSITY * (-expansion * east_t + contraction * east_s)
    north = DENSITY * (-expansion * north_t + contraction * north_s)
    vertical = np.minimum(
        density_gradient(metrics, temperature, salinity, expansion, contraction), -STRATIFICATION_FLOOR
    )
    slope_east, slope_north = -east / vertical, -north / vertical
    slope = np.hypot(slope_east, slope_north)
    depth = metrics.grid.depth_edges[:-1, None, None]
    taper = 0.5 * (1.0 + np.tanh((MAXIMUM_SLOPE - slope) / SLOPE_TAPER_WIDTH)) * np.clip(depth / TAPER_DEPTH, 0.0, 1.0)
    taper = np.where(metrics.open_up, taper, 0.0)
    return slope_east * taper, slope_north * taper, slope**2 * taper


def density_gradient(
    metrics: FaceMetrics,
    temperature: np.ndarray,
    salinity: np.ndarray,
    expansion: np.ndarray,
    contraction: np.ndarray,
) -> np.ndarray:
    """Locally referenced d rho / dz at upper faces, z upward: negative where stable, [nz, ny, nx] kg m-4.

    Args:
        metrics: faces of the grid.
        temperature: [nz, ny, nx] degC.
        salinity: [nz, ny, nx].
        expansion: alpha at the upper faces, [nz, ny, nx] 1/degC.
        contraction: beta at the upper faces, [nz, ny, nx] per unit of salinity.
    """
    difference = np.zeros_like(temperature)
    difference[1:] = expansion[1:] * np.diff(temperature, axis=0) - contraction[1:] * np.diff(salinity, axis=0)
    return np.where(metrics.open_up, DENSITY * difference / metrics.distance_up, 0.0)


def background_diffusivity(
    grid: OceanGrid,
    winter_mixed_layer_depth: np.ndarray,
    shelf: np.ndarray,
    abyssal_diffusivity: float = ABYSSAL_DIFFUSIVITY,
) -> np.ndarray:
    """Vertical diffusivity at upper faces, without eddies and convection.

    K_v = K_1 + (K_2 - K_1) (1/2 + arctan((z - 2500 m) / 222 m) / pi), plus winter mixing in the part of a face
    neighbourhood that lies in the deepest mixed layer, plus mixing on Antarctic shelves.

    Args:
        grid: the grid.
        winter_mixed_layer_depth: [ny, nx] m, of the deepest month.
        shelf: [ny, nx], true on columns with shelf mixing.
        abyssal_diffusivity: K_2, m2 s-1.

    Returns:
        [nz, ny, nx] m2 s-1, zero in the first layer.
    """
    depth = grid.depth_edges[:-1, None, None]
    arctangent = 0.5 + np.arctan((depth - DIFFUSIVITY_DEPTH) / DIFFUSIVITY_WIDTH) / np.pi
    diffusivity = THERMOCLINE_DIFFUSIVITY + (abyssal_diffusivity - THERMOCLINE_DIFFUSIVITY) * arctangent
    mixed = winter_mixed_layer_depth[None]
    stirred = np.clip((mixed - 0.8 * depth) / (0.4 * np.maximum(mixed, 60.0)), 0.0, 1.0)
    diffusivity = diffusivity + WINTER_DIFFUSIVITY * stirred
    diffusivity[1] = np.maximum(diffusivity[1], FIRST_FACE_DIFFUSIVITY)
    diffusivity = diffusivity + SHELF_DIFFUSIVITY * shelf[None]
    diffusivity[0] = 0.0
    return diffusivity


def exchange(flow: np.ndarray, conductance: np.ndarray) -> np.ndarray:
    """Symmetric exchange D = |F| / 2 coth(|F| / (2 G)) of exponential weights (Fiadeiro and Veronis 1977).

    Args:
        flow: volume transport F, m3 s-1.
        conductance: diffusivity times area over distance, G, m3 s-1.

    Returns:
        D, m3 s-1: G for a weak flow, |F| / 2 (upstream) for a strong one.
    """
    peclet = np.abs(flow) / (2.0 * np.maximum(conductance, 1e-30))
    weak = peclet < 1e-3
    return np.where(weak, conductance, 0.5 * np.abs(flow) / np.tanh(np.where(weak, 1.0, peclet)))


def assemble(
    metrics: FaceMetrics,
    flow: FaceFlow,
    mixing: FaceMixing,
    eddy_diffusivity: float = EDDY_DIFFUSIVITY,
) -> sparse.csr_array:
    """The transport operator T of dC/dt + T C = sources; equations in the head of this module.

    Args:
        metrics: faces of the grid.
        flow: volume transports, without divergence.
        mixing: slopes and vertical diffusivity at upper faces.
        eddy_diffusivity: K, m2 s-1.

    Returns:
        [n_wet, n_wet] s-1, in the wet order of the grid.
    """
    grid = metrics.grid
    number = np.full(grid.shape, -1)
    number[grid.wet] = np.arange(grid.n_wet)
    boxes = {}
    matrix = sparse.csr_array((grid.n_wet, grid.n_wet))
    for name, is_open, high, transport, conductance in (
        (
            "east",
            metrics.open_east,
            np.roll(number, -1, axis=2),
            flow.east,
            eddy_diffusivity * metrics.conductance_east,
        ),
        (
            "north",
            metrics.open_north,
            np.roll(number, -1, axis=1),
            flow.north,
            eddy_diffusivity * metrics.conductance_north,
        ),
        (
            "up",
            metrics.open_up,
            np.roll(number, 1, axis=0),
            flow.up,
            mixing.vertical_diffusivity * metrics.conductance_up,
        ),
    ):
        low_box, high_box, carried = number[is_open], high[is_open], transport[is_open]
        diffused = exchange(carried, conductance[is_open])
        rows = np.tile(np.arange(low_box.size), 2)
        values = np.concatenate([0.5 * carried + diffused, 0.5 * carried - diffused])
        flux = sparse.csr_array((values, (rows, np.concatenate([low_box, high_box]))), shape=(low_box.size, grid.n_wet))
        boxes[name] = low_box, high_box, _incidence(low_box, high_box, grid.n_wet)
        matrix = matrix + boxes[name][2] @ flux
    to_upper_face = 0.5 * abs(boxes["up"][2]).T
    area = np.broadcast_to(grid.area, grid.shape)[metrics.open_up]
    for name, slope, distance, is_open in (
        ("east", mixing.slope_east, metrics.distance_east, metrics.open_east),
        ("north", mixing.slope_north, metrics.distance_north, metrics.open_north),
    ):
        incidence = boxes[name][2]
        inverse_distance = 1.0 / np.broadcast_to(distance, grid.shape)[is_open]
        gradient = -(0.5 * abs(incidence)) @ sparse.diags_array(inverse_distance) @ incidence.T
        skew = sparse.diags_array(-2.0 * eddy_diffusivity * area * slope[metrics.open_up])
        matrix = matrix + boxes["up"][2] @ skew @ to_upper_face @ gradient
    return sparse.csr_array(sparse.diags_array(1.0 / grid.volume) @ matrix)


def _incidence(low: np.ndarray, high: np.ndarray, n_boxes: int) -> sparse.csr_array:
    """Matrix [n_boxes, n_faces]: what leaves the box before a face, +1, enters the box behind it, -1."""
    faces = np.arange(low.size)
    values = np.concatenate([np.ones(low.size), -np.ones(low.size)])
    return sparse.csr_array((values, (np.concatenate([low, high]), np.tile(faces, 2))), shape=(n_boxes, low.size))
