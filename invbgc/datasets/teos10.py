"""Seawater by TEOS-10 (McDougall and Barker 2011), through the package gsw of the extra `prep`."""

from types import ModuleType
from typing import Literal

import numpy as np

from invbgc.errors import InputError


def pressure_of_depth(depth: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Pressure [n] dbar at depths [n] m, positive down."""
    return np.asarray(_gsw().p_from_z(-np.asarray(depth), latitude))


def depth_of_pressure(pressure: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Depth [n] m, positive down and not negative, of pressures [n] dbar."""
    return np.maximum(-np.asarray(_gsw().z_from_p(pressure, latitude)), 0.0)


def density(
    temperature: np.ndarray,
    practical_salinity: np.ndarray,
    depth: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    kind: Literal["potential", "in_situ"],
) -> np.ndarray:
    """Density of seawater samples.

    Args:
        temperature: [n] degC, in situ.
        practical_salinity: [n].
        depth: [n] m.
        latitude: [n] degrees.
        longitude: [n] degrees.
        kind: "potential", at sea-level pressure, or "in_situ".

    Returns:
        [n] kg m-3, NaN where an argument is NaN.

    Raises:
        InputError: gsw is not installed.
    """
    gsw = _gsw()
    pressure = gsw.p_from_z(-depth, latitude)
    absolute = gsw.SA_from_SP(practical_salinity, pressure, longitude, latitude)
    conservative = gsw.CT_from_t(absolute, temperature, pressure)
    return np.asarray(gsw.rho(absolute, conservative, 0.0 * pressure if kind == "potential" else pressure))


def _gsw() -> ModuleType:
    try:
        import gsw
    except ImportError as error:
        raise InputError("Seawater by TEOS-10 needs gsw; expected pip install 'invbgc[prep]'.") from error
    return gsw
