"""A family of sparse matrices with one pattern: its analysis, its live factors, and what they cost.

The matrices are A(c) with coefficients c that change from evaluation to evaluation while the pattern never does. A
`SparseSystem` hands out an integer *token* for each factorisation (a version number); solves name the token, not the
matrix, so that no matrix is hashed or shipped per solve. A token stays valid for a while after its factor was freed:
the coefficients are kept, and the factor is made again if somebody asks.

JAX runs callbacks that do not depend on each other side by side, in threads of its own: each system does one thing at a
time, under its lock.
"""

import hashlib
import itertools
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from invbgc.errors import ConvergenceError
from invbgc.linalg.backend import FACTOR_PRICE, ON_A_GPU, Factor, find_backend
from invbgc.linalg.inventory import Inventory
from invbgc.linalg.krylov import ENDS, KrylovResult, gmres, refine
from invbgc.linalg.low_rank import LowRankFactor, LowRankSum
from invbgc.linalg.memory import FactorMemory
from invbgc.linalg.operators import SparseOperator

LOG = logging.getLogger("invbgc")

REFINE_ABOVE = 1e-14
"""Backward error above which a solve is refined."""

FAIL_ABOVE = 1e-8
"""Backward error above which a refined solve is an error."""

SINGULAR_ABOVE = 1e13
"""Growth |A||x| / |b| of a solve above which the matrix counts as singular: hardly a digit of x would be right.
Restoring rates of 1e-6 per year give growths of 1e10 to 3e12."""

REFINEMENTS = 3
"""Refinement steps tried before a solve is judged."""

COLUMN_PRICE = 0.45
"""What each further column of a block adds to the price of an iteration."""

RENTED_ITERATIONS = 10
"""Iterations that a first solve with a nearby factor is expected to take more than with a factor of its own."""

OWN_LIMIT = 100
"""Iterations after which a solve with a factor of one's own that is not exact has failed."""

KRYLOV_TOLERANCE = 1e-12
"""Relative residual wanted of solves with a nearby factor; a last step brings it below."""

ROUNDING = 1e-17
"""Residual over |A||x| below which no iteration goes: less than the rounding of A x, whose errors are independent."""

NEAR = 0.5
"""Distance of coefficients (`_distance`) below which a factor is tried for another matrix."""

REMEMBERED = 24
"""Tokens whose coefficients are kept after their factor was freed."""


@dataclass
class Counters:
    """What the sparse solves cost; counters of several systems add up.

    Attributes:
        analyses: symbolic analyses, one per pattern.
        factorisations: numeric factorisations.
        solves: right-hand sides solved, forward or transposed, refinements not counted.
        refinements: extra solves spent on refinement.
        krylov_iterations: solves spent in Krylov iterations with the factor of a nearby matrix.
        factor_seconds: time spent in factorisations.
        solve_seconds: time spent in solves, residuals included.
        max_residual: largest backward error max|b - A x| / max(|A||x| + |b|) after refinement.
    """

    analyses: int = 0
    factorisations: int = 0
    solves: int = 0
    refinements: int = 0
    krylov_iterations: int = 0
    factor_seconds: float = 0.0
    solve_seconds: float = 0.0
    max_residual: float = 0.0

    def __add__(self, other: "Counters") -> "Counters":
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        total["max_residual"] = max(self.max_residual, other.max_residual)
        return Counters(**total)

    def as_dict(self) -> dict[str, float]:
        """The counters by name."""
        return asdict(self)


class _Live(NamedTuple):
    factor: Factor
    matrix: sp.csr_array | LowRankSum
    norm: float


@dataclass
class _Rented:
    """A matrix solved with the factor of another: what that has cost beyond solves with a factor of its own.

    Attributes:
        matrix: A(c).
        norm: its infinity norm.
        spent: the cost so far, in iterations of one column.
        expected: tolerance -> iterations that the next solve will take more than with a factor of its own, as the last
            one did; `RENTED_ITERATIONS` where there was none.
    """

    matrix: sp.csr_array | LowRankSum
    norm: float
    spent: float = 0.0
    expected: dict[float, int] = field(default_factory=dict)


