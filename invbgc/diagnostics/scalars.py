"""The numbers that a paper would quote, as differentiable functions of state and parameters, with their error bars.

Every number here is a sum of local rates with fixed weights, divided by another at most:

    particles          sum_c a_c A_c Phi_POC(z_0)
    semi-labile DOC    sum_{z > z_0} v kappa_dC D,   (T + kappa_dC) D = a sigma_C P
    labile DOC         sum v a (delta P + J_l) Q_l
    P(tau)             sum v w(tau) r
    stock              sum v tau_r r

with weights a per water column (the whole ocean, a band, a station, the attenuation to 100 m), and with Q_l, w(tau) and
tau_r that depend on the circulation alone. The forward form of the semi-labile pool equals a sum over its adjoint
export map, and holds the dependence of that map on the parameters. Gradients g follow by one adjoint each, error bars
from sd^2 = g^T C g.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.diagnostics.export import face_area, probability_below, surface_dataset
from invbgc.diagnostics.labile import labile_production, labile_rate
from invbgc.diagnostics.places import BANDS, boxes_around, stations_on
from invbgc.diagnostics.residence import return_time
from invbgc.diagnostics.sequestration import REMOVAL_RATE, THRESHOLDS, retention_weights
from invbgc.grid import OceanGrid
from invbgc.inference.laplace import Laplace
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.linalg.solve import linear_solve
from invbgc.models.pco.carbon import doc_rate, docr_rate, organic_carbon
from invbgc.models.pco.model import PCOModel

HORIZON = 100.0
"""Depth in m to which the export is attenuated, beside that at the base of the euphotic zone."""

Fields = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Scalars:
    """Numbers that follow from a state.

    Attributes:
        names: words for tables, one per number.
        units: of each.
        long_names: of each.
        function: (fields, x) -> [k], traceable and differentiable by JAX.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    long_names: tuple[str, ...]
    function: Callable[[Fields, jax.Array], jax.Array]

    @cached_property
    def compiled(self) -> Callable[[Fields, jax.Array], jax.Array]:
        """The function, compiled."""
        return jax.jit(self.function)


