r"""Exponents of many profiles at once: partial pooling, a mean that drifts with time, and errors that elements share.

For profile i, depth z_j and element e

    ln F_ije = ln F_0ie - b_ie x_j + eps_ije,     x_j = ln(z_j / z_0),
    b_ie     = mu_e + g_e(t_i) + eta_ie,

with eps_ij ~ N(0, S) and eta_i ~ N(0, B) across elements (a hard-to-sample profile shifts carbon and phosphorus
together), flat ln F_0ie, and g_e a Gaussian process in time with a squared-exponential kernel, written in M sines on
[-L, L] (Solin & Sarkka 2020, Stat. Comput. 30, 419). Intercepts and the exponents of single profiles are integrated out
exactly: with orthonormal contrasts Q of the depths that are blind to intercept and slope,

    Q' ln F_i ~ N(0, S),     b_i (least squares) ~ N(mu + g(t_i), B + S / S_xx),

so that NUTS sees a few dozen numbers, and the b_i follow from their normal conditional distribution.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.errors import InputError

WAVES = 12
"""Sines that carry the drift; over 14 years they resolve time scales above about 1.5 years, over 30 above 3."""

EDGE = 1.5
"""Half-width of their interval over that of the data."""

PRIORS = {
    "mean": "b mean of each element ~ Normal(1, 1)",
    "spread": "standard deviation of b between profiles ~ HalfNormal(1)",
    "noise": "standard deviation of ln F about the power law ~ HalfNormal(1)",
    "drift": "standard deviation of the drift ~ HalfNormal(0.5)",
    "years": "its time scale ~ LogNormal(ln 3 years, 0.7)",
    "correlation": "of elements, in B and in S ~ LKJ(2)",
}
"""Priors of the model, in words."""


class Sufficient(NamedTuple):
    """What the likelihood needs of the profiles.

    Attributes:
        slope: [n, e] least-squares exponents.
        rest: [n, d - 2, e] contrasts that only the noise moves.
        s_xx: spread of the depths, sum (x - mean)^2.
        time: [n] decimal years, or zeros.
    """

    slope: np.ndarray
    rest: np.ndarray
    s_xx: float
    time: np.ndarray


def sufficient(data: xr.Dataset) -> Sufficient:
    """Reduce profiles to exponents and contrasts.

    Args:
        data: as from `invbgc.traps.arrays.profiles`, with at least three depths.

    Returns:
        the statistics.

    Raises:
        InputError: there are fewer than three depths or three profiles.
    """
    logs = np.log(data["flux"].transpose("profile", "depth", "element").to_numpy())
    if logs.shape[0] < 3 or logs.shape[1] < 3:
        raise InputError(f"Pooled exponents: found {logs.shape[:2]} profiles and depths; expected three of each.")
    depth = data["depth"].to_numpy()
    x = np.log(depth / depth[0])
    orthonormal = np.linalg.qr(np.column_stack([np.ones_like(x), x]), mode="complete")[0]
    departure = x - x.mean()
    s_xx = float(departure @ departure)
    time = data["time"].to_numpy() if "time" in data.coords else np.zeros(len(logs))
    return Sufficient(
        slope=-np.einsum("d,nde->ne", departure, logs) / s_xx,
        rest=np.einsum("dk,nde->nke", orthonormal[:, 2:], logs),
        s_xx=s_xx,
        time=time,
    )


def model(known: Sufficient, drift: bool = True) -> None:
    """The numpyro model of the module's equations; see `PRIORS`."""
    import numpyro
    import numpyro.distributions as dist

    n_elements = known.slope.shape[1]
    mean = numpyro.sample("mean", dist.Normal(1.0, 1.0).expand([n_elements]).to_event(1))
    center = jnp.broadcast_to(mean, known.slope.shape)
    if drift:
        center = center + _drift(known.time, n_elements)
    numpyro.deterministic("center", center)
    between, noise = _covariance("spread", n_elements), _covariance("noise", n_elements)
    numpyro.sample("rest", dist.MultivariateNormal(jnp.zeros(n_elements), noise), obs=known.rest)
    total = between + noise / known.s_xx
    numpyro.sample("slope", dist.MultivariateNormal(center, total), obs=known.slope)


def _covariance(name: str, size: int) -> jax.Array:
    import numpyro
    import numpyro.distributions as dist

    deviation = numpyro.sample(name, dist.HalfNormal(1.0).expand([size]).to_event(1))
    if size == 1:
        return jnp.diag(deviation**2)
    return _from_factor(deviation, numpyro.sample(f"{name}_correlation", dist.LKJCholesky(size, 2.0)))


def _from_factor(deviation: Any, factor: Any) -> jax.Array:
    """The covariance of standard deviations and the Cholesky factor of their correlations."""
    root = deviation[:, None] * factor
    return root @ root.T


def _drift(time: np.ndarray, n_elements: int) -> jax.Array:
    import numpyro
    import numpyro.distributions as dist

    half = EDGE * max(0.5 * np.ptp(time), 1e-3)
    deviation = numpyro.sample("drift", dist.HalfNormal(0.5).expand([n_elements]).to_event(1))
    years = numpyro.sample("years", dist.LogNormal(np.log(3.0), 0.7).expand([n_elements]).to_event(1))
    frequency = np.pi * np.arange(1, WAVES + 1) / (2.0 * half)
    middle = 0.5 * (time.min() + time.max())
    basis = np.sin(frequency * (time - middle + half)[:, None]) / np.sqrt(half)
    density = deviation * jnp.sqrt(jnp.sqrt(2.0 * jnp.pi) * years) * jnp.exp(-0.25 * (years * frequency[:, None]) ** 2)
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([WAVES, n_elements]).to_event(2))
    return basis @ (density * weights)


