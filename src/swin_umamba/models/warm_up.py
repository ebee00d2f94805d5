"""Compile the kernels of the networks for a GPU before they are needed, in several processes at once."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from swin_umamba.errors import UsageError
from swin_umamba.models.registry import create_model, list_models
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.ops.precision import autocast, check_precision

SIZE = (2, 3)  # of the image: the kernels are those of all sizes


@dataclass(frozen=True)
class ScanJob:
    """A layer whose kernels are compiled.

    Attributes
    ----------
    d_model, d_state
        Its sizes, see ``SS2D``.
    precision
        Precision of its products, see ``ops.precision``.
    trained
        Whether its gradients are computed, too.
    """

    d_model: int
    d_state: int
    precision: str
    trained: bool


def jobs_of_networks(device: torch.device) -> list[ScanJob]:
    """Return the layers of our networks as a device trains them in half precision, and as they predict."""
    ways = [("float16", True), ("bfloat16", True), ("float32", False)]
    # The widest layers take longest; those that are trained, longer than the others.
    return [
        ScanJob(*size, precision, trained)
        for precision, trained in ways
        if _has(precision, device)
        for size in sorted(_sizes_of_networks(), reverse=True)
    ]


@functools.cache
def _sizes_of_networks() -> frozenset[tuple[int, int]]:
    sizes = set()
    for name in list_models():
        with torch.device("meta"):
            network = create_model(name)
        layers = (each for each in network.modules() if isinstance(each, SS2D))
        sizes |= {(layer.in_proj.in_features, layer.d_state) for layer in layers}
    return frozenset(sizes)


def _has(precision: str, device: torch.device) -> bool:
    try:
        check_precision(precision, device)
    except UsageError:
        return False
    return True


def compile_scan(job: ScanJob, device: str, backend: str = "triton") -> None:
    """Run a layer once, whose kernels are then in the cache of this and of later processes."""
    place = torch.device(device)
    layer = SS2D(job.d_model, job.d_state, backend=backend).to(place)
    image = torch.zeros(1, *SIZE, job.d_model, device=place)
    with nullcontext() if job.trained else torch.inference_mode(), autocast(place, job.precision):
        y = layer(image)
    if job.trained:
        y.float().sum().backward()


def compile_all(jobs: Sequence[ScanJob], device: str, executor: Executor | None = None) -> int:
    """Compile the kernels of all jobs, by default with a process for each core; return how many processes.

    The first error of a job ends it.
    """
    processes = max(1, min(len(jobs), os.cpu_count() or 1))
    # CUDA cannot be used in the child of a fork.
    context = multiprocessing.get_context("spawn")
    with executor or ProcessPoolExecutor(processes, mp_context=context) as pool:
        for future in [pool.submit(compile_scan, job, device) for job in jobs]:
            future.result()
    return processes
