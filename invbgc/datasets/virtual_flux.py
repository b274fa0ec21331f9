"""The freshwater flux that a circulation needs to keep the observed surface salinity."""

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation
from invbgc.constants import DAY
from invbgc.errors import ConvergenceError, InputError
from invbgc.linalg.backend import find_backend

RESTORING_TIME = 30.0 * DAY
"""Time scale tau to which surface salinity is restored, s (Wang et al. 2023)."""

TOLERANCE = 1e-10
"""Residual of the salinity equation relative to its right-hand side."""


def virtual_freshwater_flux(circulation: Circulation, salinity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Net freshwater input per volume of the first layer, from the salinity that surface restoring would give.

    Solve (T + I_s/tau) S = I_s S_obs/tau, with I_s one in the first layer; the flux is
    (S - S_obs)/(tau mean_s S) minus its surface mean, with means weighted by volume. It multiplies the mean surface
    DIC or alkalinity as a sink (Wang et al. 2023, virtual fluxes).

    Args:
        circulation: the circulation.
        salinity: [n_columns] observed practical salinity of the first layer.

    Returns:
        the flux [n_columns] s-1, positive where freshwater enters, and the salinity S [n_wet].

    Raises:
        InputError: the salinity has another length or is not finite.
        ConvergenceError: the residual stayed above 1e-10 of the right-hand side.
    """
    grid = circulation.grid
    salinity = np.asarray(salinity, dtype=np.float64)
    if salinity.shape != (grid.n_columns,) or not np.isfinite(salinity).all():
        raise InputError(
            f"Virtual freshwater flux: salinity of shape {salinity.shape} with {np.sum(~np.isfinite(salinity))} values "
            f"not finite; expected {(grid.n_columns,)} numbers, one per column."
        )
    surface = grid.layer_mask(1)
    matrix = sparse.csr_array(circulation.transport + sparse.diags_array(surface / RESTORING_TIME))
    matrix.sort_indices()
    right = np.zeros(grid.n_wet)
    right[: grid.n_columns] = salinity / RESTORING_TIME
    factor = find_backend()[1](matrix, False).factor(matrix.data)
    modelled = factor.solve(right[:, None], False)[:, 0]
    modelled += factor.solve((right - matrix @ modelled)[:, None], False)[:, 0]
    factor.free()
    residual = np.linalg.norm(right - matrix @ modelled) / np.linalg.norm(right)
    if not residual < TOLERANCE:
        raise ConvergenceError(
            f"Virtual freshwater flux: relative residual {residual:.1e} of the salinity equation; expected less than "
            f"{TOLERANCE:.0e}. Is every part of the ocean connected to the surface?"
        )
    volume = grid.volume[: grid.n_columns]
    modelled_surface = modelled[: grid.n_columns]
    flux = (modelled_surface - salinity) / (RESTORING_TIME * np.average(modelled_surface, weights=volume))
    return flux - np.average(flux, weights=volume), modelled
