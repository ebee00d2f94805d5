"""Trainings of tiny networks by several processes that a test can stop and kill, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
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
    roots
        For a rank that sees other files, its ``--root``.
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
        roots: Mapping[int, Path] | None = None,
        **network: Any,
    ) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        self.store = TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
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
            fault, own = (faults or {}).get(rank, ""), str((roots or {}).get(rank, root))
            given = ["train", DATASET_NAME, "--root", own, "--trainer", trainer, *SMALL, *arguments]
            self.processes.append(Forked(train_rank, given, fault, network, environment=environment))

    def wait(self, timeout: float = 600) -> list[tuple[int, str]]:
        """Wait for all ranks; return the exit code of each, and what it said."""
        deadline = time.monotonic() + timeout
        for each in self.processes:
            each.wait(max(1, deadline - time.monotonic()))
        return [(each.wait(), each.errors()) for each in self.processes]


def fold_folder(root: Path, trainer: str = TRAINER) -> Path:
    """The folder of fold 0."""
    return root / "nnUNet_results" / DATASET_NAME / f"{trainer}__SwinUMambaPlans__2d" / "fold_0"


def train_rank(arguments: Sequence[str], fault: str, network: Mapping[str, Any]) -> int:
    """Be a rank that trains a tiny network; print how many steps it has taken.

    Parameters
    ----------
    arguments
        Of ``swin-umamba``.
    fault
        ``WHAT@STEP``: in this step of the training, of all epochs, this rank gets the signal of the name
        ``WHAT``, or fails in its ``loader``, before the ``step``, in the ``forward`` pass, the ``loss``, the
        ``backward`` pass, the ``update`` of the weights, or the ``validation`` after it. With ``+SECONDS``, a
        signal comes so much later, wherever the rank is then. ``slices`` or ``double`` for all ranks: see
        ``train_like_one``. Empty for none.
    network
        Further arguments of the network.
    """
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet.tiny_training import SIZES
    from swin_umamba.cli.main import main
    from swin_umamba.distributed import watch
    from swin_umamba.nnunet import trainers

    # Less patience than by default; tests/distributed/test_commands.py has that.
    watch.SECONDS_BETWEEN_BEATS, watch.SECONDS_UNTIL_LOST_IF_BROKEN = 0.25, 2.0
    watch.SECONDS_UNTIL_LOST = 600.0  # any process may be halted for a while
    signal.signal(signal.SIGINT, signal.default_int_handler)
    MetaLogger.plot_progress_png = lambda self, output_folder: None
    for name in trainers.__all__:
        kwargs = {"network_kwargs": SIZES | network}
        trainers.TRAINERS[name] = type(name, (getattr(trainers, name),), kwargs)
    if fault in ("slices", "double"):
        train_like_one(exactly=fault == "double")
        fault = ""
    steps = _meet(fault)
    code = main(list(arguments))
    sys.stdout.write(f"{steps.taken}\n")
    sys.stdout.flush()
    return code


@dataclass
class _Steps:
    taken: int = 0


def _meet(fault: str) -> _Steps:
    """Let the training meet with a fault; return the count of its steps."""
    from swin_umamba.errors import DataError
    from swin_umamba.nnunet.training.optimizer_step import StepGuard
    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer

    what, _, moment = fault.partition("@")
    step, _, delay = moment.partition("+")
    steps = _Steps()
    is_sent = threading.Event()
    next_batch, train_step, validation_step = (
        RobustTrainer.next_batch,
        RobustTrainer.train_step,
        RobustTrainer.validation_step,
    )
    update = StepGuard.step

    def fail(*_: Any) -> None:
        raise DataError(f"the {what} fails", where="case7", hint="mend it")

    def is_due(name: str) -> bool:
        return what == name and steps.taken == int(step)

    def drawing(self: RobustTrainer, loader: Any) -> Any:
        if loader is self.dataloader_train:
            if is_due("loader"):
                fail()
            if what.startswith("SIG") and is_due(what):
                _send_to_self(getattr(signal, what), float(delay or 0), is_sent)
            if delay and steps.taken >= int(step) + 2:  # it comes, however late: not after the last step
                is_sent.wait()
        return next_batch(self, loader)

    def stepping(self: RobustTrainer, batch: Any) -> Any:
        if is_due("step"):
            fail()
        network, loss = self.unwrapped_network(), self.loss
        parts = [
            network.register_forward_hook(fail) if is_due("forward") else None,
            loss.register_forward_pre_hook(fail) if is_due("loss") else None,
            next(network.parameters()).register_hook(fail) if is_due("backward") else None,
        ]
        outcome = train_step(self, batch)
        assert parts == [None] * 3
        steps.taken += 1
        return outcome

    def updating(
        self: StepGuard, loss: Any, parameters: Any, optimizer: Any, *rest: Any, **more: Any
    ) -> None:
        if is_due("update"):
            optimizer.register_step_pre_hook(fail)
        update(self, loss, parameters, optimizer, *rest, **more)

    def validating(self: RobustTrainer, batch: Any) -> Any:
        if what == "validation" and steps.taken > int(step):
            fail()
        return validation_step(self, batch)

    RobustTrainer.next_batch, RobustTrainer.train_step = drawing, stepping  # type: ignore[method-assign]
    RobustTrainer.validation_step = validating  # type: ignore[method-assign]
    StepGuard.step = updating  # type: ignore[method-assign]
    return steps


def _send_to_self(number: int, delay: float, is_sent: threading.Event) -> None:
    def send() -> None:
        os.kill(os.getpid(), number)
        is_sent.set()

    if delay:
        threading.Timer(delay, send).start()
    else:
        send()


def train_like_one(*, exactly: bool) -> None:
    """Give each rank its part of the batches that one process would have.

    Parameters
    ----------
    exactly
        Whether to compute in float64, nnU-Net's Dice included, with the optimizer as it is. Otherwise it is
        gradient descent: AdamW divides by the gradients, and so makes much of the rounding of small ones.
    """
    from nnunetv2.training.loss import dice

    from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
    from swin_umamba.nnunet.training.schedule import CosineSchedule
    from swin_umamba.nnunet.training.swin_umamba_trainer import SwinUMambaTrainer

    next_batch, get_dataloaders = RobustTrainer.next_batch, RobustTrainer.get_dataloaders
    initialize = RobustTrainer.initialize

    def whole_batches(self: RobustTrainer) -> tuple[Any, ...]:
        own = self.batch_size, self.oversample_foreground_percent, self.local_rank
        self.batch_size, self.oversample_foreground_percent = self.configuration_manager.batch_size, 0.33
        self.local_rank = 0
        try:
            return get_dataloaders(self)
        finally:
            self.batch_size, self.oversample_foreground_percent, self.local_rank = own

    def in_double(self: RobustTrainer) -> None:
        initialize(self)
        self.network.double()
        self.network.register_forward_pre_hook(lambda _, images: images[0].double())

    def plain_descent(self: SwinUMambaTrainer) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD(self.bare_network().parameters(), lr=3e-4)
        return optimizer, CosineSchedule(optimizer, 1000)

    RobustTrainer.get_dataloaders = whole_batches  # type: ignore[method-assign]
    RobustTrainer.next_batch = lambda self, loader: share_of(  # type: ignore[method-assign]
        self, next_batch(self, loader)
    )
    if exactly:
        RobustTrainer.initialize = in_double  # type: ignore[method-assign]
        dice.torch = SimpleNamespace(**vars(torch) | {"float32": torch.float64})  # it sums in float32
    else:
        SwinUMambaTrainer.configure_optimizers = plain_descent  # type: ignore[method-assign, assignment]


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
