"""Sparse linear algebra: factorisations with explicit lifetime, and the JAX-facing linear solve."""
