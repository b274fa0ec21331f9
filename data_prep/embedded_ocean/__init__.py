"""The recipe of the embedded ocean, from public-domain climatologies to `invbgc/data/embedded_ocean.nc`."""
