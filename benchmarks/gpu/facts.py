"""The card, its driver and the software, and what they must be for a check to mean anything."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

from swin_umamba.errors import BackendError

_QUERY = (
    "name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.max.sm", "clocks.mem",
    "power.limit", "temperature.gpu", "compute_mode", "mig.mode.current",
)  # fmt: skip
INVENTED: dict[str, Any] = {
    "card": "invented card",
    "capability": "9.0",
    "driver": "invented",
    "multiprocessors": 132,
    "max_clock_mhz": 1755.0,
    "memory_gb": 80.0,
    "free_gb": 79.0,
    "cards": 1,
    "bfloat16": True,
}


def software() -> dict[str, Any]:
    """Return versions, and the commit of the code."""
    import torch

    try:
        import triton

        triton_version = triton.__version__
    except ImportError:
        triton_version = "missing"
    return {
        "torch": torch.__version__,
        "triton": triton_version,
        "cuda": torch.version.cuda or "none",
        "python": platform.python_version(),
        "code": commit(),
    }


def commit() -> str:
    """Return the commit of this checkout, with a mark if files differ from it, or ``unknown``."""
    here = Path(__file__).parent
    try:
        said = [
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=20, check=True)
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno", "../../src"))
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said[0].stdout.strip() + (" with changes" if said[1].stdout.strip() else "")


def nvidia_smi(index: int = 0) -> dict[str, str]:
    """Return what nvidia-smi says of a card; empty if there is none or it hangs."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in answer.strip().split(",")]
    return dict(zip(_QUERY, values, strict=True)) if len(values) == len(_QUERY) else {}


def card_facts() -> dict[str, Any]:
    """Return what PyTorch and the driver say of the current card.

    Raises
    ------
    BackendError
        If there is none, with the reason that PyTorch gives.
    """
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not torch.backends.cuda.is_built():
        raise BackendError("this PyTorch was built without CUDA", hint="install a CUDA build of PyTorch")
    if not available:
        reason = " ".join(str(each.message) for each in said)
        if "too old" in reason:
            raise BackendError("the driver is older than this PyTorch needs", hint="update the driver")
        raise BackendError("no card is visible", hint="check nvidia-smi and CUDA_VISIBLE_DEVICES")
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    smi = nvidia_smi(_physical_index())
    major, minor = properties.major, properties.minor
    clock = re.match(r"[\d.]+", smi.get("clocks.max.sm", ""))
    return {
        "card": properties.name,
        "capability": f"{major}.{minor}",
        "driver": smi.get("driver_version", "unknown"),
        "multiprocessors": properties.multi_processor_count,
        "max_clock_mhz": float(clock[0]) if clock else None,
        "memory_gb": round(total / 1e9, 1),
        "free_gb": round(free / 1e9, 1),
        "cards": torch.cuda.device_count(),
        "bfloat16": major >= 8,
        "nvidia_smi": "; ".join(f"{name} {value}" for name, value in smi.items()),
    }


def _physical_index() -> int:
    """Return the number by which nvidia-smi knows the first visible card."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0
