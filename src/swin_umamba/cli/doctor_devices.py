"""Checks of ``swin-umamba doctor``: what computes here, how fast, and with how much memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from swin_umamba.torch_settings import processors

# Relative to the largest output. The self-test is short: float32 rounding stays below 1e-6.
LARGEST_DIFFERENCE = 1e-5
LOW_SHARED_MEMORY_GIB = 1


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    name
        What was checked.
    status
        ``error`` if an essential part does not work.
    detail
        What was found.
    hint
        What to do about it.
    """

    name: str
    status: Literal["ok", "warning", "error"]
    detail: str
    hint: str | None = None


Check = Callable[[], Iterator[Finding]]


def check_processors() -> Iterator[Finding]:
    """Cores, threads and accelerators."""
    import torch

    from swin_umamba.ops.gpu_kernels import driver_is_too_old

    cores = processors()
    threads = torch.get_num_threads()
    yield Finding("processor", "ok", f"{cores} cores for this process, {threads} threads for PyTorch")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = f"{properties.total_memory / 2**30:.0f} GiB"
            yield Finding(f"cuda:{index}", "ok", f"{properties.name}, {memory}")
    elif torch.version.cuda is not None:
        yield Finding(
            "cuda",
            "warning",
            "PyTorch is built for CUDA, but no device is visible",
            "install a newer driver"
            if driver_is_too_old()
            else "nothing without an NVIDIA GPU; else see with nvidia-smi whether the driver finds one",
        )
    else:
        yield Finding("cuda", "ok", "none: this PyTorch is built without CUDA")
    yield Finding("mps", "ok", "available" if torch.backends.mps.is_available() else "none")


def check_backends() -> Iterator[Finding]:
    """Yield the available scan backends."""
    import torch

    from swin_umamba.ops.backend import backend_report

    fast = ["native", "triton"] if torch.cuda.is_available() else ["native"]
    for backend in backend_report():
        available = "available" if backend.available else "not available"
        # Without the kernels for a device everything still runs, but several times slower.
        slow = backend.name in fast and not backend.available
        yield Finding(
            f"backend {backend.name}",
            "warning" if slow else "ok",
            f"{available}: {backend.reason}",
            backend.hint if slow else None,
        )


def check_scan() -> Iterator[Finding]:
    """Run the backend of each device, and compare it with the definition in float64."""
    import torch

    from swin_umamba.errors import SwinUMambaError
    from swin_umamba.ops.backend import choose_backend, kernel_status
    from swin_umamba.ops.ss2d_scan import ss2d_scan

    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 6, 7, 20), (1, 6, 7, 4, 2 + 2 * 16), (4, 20, 2), (4, 20), (4, 20, 16), (4, 20))
    x, x_dbl, weight, bias, a, d = (torch.randn(shape, generator=generator) for shape in shapes)
    inputs = (x, x_dbl, weight, bias, -a.exp(), d)
    expected = ss2d_scan(*(tensor.double() for tensor in inputs), backend="reference")
    devices = ["cpu"]
    devices += ["cuda"] if torch.cuda.is_available() else []
    devices += ["mps"] if torch.backends.mps.is_available() else []
    for name in devices:
        device = torch.device(name)
        try:
            backend = choose_backend(device, torch.float32)
            start = time.perf_counter()
            y = ss2d_scan(*(tensor.to(device) for tensor in inputs)).cpu().double()
        except SwinUMambaError as error:
            yield Finding(f"scan on {name}", "error", error.what, error.hint)
            continue
        seconds = time.perf_counter() - start
        difference = float((y - expected).abs().max() / expected.abs().max())
        detail = f"{backend}: largest difference from the reference {difference:.1e} ({seconds:.2f} s)"
        if difference > LARGEST_DIFFERENCE:
            yield Finding(
                f"scan on {name}", "error", detail, "use --backend chunked, and report this machine"
            )
        elif device.type == "cuda" and backend == "chunked":
            kernels = kernel_status(device)
            why = "chosen by SWIN_UMAMBA_BACKEND" if kernels.available else kernels.reason
            yield Finding(
                f"scan on {name}",
                "warning",
                f"{detail}; many times slower than the kernels: {why}",
                kernels.hint or "unset SWIN_UMAMBA_BACKEND",
            )
        else:
            yield Finding(f"scan on {name}", "ok", detail)


def check_kernel_cache() -> Iterator[Finding]:
    """Yield whether the compiled CPU kernels are cached for the next process."""
    from swin_umamba.ops.backend import backend_status

    if not backend_status("native").available:
        return
    from swin_umamba.ops.native.ss2d_forward import ss2d_forward

    folder = ss2d_forward.stats.cache_path
    if folder is None:
        yield Finding(
            "kernel cache",
            "warning",
            "no folder can be written: every process compiles the CPU kernels again, about 10 seconds",
            "set NUMBA_CACHE_DIR to a folder that you can write to",
        )
    else:
        used = "read from" if ss2d_forward.stats.cache_hits else "compiled now and kept in"
        kernels = len(list(Path(folder).glob("*.nbi")))
        yield Finding("kernel cache", "ok", f"{used} {folder} ({kernels} kernels)")


def check_gpu_kernel_cache() -> Iterator[Finding]:
    """Yield whether Triton can keep the kernels that it compiles for a GPU."""
    import torch

    if not torch.cuda.is_available() or find_spec("triton") is None:
        return
    import triton

    folder = Path(triton.knobs.cache.dir)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if is_writable(existing):
        yield Finding("GPU kernel cache", "ok", str(folder))
    else:
        yield Finding(
            "GPU kernel cache",
            "warning",
            f"{folder} cannot be written to: the kernels for the GPU cannot be compiled",
            "set TRITON_CACHE_DIR to a folder that you can write to",
        )


def check_compilation() -> Iterator[Finding]:
    """Compile the kernels for the GPU."""
    import torch

    from swin_umamba.models.warm_up import compile_all, jobs_of_networks
    from swin_umamba.ops.backend import kernel_status

    if not torch.cuda.is_available():
        yield Finding("compilation", "ok", "nothing to compile: there is no GPU")
        return
    status = kernel_status(torch.device("cuda"))
    if not status.available:
        yield Finding("compilation", "warning", f"not possible: {status.reason}", status.hint)
        return
    start = time.perf_counter()
    jobs = jobs_of_networks(torch.device("cuda"))
    processes = compile_all(jobs, "cuda")
    seconds = time.perf_counter() - start
    detail = f"the kernels of {len(jobs)} layers, by {processes} processes in {seconds:.0f} s"
    yield Finding("compilation", "ok", detail)


def check_shared_memory() -> Iterator[Finding]:
    """Yield the shared memory, through which batches come from the processes that load them."""
    from swin_umamba.nnunet.training.shared_memory import CURE, free_shared_memory

    free = free_shared_memory()
    if free is not None:
        low = free < LOW_SHARED_MEMORY_GIB * 2**30
        yield Finding(
            "shared memory",
            "warning" if low else "ok",
            f"{free / 2**30:.2f} GiB free in /dev/shm" + (", too little to load batches" if low else ""),
            CURE if low else None,
        )


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder."""
    # Permission bits do not show read-only file systems and quotas; writing a file does.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
