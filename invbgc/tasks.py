"""Many independent pieces of work, each a process's worth: chains, twins, members, draws.

Every task writes one netCDF file; a task whose file is there is not done again. With more than one worker, or with
the address of a scheduler, tasks run on dask.distributed (extra ``distributed``), one at a time per worker, so that a
worker holds one model with its factors. A worker that dies takes its task with it, and no other: the task counts as
failed, and the same command tries it again.
"""

import importlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import BaseModel

from invbgc.errors import InputError, InvbgcError
from invbgc.files import read_netcdf, write_netcdf
from invbgc.inference.checkpoint import digest

POLL = 0.5
"""Seconds between looks at the logs of workers."""

SHARE = 0.9
"""Part of the machine's memory that local workers may take together."""

Work = Callable[..., xr.Dataset]


@dataclass(frozen=True)
class Workers:
    """Where tasks run.

    Attributes:
        number: processes of a local cluster; 1 runs tasks here, one after the other.
        scheduler: address of a dask scheduler, whose workers see the same files; None for a local cluster.
    """

    number: int = 1
    scheduler: str | None = None

    def within(self, needed: float, progress: Callable[[str], Any] = print) -> "Workers":
        """No more local workers than memory holds.

        Args:
            needed: memory of one of them, GB.
            progress: is told if there are fewer than asked for.
        """
        available = machine_memory()
        fitting = max(1, int(SHARE * available / needed)) if needed > 0.0 and available > 0.0 else self.number
        if self.scheduler is not None or fitting >= self.number:
            return self
        progress(
            f"{fitting} workers instead of {self.number}: each needs about {needed:.1f} GB of the {available:.1f} here"
        )
        return replace(self, number=fitting)


@dataclass(frozen=True)
class Outcome:
    """What became of a set of tasks.

    Attributes:
        results: task -> its file, of all that have one.
        failures: task -> why it has none.
    """

    results: Mapping[str, Path]
    failures: Mapping[str, str]


def run_tasks(
    work: Work,
    tasks: Mapping[str, Mapping[str, Any]],
    folder: Path,
    fingerprint: str,
    workers: Workers | None = None,
    progress: Callable[[str], Any] = print,
) -> Outcome:
    """Do tasks that have no result yet.

    Args:
        work: a function of a module, (progress=, **arguments) -> dataset.
        tasks: name -> arguments, which can be pickled.
        folder: for ``<name>.nc`` and ``<name>.log``.
        fingerprint: what all results depend on; files with another one are done again.
        workers: where.
        progress: receives lines of text: those of the tasks, and one for each that ends.

    Returns:
        Results and failures.

    Raises:
        InputError: dask is needed and not installed, or the scheduler cannot be reached.
        KeyboardInterrupt: what is finished is kept.
    """
    workers = workers or Workers()
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {name: task for name, task in tasks.items() if not _finished(folder / f"{name}.nc", fingerprint)}
    if len(waiting) < len(tasks):
        progress(f"{len(tasks) - len(waiting)} of {len(tasks)} are there already")
    for name in waiting:
        (folder / f"{name}.log").unlink(missing_ok=True)
    failures: dict[str, str] = {}
    begun, done = time.monotonic(), 0

    def ended(name: str, failure: str | None) -> None:
        nonlocal done
        done += 1
        if failure is not None:
            failures[name] = failure
        left = (time.monotonic() - begun) / done * (len(waiting) - done)
        state = "done" if failure is None else f"FAILED: {failure}"
        progress(f"{name}: {state}  ({done} of {len(waiting)}, {left / 60:.1f} min left)")

    if workers.number == 1 and workers.scheduler is None:
        for name, task in waiting.items():
            ended(name, _perform(_address(work), name, task, folder, fingerprint, progress))
    elif waiting:
        _distributed(_address(work), waiting, folder, fingerprint, workers, progress, ended)
    results = {name: folder / f"{name}.nc" for name in tasks if _finished(folder / f"{name}.nc", fingerprint)}
    return Outcome(results, failures)


def _finished(path: Path, fingerprint: str) -> bool:
    if not path.is_file():
        return False
    try:
        return read_netcdf(path, "result").attrs.get("fingerprint") == fingerprint
    except InputError:
        return False


