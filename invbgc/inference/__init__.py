"""Posterior, optimum and uncertainty."""
