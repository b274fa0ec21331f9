"""PETSc binary files: sparse matrices (AIJ) and vectors, as the transport matrix method stores them.

Everything is big-endian. A matrix is the class id 1211216, the numbers of rows, columns and entries, the number of
entries of each row, the column indices from zero, and the values in double precision. A vector is the class id 1211214,
the number of entries and the values. Integers have 32 bits, or 64 where PETSc was built for them; class id and file
length tell which. Complex values, dense matrices and block matrices are refused.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sparse

from invbgc.errors import InputError
from invbgc.files import replaced

MATRIX_CLASS = 1211216
"""Class id of a matrix."""

VECTOR_CLASS = 1211214
"""Class id of a vector."""


def read_petsc_matrix(path: str | Path) -> sparse.csr_array:
    """A sparse matrix from a PETSc binary file.

    Args:
        path: file with one AIJ matrix.

    Returns:
        [rows, columns] in the unit of the file.

    Raises:
        InputError: the file is missing, holds something else, is truncated, or is not a sound matrix.
    """
    content, integer = _content(path, MATRIX_CLASS, "matrix")
    rows, columns, entries = (int(value) for value in _take(path, content, integer, 1, 3, "the header"))
    if min(rows, columns) < 0 or entries < 0:
        raise InputError(
            f"PETSc matrix {path}: {rows} rows, {columns} columns, {entries} entries; expected an AIJ matrix (a dense "
            "one has -1 entries)."
        )
    head = (4 + rows + entries) * integer.itemsize
    expected = head + 8 * entries
    if len(content) != expected:
        raise InputError(
            f"PETSc matrix {path}: {len(content)} bytes; expected {expected} for {rows} rows and {entries} entries. "
            f"The file is {'truncated' if len(content) < expected else 'longer than one matrix of real values'}."
        )
    counts = _take(path, content, integer, 4, rows, "the row lengths")
    indices = _take(path, content, integer, 4 + rows, entries, "the column indices")
    pointer = np.r_[0, np.cumsum(counts, dtype=np.int64)]
    if np.any(counts < 0) or pointer[-1] != entries:
        raise InputError(f"PETSc matrix {path}: the rows hold {pointer[-1]} entries; expected {entries}.")
    if entries and (indices.min() < 0 or indices.max() >= columns):
        raise InputError(
            f"PETSc matrix {path}: column indices from {indices.min()} to {indices.max()}; expected 0 to {columns - 1}."
        )
    values = np.frombuffer(content, dtype=">f8", count=entries, offset=head).astype(np.float64)
    return sparse.csr_array((values, indices.astype(np.int64), pointer), shape=(rows, columns))


def read_petsc_vector(path: str | Path) -> np.ndarray:
    """A vector from a PETSc binary file.

    Args:
        path: file with one vector.

    Returns:
        [n] in the unit of the file.

    Raises:
        InputError: the file is missing, holds something else, or is truncated.
    """
    content, integer = _content(path, VECTOR_CLASS, "vector")
    size = int(_take(path, content, integer, 1, 1, "the header")[0])
    expected = 2 * integer.itemsize + 8 * size
    if size < 0 or len(content) != expected:
        raise InputError(f"PETSc vector {path}: {len(content)} bytes; expected {expected} for {size} entries.")
    return np.frombuffer(content, dtype=">f8", count=size, offset=2 * integer.itemsize).astype(np.float64)


def _content(path: str | Path, class_id: int, what: str) -> tuple[bytes, np.dtype]:
    """The bytes of a file and the integer type it uses, from the class id at its start."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"PETSc {what} {path}: cannot be read ({error.strerror or error}).") from error
    for integer in (np.dtype(">i4"), np.dtype(">i8")):
        if len(content) >= integer.itemsize and int(np.frombuffer(content, integer, 1)[0]) == class_id:
            return content, integer
    first = int.from_bytes(content[:4], "big")
    known = {MATRIX_CLASS: "a matrix", VECTOR_CLASS: "a vector"}.get(first, f"{len(content)} bytes, not PETSc")
    raise InputError(f"PETSc {what} {path}: starts with {first} ({known}); expected class id {class_id}, big-endian.")


def _take(path: str | Path, content: bytes, integer: np.dtype, start: int, count: int, what: str) -> np.ndarray:
    if len(content) < (start + count) * integer.itemsize:
        raise InputError(f"PETSc file {path}: {len(content)} bytes; it is truncated in {what}.")
    return np.frombuffer(content, integer, count, start * integer.itemsize)


def write_petsc_matrix(matrix: object, path: str | Path) -> Path:
    """Write a sparse matrix as a PETSc binary file with 32-bit integers, whole or not at all.

    Args:
        matrix: sparse [rows, columns].
        path: the file.

    Returns:
        the path.

    Raises:
        InputError: the file cannot be written, or the matrix is too large for 32-bit integers.
    """
    csr = sparse.csr_array(matrix, dtype=np.float64, copy=True)  # pyright: ignore[reportArgumentType]
    csr.sum_duplicates()
    rows, columns = csr.shape  # pyright: ignore[reportGeneralTypeIssues]
    if max(rows, columns, csr.nnz) > np.iinfo(np.int32).max:
        raise InputError(f"PETSc matrix {path}: {csr.nnz} entries do not fit 32-bit integers.")
    header = np.array([MATRIX_CLASS, rows, columns, csr.nnz], dtype=">i4")
    parts = (header, np.diff(csr.indptr).astype(">i4"), csr.indices.astype(">i4"), csr.data.astype(">f8"))
    return _write(path, parts)


def write_petsc_vector(vector: object, path: str | Path) -> Path:
    """Write a vector [n] as a PETSc binary file with 32-bit integers, whole or not at all; see `write_petsc_matrix`."""
    values = np.asarray(vector, dtype=">f8").ravel()
    return _write(path, (np.array([VECTOR_CLASS, values.size], dtype=">i4"), values))


def _write(path: str | Path, parts: tuple[np.ndarray, ...]) -> Path:
    with replaced(path) as temporary:
        temporary.write_bytes(b"".join(part.tobytes() for part in parts))
    return Path(path)
