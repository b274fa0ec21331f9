"""A smooth made-up ocean for any grid: forcing by formulas in latitude and depth, for toys, tests and first ideas."""

import numpy as np

from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.datasets.forcing import Forcing
from invbgc.grid import OceanGrid


def idealised_forcing(grid: OceanGrid) -> Forcing:
    """Forcing that varies with latitude and depth as the real ocean's zonal mean roughly does.

    Temperature falls from 28 degC at the equator to -1 degC at the poles over a scale depth of 700 m; nutrients are the
    reverse; production peaks in mid latitudes; wind is strongest there; freshwater leaves the subtropics. Nothing
    here is data.

    Args:
        grid: any grid.

    Returns:
        A complete forcing, `synthetic` in its attributes.
    """
    latitude, depth = np.deg2rad(grid.wet_latitude), grid.wet_depth
    surface_latitude = latitude[: grid.n_columns]
    decay = np.exp(-depth / 700.0)
    temperature = 1.0 + (27.0 * np.cos(latitude) ** 2 - 2.0) * decay
    phosphate = 2.2 - (2.1 - 1.6 * np.sin(latitude) ** 2) * decay
    silicate = 120.0 - (115.0 - 50.0 * np.sin(latitude) ** 4) * decay
    salinity = 34.7 + (1.2 * np.cos(2.0 * latitude) * np.sin(2.0 * latitude) ** 2 - 0.2) * decay
    euphotic = silicate[grid.layer_mask(2)]
    freshwater = -1e-9 * np.cos(6.0 * surface_latitude)
    area = grid.surface_area
    return Forcing(
        temperature=temperature,
        phosphate=phosphate,
        silicate=silicate,
        salinity=salinity,
        net_primary_production=8000.0 + 6000.0 * np.sin(2.0 * surface_latitude) ** 2,
        piston_velocity_660=2e-5 + 3e-5 * np.sin(surface_latitude) ** 2,
        sea_level_pressure=np.full(grid.n_columns, 1.0),
        freshwater_flux=freshwater - (area @ freshwater) / area.sum(),
        chemistry_temperature=temperature[: grid.n_columns],
        chemistry_salinity=salinity[: grid.n_columns],
        chemistry_silicate=silicate[: grid.n_columns] / SEAWATER_DENSITY_FACTOR,
        chemistry_phosphate=phosphate[: grid.n_columns] / SEAWATER_DENSITY_FACTOR,
        chemistry_pressure=np.zeros(grid.n_columns),
        DIP_mean=2.1,
        ALK_mean=2415.0,
        DIC_surface_mean=2028.0,
        ALK_surface_mean=2364.0,
        T_min=-2.0,
        T_max=30.0,
        Si_min=float(euphotic.min()) - 1.0,
        Si_max=float(euphotic.max()) + 1.0,
        attrs={"title": "idealised forcing", "source": "formulas", "synthetic": "true"},
    )
