"""Datasets: forcing and observations on a grid, by name or from a file, checked before anything is computed."""

from invbgc.datasets.forcing import Forcing, data_constants
from invbgc.datasets.registry import DatasetRecord, list_datasets, load_dataset
from invbgc.datasets.schema import open_dataset

__all__ = ["DatasetRecord", "Forcing", "data_constants", "list_datasets", "load_dataset", "open_dataset"]
