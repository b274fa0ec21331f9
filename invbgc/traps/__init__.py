"""Fluxes of sinking particles from sediment traps: reading, quality, exponents of elements, regions, statistics."""
