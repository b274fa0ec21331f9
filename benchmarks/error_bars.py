"""Are error bars of smooth errors of low rank those of their full correlation?

`python -m benchmarks.error_bars` linearises the 8-degree posterior of 21 parameters. The covariance of low rank makes
estimates and promises error bars for them; how far the same estimates spread under the full covariance has an answer
without chance.
"""

import numpy as np

from invbgc.inference import smooth
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.inference.structured import StructuredErrors
from invbgc.run import prepare
from invbgc.runfile import preset, with_keys

PRIOR = 0.25
NOISE = 0.05
"""Independent error of a box of mean volume over the spread of the tracer."""

CASES = ((0.05, 2.0e6, 0.5), (0.10, 2.0e6, 0.5), (0.10, 1.0e6, 0.25))
"""Smooth error over the spread of the tracer, correlation length in m, correlation depth over z + 100 m."""


def spread_over_bar(
    posterior: Posterior, here: Evaluation, size: float, horizontal: float, vertical: float
) -> np.ndarray:
    """Spread of the estimates under the full correlation over their error bars [p].

    With Jacobian J, the precision is H = J S^-1 J^T + priors and the estimate moves by H^-1 J S^-1 of the errors, S the
    covariance of low rank.
    """
    fields, place = smooth.SmoothFields(posterior.model.grid), smooth.places(posterior.model.grid, horizontal, vertical)
    precision = spread = np.eye(posterior.x0.size) / PRIOR**2
    for name, data in posterior.observations.tracers.items():
        modelled, jacobian = np.asarray(here.state.observable[name]), here.jacobian[name]
        amplitude = size * np.minimum(np.sqrt(data.variance), np.abs(modelled))
        scale = NOISE**2 / data.count
        errors = StructuredErrors(scale, amplitude, horizontal, vertical)
        load = errors.added_to(data, fields).weighted(jacobian.T).T / scale
        precision = precision + jacobian @ load.T
        fading, boxes = load * amplitude[data.index], place[data.index]
        spread = spread + fading @ smooth.correlation(boxes, boxes) @ fading.T + (load * scale / data.weight) @ load.T
    covariance = np.linalg.inv(precision)
    return np.sqrt(np.diag(covariance @ spread @ covariance) / np.diag(covariance))


def main() -> None:
    """Command line."""
    posterior = prepare(with_keys(preset("embedded_8deg"), {"parameters.prior_sd": PRIOR}))
    here = posterior.value_grad_hess(posterior.x0)
    for fields in (600, 1000):
        smooth.FIELDS = fields
        for size, horizontal, vertical in CASES:
            ratio = spread_over_bar(posterior, here, size, horizontal, vertical)
            print(
                f"{fields} fields; smooth error {size:g} over {horizontal / 1e3:.0f} km, {vertical:g} (z + 100 m): "
                f"spread over error bar, rms {np.sqrt(np.mean(ratio**2)):.3f}, largest {ratio.max():.3f} "
                f"({posterior.names[int(ratio.argmax())]})"
            )


if __name__ == "__main__":
    main()
