"""Fluxes of sinking particles from sediment traps: reading, quality, exponents of elements, regions, statistics."""

from invbgc.traps.arrays import profiles, ratio
from invbgc.traps.bats import from_replicates, read_bats
from invbgc.traps.choices import all_choices
from invbgc.traps.compilation import screen
from invbgc.traps.hierarchical import pooled_exponents
from invbgc.traps.martin import exponents
from invbgc.traps.regions import phosphate_regions, region_of, region_statistics
from invbgc.traps.smooth import loess
from invbgc.traps.statistics import compare, median_difference_interval
from invbgc.traps.table import read_flux_profiles, usable

__all__ = [
    "all_choices",
    "compare",
    "exponents",
    "from_replicates",
    "loess",
    "median_difference_interval",
    "phosphate_regions",
    "pooled_exponents",
    "profiles",
    "ratio",
    "read_bats",
    "read_flux_profiles",
    "region_of",
    "region_statistics",
    "screen",
    "usable",
]