def pooled_exponents(
    data: xr.Dataset, drift: bool = True, draws: int = 1000, warmup: int = 1000, chains: int = 4, seed: int = 0
) -> xr.Dataset:
    """The posterior of the model of this module.

    Args:
        data: complete profiles of at least three depths, with `time` where the mean may drift.
        drift: whether it may.
        draws: kept of each chain.
        warmup: draws in which NUTS adapts.
        chains: number of chains.
        seed: of the random numbers.

    Returns:
        Dataset on (`chain`, `draw`) and (`profile`, `element`): `mean`, `center` (mu + g at the times of the profiles),
        `b` of each profile, `spread`, `noise`, and of the first two elements, where there are so many, the correlations
        and `difference`, the mean over profiles of the first minus the second centre. Attributes: `max_r_hat`,
        `min_ess`, `divergences`, and the priors.

    Raises:
        InputError: there are too few depths or profiles, or no `time` for the drift.
    """
    import numpyro

    if drift and "time" not in data.coords:
        raise InputError("Pooled exponents: found no 'time' of the profiles; expected it where the mean may drift.")
    known = sufficient(data)
    kernel = numpyro.infer.NUTS(model, target_accept_prob=0.9)
    sampler = numpyro.infer.MCMC(
        kernel, num_warmup=warmup, num_samples=draws, num_chains=chains, chain_method="vectorized", progress_bar=False
    )
    sampling, conditional = jax.random.split(jax.random.PRNGKey(seed))
    sampler.run(sampling, known, drift, extra_fields=("diverging",))
    samples = sampler.get_samples(group_by_chain=True)
    parts: dict[str, Any] = {
        name: (("chain", "draw", "element"), np.asarray(samples[name])) for name in ("mean", "spread", "noise")
    }
    parts["center"] = (("chain", "draw", "profile", "element"), np.asarray(samples["center"]))
    parts["b"] = (("chain", "draw", "profile", "element"), np.asarray(_profile_draws(conditional, samples, known)))
    if drift:
        for name in ("drift", "years"):
            parts[name] = (("chain", "draw", "element"), np.asarray(samples[name]))
    if known.slope.shape[1] > 1:
        for name in ("spread", "noise"):
            factor = np.asarray(samples[f"{name}_correlation"])
            parts[f"{name}_correlation"] = (("chain", "draw"), factor[..., 1, 0])
        gap = np.asarray(samples["center"]).mean(axis=2)
        parts["difference"] = (("chain", "draw"), gap[..., 0] - gap[..., 1])
    coordinates = {name: part for name, part in data.coords.items() if name != "depth"}
    result = xr.Dataset(parts, coordinates)
    r_hat, ess = _worst(result.drop_vars("b"))
    return result.assign_attrs(
        max_r_hat=r_hat,
        min_ess=ess,
        divergences=int(np.asarray(sampler.get_extra_fields()["diverging"]).sum()),
        priors="; ".join(PRIORS.values()),
        seed=seed,
    )


def _worst(draws: xr.Dataset) -> tuple[float, float]:
    """Largest R-hat and smallest bulk effective number of all that the posterior has."""
    from arviz_stats.base.array import array_stats

    columns = np.concatenate([part.values.reshape(*part.shape[:2], -1) for part in draws.data_vars.values()], axis=2)
    look: Any = {"chain_axis": 0, "draw_axis": 1}
    each: list[Any] = list(np.moveaxis(columns, 2, 0))
    r_hat: list[Any] = [array_stats.rhat(column, **look) for column in each]
    ess: list[Any] = [array_stats.ess(column, method="bulk", **look) for column in each]
    return float(max(r_hat)), float(min(ess))


def _profile_draws(key: jax.Array, samples: dict[str, jax.Array], known: Sufficient) -> jax.Array:
    """Draws of b_i from their conditional distribution: the least-squares b_i drawn towards the centre."""

    def covariance(draw: dict[str, jax.Array], name: str) -> jax.Array:
        return _from_factor(draw[name], draw.get(f"{name}_correlation", jnp.eye(len(draw[name]))))

    def one(key: jax.Array, draw: dict[str, jax.Array]) -> jax.Array:
        between, noise = covariance(draw, "spread"), covariance(draw, "noise") / known.s_xx
        gain = jnp.linalg.solve(between + noise, between).T
        mean = draw["center"] + (known.slope - draw["center"]) @ gain.T
        root = jnp.linalg.cholesky(between - gain @ between + 1e-14 * jnp.eye(len(between)))
        return mean + jax.random.normal(key, mean.shape) @ root.T

    shape = samples["mean"].shape[:2]
    names = ("spread", "noise", "center", "spread_correlation", "noise_correlation")
    draws = {name: samples[name] for name in names if name in samples}
    keys = jax.random.split(key, shape)
    return jax.vmap(jax.vmap(one))(keys, draws)
