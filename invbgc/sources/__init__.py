"""External data by name: where they are, under which terms, what to cite, and how they come into the cache."""

from invbgc.sources.cache import cache_folder, fetch, located, verify
from invbgc.sources.record import Source, SourceFile
from invbgc.sources.registry import SOURCES, cite, get_source, source_of

__all__ = [
    "SOURCES",
    "Source",
    "SourceFile",
    "cache_folder",
    "cite",
    "fetch",
    "get_source",
    "located",
    "source_of",
    "verify",
]
