"""Identical twins: observations made by the model itself, with errors of known size, to test an inference on.

Two errors can be added. *Independent noise* has, in a box of volume v, the standard deviation a sd(X) (v_mean/v)^1/2: a
box's value is a mean over samples whose number grows with its volume. This is the noise for which the misfit of Wang et
al. (2023) is a likelihood. *Structured error* is a smooth random field, as the faults of a circulation or of a mapping
are, fading where the tracer itself does; no weight in the misfit knows of it. Boxes whose true value is less than four
standard deviations of both errors together are left out, as values below a detection limit are: chosen by the truth,
they do not bias what remains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invbgc.grid import OceanGrid
from invbgc.inference.smooth import places
from invbgc.observations import in_order

DETECTION = 4.0
"""Standard deviations of the errors below which a true value counts as not detected."""

WAVES = 200
"""Random waves that make one structured field."""


@dataclass(frozen=True, eq=False)
class SyntheticTracer:
    """Synthetic observations of one tracer in its sampled boxes.

    Attributes:
        index: [m] wet index.
        noisy: [m] mmol m-3, truth plus independent noise.
        structured_error: [m] mmol m-3, to be added for the harder twin.
        independent_sd: [m] mmol m-3, standard deviation of the independent noise.
    """

    index: np.ndarray
    noisy: np.ndarray
    structured_error: np.ndarray
    independent_sd: np.ndarray


def smooth_random_field(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field [n] of unit variance and correlation exp(-|x_i - x_j|^2/2) at places x [n, d].

    A sum of random waves, whose wave numbers are Gaussian: the random-feature form of a squared-exponential field.
    """
    waves = rng.normal(size=(WAVES, place.shape[1]))
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(WAVES, 1))
    return np.sqrt(2.0 / WAVES) * np.sum(np.cos(waves @ place.T + phase), axis=0)


def synthetic_observations(
    truth: Mapping[str, np.ndarray],
    sampled: Mapping[str, np.ndarray],
    grid: OceanGrid,
    noise: float,
    structure: float,
    seed: int | Sequence[int],
    detection: float = DETECTION,
    place: np.ndarray | None = None,
) -> dict[str, SyntheticTracer]:
    """Observations of a known ocean.

    Args:
        truth: tracer -> [n_wet] mmol m-3, what a perfect instrument would measure.
        sampled: tracer -> [m] wet index of the sampled boxes.
        grid: the grid.
        noise: a, the independent noise of a box of mean volume as a fraction of the tracer's standard deviation.
        structure: standard deviation of the structured error as a fraction of the tracer's standard deviation.
        seed: of the random numbers.
        detection: standard deviations of the errors below which a true value is left out.
        place: [n_wet, d] where boxes lie, in correlation lengths of the structured error; `places` of the grid where
            none are given.

    Returns:
        Tracer -> its synthetic observations.
    """
    place = places(grid) if place is None else place
    made = {}
    for number, tracer in enumerate(in_order(sampled)):
        rng = np.random.default_rng([*np.atleast_1d(seed), number])
        index = np.sort(sampled[tracer])
        values, volume = np.asarray(truth[tracer])[index], grid.volume[index]
        share = volume / volume.sum()
        deviation = np.sqrt(share @ (values - share @ values) ** 2)
        independent = noise * deviation * np.sqrt(volume.mean() / volume)
        amplitude = structure * np.minimum(deviation, np.abs(values))
        error = amplitude * smooth_random_field(place, rng)[index]
        noisy = values + independent * rng.normal(size=index.size)
        seen = values > detection * np.hypot(independent, amplitude)
        made[tracer] = SyntheticTracer(index[seen], noisy[seen], error[seen], independent[seen])
    return made
