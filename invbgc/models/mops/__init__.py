"""MOPS with flexible C:P on transport matrices (Kriest & Oschlies 2015; Tanioka et al. 2021)."""

from invbgc.models.mops.model import MopsModel
from invbgc.models.mops.options import MopsOptions
from invbgc.models.mops.parameters import mops_parameters

__all__ = ["MopsModel", "MopsOptions", "mops_parameters"]
