"""The complete state of a training run, as stored in a checkpoint and restored from it."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._dynamo import OptimizedModule

from swin_umamba.nnunet.environment import environment_variable
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.ops.fused_optimizer import restore_optimizer

logger = logging.getLogger(__name__)

OWN_ENTRY = "swin_umamba"
"""Key of our entry in a checkpoint, besides nnU-Net's own entries."""
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(frozen=True)
class OwnState:
    """Content of our entry in a checkpoint, besides nnU-Net's own entries.

    Attributes
    ----------
    batches_drawn
        Number of batches drawn for training and for validation.
    random_states
        Result of ``random_state`` on each rank; empty if the checkpoint has none.
    skipped_steps
        Number of steps skipped up to now.
    cases
        See ``fingerprints_of_cases``; empty if the checkpoint has none.
    """

    batches_drawn: list[int]
    random_states: list[dict[str, Any]]
    skipped_steps: int
    cases: dict[str, str | None]


def weights_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, grad_scaler: torch.amp.GradScaler | None
) -> dict[str, Any]:
    """Return nnU-Net's entries of a checkpoint for the trained objects. Tensors are not copied."""
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None if grad_scaler is None else grad_scaler.state_dict(),
    }


def restore_weights(
    checkpoint: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    grad_scaler: torch.amp.GradScaler | None,
) -> None:
    """Load the result of ``weights_state``.

    Raises
    ------
    RuntimeError, ValueError, KeyError
        If the checkpoint is for another network or incomplete.
    """
    network.load_state_dict(checkpoint["network_weights"])
    restore_optimizer(optimizer, checkpoint["optimizer_state"])
    if grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
        grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])


def own_state(
    options: TrainingOptions,
    loss: Any,
    batches_drawn: Sequence[int],
    skipped_steps: int,
    cases: Mapping[str, str | None],
    random_states: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return our entry of a checkpoint, with the states of the random generators of all ranks."""
    return {
        OWN_ENTRY: {
            "options": options.as_dict(),
            "loss": _parts_of_loss(loss),
            "random_state": random_states[0],
            "random_states_of_others": list(random_states[1:]),
            "batches_drawn": list(batches_drawn),
            "skipped_steps": skipped_steps,
            "cases": dict(cases),
        }
    }


def stored_own_state(checkpoint: dict[str, Any], steps_per_epoch: Sequence[int], loss: Any) -> OwnState:
    """Return our entry of a checkpoint; for nnU-Net's own trainer, it is derived from the other entries.

    Parameters
    ----------
    checkpoint
        Its content.
    steps_per_epoch
        Number of batches for training and for validation in each epoch.
    loss
        Loss that the run is to continue with.

    Raises
    ------
    ValueError
        If the run was started with another loss.
    """
    own = checkpoint.get(OWN_ENTRY, {})
    before, now = (" of ".join(parts) for parts in (own.get("loss", ()), _parts_of_loss(loss)))
    if before and before != now:
        raise ValueError(f"the run was started with the loss {before}, and the present one is {now}")
    first = own.get("random_state")
    drawn = [checkpoint["current_epoch"] * number for number in steps_per_epoch]
    return OwnState(
        own.get("batches_drawn", drawn),
        [] if first is None else [first, *own.get("random_states_of_others", [])],
        own.get("skipped_steps", 0),
        own.get("cases", {}),
    )


def _parts_of_loss(loss: Any) -> list[str]:
    """Return the names of the Python classes of a loss and its parts, compiled or not."""
    parts = loss.modules() if isinstance(loss, nn.Module) else [loss]
    return [type(each).__name__ for each in parts if not isinstance(each, OptimizedModule)]


def stored_options(checkpoint: dict[str, Any]) -> TrainingOptions | None:
    """Return the options that a run was started with; None if nnU-Net's own trainer wrote the checkpoint."""
    own = checkpoint.get(OWN_ENTRY)
    return None if own is None else TrainingOptions.from_stored(own["options"])


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, with all of its devices."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  nnU-Net's loaders draw from the global generator
    torch.manual_seed(seed)


@contextmanager
def reproducibility(options: TrainingOptions, device: torch.device) -> Iterator[None]:
    """Within the ``with`` block, choose operators for speed, or with a seed for equal results.

    Without a seed cuDNN measures its algorithms for each size and takes the fastest, which differs from run
    to run. A seeded run uses those of cuDNN that give equal bits, when it is resumed too; with
    ``deterministic``, so do PyTorch's own operators and cuBLAS.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    # Not with cudnn.flags(), which changes more than it is told to.
    cudnn.benchmark, cudnn.deterministic = options.seed is None, options.seed is not None
    try:
        with _deterministic_algorithms(device) if options.deterministic else nullcontext():
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


@contextmanager
def _deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Restrict PyTorch to deterministic operators.

    CUDA has no deterministic version of some operators that nnU-Net's losses need; these give a warning.
    """
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    memory.fill_uninitialized_memory = False  # takes time, and is meant for finding bugs
    try:
        # cuBLAS, which reads it before its first product, is deterministic only with a fixed workspace.
        with environment_variable(CUBLAS_WORKSPACE, os.environ.get(CUBLAS_WORKSPACE, ":4096:8")):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
        memory.fill_uninitialized_memory = filled


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of all random generators that training on a device draws from, for a checkpoint."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
        "mps": [torch.mps.get_rng_state()] if device.type == "mps" else [],
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore all random generators from the result of ``random_state``.

    Warns if it has no state for the generator of the device, since the run was trained on another kind.

    Parameters
    ----------
    state
        Result of ``random_state``; earlier versions stored the states of all CUDA devices of the machine.
    device
        Device that the training goes on with, whatever its number was until now.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    stored = {kind: state.get(kind, []) for kind in ("cuda", "mps")}
    states = stored.get(device.type, [])
    number = 0 if len(states) == 1 else device.index or 0
    if number < len(states) and device.type == "cuda":
        torch.cuda.set_rng_state(states[number].cpu(), device)
    elif number < len(states):
        torch.mps.set_rng_state(states[number].cpu())
    elif device.type != "cpu" or ("mps" in state and any(stored.values())):
        logger.warning(
            "until now the run was not trained on %s: random layers go on with other numbers than they "
            "would have there",
            device,
        )


def copied_to_cpu(value: Any) -> Any:
    """Return a copy of nested dicts, lists and tuples that shares no tensor and no container with them.

    Tensors on a GPU are copied into pinned memory, one behind the other, and the host waits once for all.
    """
    devices: set[torch.device] = set()
    copy = _copied(value, devices)
    for device in devices:
        torch.cuda.synchronize(device)
    return copy


def _copied(value: Any, devices: set[torch.device]) -> Any:
    """Return a copy of ``value``; that of tensors on the GPUs added to ``devices`` is still under way."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "cuda":
            return value.detach().to("cpu", copy=True)
        try:
            room = _pinned_like(value)
        except RuntimeError:  # the machine grants no more pinned memory
            return value.detach().to("cpu", copy=True)
        devices.add(value.device)
        return room.copy_(value.detach(), non_blocking=True)
    if isinstance(value, dict):
        return {key: _copied(each, devices) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(each, devices) for each in value)
    return value


def _pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True)
