"""Are error bars of smooth errors true? Linearised twins, which cost no steady states, and the full covariance.

`python -m benchmarks.error_bars --twins 30` linearises the 8-degree posterior of 21 parameters. Two questions:

* With C = Phi Phi^T of low rank plus what it misses, by how much are error bars smaller than the spread of the same
  estimates under the full C? This has an answer without chance.
* Estimates from synthetic data, with sizes and scales of the errors estimated from their residuals, and with the true
  ones: how large is (estimate - truth)/(error bar), root of its mean square?
"""

import argparse
from typing import Any

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.grid import unit_vectors
from invbgc.inference import twin
from invbgc.inference.errors import estimate_errors, with_errors
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.inference.smooth import SmoothFields
from invbgc.observations import Observations

NOISE = 0.05
"""Independent error of a box of mean volume over the spread of the tracer."""


def linearised() -> tuple[Posterior, Evaluation]:
    """The posterior at its start, with sensitivities."""
    from invbgc.run import prepare
    from invbgc.runfile import preset, with_keys

    posterior = prepare(with_keys(preset("embedded_8deg"), {"parameters.prior_sd": 0.25}))
    return posterior, posterior.value_grad_hess(posterior.x0)


def true_errors(posterior: Posterior, here: Evaluation, structure: float, scales: tuple[float, float]) -> xr.Dataset:
    """The error model that makes the synthetic data, as `estimate_errors` would write it."""
    names, modelled = list(posterior.observations.tracers), here.state.observable
    count = [posterior.observations.tracers[name].count for name in names]
    columns = {"number": count, "scale": NOISE**2 / np.array(count), "smooth_error": structure}
    columns |= dict(zip(("horizontal_scale", "vertical_scale"), scales, strict=True))
    fading = [
        np.minimum(data.variance**0.5, np.abs(modelled[name])) for name, data in posterior.observations.tracers.items()
    ]
    data: dict[str, Any] = {key: ("tracer", np.broadcast_to(value, len(names))) for key, value in columns.items()}
    data["fading"] = (("tracer", "wet_box"), np.stack(fading))
    return xr.Dataset(data, {"tracer": names}, {"error_model": "structured"})


def observed_as_modelled(posterior: Posterior, here: Evaluation) -> Posterior:
    """The same posterior with the modelled values as data, so that sizes are relative to their spread."""
    grid, fields = posterior.model.grid, {}
    for name, data in posterior.observations.tracers.items():
        fields[name] = np.full(grid.n_wet, np.nan)
        fields[name][data.index] = np.asarray(here.state.observable[name])[data.index]
    return posterior.with_data(Observations.from_fields(fields, grid), posterior.scales, posterior.prior_factor)


