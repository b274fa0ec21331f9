"""Circulations: a grid, an audited transport operator, and the ways to get one."""

from invbgc.circulation.coarsen import Coarsening, coarsen, coarsening
from invbgc.circulation.core import Circulation, ConservationAudit, audit_transport
from invbgc.circulation.netcdf import read_circulation, write_circulation
from invbgc.circulation.ocim import read_ocim2_grid, read_ocim2_operator
from invbgc.circulation.registry import load_circulation

__all__ = [
    "Circulation",
    "Coarsening",
    "ConservationAudit",
    "audit_transport",
    "coarsen",
    "coarsening",
    "load_circulation",
    "read_circulation",
    "read_ocim2_grid",
    "read_ocim2_operator",
    "write_circulation",
]
