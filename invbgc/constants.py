"""Physical constants and conversions, each with its source; SI seconds, metres and mmol m-3 inside the toolkit."""

DAY = 86400.0
"""Seconds per day."""

YEAR = 365.0 * DAY
"""Seconds per year of 365 days, the year of Wang et al. (2023)."""

EARTH_RADIUS = 6_371_000.0
"""Radius of the Earth in m; reproduces the box volumes of the OCIM2 grid."""

SEAWATER_DENSITY_FACTOR = 1.0245
"""mmol m-3 per umol kg-1, for seawater of 1024.5 kg m-3 (Wang et al. 2023)."""

CARBON_MOLAR_MASS = 12.0
"""g mol-1, the rounded value of Wang et al. (2023)."""

MOLAR_MASS = {"C": 12.011, "N": 14.007, "P": 30.974, "Si": 28.085, "Ca": 40.078, "Fe": 55.845}
"""g mol-1 of elements (IUPAC 2021, abridged), where the paper at hand does not round."""

PGC_PER_MMOL = CARBON_MOLAR_MASS * 1e-18
"""Pg of carbon per mmol of carbon."""

PREINDUSTRIAL_PCO2 = 278.0
"""Atmospheric pCO2 before industry, uatm (Wang et al. 2023)."""

ZERO_CELSIUS = 273.15
"""K at 0 degC."""
