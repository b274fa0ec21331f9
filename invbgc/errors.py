"""The errors a user can meet; each message names the culprit, what was found and what is expected."""


class InvbgcError(Exception):
    """Base of all errors raised on purpose by invbgc."""


class InputError(InvbgcError):
    """A file, variable, unit, shape or option is not what it must be."""


class ConservationError(InvbgcError):
    """A transport operator creates, destroys or moves tracer in a way no ocean does."""


class ConvergenceError(InvbgcError):
    """A steady state or an optimum was not reached."""


class CheckpointError(InvbgcError):
    """No usable checkpoint is left in a folder that should hold one."""
