"""Checkpoints: numbered files of which the newest readable one is the truth.

A checkpoint is written beside its place, forced to disk and renamed; the last few are kept. Every array carries the
checksum of its zip archive, so that a damaged file is noticed and the one before it is used.
"""

import dataclasses
import hashlib
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse

from invbgc.errors import CheckpointError
from invbgc.files import replaced

KEPT = 3
"""Checkpoints kept in a folder."""

_FORMAT = 2
_NAME = re.compile(r"checkpoint_(\d{6})\.npz")
# zipfile raises NotImplementedError where damage makes a member look compressed in a way it does not know.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_log = logging.getLogger("invbgc")


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder of checkpoints of one run.

    Attributes:
        path: the folder.
        fingerprint: what the run depends on, item -> digest or text; see `digest`.
    """

    path: Path
    fingerprint: Mapping[str, str]

    def files(self) -> dict[int, Path]:
        """Checkpoints by number, newest first."""
        if not self.path.is_dir():
            return {}
        matches = ((_NAME.fullmatch(file.name), file) for file in self.path.iterdir())
        found = {int(match.group(1)): file for match, file in matches if match}
        return dict(sorted(found.items(), reverse=True))

    def save(self, number: int, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
        """Write a checkpoint; remove old ones, and any with a higher number (they belong to an abandoned run).

        Args:
            number: of the checkpoint, increasing along the run.
            header: JSON values.
            arrays: numbers.

        Returns:
            The file.

        Raises:
            InputError: the folder cannot be written.
        """
        content = {"format": _FORMAT, "fingerprint": dict(self.fingerprint), "header": dict(header)}
        path = self.path / f"checkpoint_{number:06d}.npz"
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez(file, header=np.frombuffer(json.dumps(content).encode(), dtype=np.uint8), **dict(arrays))  # type: ignore[arg-type]
        earlier = [file for key, file in self.files().items() if key <= number]
        for file in self.files().values():
            if file not in earlier[:KEPT]:
                file.unlink(missing_ok=True)
        return path

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The newest readable checkpoint.

        Returns:
            Header and arrays; None where the folder holds no checkpoint.

        Raises:
            CheckpointError: all checkpoints are damaged, or they belong to another problem.
        """
        files = self.files().values()
        for file in files:
            try:
                with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
                content = json.loads(arrays.pop("header").tobytes().decode())
                if content["format"] != _FORMAT:
                    raise ValueError(f"format {content['format']}; expected {_FORMAT}")
                header, fingerprint = content["header"], content["fingerprint"]
            except _UNREADABLE as error:
                _log.warning("checkpoint %s is damaged (%s); falling back to the one before it", file, error)
                continue
            self._compare(file, fingerprint)
            return header, arrays
        if files:
            raise CheckpointError(
                f"{self.path} holds {len(files)} checkpoint(s), none of them readable; expected one at least. "
                "Remove the folder, or start afresh with resume=False."
            )
        return None

    def _compare(self, file: Path, found: Mapping[str, str]) -> None:
        different = [key for key in {**self.fingerprint, **found} if self.fingerprint.get(key) != found.get(key)]
        if different:
            parts = "; ".join(
                f"{key}: {found.get(key, 'absent')} there, {self.fingerprint.get(key, 'absent')} here"
                for key in different
            )
            raise CheckpointError(
                f"{file} belongs to another problem and cannot be resumed: {parts}. Use another checkpoint folder, or "
                "start afresh with resume=False, which replaces the checkpoints there."
            )


def digest(*parts: Any) -> str:
    """Short checksum of numbers, text, arrays, sparse matrices, and dataclasses, mappings or sequences of them."""
    state = hashlib.sha256()
    for part in parts:
        _feed(state, part)
    return state.hexdigest()[:16]


def _feed(state: Any, part: Any) -> None:
    if part is None or isinstance(part, str | bool | int | float | Path):
        state.update(f"{type(part).__name__}:{part!r};".encode())
    elif sparse.issparse(part):
        matrix = sparse.csr_array(part)
        for array in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data):
            _feed(state, array)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            state.update(f"{field.name}=".encode())
            _feed(state, getattr(part, field.name))
    elif isinstance(part, Mapping):
        for key in sorted(part):
            state.update(f"{key}=".encode())
            _feed(state, part[key])
    elif isinstance(part, list | tuple):
        for item in part:
            _feed(state, item)
    else:
        array = np.ascontiguousarray(part)
        if array.dtype.hasobject:
            raise TypeError(f"digest: cannot take the checksum of a {type(part).__name__}")
        state.update(f"{array.dtype.str}{array.shape};".encode())
        state.update(array.tobytes())
