"""Memory for live factors, shared by the sparse systems of a model."""

import logging
import weakref
from typing import Protocol

GIB = 2**30


class Holder(Protocol):
    """Whoever holds factors."""

    name: str

    @property
    def held_bytes(self) -> int:
        """Memory of all its live factors."""
        ...


class FactorMemory:
    """How much memory live factors may take together.

    Args:
        limit: GiB. A system keeps one factor at least, whatever the limit.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self._holders: weakref.WeakSet = weakref.WeakSet()
        self._warned = False

    def join(self, holder: Holder) -> None:
        """Count the factors of a system."""
        self._holders.add(holder)

    def has_room(self, more: int) -> bool:
        """Whether so many bytes more stay below the limit."""
        return sum(holder.held_bytes for holder in self._holders) + more <= self.limit * GIB

    def warn(self, holder: Holder, needed: int) -> None:
        """Say once that the limit is too small for one factor of each system."""
        if not self._warned:
            self._warned = True
            logging.getLogger("invbgc").warning(
                "factors: %.2f GiB are too few; one factor of each system is kept all the same, that of %s in %.2f GiB",
                self.limit,
                holder.name,
                needed / GIB,
            )
