"""invbgc: Bayesian inverse modelling of the ocean's carbon cycle by automatic differentiation."""

import jax

# Double precision must be chosen before the first JAX array exists: the inventories are set by rates of 1e-6 per
# year, which single precision cannot resolve.
jax.config.update("jax_enable_x64", True)

__version__ = "0.1.0"
