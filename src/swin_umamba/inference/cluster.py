"""Work on blocks of an image, or on cases of a folder, with the workers of a Dask cluster.

Dask executes what it is sent: whoever reaches a scheduler can run code on its workers.
"""

from __future__ import annotations

import importlib
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch

from swin_umamba import __version__
from swin_umamba.errors import SwinUMambaError, UsageError
from swin_umamba.extras import extra_module
from swin_umamba.inference.processes import Item, MakeWork, Result, outcome_of

logger = logging.getLogger(__name__)

LOCAL = "local"
ATTEMPTS = 3
"""How often an item is tried whose worker dies."""
SECONDS_TO_CONNECT = 30
_WORK: dict[str, Callable[[Any], Any]] = {}
"""In a worker: what works on the items of a task, by the task's identity."""


def run_on_cluster(
    make: MakeWork[Item, Result],
    items: Sequence[Item],
    identity: str,
    address: str,
    workers: int = 1,
    where: Path | None = None,
) -> Iterator[tuple[Item, Result | SwinUMambaError]]:
    """Work on items, and yield what became of each as soon as it is known.

    Workers write results themselves: they reach images, model and results under the same paths. A worker
    that dies costs its item, on which another works; one that has killed ``ATTEMPTS`` workers is given up.

    Parameters
    ----------
    make
        Makes the work of a worker.
    items
        Blocks or cases.
    identity
        A worker that has made the work of the same identity goes on with it.
    address
        Of the scheduler, ``tcp://HOST:PORT``; or ``tls://HOST:PORT`` with the certificates in Dask's own
        configuration. ``local`` for workers on this machine that nobody else reaches.
    workers
        Number of workers of ``local``.
    where
        What errors are about that do not say so.

    Raises
    ------
    UsageError
        If Dask is not installed, there is no scheduler, or a worker has other software.
    SwinUMambaError
        If the scheduler vanishes.
    """
    distributed = _library()
    with ExitStack() as stack:
        client = _client(distributed, address, workers, stack)
        _check_software(client)
        sent = client.scatter(_Task(make, identity, where), broadcast=False, hash=False)
        futures = {client.submit(_run, sent, item, pure=False): item for item in items}
        stack.callback(client.cancel, list(futures))
        try:
            for future in distributed.as_completed(futures):
                yield futures[future], _answer(future, distributed, where)
        except (OSError, CancelledError, distributed.comm.CommClosedError) as error:
            raise SwinUMambaError(
                f"the connection to the scheduler is lost ({type(error).__name__})",
                where=address,
                hint="start it again and repeat the command: what is finished is kept",
            ) from error


@dataclass(frozen=True)
class _Task(Generic[Item, Result]):
    make: MakeWork[Item, Result]
    identity: str
    where: Path | None


def _run(task: _Task[Item, Result], item: Item) -> Result | SwinUMambaError:
    """Work on an item in a worker, whose model is loaded with the first one."""

    def run() -> Result:
        if task.identity not in _WORK:
            _WORK.clear()
            torch.set_num_threads(1)
            _WORK[task.identity] = task.make()
        result: Result = _WORK[task.identity](item)
        return result

    return outcome_of(run, task.where)


def _answer(future: Any, distributed: Any, where: Path | None) -> Any:
    try:
        return future.result()
    except distributed.KilledWorker as error:
        return SwinUMambaError(
            f"{ATTEMPTS} workers died while they predicted it, the last: {error.last_worker.address}",
            where=where,
            hint="most likely memory ran out: give each worker more",
        )


def software() -> dict[str, str]:
    """Return the versions that labels depend on."""
    return {"swin-umamba": __version__, "torch": torch.__version__, "Python": platform.python_version()}


def _check_software(client: Any) -> None:
    own = software()
    for worker, theirs in client.run(software).items():
        other = [
            f"{name} {theirs.get(name)} and not {own[name]}" for name in own if theirs.get(name) != own[name]
        ]
        if other:
            raise UsageError(
                f"a worker has other software: {', '.join(other)}",
                where=worker,
                hint="start workers from an environment like this one",
            )


def _client(distributed: Any, address: str, workers: int, stack: ExitStack) -> Any:
    """Return a client, which ends with the stack, as does a cluster of its own."""
    dask = importlib.import_module("dask")
    dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS - 1})
    if address == LOCAL:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.ERROR,
        )
        stack.enter_context(cluster)
        return stack.enter_context(distributed.Client(cluster))
    try:
        client = stack.enter_context(distributed.Client(address, timeout=SECONDS_TO_CONNECT))
    except (OSError, TypeError, ValueError) as error:  # TypeError: no certificates are configured for TLS
        raise UsageError(
            f"no scheduler answers there ({type(error).__name__}: {error})",
            where=address,
            hint="start one with `dask scheduler` (tls:// needs certificates), or give --scheduler local",
        ) from error
    if not client.scheduler_info()["workers"]:
        raise UsageError("the scheduler has no workers", where=address, hint="start some with `dask worker`")
    return client


def _library() -> Any:
    library = extra_module("distributed", "--scheduler needs Dask", "cluster")
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)  # errors reach us as exceptions, too
    return library
