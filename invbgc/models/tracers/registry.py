"""Tracers by name; a new one costs its file and a line here."""

from invbgc.models.tracers import radiocarbon
from invbgc.models.tracers.tracer import Tracer

TRACERS: dict[str, Tracer] = {"radiocarbon": radiocarbon.RADIOCARBON}
"""Name -> tracer."""
