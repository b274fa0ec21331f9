"""TOML files with a declared content: read and checked with the line of every problem, and written with comments.

A file is declared as a pydantic model of sections, each a `Section`; a field is declared once, with its default and its
description. The declaration reads the file, checks it and writes a commented template.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from invbgc.errors import InputError


class Section(BaseModel):
    """A section of a file, or the file: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Content = TypeVar("Content", bound=Section)


def read_toml(path: str | Path, kind: type[Content], what: str, how: str) -> Content:
    """Read a file and check every key, type and choice.

    Args:
        path: the file.
        kind: its declaration.
        what: what it is called in messages, such as "run file".
        how: the command that writes a template of it.

    Returns:
        the content.

    Raises:
        InputError: the file is missing, is not TOML, or holds an unknown key or a wrong value; every problem is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"cannot read the {what} {path}: {reason}. Write one with: {how} {path}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [_explain(item, text, path, kind) for item in error.errors()]
        raise InputError(join_problems(problems)) from error


def write_text(path: str | Path, text: str, overwrite: bool = False) -> Path:
    """Write a template.

    Args:
        path: the file to write; its folder is made.
        text: its content.
        overwrite: replace an existing file.

    Returns:
        the path.

    Raises:
        InputError: the file exists, or its folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, or overwrite it with --force.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from error
    return path


def nearest(word: str, valid: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Say which valid names a mistyped one may have meant, then list all.

    Args:
        word: what was found.
        valid: the names that would have been accepted.
        aliases: other names the user may know, and the valid name of each.

    Returns:
        A sentence such as ``Did you mean 'labile'? Valid: labile, c_to_p.``
    """
    names = list(dict.fromkeys(valid))
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), folded, n=2, cutoff=0.55)
    meant = [folded[name] for name in close]
    meant += [name for alias, name in (aliases or {}).items() if alias == word and name not in meant]
    hint = f"Did you mean {' or '.join(repr(name) for name in meant)}? " if meant else ""
    return f"{hint}Valid: {', '.join(names)}."


def _explain(item: Any, text: str, path: Path, kind: type[Section]) -> str:
    """Turn one finding of the validator into a sentence with place and remedy."""
    location = [str(part) for part in item["loc"]]
    parent, depth = _descend(kind, location)
    if location[depth:] == ["[key]"]:  # the name of a subsection is wrong, not something inside it
        depth -= 1
        section, key = ".".join(location[:depth]), ""
    else:
        section, key = ".".join(location[:depth]), location[depth] if depth < len(location) else ""
    found = item.get("input")
    if item["type"] == "extra_forbidden" and parent is kind:
        section, key = key, ""
    line = _line_of(text, section, key)
    place = f"{path}{f', line {line}' if line else ''}"
    if item["type"] == "extra_forbidden":
        valid = parent.model_fields
        if not key:
            return f"{place}: there is no section [{section}]. {nearest(section, valid)}"
        return f"{place}, [{section}]: unknown key {key!r}. {nearest(key, valid)}"
    place += f", [{section}]"
    if item["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'|(\d+)", item["ctx"]["expected"])
        valid = [word or number for word, number in choices]
        if location[-1] == "[key]":
            found = location[-2]
        return f"{place}{f' {key}' if key else ''}: {found!r} is not a choice. {nearest(str(found), valid)}"
    message = str(item["msg"]).removeprefix("Input ").rstrip(".")
    return f"{place}{f' {key}' if key else ''}: found {found!r}; it {message}."


def _descend(kind: type[Section], location: list[str]) -> tuple[type[Section], int]:
    """The innermost section that a place lies in, and how many words of the place name it."""
    depth = 0
    while depth < len(location) and location[depth] in kind.model_fields:
        annotation = kind.model_fields[location[depth]].annotation
        parts = [annotation, *get_args(annotation)]
        inner = next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)
        if inner is None:
            break
        depth += 1 if inner is annotation or type(None) in parts else 2
        kind = inner
    return kind, min(depth, len(location))


def _line_of(text: str, section: str, key: str) -> int | None:
    """Find the line of a key (or of a section) in the text, to point the user at it."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]\s]+)\s*\]", line)
        if header:
            current = header.group(1)
            if not key and current == section:
                return number
        elif key and current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return None


def join_problems(problems: list[str]) -> str:
    """Put the problems found into one message, numbered when there are several."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems:\n" + "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))
