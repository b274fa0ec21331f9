"""Getting the files of `invbgc.datasets.sources`: a cache, downloads that resume, checksums, and work without network.

A file arrives as ``<name>.part`` and takes its final name only when it is complete and its checksum holds, so nothing
half-written is ever found under the final name. What was downloaded is recorded in ``checksums.json`` beside it.
"""

import contextlib
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

import pooch

from invbgc.datasets.source_record import Source, SourceFile
from invbgc.datasets.sources import SOURCES, get_source
from invbgc.errors import InputError

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

BLOCK = 1 << 18
"""Bytes read at a time."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP answers worth another attempt."""

Progress = Callable[[str, int, int | None], Any]
"""Called with file name, bytes so far and total bytes (None where the server does not say)."""


class _Refused(Exception):
    """This address does not give the file, now or later."""


class _Interrupted(Exception):
    """The transfer broke off; another attempt may do better."""


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
    from invbgc.io import replaced  # that room stands below this one

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
                    _transfer(url, file, part, progress, attempts, wait, timeout)
                    part.flush()
                    os.fsync(part.fileno())
                    _require_sum(file, Path(part.name), part)
                except _Refused as problem:
                    problems.append(f"{url}: {problem}")
                    logger.warning("source '%s', %s: %s", source.name, url, problem)
                    continue
                if fcntl is None:  # Windows renames no open file
                    part.close()
                Path(part.name).replace(target)
                _state(Path(part.name)).unlink(missing_ok=True)
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
                _state(path).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    """File beside a partial download that says which version of which address it is the beginning of."""
    return part.with_name(f"{part.name}.json")


def _transfer(
    url: str, file: SourceFile, part: IO[bytes], progress: Progress | None, attempts: int, wait: float, timeout: float
) -> None:
    """Receive a file into `part`, resuming after interruptions; attempts that gain bytes do not count.

    Raises:
        _Refused: the address does not have the file, or too many attempts in a row gained nothing.
    """
    failures, furthest = 0, _length(part)
    while True:
        try:
            _attempt(url, file, part, progress, timeout)
            return
        except _Interrupted as problem:
            failures = 0 if _length(part) > furthest else failures + 1
            furthest = max(furthest, _length(part))
            if failures >= attempts:
                raise _Refused(f"{problem} ({attempts} attempts)") from problem
            logger.info("%s: %s; trying again", url, problem)
            time.sleep(wait * 2.0 ** max(failures - 1, 0))


def _length(part: IO[bytes]) -> int:
    return part.seek(0, os.SEEK_END)


def _attempt(url: str, file: SourceFile, part: IO[bytes], progress: Progress | None, timeout: float) -> None:
    """One request; what arrives is appended where the server continues, otherwise `part` starts again."""
    state = _state(Path(part.name))
    start = _length(part)
    headers = {"User-Agent": "invbgc", "Accept-Encoding": "identity", **_resume_headers(url, file, state, start)}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            begin = _begin(answer, start)
            part.truncate(begin)
            kind = answer.headers.get("Content-Type", "")
            if kind.startswith("text/html") and Path(file.name).suffix not in (".html", ".htm"):
                raise _Refused("a web page, not the file; the address may have changed")
            length = answer.headers.get("Content-Length")
            total = begin + int(length) if length else None
            validator = _validator(answer)
            state.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
            _receive(answer, file.name, part, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is nothing after what is here
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return
            part.truncate(0)
            raise _Interrupted("the partial file does not fit the file of the server") from error
        problem = f"HTTP {error.code} {error.reason}"
        raise (_Interrupted if error.code in PASSING else _Refused)(problem) from error
    except urllib.error.URLError as error:
        missing = isinstance(error.reason, FileNotFoundError) or str(error.reason).startswith("unknown url type")
        raise (_Refused if missing else _Interrupted)(f"{error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error


def _resume_headers(url: str, file: SourceFile, state: Path, start: int) -> dict[str, str]:
    """Ask for the rest only, if what is there is known to be the beginning of the same bytes."""
    if start == 0:
        return {}
    try:
        known = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get("url") == url and known.get("validator"):
        return {"Range": f"bytes={start}-", "If-Range": str(known["validator"])}
    return {"Range": f"bytes={start}-"} if file.checksum else {}


def _validator(answer: Any) -> str | None:
    """What identifies the version of a file: a strong entity tag, otherwise the date of its last change."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _begin(answer: Any, start: int) -> int:
    """Position in the file at which an answer begins."""
    if getattr(answer, "status", None) != 206:
        return 0
    content = str(answer.headers.get("Content-Range", ""))
    if not content.startswith(f"bytes {start}-"):
        raise _Refused(f"the server continues at {content!r}; expected byte {start}")
    return start


def _receive(answer: Any, name: str, part: IO[bytes], total: int | None, progress: Progress | None) -> None:
    done = _length(part)
    while block := answer.read(BLOCK):
        part.write(block)
        done += len(block)
        if progress is not None:
            progress(name, done, total)
    part.flush()
    if total is not None and done != total:
        raise _Interrupted(f"{done} of {total} bytes arrived")


def _require_sum(file: SourceFile, path: Path, part: IO[bytes]) -> None:
    """Compare a complete download with its published checksum; remove what does not fit."""
    if file.checksum is None:
        return
    algorithm, value = file.checksum.split(":")
    found = _sum(path, algorithm)
    if found.lower() != value.lower():
        part.truncate(0)
        raise _Refused(f"the {algorithm} of what arrived is {found}; expected {value}; it was removed")
