"""What all commands share: the run file as an argument, and errors as one paragraph."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from invbgc.errors import InvbgcError

RunArgument = Annotated[
    Path | None, typer.Argument(help="Run file (TOML); without one, the embedded ocean with its synthetic data.")
]


def guard(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors made on purpose into one paragraph and status 2, and Ctrl-C into status 130."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InvbgcError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            typer.echo(f"\nStopped. {stop}\nRun the same command again to continue where it stopped.", err=True)
            raise typer.Exit(130) from None

    return guarded


def load(runfile: Path | None) -> tuple[Any, Path | None]:
    """Read and check the run file, or take the embedded preset."""
    from invbgc.runcheck import validate_run
    from invbgc.runfile import preset, read_run

    run = preset("embedded") if runfile is None else read_run(runfile)
    validate_run(run, runfile or "the embedded run")
    return run, runfile
