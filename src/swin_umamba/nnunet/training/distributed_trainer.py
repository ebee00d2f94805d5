"""What a training does besides when several processes share it; nothing for one.

Differences from nnU-Net: the device is that of the rank on its host, not the number of the rank; the network
is wrapped once, and again when other parameters are trained, without a search for unused ones in each step;
a batch must be divided evenly; files are written by the first rank.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from swin_umamba.distributed.agreement import Agreement
from swin_umamba.errors import OutputError, TrainingError, UsageError
from swin_umamba.nnunet.resume.resumable_trainer import ResumableTrainer
from swin_umamba.nnunet.resume.training_state import random_state, restore_random_state, seed_everything
from swin_umamba.ops.precision import autocast

logger = logging.getLogger(__name__)


class DistributedTrainer(ResumableTrainer):
    """Joins the processes of a run; ``RobustTrainer`` adds the training loop.

    Parameters
    ----------
    plans, configuration, fold, dataset_json, device
        As for ``ResumableTrainer``.
    """

    _wrapped_for: tuple[bool, ...] | None = None
    _forwards = 0
    _has_buffers = False

    @cached_property
    def agreement(self) -> Agreement:
        """The decision of all ranks about stopping."""
        return Agreement(self.processes)

    def _set_batch_size_and_oversample(self) -> None:
        """Take this rank's share of the batch.

        All have the same, or neither the mean of their gradients nor nnU-Net's Dice of the whole batch would
        be that of one process. The last ranks have the patches that are to contain foreground.
        """
        size, batch = self.processes.size, self.configuration_manager.batch_size
        if batch % size:
            fitting = [str(number) for number in range(2, batch + 1) if batch % number == 0]
            raise UsageError(
                f"a batch of {batch} patches cannot be divided evenly over {size} ranks",
                where="--batch-size",
                hint=f"start {' or '.join(fitting) or 'one'} of them, or in a new run give a multiple of "
                f"{size} as --batch-size",
            )
        with self.as_nnunets(distributed=size > 1):
            super()._set_batch_size_and_oversample()
        if size > 1:
            line = f"each batch of {batch} patches is divided over {size} ranks, {self.batch_size} on each"
            self.print_to_log_file(line)
            logger.info("%s", line)

    @contextmanager
    def as_nnunets(self, *, distributed: bool) -> Iterator[None]:
        """Within the ``with`` block, let nnU-Net's own methods act as in a distributed training, or not."""
        before, self.is_ddp = self.is_ddp, distributed
        try:
            yield
        finally:
            self.is_ddp = before

    def initialize(self) -> None:
        """Build network, optimizer and loss; the network is wrapped before the first step."""
        with self.as_nnunets(distributed=False):
            super().initialize()
        for part in self.loss.modules() if self.processes.size > 1 else ():
            if hasattr(part, "ddp"):
                part.ddp = True  # the Dice of nnU-Net's losses, over the batch of all ranks

    def on_train_start(self) -> None:
        """Prepare everything, rank by rank where files are written."""
        first, base = self.processes.is_first, self.output_folder_base
        if first and self.processes.size > 1:
            self.check_data()  # may write the splits
        self.processes.barrier()
        with (
            self.as_nnunets(distributed=False),
            nullcontext(base) if first else tempfile.TemporaryDirectory(prefix="rank-") as folder,
        ):
            # The same files by all ranks at once would be read half written.
            self.output_folder_base = folder
            try:
                super().on_train_start()
            finally:
                self.output_folder_base = base
        self._compare_ranks()
        self._seed_rank()
        if first and self.processes.watch is not None:
            self.processes.watch.before_exit = self.save_resume_point

    def _compare_ranks(self) -> None:
        """Refuse to train if the ranks have not found the same files."""
        own = {
            "epochs trained": self.current_epoch,
            "options": self.options.as_dict() | {"device": None},
            "cases": self.cases,
            "plans": self.plans_manager.plans,
        }
        of_ranks = self.processes.gather(own)
        for name in own:
            if other := [rank for rank, each in enumerate(of_ranks) if each[name] != of_ranks[0][name]]:
                raise TrainingError(
                    f"ranks 0 and {other[0]} differ in what they have found: {name}",
                    where=self.output_folder,
                    hint="all hosts need the same data and results: put them on a shared file system, and "
                    "give the same options everywhere",
                )

    def _seed_rank(self) -> None:
        """Let random layers draw other numbers on each rank, or go on with those of before."""
        rank, size = self.processes.rank, self.processes.size
        states = self.resumed_random_states
        if rank < len(states):
            restore_random_state(states[rank], self.device)
        if self.starts_fresh and rank == 0:
            return  # goes on with the numbers after those of the weights
        if rank >= len(states) and size > 1:
            entropy = secrets.randbits(64) if self.options.seed is None else self.options.seed
            sequence = np.random.SeedSequence((entropy, rank, self.current_epoch))
            seed_everything(int(sequence.generate_state(1)[0]))
        if not self.starts_fresh and size != len(states) and rank == 0 and (size > 1 or len(states) > 1):
            logger.warning(
                "until now %d ranks have trained, and now %d do: weights, optimizer and schedule go on; the "
                "patches and the masks of random layers from now on are others than in an undisturbed run",
                max(1, len(states)),
                size,
            )

    def distribute(self) -> None:
        """Wrap the network, unless it is wrapped for the parameters that are trained now.

        Ends the vote if ranks wait for each other in the forward pass: in the second one the wrapper agrees
        on the order of gradients, and in each it makes buffers equal.
        """
        if self.processes.size == 1:
            return
        self._forwards += 1
        if self._forwards <= 2 or self._has_buffers:
            self.agreement.settle()
        network = self.unwrapped_network()
        trained = tuple(parameter.requires_grad for parameter in network.parameters())
        if trained == self._wrapped_for:
            return
        self.agreement.settle()
        if self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network  # the old wrapper is gone, with its hooks
        for parameter in self._without_gradient():
            parameter.requires_grad = False  # the wrapper would wait for it in each step
        # Gradients of depthwise convolutions have other strides than their weights.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        self.network = DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
        self._forwards = 1
        self._has_buffers = next(network.buffers(), None) is not None
        self._wrapped_for = tuple(parameter.requires_grad for parameter in network.parameters())

    def training_outputs(self) -> AbstractContextManager[None]:
        """Return a context in which the network returns what the loss of a training step takes."""
        return nullcontext()

    def _without_gradient(self) -> list[nn.Parameter]:
        """Return the parameters that would be trained and never get a gradient, found in a trial.

        The coarsest head has no weight in nnU-Net's loss, and the last stage of the published network lies
        behind it.
        """
        parameters = [each for each in self.network.parameters() if each.requires_grad]
        shape = (1, self.num_input_channels, *self.configuration_manager.patch_size)
        self.network.train()
        cards = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=cards),
            self.training_outputs(),
            autocast(self.device, self.precision),
        ):
            output = self.network(torch.zeros(shape, device=self.device))
        heads = [output] if isinstance(output, Tensor) else list(output)
        weights: Sequence[float] = next(
            (part.weight_factors for part in self.loss.modules() if hasattr(part, "weight_factors")),
            [1.0] * len(heads),
        ) or [1.0] * len(heads)
        total = sum(head.float().sum() for head, weight in zip(heads, weights, strict=False) if weight != 0)
        assert isinstance(total, Tensor)
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        return [each for each, gradient in zip(parameters, gradients, strict=True) if gradient is None]

    def of_all_ranks(self, outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the outputs of the steps of all ranks."""
        return [output for each in self.processes.gather(outputs) for output in each]

    def gather_random_states(self) -> None:
        """Keep the states of the random generators of all ranks for the next checkpoint."""
        if self.processes.size > 1:
            self.random_states = self.processes.gather(random_state(self.device))

    def stop(self, error: BaseException, explained: BaseException) -> BaseException:
        """Save after an error of this rank or another one, and return the error to end with.

        Parameters
        ----------
        error
            What was raised here.
        explained
            What it means for the user.
        """
        watch = self.processes.watch
        if watch is None:
            if not isinstance(error, OutputError):  # it would fail again
                self.save_resume_point()
            return explained
        watch.tell(explained)
        if self.processes.is_first:
            if not isinstance(error, OutputError):
                self.save_resume_point()
            watch.say_saved()
        elif self.agreement.has_stopped:
            watch.wait_for_saved()  # otherwise the first rank may wait for this one in the middle of a step
        return watch.error_for(explained)
