"""External data by name: one record per source and version.

Nothing here is downloaded on import; `invbgc.datasets.fetch` does that.
"""

import difflib
from collections.abc import Iterable
from pathlib import PurePath

from invbgc.datasets.circulation_sources import circulations
from invbgc.datasets.observation_sources import atmosphere, bottles, climatologies
from invbgc.datasets.source_record import Source
from invbgc.errors import InputError

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
