"""The choices within the phosphorus, carbon and oxygen model, each with the paper's as default."""

from dataclasses import dataclass
from typing import Literal

from invbgc.constants import DAY, PREINDUSTRIAL_PCO2, YEAR
from invbgc.errors import InputError


@dataclass(frozen=True)
class PCOOptions:
    """Switches and fixed constants of the model (Wang et al. 2023, Methods).

    Attributes:
        euphotic_layers: layers in which organic matter is produced.
        exponent_layers: layers whose mean normalised temperature sets the flux exponents; the paper says the euphotic
            zone (2), the authors' code averages three.
        c_to_p: phosphate that sets C:P of production: the observed climatology (the published parameters belong to
            it) or the modelled DIP (the paper's formula).
        labile: ``"off"``: no satellite-driven labile pool (the paper's first round); ``"satellite_residual"``: labile
            production is satellite minus model production (second round).
        labile_fraction: delta, the fraction of model production that becomes labile (0 in the paper).
        sinking: ``"upwind"``: the paper's scheme, for which the published exponents are effective values; ``"exact"``:
            fluxes follow the continuous law at every interface.
        chemistry_units: ``"consistent"``: mmol m-3 are converted to umol kg-1 for the carbonate system; ``"released"``:
            passed unconverted and total boron unrounded, as the authors' code has it.
        atmosphere: ``"dry"``: a uniform pCO2 without humidity and pressure terms, as in the released code;
            ``"ocmip2"``: both terms applied.
        pco2_atm: atmospheric pCO2, uatm.
        kappa_p_days: dissolution time of POP, POC and PIC; fluxes do not depend on it.
        kappa_l_hours: respiration time of the labile pools.
        kappa_g_years: restoring time of the mean DIP and ALK.
        r_N2C: N:C of organic matter, for alkalinity.
        oxygen_threshold: O2 below which respiration shuts off, mmol m-3.
        oxygen_width: width of that transition, mmol m-3.
    """

    euphotic_layers: int = 2
    exponent_layers: Literal[2, 3] = 2
    c_to_p: Literal["observed_phosphate", "modelled_phosphate"] = "observed_phosphate"
    labile: Literal["off", "satellite_residual"] = "off"
    labile_fraction: float = 0.0
    sinking: Literal["upwind", "exact"] = "upwind"
    chemistry_units: Literal["consistent", "released"] = "consistent"
    atmosphere: Literal["dry", "ocmip2"] = "dry"
    pco2_atm: float = PREINDUSTRIAL_PCO2
    kappa_p_days: float = 30.0
    kappa_l_hours: float = 12.0
    kappa_g_years: float = 1e6
    r_N2C: float = 18.0 / 106.0
    oxygen_threshold: float = 5.0
    oxygen_width: float = 1.0

    def __post_init__(self) -> None:
        choices = {
            "c_to_p": ("observed_phosphate", "modelled_phosphate"),
            "labile": ("off", "satellite_residual"),
            "sinking": ("upwind", "exact"),
            "chemistry_units": ("consistent", "released"),
            "atmosphere": ("dry", "ocmip2"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"model option {name} = {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if not 0.0 <= self.labile_fraction < 1.0:
            raise InputError(f"model option labile_fraction = {self.labile_fraction}; expected 0 <= delta < 1")
        for name in ("pco2_atm", "kappa_p_days", "kappa_l_hours", "kappa_g_years", "oxygen_width"):
            if not getattr(self, name) > 0:
                raise InputError(f"model option {name} = {getattr(self, name)}; expected a positive number")

    @property
    def kappa_p(self) -> float:
        """Dissolution rate of particles, s-1."""
        return 1.0 / (self.kappa_p_days * DAY)

    @property
    def kappa_l(self) -> float:
        """Respiration rate of the labile pools, s-1."""
        return 24.0 / (self.kappa_l_hours * DAY)

    @property
    def kappa_g(self) -> float:
        """Restoring rate of the mean DIP and ALK, s-1."""
        return 1.0 / (self.kappa_g_years * YEAR)
