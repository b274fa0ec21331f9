"""The 21 parameters of the phosphorus, carbon and oxygen model (Wang et al. 2023, Methods)."""

from collections.abc import Mapping
from typing import Any

from invbgc.parameters import Parameter, ParameterTable

_SOURCE = "Wang et al. 2023"

# name, symbol, alias, unit, transform, first guess, published, meaning, equation
_ROWS = (
    ("sigma_P", "σ_P", "sigP", "1", "log", 0.10, 0.35,
     "fraction of phosphorus production that becomes semi-labile DOP", "DOP equation"),
    ("Q10_P", "Q10 (P)", "Q10P", "1", "log", 1.0, 2.28,
     "growth of the DOP remineralisation rate per 10 degC", "DOP equation"),
    ("kappa_dP", "κ (P)", "kdP", "s-1", "log", 9.4e-8, 1.86e-8,
     "DOP remineralisation rate at 30 degC", "DOP equation"),
    ("b_P_slope", "b slope (P)", "bP_T", "1", "linear", 0.0, 0.319124,
     "change of the POP flux exponent per unit of normalised temperature", "POP equation"),
    ("b_P", "b_P", "bP", "1", "log", 1.16, 0.770113,
     "POP flux exponent at normalised temperature zero", "POP equation"),
    ("alpha", "α", "alpha", "s-1", "log", 1.47e-8, 2.45e-8,
     "phosphate uptake coefficient", "equation 1"),
    ("beta", "β", "beta", "1", "log", 0.15, 0.45,
     "exponent of satellite production in phosphate uptake", "equation 1"),
    ("sigma_C", "σ_C", "sigC", "1", "log", 0.10, 0.09,
     "fraction of carbon production that becomes semi-labile DOC", "DOC equation"),
    ("kappa_ru", "κ_ur", "kru", "s-1", "log", 4.04e-12, 5.74e-12,
     "decay rate of refractory DOC in the euphotic zone", "DOCr equation"),
    ("kappa_rd", "κ_dr", "krd", "s-1", "log", 4.04e-12, 2.99e-12,
     "decay rate of refractory DOC below the euphotic zone", "DOCr equation"),
    ("eta", "η", "etau", "1", "logit", 0.9973, 0.98,
     "fraction of semi-labile DOC loss that is respired; the rest becomes refractory", "DOC equation"),
    ("b_C_slope", "b slope (C)", "bC_T", "1", "linear", 0.0, 0.957372,
     "change of the POC flux exponent per unit of normalised temperature", "POC equation"),
    ("b_C", "b_C", "bC", "1", "log", 0.994, 0.65,
     "POC flux exponent at normalised temperature zero", "POC equation"),
    ("d_PIC", "d", "d", "m", "log", 4560.0, 4550.0,
     "e-folding depth of the sinking PIC flux", "PIC equation"),
    ("Q10_C", "Q10 (C)", "Q10C", "1", "log", 1.0, 1.05,
     "growth of the DOC loss rate per 10 degC", "DOC equation"),
    ("kappa_dC", "κ (C)", "kdC", "s-1", "log", 5.7e-8, 5.42e-9,
     "semi-labile DOC loss rate at 30 degC", "DOC equation"),
    ("rain_ratio_slope", "r_Si", "R_Si", "1", "linear", 0.0, 0.10,
     "change of the PIC:POC rain ratio per unit of normalised silicate", "rain-ratio equation"),
    ("rain_ratio", "r_RR", "rR", "1", "log", 0.0423, 0.0234,
     "PIC:POC rain ratio at normalised silicate zero", "rain-ratio equation"),
    ("P_to_C_slope", "cc", "cc", "m3 mmol-1", "log", 6.9e-3, 8.38e-4,
     "change of the P:C ratio of production per unit of phosphate", "C:P equation"),
    ("P_to_C_intercept", "dd", "dd", "1", "log", 6.0e-3, 8.83e-3,
     "P:C ratio of production at zero phosphate", "C:P equation"),
    ("r_O2C", "r_O:C", "rO2C", "1", "log", 1.10, 1.77,
     "oxygen released per carbon fixed and used per carbon respired", "O2 equation"),
)  # fmt: skip


def pco_parameters(start: str = "first_guess") -> ParameterTable:
    """The 21-row table, its values set to the ``"first_guess"`` or the ``"published"`` column.

    The fraction eta is fitted in ln(eta/(1 - eta)) where the paper takes ln eta: refractory DOC grows with 1 - eta, so
    that a step of a few per cent in ln eta is already too far for any quadratic model. The optimum is the same.

    Slopes of the flux exponents are per unit of *normalised* temperature (T - T_min + 1)/(T_max - T_min); divide by
    T_max - T_min for a slope per degC.
    """
    table = ParameterTable(
        Parameter(
            name=name, symbol=symbol, alias=alias, value=first_guess, unit=unit, transform=transform,
            first_guess=first_guess, published=published, description=meaning, reference=f"{_SOURCE}, {equation}",
        )
        for name, symbol, alias, unit, transform, first_guess, published, meaning, equation in _ROWS
    )  # fmt: skip
    return table.started_from(start)


GAS_EXCHANGE = "gas_exchange"
"""Name of the optional row that scales the exchange of CO2 and O2."""


def with_gas_exchange(table: ParameterTable, scale: float = 1.0, free: bool = True) -> ParameterTable:
    """The table with one more row: the gas exchange over that of the forcing, a / a_forcing.

    Args:
        table: of the model.
        scale: its value.
        free: whether a fit may change it.
    """
    row = Parameter(
        name=GAS_EXCHANGE, symbol="a/a₀", alias="a", value=scale, unit="1", transform="log", first_guess=1.0,
        published=1.0, description="piston velocity over that of the forcing", free=free,
        reference=f"{_SOURCE}, air-sea exchange and calibration with radiocarbon",
    )  # fmt: skip
    return ParameterTable([*(other for other in table if other.name != GAS_EXCHANGE), row])


def exchange_scale(p: Mapping[str, Any]) -> Any:
    """Value of that row, one where the table has none."""
    return p.get(GAS_EXCHANGE, 1.0)