def carbon_scalars(
    model: PCOModel,
    labile_hours: float | None = None,
    stations: Mapping[str, tuple[float, float]] | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Scalars:
    """The exports and sequestration times of organic carbon over the ocean, in zonal bands and at stations.

    Args:
        model: the model.
        labile_hours: respiration time 1/kappa_l of labile DOC; the model's own where absent.
        stations: name -> (latitude, longitude); where absent, the time-series stations that are on this grid.
        progress: receives a line of text now and then.

    Returns:
        The numbers: exports in Pg C yr-1 at the base z_0 of the euphotic zone and at 100 m, the advective-diffusive
        share of zonal bands (of their sums), production that stays longer than 3 months, 1 and 3 years, the share of
        particles in the second, the stock in Pg C; at stations the export in mol m-2 yr-1, mean of 3 x 3 boxes.
        Source: Wang et al. (2023).

    Raises:
        InputError: `labile_hours` is not positive, or a station is on land.
    """
    grid, env = model.grid, model.environment
    base, volume = model.options.euphotic_layers, grid.volume
    kappa_l = np.full(grid.n_wet, labile_rate(model, labile_hours))
    q_labile = volume * probability_below(model, kappa_l)
    below, open_base = volume * ~env.euphotic, face_area(grid)[base]

    bands, sites = _bands(grid), _sites(grid, stations_on(grid) if stations is None else stations)
    regional = np.array([*bands.values(), *sites.values()]).reshape(-1, grid.n_columns)
    kept = np.concatenate(
        [retention_weights(model, THRESHOLDS, progress=progress), return_time(model, REMOVAL_RATE)[None] / YEAR]
    )
    kept = kept * volume
    system = model.systems["tracer"]
    token = system.factorise(kappa_l)
    kept_labile = system.solve(token, (kappa_l * kept).T, transposed=True).T

    def exports(fields: Fields, x, weights):
        """Particulate, semi-labile and labile export with weights per column [s, n_columns], mmol s-1 each [3, s]."""
        p = model.table.to_values(x)
        organic = organic_carbon(env, fields["DIP"], p)
        kappa = doc_rate(env, p)
        source = p["sigma_C"] * organic.production
        at_boxes = weights[:, grid.column]
        pool = jax.vmap(lambda a: linear_solve(system, (kappa,), a * source))(at_boxes)
        return jnp.stack(
            [
                weights @ (open_base * organic.poc_flux[base]),
                pool @ (below * kappa),
                at_boxes @ (q_labile * labile_production(model, organic.production)),
            ]
        )

    def function(fields: Fields, x):
        p = model.table.to_values(x)
        organic = organic_carbon(env, fields["DIP"], p)
        deeper = (HORIZON / grid.depth_edges[base]) ** -env.exponent(p, "C")
        weights = jnp.concatenate([jnp.ones((1, grid.n_columns)), deeper[None], regional])
        parts = exports(fields, x, weights)
        total, to_year = parts.sum(axis=0), PGC_PER_MMOL * YEAR
        poc = kept @ organic.poc_remineralisation
        dissolved = p["eta"] * doc_rate(env, p) * fields["DOC"] + docr_rate(env, p) * fields["DOCr"]
        stays = poc + kept @ dissolved + kept_labile @ labile_production(model, organic.production)
        first_site = 2 + len(bands)
        return jnp.concatenate(
            [
                to_year * parts[:, 0],
                to_year * total[:2],
                (parts[1, 2:first_site] + parts[2, 2:first_site]) / total[2:first_site],
                to_year * stays[:-1],
                poc[1:2] / stays[1:2],
                to_year * stays[-1:],
                1e-3 * YEAR * total[first_site:],
            ]
        )

    depth = f"{grid.depth_edges[base]:.0f} m"
    rows = [
        ("poc_export", "Pg C yr-1", f"sinking particulate organic carbon at {depth}"),
        ("semilabile_export", "Pg C yr-1", f"semi-labile dissolved organic carbon lost below {depth}"),
        ("labile_export", "Pg C yr-1", f"labile dissolved organic carbon respired below {depth}"),
        ("toc_export", "Pg C yr-1", f"total organic carbon at {depth}"),
        ("toc_export_100m", "Pg C yr-1", f"total organic carbon at {HORIZON:.0f} m"),
        *((f"advective_share_{name}", "1", f"advective-diffusive share of export, {name} degrees") for name in bands),
        *((f"longer_than_{t:g}_yr", "Pg C yr-1", f"respiration kept longer than {t:g} yr") for t in THRESHOLDS),
        ("poc_share_1_yr", "1", "share of sinking particles in what is kept longer than 1 yr"),
        ("respired_stock", "Pg C", "stock of respired carbon"),
        *((f"toc_export_{name}", "mol m-2 yr-1", f"total organic carbon at {depth}, {name}") for name in sites),
    ]
    names, units, long_names = zip(*rows, strict=True)
    return Scalars(names, units, long_names, function)


def scalar_table(
    posterior: Posterior, evaluation: Evaluation, scalars: Scalars, laplaces: Sequence[Laplace] = ()
) -> xr.Dataset:
    """Values of scalars, their exact gradients, and their error bars.

    Args:
        posterior: of the fit.
        evaluation: its value at the optimum.
        scalars: of its model.
        laplaces: Gaussian approximations of the posterior at that point, the headline first.

    Returns:
        On ``scalar``: ``value``, ``unit``, ``scalar_long_name``, ``error_<scaling>`` (one standard deviation, in the
        unit of the value), and ``gradient`` (scalar, parameter) by the optimiser coordinates.

    Raises:
        ConvergenceError: a sparse solve fails.
    """
    values, gradients = posterior.derivatives_of(scalars.function, evaluation)
    table = xr.Dataset(
        {
            "value": ("scalar", values),
            "unit": ("scalar", list(scalars.units)),
            "scalar_long_name": ("scalar", list(scalars.long_names)),
            "gradient": (("scalar", "parameter"), gradients, {"long_name": "derivative by the optimiser coordinates"}),
        },
        {"scalar": list(scalars.names), "parameter": list(posterior.names)},
    )
    for item in laplaces:
        attrs = {"long_name": "standard deviation", "number_of_observations": item.number}
        table[f"error_{item.scaling}"] = ("scalar", item.standard_error(gradients), attrs)
    if laplaces:
        table.attrs["scaling"] = laplaces[0].scaling
    return table


def _bands(grid: OceanGrid) -> dict[str, np.ndarray]:
    """Zonal bands of both hemispheres that hold water: name -> 1 in their columns [n_columns]."""
    latitude = np.abs(grid.latitude[np.nonzero(grid.wet[0])[0]])
    bands = {f"{a:g}-{b:g}": (latitude >= a) & (latitude < b) for a, b in pairwise(BANDS)}
    return {name: band.astype(float) for name, band in bands.items() if band.any()}


def _sites(grid: OceanGrid, stations: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """Weights [n_columns] m-2 of the mean over the 3 x 3 boxes around each station."""
    geometry, sites = surface_dataset(grid, 1), {}
    for name, position in stations.items():
        chosen = boxes_around(geometry, *position)[0][grid.wet[0]]
        sites[name] = chosen / (grid.surface_area * chosen.sum())
    return sites
