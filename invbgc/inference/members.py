"""Tables of ensembles: how far members of different structure lie apart, and how wide each of them is."""

from collections.abc import Mapping

import numpy as np
import xarray as xr


def member_table(members: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Spread between and within members, number by number.

    Args:
        members: member -> dataset on ``quantity`` with value, error (one standard deviation within the member), unit.

    Returns:
        On ``quantity``: value (member), mean, between_sd (n - 1), between_sd_population (n; Wang et al. 2023 do not say
        which of the two theirs is), within_sd (root of the mean variance of the members), and total_sd, the root of the
        sum of between and within variance.
    """
    joined = xr.concat(
        [data[["value", "error"]] for data in members.values()], "member", join="inner", combine_attrs="drop"
    ).assign_coords(member=list(members))
    first = next(iter(members.values()))
    several = joined.sizes["member"] > 1
    between = joined["value"].std("member", ddof=1) if several else xr.full_like(joined["value"][0], np.nan)
    within = np.sqrt((joined["error"] ** 2).mean("member"))
    return xr.Dataset(
        {
            "value": joined["value"],
            "error": joined["error"],
            "mean": joined["value"].mean("member"),
            "between_sd": between,
            "between_sd_population": joined["value"].std("member", ddof=0),
            "within_sd": within,
            "total_sd": np.sqrt(between.fillna(0.0) ** 2 + within**2),
            "unit": first["unit"].sel(quantity=joined["quantity"]),
        }
    )


def draw_table(draws: Mapping[str, xr.Dataset], errors: xr.DataArray) -> xr.Dataset:
    """Spread of numbers over draws of the parameters, beside their linear error bars.

    Args:
        draws: draw -> dataset on ``quantity`` with value and unit.
        errors: standard deviation by the delta method, on ``quantity``.

    Returns:
        On ``quantity``: value (draw), mean, standard_deviation, quantile (0.025, 0.16, 0.5, 0.84, 0.975), linear_error.
    """
    values = xr.concat([data["value"] for data in draws.values()], "draw", join="inner").assign_coords(draw=list(draws))
    first = next(iter(draws.values()))
    quantile = values.quantile([0.025, 0.16, 0.5, 0.84, 0.975], "draw").rename(quantile="probability")
    return xr.Dataset(
        {
            "value": values,
            "mean": values.mean("draw"),
            "standard_deviation": values.std("draw", ddof=1),
            "quantile": quantile,
            "linear_error": errors.sel(quantity=values["quantity"]),
            "unit": first["unit"].sel(quantity=values["quantity"]),
        }
    )
