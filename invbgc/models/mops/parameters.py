"""The parameters of MOPS with flexible C:P (Kriest & Oschlies 2015; Kriest et al. 2020; Tanioka et al. 2021)."""

from invbgc.errors import InputError
from invbgc.parameters import Parameter, ParameterTable

_MOPS, _TANIOKA = "Kriest & Oschlies 2015", "Tanioka et al. 2021"

# name, symbol, unit, transform, MOPS-2.0, ECCO, MITgcm-2.8, free, meaning, source
_ROWS = (
    ("b_P", "b_P", "1", "log", 0.858, 1.46, 1.39, True, "exponent of the POP flux", _MOPS),
    ("b_C", "b_C", "1", "log", 0.858, 1.46, 1.39, True, "exponent of the POC flux", _TANIOKA),
    ("r_O2P", "R_-O2:P", "1", "log", 170.0, 151.1, 173.7, True, "oxygen used per phosphorus remineralised", _MOPS),
    ("fixation", "mu_NFix", "mmol m-3 d-1", "log", 2.0e-3, 2.29e-3, 1.19e-3, True,
     "largest rate of nitrogen fixation", _MOPS),
    ("nitrate_threshold", "N_min", "mmol m-3", "log", 4.0, 16.0, 15.8, True,
     "nitrate below which there is no denitrification", _MOPS),
    ("K_O2", "K_O2", "mmol m-3", "log", 2.0, 1.07, 1.01, True, "half saturation of oxic remineralisation", _MOPS),
    ("K_NO3", "K_DIN", "mmol m-3", "log", 8.0, 23.1, 32.0, True, "half saturation of denitrification", _MOPS),
    ("s_P", "s_P", "1", "log", 0.21, 0.21, 0.21, True, "exponent of phosphate in the P:C of uptake", _TANIOKA),
    ("s_T", "s_T", "1", "linear", -3.6, -3.6, -3.6, True, "exponent of temperature in the P:C of uptake", _TANIOKA),
    ("homeostasis", "H", "1", "logit", 0.08, 0.08, 0.08, True,
     "how far the C:P of zooplankton follows that of its food; 0 is strict homeostasis", _TANIOKA),
    ("oxygen_threshold", "O_min", "mmol m-3", "log", 1.0, 1.0, 1.0, False,
     "oxygen below which there is no oxic remineralisation", _MOPS),
    ("I_c", "I_c", "W m-2", "log", 24.0, 9.653, 9.653, False, "half saturation of light at 0 degC", _MOPS),
    ("K_PO4", "K_PHY", "mmol m-3", "log", 0.03125, 0.4995, 0.4995, False, "half saturation of phosphate", _MOPS),
    ("growth", "mu_PHY", "d-1", "log", 0.6, 0.6, 0.6, False, "largest growth rate at 0 degC", _MOPS),
    ("e_folding_temperature", "T_b", "degC", "log", 15.65, 15.65, 15.65, False,
     "warming that multiplies growth by e", _MOPS),
    ("k_water", "k_w", "m-1", "log", 0.04, 0.04, 0.04, False, "attenuation of light by water", _MOPS),
    ("k_plankton", "k_c", "m2 mmol-1", "log", 0.48, 0.48, 0.48, False, "attenuation of light by phytoplankton", _MOPS),
    ("exudation", "lambda_PHY", "d-1", "log", 0.03, 0.03, 0.03, False, "exudation of phytoplankton", _MOPS),
    ("quadratic_loss", "kappa_PHY", "m3 mmol-1 d-1", "linear", 0.0, 0.0, 0.0, False,
     "quadratic loss of phytoplankton", _MOPS),
    ("mortality", "lambda'", "d-1", "log", 0.01, 0.01, 0.01, False,
     "linear mortality of phytoplankton and zooplankton", _MOPS),
    ("grazing", "mu_ZOO", "d-1", "log", 1.893, 1.893, 1.893, False, "largest grazing rate", _MOPS),
    ("K_grazing", "K_ZOO", "mmol m-3", "log", 0.0859915, 0.0859915, 0.0859915, False,
     "half saturation of grazing", _MOPS),
    ("excretion", "lambda_ZOO", "d-1", "log", 0.03, 0.03, 0.03, False, "excretion of zooplankton", _MOPS),
    ("quadratic_mortality", "kappa_ZOO", "m3 mmol-1 d-1", "log", 4.548, 4.548, 4.548, False,
     "quadratic mortality of zooplankton", _MOPS),
    ("assimilation", "epsilon_ZOO", "1", "logit", 0.75, 0.75, 0.75, False, "assimilated part of grazing", _MOPS),
    ("dissolved_fraction", "sigma_DOP", "1", "logit", 0.15, 0.15, 0.15, False,
     "part of egestion, exudation and mortality that is dissolved", _MOPS),
    ("DOP_rate", "lambda_DOP", "d-1", "log", 0.17 / 360.0, 0.17 / 360.0, 0.17 / 360.0, False,
     "decay of dissolved organic matter", _MOPS),
    ("detritus_rate", "lambda_DET", "d-1", "log", 0.05, 0.05, 0.05, False, "decay of detritus", _MOPS),
)  # fmt: skip

CALIBRATIONS = {"mops2": 0, "ecco": 1, "mit28": 2}
"""Published parameter sets: the default of MOPS-2.0, and those calibrated on ECCO and on MITgcm at 2.8 degrees."""


def mops_parameters(calibration: str = "ecco", b_C: float | None = None) -> ParameterTable:
    """The parameter table; the ten that the papers vary are free.

    Rates are per day of the model's year of 360 days.

    Args:
        calibration: a key of `CALIBRATIONS`; ``"ecco"`` is that of Tanioka et al. (2021).
        b_C: exponent of the POC flux; that of POP where absent.

    Returns:
        The table, values set to those of the calibration.

    Raises:
        InputError: there is no such calibration.
    """
    if calibration not in CALIBRATIONS:
        raise InputError(f"calibration of MOPS {calibration!r}; expected one of {', '.join(CALIBRATIONS)}")
    rows = []
    for name, symbol, unit, transform, *values, free, meaning, source in _ROWS:
        value = b_C if name == "b_C" and b_C is not None else values[CALIBRATIONS[calibration]]
        rows.append(
            Parameter(
                name=name, symbol=symbol, alias=name, value=value, unit=unit, transform=transform,
                first_guess=values[0], published=values[1], description=meaning, reference=source, free=free,
            )
        )  # fmt: skip
    return ParameterTable(rows)
