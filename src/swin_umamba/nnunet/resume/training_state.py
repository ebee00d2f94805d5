"""The complete state of a training run: what goes into a checkpoint and comes back from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.nnunet.training.options import TrainingOptions

if TYPE_CHECKING:
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

OWN_ENTRY = "swin_umamba"
"""Key of what a checkpoint holds beyond nnU-Net's own entries."""


def training_state(trainer: RobustTrainer, next_epoch: int) -> dict[str, Any]:
    """Return nnU-Net's checkpoint entries and ours. Tensors are those of the trainer, not copies.

    Parameters
    ----------
    trainer
        An initialized trainer.
    next_epoch
        The first epoch that is still to be trained.
    """
    scaler = trainer.grad_scaler
    return {
        "network_weights": trainer.bare_network().state_dict(),
        "optimizer_state": trainer.optimizer.state_dict(),
        "grad_scaler_state": None if scaler is None else scaler.state_dict(),
        "logging": trainer.logger.get_checkpoint(),
        "_best_ema": trainer._best_ema,
        "current_epoch": next_epoch,
        "init_args": trainer.my_init_kwargs,
        "trainer_name": type(trainer).__name__,
        "inference_allowed_mirroring_axes": trainer.inference_allowed_mirroring_axes,
        OWN_ENTRY: {
            "options": trainer.options.as_dict(),
            "random_state": random_state(),
            "batches_drawn": list(trainer.batches_drawn),
            "skipped_steps": trainer.guard.skipped,
        },
    }


def restore_training_state(trainer: RobustTrainer, checkpoint: dict[str, Any]) -> None:
    """Give an initialized trainer the state that a checkpoint holds.

    The random generators are only remembered as ``trainer.resumed_random_state``: what happens until
    training starts must not use them up.

    Raises
    ------
    CheckpointError
        If the checkpoint is of another network or incomplete.
    """
    try:
        trainer.bare_network().load_state_dict(checkpoint["network_weights"])
        trainer.optimizer.load_state_dict(checkpoint["optimizer_state"])
        if trainer.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
            trainer.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])
        trainer.current_epoch = checkpoint["current_epoch"]
        trainer.logger.load_checkpoint(deepcopy(checkpoint["logging"]))
        trainer._best_ema = checkpoint["_best_ema"]
        trainer.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit this training: {str(error).splitlines()[-1].strip()}",
            where=trainer.output_folder,
            cure="continue with the trainer, plans and options of the first run",
        ) from error
    own = checkpoint.get(OWN_ENTRY, {})
    per_epoch = (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch)
    trainer.batches_drawn = own.get("batches_drawn", [trainer.current_epoch * number for number in per_epoch])
    trainer.resumed_random_state = own.get("random_state")
    trainer.guard.skipped = own.get("skipped_steps", 0)


def stored_options(checkpoint: dict[str, Any]) -> TrainingOptions | None:
    """Return the options that a run was started with; None if nnU-Net's own trainer wrote the checkpoint."""
    own = checkpoint.get(OWN_ENTRY)
    return None if own is None else TrainingOptions.from_stored(own["options"])


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and make cuDNN repeatable."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  nnU-Net's loaders draw from the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def deterministic_algorithms(wanted: bool, device: torch.device) -> Iterator[None]:
    """Let PyTorch use only operators in the block that give equal bits for equal inputs, if ``wanted``.

    CUDA has no such version of some operators that nnU-Net's losses need; these warn.
    """
    if not wanted:
        yield
        return
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    memory.fill_uninitialized_memory = False  # takes time, and finds faults instead
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
        memory.fill_uninitialized_memory = filled


def random_state() -> dict[str, Any]:
    """Return the states of all random generators as values that a checkpoint may hold."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set all random generators to what ``random_state`` has returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])


def copied_to_cpu(value: Any) -> Any:
    """Return a copy of nested dicts, lists and tuples that shares no tensor and no container with them."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied_to_cpu(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied_to_cpu(each) for each in value)
    return value
