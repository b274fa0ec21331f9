"""What is recorded about external data: a source and its files.

A URL of None means that no stable address of the file is known, or that its terms ask users to get it
themselves; `note` says how. A checksum of None means that none is published; the sum is then recorded on first
download and compared later.
"""

from dataclasses import dataclass

from invbgc.errors import InputError

MEGABYTE = 1_000_000
"""Bytes of a megabyte; sizes published in megabytes are rounded to it."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: file name in the cache; a folder where the source is a set of files.
        url: address; None if it must be got by hand.
        checksum: "sha256:..." or "md5:..." as published; None where none is.
        size: bytes, as published (some publishers round to megabytes); None where not known. For information only.
        mirrors: addresses of the same bytes, tried in this order after `url`.
        optional: fetched only when asked for by name; another file of the source has the same content.
    """

    name: str
    url: str | None = None
    checksum: str | None = None
    size: int | None = None
    mirrors: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """What is known about a source of data.

    Attributes:
        name: word by which it is fetched; also the name of its folder in the cache.
        version: version of the data.
        title: what it is.
        files: its files.
        licence: terms of use.
        citation: what to cite, with DOI.
        landing: page that describes it.
        reader: dotted name of the function that reads its files; None if there is none yet.
        note: what else a user must know: units, updates, how to get it by hand.
    """

    name: str
    version: str
    title: str
    files: tuple[SourceFile, ...]
    licence: str
    citation: str
    landing: str
    reader: str | None = None
    note: str = ""

    @property
    def size(self) -> int | None:
        """Bytes of the files that are fetched by default; None if one of them is not known."""
        sizes = [file.size for file in self.files if not file.optional]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def file(self, name: str) -> SourceFile:
        """The file of that name.

        Raises:
            InputError: there is none.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise InputError(
            f"Source '{self.name}' has no file '{name}'; expected one of {', '.join(file.name for file in self.files)}."
        )


# ---------------------------------------------------------------------- circulations
