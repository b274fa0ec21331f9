"""External data by name: one record per source and version.

Nothing here is downloaded on import; `invbgc.sources.cache` does that.
"""

import difflib
from collections.abc import Iterable
from pathlib import PurePath

from invbgc.errors import InputError
from invbgc.sources.circulations import circulations
from invbgc.sources.observations import atmosphere, bottles, climatologies
from invbgc.sources.record import Source

SOURCES: dict[str, Source] = {
    source.name: source for source in (*circulations(), *bottles(), *climatologies(), *atmosphere())
}
"""Name -> record of every source."""


def get_source(name: str) -> Source:
    """The record of a source.

    Args:
        name: a key of `SOURCES`.

    Returns:
        the record.

    Raises:
        InputError: the name is unknown.
    """
    if name in SOURCES:
        return SOURCES[name]
    near = difflib.get_close_matches(name, SOURCES, n=1)
    raise InputError(
        f"Source '{name}' is unknown{f'; did you mean {near[0]!r}?' if near else '.'} All names: invbgc data list."
    )


def source_of(path: str | PurePath) -> Source | None:
    """The source that a file belongs to, by its name; for the citation of what a run has read.

    Args:
        path: of a file, in the cache or elsewhere.

    Returns:
        the record, None for a file that belongs to no source.
    """
    name = PurePath(path).name
    return next((source for source in SOURCES.values() if any(file.name == name for file in source.files)), None)


def provenance(path: str | PurePath) -> dict[str, str]:
    """Source, licence and, where the file is known by name, citation of a file that is read.

    Args:
        path: of the file.

    Returns:
        attributes for what is made of it.
    """
    name, source = PurePath(path).name, source_of(path)
    if source is None:
        return {"source": name, "licence": "that of the file"}
    return {"source": f"{source.title} ({name})", "licence": source.licence, "citation": source.citation}


def cite(names: Iterable[str] = ()) -> dict[str, str]:
    """What to cite for the sources used.

    Args:
        names: keys of `SOURCES`; all where none is given.

    Returns:
        citation of each name.

    Raises:
        InputError: a name is unknown.
    """
    return {name: get_source(name).citation for name in (list(names) or SOURCES)}
