"""Models put together from single tracers, one file each."""

from invbgc.models.tracers.model import TracerModel
from invbgc.models.tracers.registry import TRACERS
from invbgc.models.tracers.tracer import Surroundings, Tracer

__all__ = ["TRACERS", "Surroundings", "Tracer", "TracerModel"]
