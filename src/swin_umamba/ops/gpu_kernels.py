"""Whether the Triton kernels run on a GPU; if not, why, and what to do."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import subprocess

import torch

from swin_umamba.errors import BackendError

logger = logging.getLogger(__name__)

OLDEST_TRITON = (3, 4)  # 3.3 does not compile the kernels
# Compute capability of the oldest GPUs that the kernels are compiled for, and of those that Triton supports.
OLDEST_CAPABILITY, SUPPORTED_CAPABILITY = (7, 5), (8, 0)

LAUNCHER_HINT = (
    "install gcc and the header files of Python (apt install gcc python3-dev), or leave the backend out"
)
_HINTS = {
    "unsupported toolchain": "update the NVIDIA driver, or install a PyTorch for its version of CUDA, which "
    "nvidia-smi shows",
    "image is invalid": "update the NVIDIA driver, or install a PyTorch for its version of CUDA, which "
    "nvidia-smi shows",
    "ptxas": "update PyTorch: its Triton does not know this GPU yet",
    "permission denied": "set TRITON_CACHE_DIR to a folder that you can write to",
    "read-only file system": "set TRITON_CACHE_DIR to a folder that you can write to",
}
"""What to do about errors that contain these words."""
_BUSY = ("busy or unavailable", "exclusive")


def interpreting() -> bool:
    """Return whether Triton interprets its kernels, on the CPU and slowly; for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def triton_obstacle() -> tuple[str, str] | None:
    """Return why Triton is of no use on this machine, and what to do; None if it is.

    Raises
    ------
    ImportError, OSError
        If it is missing or damaged.
    """
    triton = importlib.import_module("triton")
    major, minor = triton.__version__.split(".")[:2]
    if (int(major), int(minor)) < OLDEST_TRITON:
        reason = f"Triton {triton.__version__} cannot compile the kernels"
        return reason, "update PyTorch: from 2.8 on it brings one that can"
    if interpreting():
        return None
    if not torch.cuda.is_available():
        return "no CUDA device is visible", "use a machine with one, or leave the backend out"
    try:
        # The first call on a machine compiles the few lines that launch kernels.
        triton.runtime.driver.active.get_current_target()
    except (RuntimeError, AssertionError, subprocess.CalledProcessError) as error:
        return f"Triton cannot build its launcher ({error})", LAUNCHER_HINT
    return None


@functools.cache
def card_obstacle(device: torch.device) -> tuple[str, str] | None:
    """Return why a GPU does not run the kernels although Triton is there, and what to do; None if it does.

    Raises
    ------
    BackendError
        If another program has the GPU for itself.
    """
    if device.type != "cuda" or interpreting() or not torch.cuda.is_available():
        return None
    if torch.version.hip:
        return "the kernels are for NVIDIA GPUs, not for AMD's (ROCm)", "use an NVIDIA GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        reason = "the kernels need compute capability 7.5, and this GPU has {}.{}".format(*capability)
        return reason, "use a T4, a GPU of the series GTX 16 or RTX 20, or a newer one"
    try:
        _run_smallest_kernel(device)
    except torch.cuda.OutOfMemoryError:
        raise
    # Whatever is wrong with compiler, driver or cache, the portable path does not need them.
    except Exception as error:
        text = str(error) or type(error).__name__
        if any(words in text for words in _BUSY):
            raise BackendError(
                "the GPU is taken by another program",
                where=f"device {device}",
                hint="end it (nvidia-smi lists it), or use another GPU: --device cuda:N",
            ) from error
        reason = text.strip().splitlines()[0]
        hints = [hint for words, hint in _HINTS.items() if words in text.lower()]
        return f"a kernel does not run on {device} ({reason})", hints[0] if hints else LAUNCHER_HINT
    if capability < SUPPORTED_CAPABILITY:
        logger.warning(
            "the kernels are compiled for the compute capability %d.%d of this GPU, but not tested on it; "
            "SWIN_UMAMBA_BACKEND=chunked is the slow alternative",
            *capability,
        )
    return None


def driver_is_too_old() -> bool:
    """Return whether it is the driver because of which PyTorch finds no GPU."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the second is of a PyTorch without CUDA
        return "driver" in str(error) and "too old" in str(error)
    return False


def _run_smallest_kernel(device: torch.device) -> None:
    importlib.import_module("swin_umamba.ops.triton.probe").run_smallest_kernel(device)


@functools.cache
def announce_compilation() -> None:
    """Say once that the first scans on a GPU take longer."""
    if not interpreting():
        logger.info(
            "compiling the kernels for this GPU at their first use, which takes up to a minute; later runs "
            "find them in Triton's cache"
        )
