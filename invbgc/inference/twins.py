"""Are the error bars true? Identical twins: data from known parameters, fitted again, many times.

For each twin, true parameters are drawn from the prior, the model's steady state is observed with errors of known size,
and the data are fitted. Where an error model is right, the truth is a draw of the posterior like any other: its rank

    u = P(x_j <= x_true | data)

is uniform on (0, 1) (simulation-based calibration, Talts et al. 2018), and intervals of 68 and 95 % hold it as often as
they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr
from scipy import stats

from invbgc.errors import ConvergenceError
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.observations import Observations

INTERVALS = (0.68, 0.95)
"""Probabilities of the intervals whose coverage is counted."""

RANK_BINS = 10
"""Bins of a rank histogram."""

TRIES = 50
"""Draws of a truth before the spread counts as too wide for the model."""


@dataclass(frozen=True)
class TwinErrors:
    """Truths and errors of synthetic data.

    Attributes:
        spread: standard deviation of the true coordinates about the table's present values, where there is no prior.
        noise: independent error of a box of mean volume over the spread of the tracer.
        structure: smooth error over the spread of the tracer.
        seed: of all twins.
    """

    spread: float = 0.2
    noise: float = 0.05
    structure: float = 0.05
    seed: int = 0


def draw_twin(
    posterior: Posterior, number: int, errors: TwinErrors, detection: float = -np.inf
) -> tuple[Posterior, np.ndarray]:
    """The posterior of one synthetic data set, observed where the real one is.

    Args:
        posterior: whose boxes are observed, and whose prior truths are drawn from.
        number: of the twin; with the seed it fixes truth and errors.
        errors: truths and errors.
        detection: standard deviations of the errors below which a true value is left out. By default all boxes stay,
            below zero too: the errors are then Gaussian, and twins share compiled programs.

    Returns:
        The posterior of the same model for the synthetic data, and the truth [p].

    Raises:
        ConvergenceError: no admissible truth with a steady state is found.
    """
    rng = np.random.default_rng([errors.seed, number])
    rows = list(zip(posterior.table.free, posterior.x0, strict=True))
    centre = np.array([x if row.prior_mean is None else row.prior_mean for row, x in rows])
    spread = np.array([errors.spread if row.prior_sd is None else row.prior_sd for row, _ in rows])
    for _ in range(TRIES):
        truth = centre + spread * rng.normal(size=centre.size)
        if posterior.admissible(truth) is not None:
            continue
        try:
            state = posterior.value(truth).state
            break
        except ConvergenceError:
            continue
    else:
        raise ConvergenceError(
            f"twin {number}: none of {TRIES} draws of the truth has a steady state within the model's limits; make the "
            "spread or the priors narrower."
        )
    grid = posterior.model.grid
    sampled = {name: data.index for name, data in posterior.observations.tracers.items()}
    made = synthetic_observations(
        state.observable, sampled, grid, errors.noise, errors.structure, [errors.seed, number, 1], detection
    )
    fields = {}
    for name, part in made.items():
        fields[name] = np.full(grid.n_wet, np.nan)
        fields[name][part.index] = part.noisy + part.structured_error
    data = Observations.from_fields(fields, grid, {"title": f"identical twin {number}", "synthetic": "true"})
    return posterior.with_data(data, posterior.scales, posterior.prior_factor), truth


def coverage(twins: Sequence[xr.Dataset]) -> xr.Dataset:
    """How often intervals hold the truth, and whether ranks are uniform.

    Args:
        twins: per twin a dataset with truth (parameter), and estimate, standard_deviation and rank (method, parameter),
            in optimiser coordinates.

    Returns:
        On ``method`` and ``parameter``: coverage (interval), its binomial standard error under the stated probability
        ``expected_error`` (interval), z_mean and z_rms of (estimate - truth)/sd, rank counts (bin), and rank_p, the
        p-value of a chi-square test of their uniformity. ``pooled_coverage`` (method, interval) is over all parameters.
    """
    joined = xr.concat(list(twins), "twin", join="exact", combine_attrs="drop")
    number = joined.sizes["twin"]
    z = (joined["estimate"] - joined["truth"]) / joined["standard_deviation"]
    rank = joined["rank"]
    # An error bar without end holds every truth.
    held = xr.concat(
        [rank.isnull() | (abs(rank - 0.5) <= 0.5 * level) for level in INTERVALS], "interval"
    ).assign_coords(interval=list(INTERVALS))
    edges = np.linspace(0.0, 1.0, RANK_BINS + 1)
    edges[-1] = np.inf  # a rank of one belongs to the last bin
    counts = np.stack([((rank >= low) & (rank < high)).sum("twin").values for low, high in pairwise(edges)], axis=-1)
    test = stats.chisquare(counts, axis=-1)
    levels = np.array(INTERVALS)
    return xr.Dataset(
        {
            "coverage": held.mean("twin").transpose("method", "parameter", "interval"),
            "pooled_coverage": held.mean(("twin", "parameter")).transpose("method", "interval"),
            "expected_error": ("interval", np.sqrt(levels * (1.0 - levels) / number)),
            "z_mean": z.mean("twin"),
            "z_rms": np.sqrt((z**2).mean("twin")),
            "mean_standard_deviation": joined["standard_deviation"].mean("twin"),
            "rank_count": (("method", "parameter", "bin"), counts),
            "rank_p": (("method", "parameter"), test.pvalue),
        },
        attrs={"twins": number},
    )


def gaussian_rank(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """P(x_j <= x_true) of a normal distribution; NaN where the deviation is not finite."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(deviation), stats.norm.cdf((truth - mean) / deviation), np.nan)
