"""Trust-region Newton for a few tens of parameters, with the exact subproblem.

The quadratic model of the objective at x,

    m(s) = f + g^T s + 1/2 s^T B s,

is minimised inside |s| <= radius (`invbgc.inference.subproblem`). One `step` is a function from state to state;
`minimise` repeats it.

Which curvature B. A misfit f = 1/2 r^T W r has the Hessian H = J^T W J + (residuals times their second derivatives).
Far from a minimum the second part is large and mostly an obstacle: H is indefinite and its model good over short steps
only, while the Gauss-Newton part J^T W J foresees the long way down a valley. Near a minimum, or where the misfit stays
large, H is right and converges quadratically. So B is the exact Hessian where that is positive definite and the last
trial was not rejected, and the Gauss-Newton matrix elsewhere (a choice between the two models in the spirit of Dennis,
Gay & Welsch 1981, ACM Trans. Math. Softw. 7). Objectives that are not a sum of squares offer no Gauss-Newton matrix; B
is then always H, and saddle points are left by the best possible step.

Correction. In a curved valley a straight step runs up the wall. The residuals at a failed trial tell by how much, and
the same J says how to come back: with q = J^T W (r(x + s) - r(x) - J s) the step s - (B + mu)^-1 q is tried next, which
follows the valley to second order (the second-order correction of constrained optimisation; the geodesic acceleration
of Transtrum & Sethna 2012, with the acceleration measured, not modelled). It costs one value and no derivative.

Radius rules, with rho = actual / predicted reduction of f:

* rho < 0.1, with and without correction: reject; radius = theta |s|, theta in [0.2, 0.5] where the parabola through f,
  its slope along s and the trial value has its minimum;
* a trial that is inadmissible, has no steady state or is not finite: reject; radius = |s| / 4;
* 0.1 <= rho < 0.25: accept; radius = |s| / 2;
* rho > 0.75 without correction and the step touches the boundary: accept; radius doubles, up to `max_radius`;
* else: accept; the radius stays.

The point x itself is never altered. Reductions below the round-off of f cannot be judged by f: there the full step is
tried once, and judged by derivatives: the reduction that the model still promises must fall, or |g| where that is small
enough already. If it does not, the search has *stalled*, which is a status of its own and not convergence.

The cost of a trial: its value alone (one steady state) decides; only an accepted point gets its gradient and Hessian,
from the same state and the same factors. A rejected trial never pays for derivatives, and no state is solved twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.subproblem import Subproblem, solve_subproblem

SHRINK = 0.25
"""Factor from the length of a failed step to the next radius."""

GROW = 2.0
"""Factor of the radius after a step that went as predicted."""

CORRECTION_LIMIT = 0.75
"""Largest length of a correction over that of its step; beyond, the expansion says nothing."""

RESOLVED = 1e-13
"""Fraction of f below which a promised reduction is no reason to go on."""

SMALLEST_RADIUS = 1e-10
"""Radius below which no further trial is made."""


class EvaluationLike(Protocol):
    """What an objective returns: value; gradient [p], hessian [p, p] or None; state and stats of the model.

    `gauss_newton` [p, p] is the positive semi-definite part J^T W J of the Hessian, None where there is no such part.
    """

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def gradient(self) -> Any: ...  # noqa: D102
    @property
    def hessian(self) -> Any: ...  # noqa: D102
    @property
    def gauss_newton(self) -> Any: ...  # noqa: D102
    @property
    def state(self) -> Any: ...  # noqa: D102
    @property
    def stats(self) -> Mapping[str, Any]: ...  # noqa: D102


class Objective(Protocol):
    """A function with exact derivatives.

    `guess` is what was returned at a nearby point; `evaluation` is what `value` returned at the same x, to be
    completed. `chord_gradient` is J^T W r with the sensitivities J of `evaluation` and the residuals r of `trial`,
    asked for only where evaluations have a `gauss_newton` matrix.
    """

    def value(self, x: np.ndarray, guess: Any = None) -> Any: ...  # noqa: D102
    def value_grad_hess(self, x: np.ndarray, guess: Any = None, evaluation: Any = None) -> Any: ...  # noqa: D102
    def admissible(self, x: np.ndarray) -> str | None: ...  # noqa: D102
    def chord_gradient(self, evaluation: Any, trial: Any) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class TrustRegionOptions:
    """Settings of the search.

    Attributes:
        gtol: largest gradient component at convergence.
        reduction_tolerance: largest reduction of f that the quadratic model may still promise at convergence; where
            f is large, `RESOLVED` times f instead.
        start_radius: first trust radius, in optimiser coordinates (0.3: factors of 1.35 for log parameters).
        max_radius: largest trust radius.
        accept_ratio: smallest actual over predicted reduction of an accepted step.
        value_noise: relative round-off of f.
    """

    gtol: float = 1e-8
    reduction_tolerance: float = 1e-15
    start_radius: float = 0.3
    max_radius: float = 3.0
    accept_ratio: float = 0.1
    value_noise: float = 1e-9

    def __post_init__(self) -> None:
        for name in ("gtol", "reduction_tolerance", "start_radius", "max_radius"):
            if not getattr(self, name) > 0:
                raise InputError(f"trust region: {name} is {getattr(self, name)!r}; expected a positive number.")
        if self.start_radius > self.max_radius:
            raise InputError(
                f"trust region: start_radius {self.start_radius:g} is larger than max_radius {self.max_radius:g}."
            )


@dataclass(frozen=True, eq=False)
class Trial:
    """What one step did.

    Attributes:
        accepted: whether x moved.
        reason: why not, or how the step was judged; empty for an ordinary accepted step.
        step_norm: length of the step tried.
        predicted: reduction of f promised by the quadratic model.
        actual: reduction found; NaN where f could not be evaluated.
        ratio: actual / predicted.
        hard_case: see `Subproblem`.
        stats: the `stats` of each evaluation made.
    """

    accepted: bool
    reason: str
    step_norm: float
    predicted: float
    actual: float
    ratio: float
    hard_case: bool
    stats: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, eq=False)
class TrustRegionState:
    """Everything the next step depends on.

    Attributes:
        x: [p] the present point.
        evaluation: value, gradient, Hessian and model state at x.
        radius: trust radius of the next step.
        iteration: number of trials so far.
        evaluations: number of objective calls so far, rejected and failed ones included.
        status: ``"running"``, ``"converged"``, ``"stalled"`` (round-off) or ``"failed"``.
        message: the status in words.
        min_eigenvalue: smallest eigenvalue of the Hessian at x.
        trial: the last trial; None at the start.
        rejected: whether the last trial was rejected.
    """

    x: np.ndarray
    evaluation: EvaluationLike
    radius: float
    iteration: int = 0
    evaluations: int = 0
    status: str = "running"
    message: str = ""
    min_eigenvalue: float = np.nan
    trial: Trial | None = None
    rejected: bool = False


@dataclass(frozen=True, eq=False)
class _Try:
    """The value at one point and how far f falls to it (NaN where there is none), or why there is no value."""

    x: np.ndarray
    evaluation: EvaluationLike | None
    reduction: float
    reason: str
    stats: tuple[Mapping[str, Any], ...] = ()
    calls: int = 1
    corrected: bool = False


def start(objective: Objective, x: np.ndarray, options: TrustRegionOptions) -> TrustRegionState:
    """Evaluate the starting point.

    Args:
        objective: the function.
        x: [p] optimiser coordinates.
        options: settings.

    Returns:
        The first state, already ``"converged"`` where x is a minimum.

    Raises:
        InputError: the start is inadmissible, or f or its derivatives are not finite there.
        ConvergenceError: the model has no steady state there.
    """
    x = np.array(x, dtype=np.float64)
    reason = objective.admissible(x)
    if reason is not None:
        raise InputError(f"fit: the starting point is not admissible: {reason}.")
    evaluation = objective.value_grad_hess(x)
    if not _finite(evaluation):
        raise InputError(
            f"fit: the objective is {evaluation.value} at the starting point, or its derivatives are not finite; "
            "expected finite numbers. Start from other parameter values."
        )
    return assess(TrustRegionState(x, evaluation, options.start_radius, evaluations=1), options)


def assess(state: TrustRegionState, options: TrustRegionOptions) -> TrustRegionState:
    """The state with its status: converged where |g|_inf and the reduction still promised are below tolerance.

    The reduction is that of a step within `start_radius` or more, so that a shrunken radius cannot pass for
    convergence; nor can a saddle point, whose negative eigenvalue promises a reduction.
    """
    gradient_norm = float(np.abs(state.evaluation.gradient).max())
    promise = _promise(state, options)
    state = replace(state, min_eigenvalue=promise.min_eigenvalue)
    enough = _enough(state, options)
    if gradient_norm < options.gtol and promise.predicted <= enough:
        message = (
            f"|g| = {gradient_norm:.2e} < {options.gtol:g}, promised reduction {promise.predicted:.1e} <= "
            f"{enough:.1e}, smallest eigenvalue of the Hessian {promise.min_eigenvalue:.3e}"
        )
        return replace(state, status="converged", message=message)
    if state.radius < SMALLEST_RADIUS:
        round_off = promise.predicted < 1e4 * _noise(state, options)
        last = state.trial.reason if state.trial is not None else ""
        message = (
            f"no step down to {SMALLEST_RADIUS:g} was accepted; |g| = {gradient_norm:.2e}, promised reduction "
            f"{promise.predicted:.1e} of f = {state.evaluation.value:.6g}; last trial: {last}"
        )
        return replace(state, status="stalled" if round_off else "failed", message=message)
    return state


def step(objective: Objective, state: TrustRegionState, options: TrustRegionOptions) -> TrustRegionState:
    """Try one step, and its correction where it fails.

    Args:
        objective: the function.
        state: a state whose status is ``"running"``.
        options: settings.

    Returns:
        The next state: moved if the step was accepted, with a smaller radius if not.
    """
    here, noise = state.evaluation, _noise(state, options)
    promise = _promise(state, options)
    polishing = promise.predicted < noise
    curvature = _model(state, promise)
    solution = promise if polishing else solve_subproblem(here.gradient, curvature, state.radius)
    tried = _try(objective, state, state.x + solution.step)
    if not polishing and tried.reduction < options.accept_ratio * solution.predicted:
        tried = _corrected(objective, state, solution, curvature, tried)

    def next_state(accepted: bool, reason: str, **changes: Any) -> TrustRegionState:
        norm, ratio = float(np.linalg.norm(tried.x - state.x)), tried.reduction / solution.predicted
        trial = Trial(
            accepted, reason, norm, solution.predicted, tried.reduction, ratio, solution.hard_case, tried.stats
        )  # fmt: skip
        counts = {"iteration": state.iteration + 1, "evaluations": state.evaluations + tried.calls}
        new = replace(state, trial=trial, rejected=not accepted, **counts, **changes)
        return assess(new, options) if new.status == "running" else new

    def rejected(reason: str) -> TrustRegionState:
        slope = float(here.gradient @ solution.step)
        beyond = slope + tried.reduction  # negative where f lies above its tangent; NaN for a trial that failed
        factor = min(max(0.5 * slope / beyond, 0.2), 0.5) if beyond < 0 else SHRINK
        return next_state(False, reason, radius=factor * float(np.linalg.norm(tried.x - state.x)))

    if tried.evaluation is None:
        return rejected(tried.reason)
    ratio = tried.reduction / solution.predicted
    if not polishing and ratio < options.accept_ratio:
        return rejected(f"reduction ratio {ratio:.2g}")
    try:
        evaluation = objective.value_grad_hess(tried.x, evaluation=tried.evaluation)
    except ConvergenceError as error:
        return rejected(f"no derivatives: {error}")
    tried = replace(tried, stats=(*tried.stats[:-1], evaluation.stats))
    if not _finite(evaluation):
        return rejected("a derivative is not finite")

    reason, radius, norm = "", state.radius, float(np.linalg.norm(tried.x - state.x))
    if polishing:
        new = replace(state, x=tried.x, evaluation=evaluation)
        what, before, after = "|g|", *(float(np.abs(item.gradient).max()) for item in (here, evaluation))
        if promise.predicted > _enough(state, options):
            what, before, after = "the promise", promise.predicted, _promise(new, options).predicted
        if not (after < before and tried.reduction > -noise):
            reason = (
                f"round-off: the promised reduction {solution.predicted:.1e} of f = {here.value:.6g} is not resolved, "
                f"and the full step changes {what} from {before:.2e} to {after:.2e}"
            )
            return next_state(False, reason, status="stalled", message=reason)
        reason = "judged by derivatives"
    elif ratio < 0.25:
        radius = 0.5 * norm
    elif tried.corrected:
        reason = "corrected for the valley's curvature"
    elif ratio > 0.75 and solution.boundary:
        radius = min(GROW * state.radius, options.max_radius)
    return next_state(True, reason, x=tried.x, evaluation=evaluation, radius=radius)


def correction(
    objective: Objective, state: TrustRegionState, solution: Subproblem, curvature: np.ndarray, trial: EvaluationLike
) -> np.ndarray | None:
    """What to add to a failed step so that it comes back to the floor of a curved valley.

    Args:
        objective: the function.
        state: where the step started.
        solution: the step.
        curvature: B [p, p], from which it came.
        trial: the value at its end.

    Returns:
        -(B + mu)^-1 J^T W (r(x + s) - r(x) - J s) [p]; None where there are no residuals or it is too long to trust.
    """
    here = state.evaluation
    if here.gauss_newton is None:
        return None
    straight = solution.step
    unforeseen = objective.chord_gradient(here, trial) - here.gradient - here.gauss_newton @ straight
    eigenvalues, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    stiffness = np.maximum(eigenvalues + solution.multiplier, np.finfo(float).eps * np.abs(eigenvalues).max())
    added = -vectors @ ((vectors.T @ unforeseen) / stiffness)
    long = not np.linalg.norm(added) <= CORRECTION_LIMIT * np.linalg.norm(straight)
    return None if long else added


def minimise(
    objective: Objective,
    state: TrustRegionState,
    options: TrustRegionOptions,
    max_evaluations: int,
    on_step: Callable[[TrustRegionState], None],
) -> TrustRegionState:
    """Repeat `step` until the status is no longer ``"running"`` or the evaluations are spent.

    Args:
        objective: the function.
        state: from `start`, or a saved one.
        options: settings.
        max_evaluations: objective calls allowed in all, those of `state.evaluations` included.
        on_step: called with each new state.

    Returns:
        The last state; still ``"running"`` where the evaluations were spent.
    """
    while state.status == "running" and state.evaluations < max_evaluations:
        state = step(objective, state, options)
        on_step(state)
    return state


def _model(state: TrustRegionState, promise: Subproblem) -> np.ndarray:
    """B [p, p]: the exact Hessian, or the Gauss-Newton matrix where that foresees more."""
    here = state.evaluation
    exact = here.gauss_newton is None or (promise.min_eigenvalue > 0 and not state.rejected)
    return np.asarray(here.hessian if exact else here.gauss_newton)


def _try(objective: Objective, state: TrustRegionState, x: np.ndarray) -> _Try:
    """The value at x, or why there is none."""
    reason = objective.admissible(x)
    if reason is not None:
        return _Try(x, None, np.nan, f"inadmissible: {reason}", calls=0)
    try:
        evaluation = objective.value(x, guess=state.evaluation)
    except ConvergenceError as error:
        return _Try(x, None, np.nan, f"no steady state: {error}")
    if not _finite(evaluation):
        return _Try(x, None, np.nan, "the objective is not finite", (evaluation.stats,))
    return _Try(x, evaluation, float(state.evaluation.value - evaluation.value), "", (evaluation.stats,))


def _corrected(
    objective: Objective, state: TrustRegionState, solution: Subproblem, curvature: np.ndarray, tried: _Try
) -> _Try:
    """The better of a failed trial and its correction; the cost is that of both."""
    assert tried.evaluation is not None
    added = correction(objective, state, solution, curvature, tried.evaluation)
    if added is None:
        return tried
    again = _try(objective, state, tried.x + added)
    best = replace(again, corrected=True) if again.reduction > tried.reduction else tried
    return replace(best, stats=tried.stats + again.stats, calls=tried.calls + again.calls)


def _promise(state: TrustRegionState, options: TrustRegionOptions) -> Subproblem:
    """The step of the exact Hessian, within `start_radius` or more."""
    here = state.evaluation
    return solve_subproblem(
        np.asarray(here.gradient), np.asarray(here.hessian), max(state.radius, options.start_radius)
    )


def _noise(state: TrustRegionState, options: TrustRegionOptions) -> float:
    return options.value_noise * _size(state)


def _enough(state: TrustRegionState, options: TrustRegionOptions) -> float:
    """Promised reduction that is no reason to go on."""
    return max(options.reduction_tolerance, RESOLVED * _size(state))


def _size(state: TrustRegionState) -> float:
    """|f|, kept from zero."""
    return max(abs(float(state.evaluation.value)), np.finfo(float).tiny)


def _finite(evaluation: EvaluationLike) -> bool:
    parts = (evaluation.value, evaluation.gradient, evaluation.hessian)
    return all(bool(np.all(np.isfinite(part))) for part in parts if part is not None)
