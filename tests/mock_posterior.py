"""A posterior whose steady state is a formula, with exact derivatives: for tests of fits without an ocean model."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.circulation.toys import few_box
from invbgc.datasets.idealised import idealised_forcing
from invbgc.errors import ConvergenceError
from invbgc.inference.posterior import Evaluation
from invbgc.models.pco.options import PCOOptions
from invbgc.observations import Observations, misfit
from invbgc.parameters import Parameter, ParameterTable
from invbgc.state import State

TRUTH = {"alpha": 2.0, "beta": 0.4, "b_P": 0.9, "b_P_slope": 0.3, "eta": 0.95}


def table(**changes) -> ParameterTable:
    def row(name, first, published, transform="log", **more):
        return Parameter(name, name, name, first, "1", transform, first, published, "a number", "a formula", **more)

    rows = [
        row("alpha", 1.2, 2.0),
        row("beta", 0.2, 0.4),
        row("b_P", 1.3, 0.9),
        row("b_P_slope", 0.0, 0.3, "linear"),
        row("kappa_dP", 5.0, 5.0, free=False),
        row("eta", 0.7, 0.95),
    ]
    return ParameterTable(rows).with_values(changes)


COMPILED = {}  # the same formula is compiled once for all tests


class MockModel:
    """Three tracers given by formulas in depth and latitude."""

    euphotic_layers = 2

    def __init__(self):
        self.circulation = few_box()
        self.grid = self.circulation.grid
        self.forcing = idealised_forcing(self.grid)
        self.options = PCOOptions()
        self.table = table()

    def solve(self, p):
        depth, latitude = self.grid.wet_depth / 1000.0, np.deg2rad(self.grid.wet_latitude)
        exponent = p["b_P"] + p["b_P_slope"] * np.cos(latitude)
        dip = p["alpha"] * (1.0 - jnp.exp(-exponent * (depth + 0.1))) + 0.05 * p["kappa_dP"]
        dic = 2000.0 + 60.0 * dip ** (1.0 + p["beta"]) * (1.0 + 0.1 * np.sin(latitude))
        o2 = 300.0 - 100.0 * p["eta"] ** 2 * dip * jnp.exp(-p["beta"] * depth)
        return {"DIP": dip, "DIC": dic, "O2": o2}

    def observable(self, fields):
        return dict(fields)

    def diagnose(self, fields, x):
        shape = (self.grid.n_layers + 1, self.grid.n_columns)
        return {"poc_flux": np.full(shape, 1e-4), "pic_flux": np.full(shape, 1e-5)}

    def admissible(self, x):
        eta = float(self.table.to_values(np.asarray(x))["eta"])
        return f"eta = {eta:.3g} exceeds 1.5" if eta > 1.5 else None


class MockPosterior:
    """As `invbgc.Posterior`; `hook` is called before every evaluation with the number of evaluations so far."""

    def __init__(self, tracers=("DIP", "DIC", "O2"), noise=0.02, seed=0, hook=None, extra=None):
        self.model = MockModel()
        self.table = self.model.table
        self.hook, self.extra = hook or (lambda count: None), extra or (lambda x: 0.0)
        rng = np.random.default_rng(seed)
        truth = self.model.solve({**self.table.values, **TRUTH})
        fields = {}
        for name in tracers:
            clean = np.asarray(truth[name])
            # Noise whose variance goes as 1 / volume is what volume weights are right for.
            spread = noise * clean.std() * np.sqrt(self.model.grid.volume.mean() / self.model.grid.volume)
            fields[name] = clean + spread * rng.normal(size=clean.size)
            fields[name][rng.uniform(size=clean.size) < 0.1] = np.nan
        self.observations = Observations.from_fields(fields, self.model.grid, {"synthetic": "true"})
        self.scales = dict.fromkeys(tracers, 1.0)
        self.prior_factor = 1.0
        self.count = self.completed = 0
        self.guesses = []
        key = (tracers, noise, seed) if extra is None else object()
        self._value, self._derivatives = COMPILED.setdefault(
            key,
            (
                jax.jit(self),
                jax.jit(lambda x: (jax.grad(self)(x), jax.hessian(self)(x), jax.jacfwd(self._modelled)(x))),
            ),
        )

    @property
    def names(self):
        return self.table.free_names

    @property
    def x0(self):
        return self.table.to_vector()

    def admissible(self, x):
        return self.model.admissible(x)

    def _modelled(self, x):
        fields = self.model.solve(self.table.to_values(x))
        return {name: fields[name][data.index] for name, data in self.observations.tracers.items()}

    def __call__(self, x):
        fields = self.model.solve(self.table.to_values(x))
        terms = [misfit(fields[name][data.index], data) for name, data in self.observations.tracers.items()]
        return sum(terms) + self.table.negative_log_prior(x) + self.extra(x)

    def value(self, x, guess=None):
        self.count += 1
        self.hook(self.count - 1)
        self.guesses.append(guess)
        values = {name: float(v) for name, v in self.table.to_values(x).items()}
        value = float(self._value(x))
        # A trace of where the solver started from, as a real one leaves: the path depends on the guess bitwise.
        drift = 0.0 if guess is None else 1e-15 * float(guess.state.fields["DIP"][0])
        stats = {"factorisations": 3, "solves": 10, "seconds": 0.01, "max_residual": 1e-14}
        return Evaluation(
            x, value + drift, None, None, State(self.model, x, values, self.model.solve(values)), {}, stats
        )

    def value_grad(self, x, guess=None, evaluation=None):
        base = evaluation if evaluation is not None else self.value(x, guess)
        gradient = np.asarray(self._derivatives(jnp.asarray(x))[0])
        return Evaluation(base.x, base.value, gradient, None, base.state, {}, base.stats)

    def value_grad_hess(self, x, guess=None, evaluation=None):
        base = evaluation if evaluation is not None else self.value(x, guess)
        self.completed += 1
        gradient, hessian, jacobian = self._derivatives(jnp.asarray(x))
        jacobian = {name: np.asarray(part).T for name, part in jacobian.items()}
        gauss_newton = sum((jacobian[k] * d.weight) @ jacobian[k].T for k, d in self.observations.tracers.items())
        stats = {**base.stats, "solves": 40}
        return Evaluation(
            base.x, base.value, np.asarray(gradient), np.asarray(hessian), base.state, {}, stats, gauss_newton, jacobian
        )  # fmt: skip

    def chord_gradient(self, evaluation, trial):
        modelled = self._modelled(jnp.asarray(trial.x))
        return sum(
            evaluation.jacobian[name] @ (data.weight * (np.asarray(modelled[name]) - data.value))
            for name, data in self.observations.tracers.items()
        )


def interrupt_at(number):
    """A hook that raises KeyboardInterrupt at one evaluation."""

    def hook(count):
        if count == number:
            raise KeyboardInterrupt

    return hook


def fail_at(*numbers):
    """A hook that raises ConvergenceError at some evaluations."""

    def hook(count):
        if count in numbers:
            raise ConvergenceError("no steady state of the mock")

    return hook


def gaussian_fit(hessian, value=0.3, x=None, gradient=None):
    """What `laplace` needs of a fit, for a quadratic misfit with the mock's fields."""
    from invbgc.inference.fit import result_fields

    posterior = MockPosterior()
    x = posterior.x0 if x is None else x
    state = posterior.value(x).state
    fields = result_fields(posterior, state)  # type: ignore[arg-type]
    return SimpleNamespace(
        x=x,
        value=value,
        gradient=np.zeros(len(x)) if gradient is None else gradient,
        hessian=np.asarray(hessian),
        table=posterior.table.fitted(x),
        fields=fields,
        status="converged",
    )
