"""The choices within MOPS, each with that of Tanioka et al. (2021) as default."""

from dataclasses import dataclass
from typing import Literal

from invbgc.errors import InputError

_CHOICES = {
    "stoichiometry": ("flexible", "redfield"),
    "sinking": ("mid_depth", "exact_profile"),
    "form": ("hard", "smooth"),
    "exchange": ("fast", "wind"),
    "alkalinity": ("uniform", "salinity"),
}


@dataclass(frozen=True)
class MopsOptions:
    """Switches and fixed numbers of the model.

    Attributes:
        stoichiometry: C:P of phytoplankton from phosphate and temperature (equation 1), or 117 everywhere.
        sinking: ``"mid_depth"``: the speed at the middle of a layer, as in MOPS, whose flux falls off more slowly than
            its nominal b; ``"exact_profile"``: speeds for which the steady flux below the euphotic zone is exactly
            (z/z_0)^-b.
        form: ``"hard"``: minima, thresholds and switches as published; ``"smooth"``: rounded off, for calibration.
        exchange: gas exchange of CO2: ``"fast"``, 160 m per day everywhere, ice or not, as in the experiments; or
            ``"wind"``, as for oxygen.
        alkalinity: of the surface: ``"uniform"``, or proportional to salinity.
        euphotic_layers: layers in which plankton grows; those with their middle above 100 m where None.
        biology_step: time step of the biology, days, which caps growth and grazing by what is there.
        lower_cut: a, square root of the concentration below which a tracer is not lost, (mmol P m-3)^1/2.
        excess_to_doc: chi, fraction of the excess carbon of grazing that goes to DOC; the rest goes to POC.
        seasons: times of the year over which the light of a steady model is averaged.
    """

    stoichiometry: Literal["flexible", "redfield"] = "flexible"
    sinking: Literal["mid_depth", "exact_profile"] = "mid_depth"
    form: Literal["hard", "smooth"] = "hard"
    exchange: Literal["fast", "wind"] = "fast"
    alkalinity: Literal["uniform", "salinity"] = "uniform"
    euphotic_layers: int | None = None
    biology_step: float = 0.0625
    lower_cut: float = 0.01
    excess_to_doc: float = 0.0
    seasons: int = 12

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"mops option {name} = {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if self.euphotic_layers is not None and self.euphotic_layers < 1:
            raise InputError(f"mops option euphotic_layers = {self.euphotic_layers}; expected at least 1")
        for name in ("biology_step", "lower_cut"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"mops option {name} = {getattr(self, name)}; expected a positive number")
        if not 0.0 <= self.excess_to_doc <= 1.0:
            raise InputError(f"mops option excess_to_doc = {self.excess_to_doc}; expected 0 to 1")
        if self.seasons < 1:
            raise InputError(f"mops option seasons = {self.seasons}; expected at least 1")

    @property
    def offset(self) -> float:
        """Concentration below which a tracer is not lost, a^2, mmol P m-3."""
        return self.lower_cut**2
