"""A made-up result file of a fit on a grid of a few boxes, for the tests of figures and report."""

import json

import numpy as np
import xarray as xr

TRACERS = ("DIP", "DIC", "ALK", "O2", "DOC")


def tiny_result(twin: bool = True) -> xr.Dataset:
    """A complete fit result with three parameters; the third is frozen."""
    random = np.random.default_rng(3)
    depth, latitude, longitude = (
        np.array([20.0, 60.0, 1000.0, 3000.0]),
        np.linspace(-60, 60, 7),
        np.arange(15.0, 360, 30),
    )
    space = ("depth", "latitude", "longitude")
    wet = np.ones((4, 7, 12), bool)
    wet[:, :, 0] = False
    wet[3, 6] = False
    truth = np.array([0.4, 0.3, 1.8]) if twin else np.full(3, np.nan)
    result = xr.Dataset(
        {
            "parameter_name": ("parameter", np.array(["sigma_P", "b_C_slope", "r_O2C"])),
            "parameter_symbol": ("parameter", np.array(["σ_P", "b_C slope", "r_O:C"])),
            "parameter_unit": ("parameter", np.array(["1", "1", "s-1"])),
            "parameter_transform": ("parameter", np.array(["log", "linear", "log"])),
            "initial": ("parameter", np.array([0.1, 0.0, 1.8])),
            "estimate": ("parameter", np.array([0.5, 0.25, 1.8])),
            "published": ("parameter", np.array([0.35, 0.957, 1.77])),
            "truth": ("parameter", truth),
            "x": ("parameter", np.array([np.log(0.5), 0.25, np.nan])),
            "gradient": ("parameter", np.array([1e-10, -1e-10, np.nan])),
            "hessian": (("parameter", "parameter_2"), np.array([[4.0, 1, np.nan], [1, 2, np.nan], [np.nan] * 3])),
            "covariance_authors": (
                ("parameter", "parameter_2"),
                np.array([[0.04, -0.005, np.nan], [-0.005, 0.01, np.nan], [np.nan] * 3]),
                {"number_of_observations": 600.0, "noise_scale": 1e-3},
            ),
            "history_value": ("iteration", np.array([2.0, 0.5, 0.3])),
            "history_gradient_norm": ("iteration", np.array([1.0, 1e-3, 1e-9])),
            "skill_n": ("tracer", np.full(5, 200)),
        },
        coords={"depth": depth, "latitude": latitude, "longitude": longitude, "tracer": list(TRACERS)},
        attrs={
            "run_name": "a <tiny> run",
            "circulation": "few boxes",
            "status": "converged",
            "value": 0.3,
            "DIP_mean": 2.1,
            "T_min": -2.0,
            "T_max": 30.0,
            "manifest": json.dumps({"versions": {"invbgc": "0.1.0"}, "seed": 0, "date": "2026-01-01"}),
            "stats": json.dumps({"factorisations": 12, "solves": 345}),
        },
    )
    for key in ("R2", "R2_volume", "bias", "rmse", "misfit"):
        result[f"skill_{key}"] = "tracer", random.uniform(0.1, 0.9, 5)
    for name in TRACERS:
        field = 10 + depth[:, None, None] / 300 + random.normal(size=wet.shape)
        observed = np.where(wet & (random.uniform(size=wet.shape) < 0.7), field + random.normal(size=wet.shape), np.nan)
        result[f"model_{name}"] = space, np.where(wet, field, np.nan), {"units": "mmol m-3"}
        result[f"observed_{name}"] = space, observed, {"units": "mmol m-3"}
    result["poc_export"] = space[1:], np.where(wet[0], 2.0, np.nan), {"units": "mol m-2 yr-1"}
    return result
