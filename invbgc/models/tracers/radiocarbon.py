"""An idealised radiocarbon: it enters at the surface and decays everywhere.

    dc/dt + T c = (c_air - c) / tau  (first layer)  - lambda c,      c_air = 1 mmol m-3,

so that c is the 14C/12C of an ocean whose carbon is uniform, over that of the air, and -ln(c) / lambda about its
radiocarbon age. Source: the ratio as a tracer, Toggweiler, Dixon and Bryan (1989); isotopes of carbon need about ten
years to pass into 100 m of water, Broecker and Peng (1982).
"""

from invbgc.constants import YEAR
from invbgc.models.tracers.tracer import Tracer
from invbgc.parameters import Parameter

AIR = 1.0
"""c_air, mmol m-3."""

EQUILIBRATION = 0.1 * YEAR
"""tau per metre of the first layer, s m-1."""

HALF_LIFE = 5730.0
"""Years."""


def source(ocean, c, _, p):
    """Exchange with the air minus decay, [n_wet] mmol m-3 s-1."""
    return ocean.surface * (AIR - c) / (EQUILIBRATION * ocean.thickness) - p["decay_rate"] * c


RADIOCARBON = Tracer(
    name="C14",
    long_name="idealised radiocarbon over that of the air",
    source=source,
    parameters=(
        Parameter(
            name="decay_rate",
            symbol="lambda",
            alias="lambda14",
            value=1.0 / (8000.0 * YEAR),
            unit="s-1",
            transform="log",
            first_guess=1.0 / (8000.0 * YEAR),
            published=0.6931471805599453 / (HALF_LIFE * YEAR),
            description="radioactive decay",
            reference="half-life of 5730 years",
        ),
    ),
)
