"""From a fit to the posterior that is approximated and sampled: error model, its optimum, and the Gaussian there.

The fit minimises the misfit of Wang et al. (2023), which is a likelihood only up to a scale, and only if all tracers
and boxes have independent errors of one kind. An error model (`invbgc.inference.errors`), estimated from the residuals
of the fit, makes a likelihood of it, whose optimum is a few Newton steps away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.inference.errors import ErrorKind, estimate_errors, with_errors
from invbgc.inference.fit import Fit, fit
from invbgc.inference.laplace import Laplace, Scaling, laplace
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.inference.smooth import SmoothFields

GTOL = 1e-4
"""Largest gradient component of U = -ln p at its optimum: with error bars of 0.1, some 1e-6 of them away."""


@dataclass(frozen=True, eq=False)
class Target:
    """A posterior with its Gaussian approximation.

    Attributes:
        posterior: f is U(x) = -ln p(x | data), up to a constant.
        fit: its optimum.
        optimum: value, derivatives and sensitivities there.
        laplace: the Gaussian there; its covariance is the inverse Hessian.
        errors: what is known about the errors of the observations; see `estimate_errors`.
    """

    posterior: Posterior
    fit: Fit
    optimum: Evaluation
    laplace: Laplace
    errors: xr.Dataset

    def at(self, x: np.ndarray) -> float:
        """U(x), infinite where x is not admissible.

        Raises:
            ConvergenceError: there is no steady state at x.
        """
        if self.posterior.admissible(x) is not None:
            return np.inf
        return float(self.posterior.value(x, self.optimum).value)


def find_target(
    posterior: Posterior,
    x: np.ndarray,
    kind: ErrorKind = "structured",
    scaling: Scaling = "authors",
    smooth: SmoothFields | None = None,
    modelled: Mapping[str, np.ndarray] | None = None,
    checkpoint: str | Path | None = None,
    progress: Callable[[Any], Any] = lambda line: None,
) -> Target:
    """Estimate an error model at a fit, and find the optimum of the posterior that follows.

    Args:
        posterior: of the fit.
        x: [p] its optimum.
        kind: error model.
        scaling: how the error model ``"paper"`` counts observations.
        smooth: smooth fields that another call has made on this grid.
        modelled: tracer -> [n_wet] at x, where it is known.
        checkpoint: folder in which the search is kept, to be resumed.
        progress: receives lines of the search.

    Returns:
        The posterior with its Gaussian approximation.

    Raises:
        ConvergenceError: no steady state on the way.
        InputError: see `estimate_errors`.
    """
    smooth = smooth or SmoothFields(posterior.model.grid)
    if modelled is None:
        modelled = posterior.value(x).state.observable
    errors = estimate_errors(posterior, modelled, kind, scaling, smooth)
    honest = with_errors(posterior, errors, smooth)
    found = fit(honest, x, gtol=GTOL, checkpoint=checkpoint, progress=progress)
    return target_at(honest, found, errors)


def target_at(posterior: Posterior, found: Fit, errors: xr.Dataset) -> Target:
    """The Gaussian approximation of a posterior at its fit; the state there depends on the fitted x alone."""
    posterior.forget()
    optimum = posterior.value_grad_hess(found.x)
    return Target(posterior, found, optimum, laplace(found, scaling="likelihood"), errors)
