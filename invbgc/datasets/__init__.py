"""Datasets: forcing and observations on a grid, by name or from a file, checked before anything is computed."""

from invbgc.datasets.forcing import Forcing, data_constants
from invbgc.datasets.schema import open_dataset

__all__ = ["Forcing", "data_constants", "open_dataset"]
