"""The one place that chooses the device, the scan backend and the dtype that a scan is computed in."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType

import torch

from swin_umamba.errors import BackendError, UsageError, unknown_name
from swin_umamba.ops.derivatives import reference_is_needed
from swin_umamba.ops.gpu_kernels import (
    announce_compilation,
    card_obstacle,
    driver_is_too_old,
    interpreting,
    triton_obstacle,
)
from swin_umamba.ops.graph_constant import constant_of_graph

logger = logging.getLogger(__name__)

BACKENDS = ("reference", "chunked", "native", "triton", "mamba_ssm")
ENVIRONMENT_VARIABLE = "SWIN_UMAMBA_BACKEND"

_COMPUTES = {
    "native": "float32 on a CPU",
    "triton": "float32 on a CUDA device",
    "mamba_ssm": "float32 on a CUDA device",
}

_NATIVE_HINT = "install numba (pip install numba), or leave the backend out to use the portable one"
_TRITON_HINT = "pip install triton (CUDA builds of PyTorch for Linux bring it), or leave the backend out"
_MAMBA_HINT = (
    "build it with its CUDA extension (MAMBA_FORCE_BUILD=TRUE pip install --no-build-isolation mamba-ssm), "
    "or leave the backend out"
)


@dataclass(frozen=True)
class BackendStatus:
    """Availability of one backend on this machine.

    Attributes
    ----------
    name
        One of ``BACKENDS``.
    available
        True if a scan can run on it here.
    reason
        One sentence: what the backend is, or why it is missing.
    hint
        Advice on getting it; None if it is available.
    """

    name: str
    available: bool
    reason: str
    hint: str | None = None


def resolve_device(name: str = "auto") -> torch.device:
    """Resolve the name of a device.

    Parameters
    ----------
    name
        ``auto`` (CUDA if there is one, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    UsageError
        If the name is not one of these.
    BackendError
        If this machine, or this build of PyTorch, has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"unknown device {name!r}", hint="use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        _require_cuda(name, int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise BackendError(
            "this machine has no MPS device (Apple GPU), or this PyTorch was built without it",
            where=f"device {name}",
            hint="use --device auto or --device cpu",
        )
    return torch.device(name)