def solved(honest: Posterior, here: Evaluation, errors: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Precision [p, p] of the estimates, and what multiplies each tracer's residuals [p, m]."""
    prior = np.array([row.prior_sd for row in honest.table.free], dtype=float)
    total, rows = np.diag(prior**-2), {}
    for name, data in honest.observations.tracers.items():
        rows[name] = data.weighted(here.jacobian[name].T).T / float(errors["scale"].sel(tracer=name))
        total = total + here.jacobian[name] @ rows[name].T
    return total, rows


def beside_full(posterior: Posterior, here: Evaluation, structure: float, scales: tuple[float, float]) -> np.ndarray:
    """Spread of the estimates under the full C over their error bars [p]."""
    grid, (horizontal, vertical) = posterior.model.grid, scales
    errors = true_errors(posterior, here, structure, scales)
    total, rows = solved(with_errors(posterior, errors), here, errors)
    place = EARTH_RADIUS / horizontal * unit_vectors(grid.wet_latitude, grid.wet_longitude)
    place = np.column_stack([place, grid.wet_depth / vertical])
    prior = np.array([row.prior_sd for row in posterior.table.free], dtype=float)
    spread = np.diag(prior**-2)
    for name, data in posterior.observations.tracers.items():
        here_place, of = place[data.index], errors.sel(tracer=name)
        squares = np.sum(here_place**2, axis=1)
        correlation = np.exp(-0.5 * np.maximum(squares[:, None] + squares - 2.0 * here_place @ here_place.T, 0.0))
        smooth = rows[name] * (structure * of["fading"].values[data.index])
        spread = spread + smooth @ correlation @ smooth.T
        spread = spread + (rows[name] * float(of["scale"]) / data.weight) @ rows[name].T
    covariance = np.linalg.inv(total)
    return np.sqrt(np.diag(covariance @ spread @ covariance) / np.diag(covariance))


def twins(posterior: Posterior, here: Evaluation, structure: float, number: int) -> dict[str, np.ndarray]:
    """(estimate - truth)/(error bar) [number, p] with estimated and with true sizes of the errors."""
    grid, smooth = posterior.model.grid, SmoothFields(posterior.model.grid)
    modelled = {name: np.asarray(value) for name, value in here.state.observable.items()}
    index = {name: data.index for name, data in posterior.observations.tracers.items()}
    prior = np.array([row.prior_sd for row in posterior.table.free], dtype=float)
    truths = true_errors(posterior, here, structure, (twin.HORIZONTAL_SCALE, twin.VERTICAL_SCALE))
    found: dict[str, list[np.ndarray]] = {"estimated": [], "true": []}
    for seed in range(number):
        truth = prior * np.random.default_rng([1, seed]).normal(size=prior.size)
        made = twin.synthetic_observations(modelled, index, grid, NOISE, structure, [seed], -np.inf)
        fields = {}
        for name, part in made.items():
            fields[name] = np.full(grid.n_wet, np.nan)
            fields[name][part.index] = part.noisy + part.structured_error + here.jacobian[name].T @ truth
        data = posterior.with_data(Observations.from_fields(fields, grid), posterior.scales)
        first = np.linalg.lstsq(
            np.concatenate(
                [np.sqrt(o.weight)[:, None] * here.jacobian[k].T for k, o in data.observations.tracers.items()]
            ),
            np.concatenate(
                [np.sqrt(o.weight) * (o.value - modelled[k][o.index]) for k, o in data.observations.tracers.items()]
            ),
        )[0]
        fitted = {name: value.copy() for name, value in modelled.items()}
        for name in index:
            fitted[name][index[name]] += here.jacobian[name].T @ first
        for kind, errors in (("estimated", estimate_errors(data, fitted, smooth=smooth)), ("true", truths)):
            honest = with_errors(data, errors, smooth)
            total, rows = solved(honest, here, errors)
            load = sum(rows[k] @ (o.value - modelled[k][o.index]) for k, o in honest.observations.tracers.items())
            deviation = np.sqrt(np.diag(np.linalg.inv(total)))
            found[kind].append((np.linalg.solve(total, load) - truth) / deviation)
    return {kind: np.array(z) for kind, z in found.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_bars", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--twins", type=int, default=30)
    number = parser.parse_args().twins
    posterior, here = linearised()
    posterior = observed_as_modelled(posterior, here)
    for structure, scales in ((0.05, (1.5e6, 800.0)), (0.10, (1.5e6, 400.0))):
        over = beside_full(posterior, here, structure, scales)
        print(
            f"smooth error {structure:g} over {scales[0] / 1e3:.0f} km, {scales[1]:.0f} m: spread over error bar, rms "
            f"{np.sqrt(np.mean(over**2)):.3f}, largest {over.max():.3f} ({posterior.names[int(over.argmax())]})"
        )
    for kind, z in twins(posterior, here, NOISE, number).items():
        print(
            f"{number} twins, {kind} sizes: rms {np.sqrt(np.mean(z**2)):.3f}, within 68 % bars "
            f"{np.mean(np.abs(z) < 0.9945):.1%}, within 95 % {np.mean(np.abs(z) < 1.96):.1%}"
        )


if __name__ == "__main__":
    main()