def _address(work: Work) -> str:
    return f"{work.__module__}:{work.__qualname__}"


def _perform(
    address: str,
    name: str,
    task: Mapping[str, Any],
    folder: Path,
    fingerprint: str,
    progress: Callable[[str], Any] | None = None,
) -> str | None:
    """Do one task and write its file; on a worker its progress goes to its log. Returns why it failed, or None."""
    module, _, function = address.partition(":")
    work = getattr(importlib.import_module(module), function)
    with (folder / f"{name}.log").open("a", encoding="utf-8", buffering=1) as log:

        def tell(line: object) -> None:
            log.write(f"{line}\n")
            if progress is not None:
                progress(f"{name}: {line}")

        try:
            result = work(progress=tell, **task)
        except InvbgcError as error:
            return str(error)
        write_netcdf(result.assign_attrs(fingerprint=fingerprint), folder / f"{name}.nc")
    return None


def _distributed(
    address: str,
    tasks: Mapping[str, Mapping[str, Any]],
    folder: Path,
    fingerprint: str,
    workers: Workers,
    progress: Callable[[str], Any],
    ended: Callable[[str, str | None], None],
) -> None:
    try:
        import dask.config as dask_config
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(
            "several workers need dask.distributed: pip install 'invbgc[distributed]', or use --workers 1."
        ) from error
    folder = folder.resolve()
    seen: dict[str, int] = {}
    settings = {
        "distributed.scheduler.allowed-failures": 0,  # a lost task is reported, not tried again
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.comm.timeouts.connect": "30s",
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
    }
    with dask_config.set(settings):
        cluster = None
        if workers.scheduler is None:
            threads = max(1, (os.cpu_count() or 1) // workers.number)
            environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            # What one worker compiles, the others read.
            environment["JAX_COMPILATION_CACHE_DIR"] = os.environ.get(
                "JAX_COMPILATION_CACHE_DIR", str(folder / "programs")
            )
            cluster = LocalCluster(
                n_workers=workers.number, threads_per_worker=1, processes=True, dashboard_address=":0",
                env=environment, silence_logs=logging.ERROR, local_directory=str(folder / "dask"),
            )  # fmt: skip
        try:
            client = Client(cluster if cluster is not None else workers.scheduler, set_as_default=False)
        except OSError as error:
            raise InputError(f"no dask scheduler answers at {workers.scheduler}: {error}.") from error
        try:
            queue, futures = list(tasks.items()), {}
            while queue or futures:
                # No more at once than there are workers: a task that waited on one that dies would be lost with it.
                free = len(client.scheduler_info(n_workers=-1)["workers"]) - len(futures)
                for name, task in queue[: max(free, 0)]:
                    key = f"{name}-{fingerprint}"
                    futures[client.submit(_perform, address, name, dict(task), folder, fingerprint, key=key)] = name
                queue = queue[max(free, 0) :]
                time.sleep(POLL)
                _tell_logs(folder, list(futures.values()), seen, progress)
                for future in [future for future in futures if future.done()]:
                    ended(futures.pop(future), _why(future))
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def machine_memory() -> float:
    """Memory of this machine, GB; 0 where the system does not tell."""
    try:
        return 1e-9 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0.0


def _why(future: Any) -> str | None:
    if future.status == "finished":
        return future.result()
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        return "its worker died (killed, or out of memory)"
    return f"{type(error).__name__}: {error}"


def _tell_logs(folder: Path, names: list[str], seen: dict[str, int], progress: Callable[[str], Any]) -> None:
    """Pass on what tasks have written to their logs since the last look."""
    for name in names:
        path = folder / f"{name}.log"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8") as log:
            log.seek(seen.get(name, 0))
            for line in log.readlines():
                progress(f"{name}: {line.rstrip()}")
            seen[name] = log.tell()


def read_results(results: Mapping[str, Path]) -> dict[str, xr.Dataset]:
    """The files of tasks, without what belongs to the book-keeping."""
    found = {}
    for name, path in results.items():
        data = read_netcdf(path, "result")
        data.attrs.pop("fingerprint", None)
        found[name] = data
    return found


def fingerprint_of(*parts: Any) -> str:
    """Short checksum of what results depend on: plain values, arrays, mappings of them, sections of a run file."""
    return digest([part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts])
