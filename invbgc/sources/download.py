"""One address into one partial file: requests that resume where they broke off."""

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from invbgc.sources.record import SourceFile

logger = logging.getLogger("invbgc")

BLOCK = 1 << 18
"""Bytes read at a time."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP answers worth another attempt."""

Progress = Callable[[str, int, int | None], Any]
"""Called with file name, bytes so far and total bytes (None where the server does not say)."""


class Refused(Exception):
    """This address does not give the file, now or later."""


class _Interrupted(Exception):
    """The transfer broke off; another attempt may do better."""


def state_file(part: Path) -> Path:
    """File beside a partial download that says which version of which address it is the beginning of."""
    return part.with_name(f"{part.name}.json")


def transfer(
    url: str, file: SourceFile, part: IO[bytes], progress: Progress | None, attempts: int, wait: float, timeout: float
) -> None:
    """Receive a file into `part`, resuming after interruptions; attempts that gain bytes do not count.

    Raises:
        Refused: the address does not have the file, or too many attempts in a row gained nothing.
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
                raise Refused(f"{problem} ({attempts} attempts)") from problem
            logger.info("%s: %s; trying again", url, problem)
            time.sleep(wait * 2.0 ** max(failures - 1, 0))


def _length(part: IO[bytes]) -> int:
    return part.seek(0, os.SEEK_END)


def _attempt(url: str, file: SourceFile, part: IO[bytes], progress: Progress | None, timeout: float) -> None:
    """One request; what arrives is appended where the server continues, otherwise `part` starts again."""
    state = state_file(Path(part.name))
    start = _length(part)
    headers = {"User-Agent": "invbgc", "Accept-Encoding": "identity", **_resume_headers(url, file, state, start)}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            begin = _begin(answer, start)
            part.truncate(begin)
            kind = answer.headers.get("Content-Type", "")
            if kind.startswith("text/html") and Path(file.name).suffix not in (".html", ".htm"):
                raise Refused("a web page, not the file; the address may have changed")
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
        raise (_Interrupted if error.code in PASSING else Refused)(problem) from error
    except urllib.error.URLError as error:
        missing = isinstance(error.reason, FileNotFoundError) or str(error.reason).startswith("unknown url type")
        raise (Refused if missing else _Interrupted)(f"{error.reason}") from error
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
        raise Refused(f"the server continues at {content!r}; expected byte {start}")
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