def _require_cuda(name: str, index: int) -> None:
    where = f"device {name}"
    if not torch.backends.cuda.is_built():
        raise BackendError(
            f"PyTorch {torch.__version__} was built without CUDA",
            where=where,
            hint="install a CUDA build of PyTorch (https://pytorch.org/get-started), or use --device cpu",
        )
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or count == 0:
        old = driver_is_too_old()
        raise BackendError(
            "the NVIDIA driver is too old for this PyTorch" if old else "no CUDA device is visible",
            where=where,
            hint="update the driver, or install a PyTorch for the version of CUDA that nvidia-smi shows"
            if old
            else "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    if index >= count:
        raise BackendError(
            f"there is no CUDA device {index}: {count} visible",
            where=where,
            hint=f"use cuda:0 to cuda:{count - 1}",
        )


@contextmanager
def current_device(device: torch.device) -> Iterator[None]:
    """Within the ``with`` block, make a GPU with a number PyTorch's current one.

    Whatever does not name a device, such as the thread that pins the memory of batches, would otherwise take
    up memory on the first GPU.
    """
    with torch.cuda.device(device) if device.type == "cuda" and device.index else nullcontext():
        yield


def compute_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Return the dtype that a scan over these dtypes is computed in: the policy for mixed precision.

    The recurrence multiplies thousands of decays, which half precision cannot carry. Hence, in every backend
    and under autocast too, the projection of dt, its softplus, the exponentials, the states and all sums are
    float32 for float16 and bfloat16 tensors, and only the result is cast back to the dtype of the
    activation; each gradient has the dtype of its tensor. One float64 tensor makes everything float64.
    Matrix products and convolutions around the scan are left to autocast.
    """
    for dtype in dtypes:
        if dtype is not torch.float32:
            break
    else:
        return torch.float32  # what follows costs as much as all checks of a scan
    return functools.reduce(torch.promote_types, dtypes, torch.float32)


def choose_backend(device: torch.device, dtype: torch.dtype, requested: str | None = None) -> str:
    """Choose the implementation of a scan.

    Parameters
    ----------
    device, dtype
        Device and dtype of the tensors. Half precision counts as float32 (`compute_dtype`).
    requested
        A name of ``BACKENDS``, or None for the automatic choice: the one that the environment variable
        ``SWIN_UMAMBA_BACKEND`` names, else for float32 ``native`` on a CPU with numba and ``triton`` on a
        CUDA device with Triton, else ``chunked``. ``mamba_ssm`` is never chosen automatically.

    Returns
    -------
    str
        A name of ``BACKENDS``. Whatever is requested, it is ``reference`` in forward-mode differentiation and
        under the differentiating transforms of ``torch.func``: no other backend has those derivatives.

    Raises
    ------
    UsageError
        If the name is unknown.
    BackendError
        If the backend is missing here or does not compute this dtype on this device.
    """
    name: str = _constant_backend_of_graph(device, dtype, requested)
    if name == "reference" or not reference_is_needed():
        return name
    if not torch.compiler.is_compiling():
        _warn_once(
            f"forward mode and torch.func: scans run on the reference, which is slow, and not on {name!r}"
        )
    return "reference"


# Dynamo cannot trace imports or the environment: the answer is a constant of the compiled graph. PyTorch 2.4
# binds it to the name of this function in the module being compiled, so nothing there may have the same name.
@constant_of_graph
def _constant_backend_of_graph(device: torch.device, dtype: torch.dtype, requested: str | None) -> str:
    name, where = requested, "backend="
    if name is None:
        name, where = os.environ.get(ENVIRONMENT_VARIABLE) or None, ENVIRONMENT_VARIABLE
    if name is None:
        return _fastest_backend(device, dtype)

    if name not in BACKENDS:
        raise unknown_name("scan backend", name, BACKENDS, where=where)
    status = backend_status(name)
    if not status.available:
        raise BackendError(
            f"the scan backend {name!r} is missing: {status.reason}", where=where, hint=status.hint
        )
    if name in _COMPUTES and not _fits(name, device, dtype):
        raise BackendError(
            f"the scan backend {name!r} computes {_COMPUTES[name]}, not {dtype} on {device.type}",
            where=where,
            hint='use "chunked", or leave the backend out',
        )
    if name == "triton" and (obstacle := card_obstacle(device)):
        raise BackendError(f"the scan backend 'triton': {obstacle[0]}", where=where, hint=obstacle[1])
    return name


def _fastest_backend(device: torch.device, dtype: torch.dtype) -> str:
    name = "triton" if device.type == "cuda" else "native"
    if not _fits(name, device, dtype):
        return "chunked"
    status = kernel_status(device)
    if status.available:
        return name
    _warn_once(f"scans will be slow: {status.reason}; {status.hint}")
    return "chunked"


def kernel_status(device: torch.device) -> BackendStatus:
    """Return whether the kernels made for a device, ``triton`` or ``native``, run on it."""
    if device.type != "cuda":
        return backend_status("native")
    status = backend_status("triton")
    obstacle = card_obstacle(device) if status.available else None
    return BackendStatus("triton", False, *obstacle) if obstacle else status


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _fits(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the native, Triton or mamba_ssm kernels compute this dtype on this device."""
    if compute_dtype(dtype) != torch.float32:
        return False
    if name == "triton" and interpreting():
        return device.type in ("cpu", "cuda")
    return device.type == ("cpu" if name == "native" else "cuda")


@functools.cache
def backend_status(name: str) -> BackendStatus:
    """Return whether the backend ``name`` can be used on this machine; looked up once per process."""
    if name == "reference":
        return BackendStatus(name, True, "the recurrence as a loop over time, slow, for comparison")
    if name == "chunked":
        return BackendStatus(name, True, "plain PyTorch on any device")
    try:
        return {"native": _native_status, "triton": _triton_status, "mamba_ssm": _mamba_status}[name]()
    except (ImportError, OSError) as error:  # a damaged library fails with OSError
        package, hint = {
            "native": ("numba", _NATIVE_HINT),
            "triton": ("Triton", _TRITON_HINT),
            "mamba_ssm": ("mamba_ssm", _MAMBA_HINT),
        }[name]
        return BackendStatus(name, False, f"{package} cannot be used ({error})", hint)


def _native_status() -> BackendStatus:
    importlib.import_module("numba")
    for operator in ("ss2d_scan", "selective_scan"):
        load_backend("native", operator)
    return BackendStatus("native", True, "float32 kernels for the CPU, compiled by numba")


def _triton_status() -> BackendStatus:
    if obstacle := triton_obstacle():
        return BackendStatus("triton", False, *obstacle)
    how = "run slowly by Triton's interpreter" if interpreting() else "float32, compiled by Triton"
    return BackendStatus("triton", True, f"kernels for CUDA devices, {how}")


def _mamba_status() -> BackendStatus:
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    if getattr(module, "selective_scan_cuda", None) is None:
        raise ImportError("it was installed without its CUDA extension selective_scan_cuda")
    return BackendStatus("mamba_ssm", True, "the authors' CUDA extension, for comparison")


def backend_report() -> list[BackendStatus]:
    """Return the status of every backend on this machine, for diagnosis."""
    return [backend_status(name) for name in BACKENDS]


def load_backend(name: str, operator: str) -> ModuleType:
    """Import the module that implements ``operator`` (``ss2d_scan`` or ``selective_scan``) on a backend."""
    if name == "triton":
        announce_compilation()
    return _module(name, operator)


@functools.cache
def _module(name: str, operator: str) -> ModuleType:
    if name == "chunked":
        return importlib.import_module("swin_umamba.ops.chunked")
    return importlib.import_module(f"swin_umamba.ops.{name}.{operator}")


@constant_of_graph  # torch 2.10 cannot trace it
def _has_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrix products on ``device`` keep the dtype of their inputs."""
    if not _has_autocast(device.type) or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    if torch.compiler.is_compiling():
        return torch.autocast(device.type, enabled=False)
    return _AutocastOff(device.type)


class _AutocastOff:
    """Autocast off for a kind of device where it was on: a tenth of what ``torch.autocast`` costs."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        torch.set_autocast_enabled(self._kind, False)

    def __exit__(self, *error: object) -> None:
        torch.set_autocast_enabled(self._kind, True)