class SparseSystem:
    """Factorisations of one family of matrices.

    Args:
        operator: the family.
        name: a word for messages.
        backend: name of the sparse solver, or ``"auto"``.
        keep: live factors held at most. A new one takes the place of one that is near, otherwise of the one used least
            recently.
        reuse: solve with the factor of a nearby matrix, by GMRES, as long as the solves with a matrix cost less than
            its factor (`FACTOR_PRICE`). A matrix is factored when its solves have cost that much, or will.
        single: factor in single precision, which takes half the time and memory, and iterate to the accuracy of
            double precision; for matrices whose factor costs far more than its solves.
        memory: what the live factors of several systems may take together; without it, `keep` alone counts. Where it
            is too little for `keep` of them, they are made in single precision.
    """

    def __init__(
        self,
        operator: SparseOperator,
        name: str,
        backend: str = "auto",
        keep: int = 3,
        reuse: bool = False,
        single: bool = False,
        memory: FactorMemory | None = None,
    ):
        self.operator = operator
        self.name = name
        self.backend, analyse = find_backend(backend)
        self._factor_price = FACTOR_PRICE[self.backend]
        self._analyse = analyse
        self._pattern = operator.pattern
        self._analysis = None
        self._keep = keep
        self._reuse, self._single = reuse, single
        self._factor_bytes, self._memory = 0, memory
        if memory is not None:
            memory.join(self)
        self._own_iterations = 1  # of the last full solve with a factor of its own; one where factors are exact
        self._rented: OrderedDict[int, _Rented] = OrderedDict()
        self._live: OrderedDict[int, _Live] = OrderedDict()
        self._coefficients: OrderedDict[int, tuple[np.ndarray, ...]] = OrderedDict()
        self._tokens: dict[bytes, int] = {}
        self._next = itertools.count(1)
        self._lock = threading.RLock()
        #: The first failure, or interrupt, inside a JAX callback, which can return NaN but not raise.
        self.failure: ConvergenceError | KeyboardInterrupt | None = None
        weakref.finalize(self, _free_all, self._live)
        self.counters = Counters()

    @property
    def _inventory(self) -> Inventory | None:
        """The inventory, where iterations need help with it."""
        return self.operator.inventory if self._single else None

    def factorise(self, *coefficients: np.ndarray) -> int:
        """Token of A(c), which is factored now unless the factor of a nearby matrix may serve.

        Equal coefficients get the token they had before, without new work.
        """
        digest = hashlib.blake2b(digest_size=16)
        for array in coefficients:
            digest.update(np.ascontiguousarray(array).data)
        key = digest.digest()
        with self._lock:
            token = self._tokens.get(key)
            if token is None:
                token = next(self._next)
                self._tokens[key] = token
                self._coefficients[token] = tuple(np.array(array) for array in coefficients)
                while len(self._coefficients) > REMEMBERED:
                    self.forget(next(iter(self._coefficients)))
            self._coefficients.move_to_end(token)
            if self._nearest(token) is None:
                self._factor(token)
            return token

    def _nearest(self, token: int) -> int | None:
        """The live factor to solve with instead of one's own: that of the nearest coefficients, if they are near."""
        if not self._reuse or token in self._live:
            return None
        wanted = self._coefficients.get(token)
        if wanted is None:
            return None
        distances = {other: _distance(wanted, self._coefficients[other]) for other in self._live}
        best = min(distances, key=lambda other: distances[other], default=None)
        return best if best is not None and distances[best] < NEAR else None

    def _factor(self, token: int) -> _Live:
        if token in self._live:
            self._live.move_to_end(token)
            return self._live[token]
        if token not in self._coefficients:
            raise ConvergenceError(f"{self.name}: factor {token} was released and its coefficients are forgotten")
        start = time.perf_counter()
        first = self._analysis is None
        matrix, norm = self._matrix(token)
        self._make_room(token)
        self._rented.pop(token, None)
        factor = self._numeric(matrix)
        if first and not self._single and self._scarce(factor.bytes):
            factor.free()
            self._single, self._analysis = True, None
            factor = self._numeric(matrix)
        self._live[token] = _Live(factor, matrix, norm)
        self._factor_bytes = factor.bytes
        self.counters.factor_seconds += time.perf_counter() - start
        return self._live[token]

    def _numeric(self, matrix: sp.csr_array | LowRankSum) -> Factor:
        """Analyse the pattern, if that was not done, and factor the values."""
        if self._analysis is None:
            self._analysis = self._analyse(self._pattern, self._single)
            self.counters.analyses += 1
        self.counters.factorisations += 1
        low_rank = self.operator.low_rank
        if low_rank is not None:
            return LowRankFactor(self._analysis.factor(matrix.data), *low_rank)
        assert isinstance(matrix, sp.csr_array)
        held = matrix if self._inventory is None else _with_diagonal(matrix, self._inventory.hold)
        return self._analysis.factor(held.data)

    def _scarce(self, factor_bytes: int) -> bool:
        """Whether exact factors would have to be freed and made again, where those of half the size may stay."""
        return (
            self._memory is not None
            and self.backend not in ON_A_GPU
            and not self._memory.has_room(self._keep * factor_bytes)
        )

    def _make_room(self, token: int) -> None:
        """Free factors, that of a nearby matrix or the one used least recently, until there is room for another."""

        def full() -> bool:
            return self._memory is not None and not self._memory.has_room(self._factor_bytes)

        while self._live and (len(self._live) >= self._keep or full()):
            near = self._nearest(token)
            self.release(next(iter(self._live)) if near is None else near)
        if self._memory is not None and full():
            self._memory.warn(self, self._factor_bytes)

    @property
    def held_bytes(self) -> int:
        """Memory of all live factors."""
        return len(self._live) * self._factor_bytes

    def _matrix(self, token: int) -> tuple[sp.csr_array | LowRankSum, float]:
        """A(c) and its infinity norm."""
        if token in self._rented:
            return self._rented[token].matrix, self._rented[token].norm
        values = self.operator.values(self._coefficients[token])
        if not np.isfinite(values).all():
            raise ConvergenceError(f"{self.name}: the matrix holds values that are not finite")
        matrix = sp.csr_array((values, self._pattern.indices, self._pattern.indptr), shape=self._pattern.shape)
        norm = float(abs(matrix).sum(axis=1).max())
        low_rank = self.operator.low_rank
        return (matrix if low_rank is None else LowRankSum(matrix, *low_rank)), norm

    def solve(
        self, token: int, rhs: np.ndarray, transposed: bool = False, tolerance: float = KRYLOV_TOLERANCE
    ) -> np.ndarray:
        """Solve A x = b or A^T x = b for a block of right-hand sides, refined to round-off.

        Args:
            token: from `factorise`.
            rhs: [n] or [n, k].
            transposed: solve with the transpose.
            tolerance: relative residual that suffices, where iterations find the solution.

        Returns:
            x, of the shape of rhs.

        Raises:
            ConvergenceError: the backward error stays above `FAIL_ABOVE` after refinement, or the matrix is singular.
        """
        with self._lock:
            block = np.asfortranarray(rhs.reshape(rhs.shape[0], -1))
            near = self._nearest(token)
            solution = None if near is None else self._rent(token, near, block, transposed, tolerance)
            if solution is None:
                live = self._factor(token)
                if not self._single:
                    solution = self._solve(live, block, transposed)
                else:
                    solution = self._iterate(live, block, transposed, tolerance)
            return solution.reshape(rhs.shape)

    def _rent(self, token: int, near: int, block: np.ndarray, transposed: bool, tolerance: float) -> np.ndarray | None:
        """Solve with the factor of a nearby matrix; None where a factor of its own is, or will be, cheaper."""
        rented = self._rent_of(token)
        factor = self._live[near].factor
        price = 1.0 + COLUMN_PRICE * (block.shape[1] - 1)
        left = self._factor_price * factor.entries / len(block) - rented.spent
        if price * rented.expected.get(tolerance, RENTED_ITERATIONS) > left:
            return None
        self._live.move_to_end(near)
        limit = self._own_iterations + int(left / price)
        found = self._gmres(rented, factor, block, transposed, tolerance, limit)
        excess = max(found.iterations - self._own_iterations, 0)
        rented.spent += excess * price
        if not found.converged:
            return None
        matrix = rented.matrix.T if transposed else rented.matrix
        error, growth = self._judge(rented.norm, block, found.solution, block - matrix @ found.solution)
        if not error <= tolerance or not growth <= SINGULAR_ABOVE:
            return None  # a factor of its own says what is wrong
        self.counters.solves += block.shape[1]
        rented.expected[tolerance] = excess
        if tolerance == KRYLOV_TOLERANCE:
            self.counters.max_residual = max(self.counters.max_residual, error)
        return found.solution

    def _rent_of(self, token: int) -> _Rented:
        """The matrix of a token that has no factor, and what its solves have cost."""
        if token not in self._rented:
            self._rented[token] = _Rented(*self._matrix(token))
            while len(self._rented) > self._keep:
                self._rented.popitem(last=False)
        return self._rented[token]

    def _iterate(self, live: _Live, block: np.ndarray, transposed: bool, tolerance: float) -> np.ndarray:
        """Solve with a factor of one's own that is not exact: by refinement, or by GMRES where that is slow."""
        found = None if self._inventory is not None else self._refine(live, block, transposed, tolerance)
        if found is None or not found.converged:
            found = self._gmres(live, live.factor, block, transposed, tolerance, OWN_LIMIT)
        matrix = live.matrix.T if transposed else live.matrix
        error, growth = self._judge(live.norm, block, found.solution, block - matrix @ found.solution)
        self._accept(error if found.converged else np.inf, growth, transposed, max(FAIL_ABOVE, tolerance))
        self.counters.solves += block.shape[1]
        if tolerance == KRYLOV_TOLERANCE:
            self._own_iterations = found.iterations
            self.counters.max_residual = max(self.counters.max_residual, error)
        return found.solution

    def _refine(self, live: _Live, block: np.ndarray, transposed: bool, tolerance: float) -> KrylovResult:
        """Refine a solution with its own factor, and count it."""
        start = time.perf_counter()
        matrix = live.matrix.T if transposed else live.matrix
        slow = self.operator.slow_mode
        if transposed and slow is not None:
            slow = slow[1], slow[0]
        found = refine(
            lambda v: matrix @ v,
            lambda v: live.factor.solve(v, transposed),
            block,
            tolerance,
            ROUNDING * live.norm,
            slow,
        )
        self.counters.krylov_iterations += found.iterations * block.shape[1]
        self.counters.solve_seconds += time.perf_counter() - start
        return found

    def _gmres(
        self, system: _Live | _Rented, factor: Factor, block: np.ndarray, transposed: bool, tolerance: float, limit: int
    ) -> KrylovResult:
        """Iterate, and count it."""
        start = time.perf_counter()
        matrix = system.matrix.T if transposed else system.matrix

        def product(v: np.ndarray) -> np.ndarray:
            return matrix @ v

        def identity(v: np.ndarray) -> np.ndarray:
            return v

        multiply, rhs, finish = product, block, identity
        if self._inventory is not None:
            multiply, rhs, finish = self._inventory.border(product, block, transposed)
        found = gmres(
            multiply,
            lambda v: factor.solve(v, transposed),
            rhs,
            tolerance,
            max(limit - ENDS, 0),
            ROUNDING * system.norm,
        )
        self.counters.krylov_iterations += found.iterations * block.shape[1]
        self.counters.solve_seconds += time.perf_counter() - start
        return found._replace(solution=finish(found.solution))

    @staticmethod
    def _judge(norm: float, block: np.ndarray, solution: np.ndarray, residual: np.ndarray) -> tuple[float, float]:
        """Largest backward error and growth of the columns of a solution."""
        largest, size = np.abs(block).max(axis=0), norm * np.abs(solution).max(axis=0)
        scale = size + largest
        error = (np.abs(residual).max(axis=0) / np.where(scale > 0, scale, 1.0)).max(initial=0.0)
        return float(error), float((size / np.where(largest > 0, largest, np.inf)).max(initial=0.0))

    def _solve(self, live: _Live, block: np.ndarray, transposed: bool) -> np.ndarray:
        start = time.perf_counter()
        matrix = live.matrix.T if transposed else live.matrix
        solution = live.factor.solve(block, transposed)
        error = growth = np.inf
        for refinement in range(REFINEMENTS + 1):
            residual = block - matrix @ solution
            previous, (error, growth) = error, self._judge(live.norm, block, solution, residual)
            if error <= REFINE_ABOVE or refinement == REFINEMENTS or error >= previous:
                break
            solution = solution + live.factor.solve(residual, transposed)
            self.counters.refinements += block.shape[1]
        self.counters.solves += block.shape[1]
        self.counters.max_residual = max(self.counters.max_residual, error)
        self.counters.solve_seconds += time.perf_counter() - start
        self._accept(error, growth, transposed)
        return solution

    def _accept(self, error: float, growth: float, transposed: bool, limit: float = FAIL_ABOVE) -> None:
        """Raise where a solve cannot be trusted."""
        if not error <= limit or not growth <= SINGULAR_ABOVE:
            raise ConvergenceError(
                f"{self.name}: a {'transposed ' if transposed else ''}solve by {self.backend} left a backward error of "
                f"{error:.1e} (expected at most {limit:.0e}) and a growth of {growth:.1e} (expected at most "
                f"{SINGULAR_ABOVE:.0e}). The matrix is close to singular: is every tracer tied to a rate, an exchange "
                f"or an inventory?"
            )

    def remembers(self, token: int) -> bool:
        """Whether the factor of a token is alive or can be made again."""
        return token in self._coefficients

    def release(self, token: int) -> None:
        """Free the factor of a token now; unknown or freed tokens are ignored."""
        with self._lock:
            live = self._live.pop(token, None)
            if live is not None:
                live.factor.free()

    def forget(self, token: int) -> None:
        """Free the factor of a token for good: its coefficients are dropped too, and the token becomes unknown."""
        with self._lock:
            self.release(token)
            self._rented.pop(token, None)
            if self._coefficients.pop(token, None) is not None:
                self._tokens = {key: value for key, value in self._tokens.items() if value != token}

    def supersede(self, token: int, *coefficients: np.ndarray) -> int:
        """Token of A(c), which takes the place of one that no one will solve with again.

        What its solves have cost is remembered: a sequence of matrices is factored where its members together have
        cost a factor.
        """
        with self._lock:
            rented = self._rented.get(token)
            if not (self._reuse and token in self._live):
                self.forget(token)
            successor = self.factorise(*coefficients)
            if rented is not None and successor not in self._live:
                self._rent_of(successor).spent += rented.spent
                self._rent_of(successor).expected |= rented.expected
            return successor

    def clear(self) -> None:
        """Free every live factor."""
        with self._lock:
            _free_all(self._live)

    def reset(self) -> None:
        """Forget every matrix and what solves have cost: what follows is that of a new system, to the last bit."""
        with self._lock:
            self.clear()
            for known in (self._rented, self._coefficients, self._tokens):
                known.clear()
            self._own_iterations = 1
            self.failure = None


def _distance(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> float:
    """Largest relative difference of two sets of coefficients, in 1-norms; 0 where equal, 1 where nothing is shared."""
    parts = []
    for a, b in zip(one, two, strict=True):
        size = float(np.abs(a).sum() + np.abs(b).sum())
        parts.append(float(np.abs(a - b).sum()) / size if size > 0 else 0.0)
    return max(parts)


def _with_diagonal(matrix: sp.csr_array, added: np.ndarray) -> sp.csr_array:
    """The matrix, with a full diagonal in its pattern, plus diag(added), in the same pattern."""
    result = matrix.copy()
    result.setdiag(matrix.diagonal() + added)
    return result


def _free_all(live: OrderedDict[int, _Live]) -> None:
    while live:
        live.popitem()[1].factor.free()
