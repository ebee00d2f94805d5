"""Trainings of tiny networks by several processes that a test can stop and kill, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from forked import Forked

DATASET_NAME = "Dataset901_Squares"
TRAINER = "nnUNetTrainerSwinUMambaScratch"
SMALL = (
    *("--iterations", "2", "--validation-iterations", "1", "--device", "cpu", "--workers", "0"),
    *("--batch-size", "4", "--seed", "7", "--skip-validation", "--deterministic"),
)


class Ranks:
    """The ranks of one host, or all of them, and the store that torchrun's agent would serve.

    Parameters
    ----------
    root
        What ``--root`` names.
    arguments
        Of ``swin-umamba train``, after those of ``SMALL``.
    size
        Number of ranks.
    faults
        For a rank, what happens to it; see ``_train``.
    network
        Arguments of the networks, besides those that make them tiny.
    """

    def __init__(
        self,
        root: Path,
        *arguments: str,
        size: int = 2,
        faults: Mapping[int, str] | None = None,
        trainer: str = TRAINER,
        **network: Any,
    ) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        self.store = TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
        given = ["train", DATASET_NAME, "--root", str(root), "--trainer", trainer, *SMALL, *arguments]
        self.processes = []
        for rank in range(size):
            environment = os.environ | {
                "OMP_NUM_THREADS": "1",
                "SWIN_UMAMBA_BACKEND": "chunked",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "GLOO_SOCKET_IFNAME": "lo",
            }
            fault = (faults or {}).get(rank, "")
            self.processes.append(Forked(train_rank, given, fault, network, environment=environment))

    def wait(self, timeout: float = 120) -> list[tuple[int, str]]:
        """Wait for all ranks; return the exit code of each, and what it said."""
        deadline = time.monotonic() + timeout
        for each in self.processes:
            each.wait(max(1, deadline - time.monotonic()))
        return [(each.wait(), each.errors()) for each in self.processes]


def fold_folder(root: Path, trainer: str = TRAINER) -> Path:
    """The folder of fold 0."""
    return root / "nnUNet_results" / DATASET_NAME / f"{trainer}__SwinUMambaPlans__2d" / "fold_0"


def train_rank(arguments: Sequence[str], fault: str, network: Mapping[str, Any]) -> int:
    """Be a rank that trains a tiny network.

    Parameters
    ----------
    arguments
        Of ``swin-umamba``.
    fault
        ``WHAT@STEP``: before this step of the training, of all epochs, this rank gets the signal of the name
        ``WHAT``, or its loader fails (``loader``), or its step (``step``). With ``slices@0`` for all ranks,
        they get the parts of the batches that one process would have, and gradient descent: AdamW divides by
        the gradients, and so makes much of the rounding of small ones. Empty for none.
    network
        Further arguments of the network.
    """
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet.tiny_training import SIZES
    from swin_umamba.cli.main import main
    from swin_umamba.errors import DataError
    from swin_umamba.nnunet import trainers
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
    from swin_umamba.nnunet.training.schedule import CosineSchedule
    from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer

    signal.signal(signal.SIGINT, signal.default_int_handler)
    MetaLogger.plot_progress_png = lambda self, output_folder: None
    for name in trainers.__all__:
        kwargs = {"network_kwargs": SIZES | network}
        trainers.TRAINERS[name] = type(name, (getattr(trainers, name),), kwargs)
    what, _, number = fault.partition("@")
    next_batch, train_step = RobustTrainer.next_batch, RobustTrainer.train_step
    steps = 0

    def is_due(self: RobustTrainer) -> bool:
        return bool(what) and steps == int(number)

    def drawing(self: RobustTrainer, loader: Any) -> Any:
        if is_due(self) and loader is self.dataloader_train:
            if what == "loader":
                raise DataError("a case is damaged", where="case7", hint="mend it")
            if what.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, what))
        if what == "slices":
            return share_of(self, next_batch(self, loader))
        return next_batch(self, loader)

    def whole_batches(self: RobustTrainer) -> tuple[Any, ...]:
        """Load on each rank what one process would load; ``share_of`` takes the rank's part."""
        own = self.batch_size, self.oversample_foreground_percent, self.local_rank
        self.batch_size, self.oversample_foreground_percent = self.configuration_manager.batch_size, 0.33
        self.local_rank = 0
        try:
            return get_dataloaders(self)
        finally:
            self.batch_size, self.oversample_foreground_percent, self.local_rank = own

    def plain_descent(self: SwinUMambaTrainer) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD(self.bare_network().parameters(), lr=3e-4)
        return optimizer, CosineSchedule(optimizer, 1000)

    def stepping(self: RobustTrainer, batch: Any) -> Any:
        nonlocal steps
        if is_due(self) and what == "step":
            raise DataError("a step fails", where="step")
        outcome = train_step(self, batch)
        steps += 1
        return outcome

    get_dataloaders = RobustTrainer.get_dataloaders
    if what == "slices":
        RobustTrainer.get_dataloaders = whole_batches  # type: ignore[method-assign]
        SwinUMambaTrainer.configure_optimizers = plain_descent  # type: ignore[method-assign, assignment]
    RobustTrainer.next_batch, RobustTrainer.train_step = drawing, stepping  # type: ignore[method-assign]
    code = main(list(arguments))
    sys.stdout.write(f"{steps}\n")
    sys.stdout.flush()
    return code


def share_of(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the rank's patches of a whole batch."""
    share = len(batch["data"]) // trainer.processes.size
    part = slice(trainer.processes.rank * share, (trainer.processes.rank + 1) * share)
    target = batch["target"]
    target = [each[part] for each in target] if isinstance(target, list) else target[part]
    return batch | {"data": batch["data"][part], "target": target}


def weights(
    root: Path, name: str = "checkpoint_final.pth", trainer: str = TRAINER
) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint of fold 0."""
    from swin_umamba.weights.checkpoint import load_checkpoint

    state: dict[str, torch.Tensor] = load_checkpoint(fold_folder(root, trainer) / name)["network_weights"]
    return state
