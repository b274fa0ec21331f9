"""The phosphorus, carbon and oxygen model of Wang et al. (2023)."""

from invbgc.models.pco.model import PCOModel
from invbgc.models.pco.options import PCOOptions
from invbgc.models.pco.parameters import pco_parameters

__all__ = ["PCOModel", "PCOOptions", "pco_parameters"]
