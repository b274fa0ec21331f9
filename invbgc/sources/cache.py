"""Getting the files of `invbgc.sources.registry`: a cache, downloads that resume, checksums, and work without network.

A file arrives as ``<name>.part`` and takes its final name only when it is complete and its checksum holds, so nothing
half-written is ever found under the final name. What was downloaded is recorded in ``checksums.json`` beside it.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

import pooch

from invbgc.errors import InputError
from invbgc.files import replaced
from invbgc.sources.download import Progress, Refused, state_file, transfer
from invbgc.sources.record import Source, SourceFile
from invbgc.sources.registry import SOURCES, get_source

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None

logger = logging.getLogger("invbgc")

CACHE_VARIABLE = "INVBGC_DATA"
"""Environment variable with the folder of the cache."""

OFFLINE_VARIABLE = "INVBGC_OFFLINE"
"""Environment variable; 1 forbids every access to the network."""

RECORD_NAME = "checksums.json"
"""File in the folder of a source: what was downloaded, from where, when, and its SHA-256."""


@dataclass(frozen=True)
class FileCheck:
    """Outcome of `verify` for one file.

    Attributes:
        source: name of the source.
        file: name of the file.
        status: "ok": as published or as recorded; "recorded": seen for the first time, its sum is now recorded;
            "failed": not the file that was published or recorded; "absent": not in the cache.
        message: one sentence.
    """

    source: str
    file: str
    status: Literal["ok", "recorded", "failed", "absent"]
    message: str


def cache_folder() -> Path:
    """Folder of the cache: variable INVBGC_DATA, otherwise the cache folder of the platform."""
    given = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(given).expanduser() if given else Path(pooch.os_cache("invbgc"))


def is_offline(offline: bool | None = None) -> bool:
    """Whether the network may not be used: the argument, otherwise variable INVBGC_OFFLINE."""
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "no", "false")


def local_path(source: Source, file: SourceFile, cache: Path | None = None) -> Path:
    """Where a file is in the cache, or would be."""
    return (cache or cache_folder()) / source.name / file.name


def is_present(source: Source, cache: Path | None = None) -> bool:
    """Whether all files that are fetched by default are in the cache."""
    return all(local_path(source, file, cache).exists() for file in source.files if not file.optional)


def located(name: str | Path) -> Path:
    """Path of an input that is given as a path, as a source, or as source/file; nothing is downloaded.

    Args:
        name: a path, or a key of `SOURCES`, whose only file is meant, or key/file.

    Returns:
        the path: as given, or in the cache.

    Raises:
        InputError: the source has several files, has no such file, or was not fetched.
    """
    first, *rest = Path(name).parts or ("",)
    if first not in SOURCES or Path(name).exists():
        return Path(name)
    source = SOURCES[first]
    names = [file.name for file in source.files if not file.optional]
    if not rest and len(names) > 1:
        raise InputError(f"Source '{first}': it has several files; expected one of {', '.join(source_paths(source))}.")
    file = source.file("/".join(rest)) if rest else source.files[0]
    path = local_path(source, file)
    if not path.exists():
        raise InputError(f"Source '{first}': {path} is absent; expected it to be fetched: invbgc data fetch {first}.")
    return path


def source_paths(source: Source) -> list[str]:
    """Names, as `located` takes them, of the files of a source."""
    return [f"{source.name}/{file.name}" for file in source.files]


def fetch(
    source: str | Source,
    names: Iterable[str] = (),
    *,
    cache: Path | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
    attempts: int = 4,
    wait: float = 2.0,
    timeout: float = 60.0,
) -> list[Path]:
    """The files of a source, from the cache or, where absent, from their publisher.

    A file in the cache is used as it is if it was recorded there with the same size; one put in place by hand is
    compared with the published checksum, or recorded where none is published. A download that breaks off is resumed
    where the server allows it and the file has not changed there, otherwise started again.

    Args:
        source: a name, or a record.
        names: files of the source; by default all that are not optional.
        cache: folder of the cache; by default `cache_folder`.
        offline: forbid the network; by default variable INVBGC_OFFLINE.
        progress: told about bytes received.
        attempts: attempts without progress before giving up an address.
        wait: seconds before the second attempt; doubled each time.
        timeout: seconds without an answer before an attempt counts as broken off.

    Returns:
        paths, in the order of the record (of `names`).

    Raises:
        InputError: the source or file is unknown; a file is absent and cannot be downloaded, does not have its
            published checksum, or cannot be written.
    """
    source = get_source(source) if isinstance(source, str) else source
    wanted = [source.file(name) for name in names] or [file for file in source.files if not file.optional]
    for file in wanted:
        target = local_path(source, file, cache)
        if target.exists():
            _accept(source, file, target)
            continue
        if is_offline(offline):
            raise InputError(
                f"Source '{source.name}': {file.name} is not in the cache, and the network is switched off (variable "
                f"{OFFLINE_VARIABLE} or an option). {_by_hand(source, file, target)}"
            )
        if file.url is None:
            raise InputError(
                f"Source '{source.name}': {file.name} cannot be downloaded automatically. "
                f"{_by_hand(source, file, target)}"
            )
        _download(source, file, target, progress, attempts, wait, timeout)
    return [local_path(source, file, cache) for file in wanted]


def verify(names: Iterable[str] = (), cache: Path | None = None) -> list[FileCheck]:
    """Compare the files in the cache with the published and the recorded checksums.

    Args:
        names: of sources; by default all.
        cache: folder of the cache; by default `cache_folder`.

    Returns:
        one check per file; optional files that are absent are left out.

    Raises:
        InputError: a name is unknown, or a file cannot be read.
    """
    sources = [get_source(name) for name in names] or list(SOURCES.values())
    checks = []
    for source in sources:
        for file in source.files:
            path = local_path(source, file, cache)
            if path.exists():
                checks.append(_check(source, file, path))
            elif not file.optional:
                checks.append(FileCheck(source.name, file.name, "absent", f"not at {path}"))
    return checks


# ---------------------------------------------------------------------- what is in the cache


def _by_hand(source: Source, file: SourceFile, target: Path) -> str:
    """What to do when a file is not there."""
    fetched = f", or run 'invbgc data fetch {source.name}' with network" if file.url else ""
    note = f" {source.note}" if source.note else ""
    return f"Get it from {file.url or source.landing} and put it at {target}{fetched}.{note}"


def _accept(source: Source, file: SourceFile, path: Path) -> None:
    """A file found in the cache: as recorded by its size; the first time by its checksum."""
    entry = _record(path).get(file.name)
    if path.is_dir() or (entry is not None and entry.get("bytes") == path.stat().st_size):
        return
    check = _check(source, file, path)
    if check.status == "failed":
        raise InputError(
            f"Source '{source.name}', file {path}: {check.message} Move it away to have it fetched again, or put the "
            f"right file in its place; if the change is meant, remove its entry in {RECORD_NAME} beside it."
        )


def _check(source: Source, file: SourceFile, path: Path) -> FileCheck:
    if path.is_dir():
        return FileCheck(source.name, file.name, "ok", f"{path} is a folder; its files are not compared.")
    entry = _record(path).get(file.name)
    expected = [("published", file.checksum)] if file.checksum else []
    expected += [(f"recorded on {entry['date']}", f"sha256:{entry['sha256']}")] if entry else []
    for origin, checksum in expected:
        algorithm, value = checksum.split(":")
        found = _sum(path, algorithm)
        if found.lower() != value.lower():
            return FileCheck(
                source.name, file.name, "failed", f"its {algorithm} is {found}; expected {value}, as {origin}."
            )
    if entry is None:
        _write_record(path, file, "put in place by hand")
    if not expected:
        return FileCheck(source.name, file.name, "recorded", "no published checksum; its sha256 is now recorded.")
    return FileCheck(source.name, file.name, "ok", f"as {' and as '.join(origin for origin, _ in expected)}.")


def _sum(path: Path, algorithm: str) -> str:
    try:
        return str(pooch.file_hash(str(path), alg=algorithm))
    except OSError as error:
        raise InputError(f"cannot read {path} for its checksum: {error.strerror}.") from error


def _record(path: Path) -> dict[str, dict[str, Any]]:
    """What is recorded in the folder of a file."""
    record = path.parent / RECORD_NAME
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError("expected a table of files")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{record}: not readable ({error}). Move it away to have the sums recorded again.") from error
    return entries


def _write_record(path: Path, file: SourceFile, origin: str) -> None:
    entry = {
        "sha256": _sum(path, "sha256"),
        "bytes": path.stat().st_size,
        "origin": origin,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    entries = {**_record(path), file.name: entry}
    with replaced(path.parent / RECORD_NAME) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------- downloads


def _download(
    source: Source,
    file: SourceFile,
    target: Path,
    progress: Progress | None,
    attempts: int,
    wait: float,
    timeout: float,
) -> None:
    """Try the addresses of a file in turn until one gives the file with the right checksum."""
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f"{target.name}.part"), source) as part:
            for url in [url for url in (file.url, *file.mirrors) if url]:
                try:
                    transfer(url, file, part, progress, attempts, wait, timeout)
                    part.flush()
                    os.fsync(part.fileno())
                    _require_sum(file, Path(part.name), part)
                except Refused as problem:
                    problems.append(f"{url}: {problem}")
                    logger.warning("source '%s', %s: %s", source.name, url, problem)
                    continue
                if fcntl is None:  # Windows renames no open file
                    part.close()
                Path(part.name).replace(target)
                state_file(Path(part.name)).unlink(missing_ok=True)
                _write_record(target, file, url)
                logger.info("source '%s': %s from %s", source.name, target, url)
                return
    except OSError as error:
        raise InputError(
            f"Source '{source.name}': cannot write {target}: {error.strerror or error}. Check the folder and the disk."
        ) from error
    raise InputError(
        f"Source '{source.name}': {file.name} could not be downloaded; {'; '.join(problems)}. "
        f"{_by_hand(source, file, target)}"
    )


@contextlib.contextmanager
def _locked(path: Path, source: Source) -> Iterator[IO[bytes]]:
    """The partial file, open for this process alone; removed afterwards if it is empty."""
    with path.open("ab+") as part:
        if fcntl is not None:
            busy = f"Source '{source.name}': another process is downloading {path}; wait for it to end."
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(busy) from None
            if not path.exists() or not os.path.samestat(os.fstat(part.fileno()), path.stat()):
                raise InputError(busy)  # it has just ended, and what is open here is the finished file
        try:
            yield part
        finally:
            if path.exists() and path.stat().st_size == 0:
                path.unlink()
                state_file(path).unlink(missing_ok=True)


def _require_sum(file: SourceFile, path: Path, part: IO[bytes]) -> None:
    """Compare a complete download with its published checksum; remove what does not fit."""
    if file.checksum is None:
        return
    algorithm, value = file.checksum.split(":")
    found = _sum(path, algorithm)
    if found.lower() != value.lower():
        part.truncate(0)
        raise Refused(f"the {algorithm} of what arrived is {found}; expected {value}; it was removed")
