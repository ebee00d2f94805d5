"""The trainer of comparisons: the same loop, loss, augmentation and batches for every network."""

from __future__ import annotations

import logging
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from swin_umamba.compare.budget import steps_of_epoch
from swin_umamba.compare.recipe import Recipe
from swin_umamba.errors import UsageError
from swin_umamba.json_files import write_contract
from swin_umamba.nnunet.training.pretrained import load_pretrained, locate_pretrained
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.schema import Provenance, flag, left_out, number, table, text, whole

logger = logging.getLogger(__name__)

PLANS_ENTRY = "swin_umamba_comparison"
COST_FILE = "training_cost.json"
_TERMS = table(
    {
        "recipe": table(
            {},
            {
                **dict.fromkeys(("optimizer", "schedule"), text()),
                **dict.fromkeys(("learning_rate", "weight_decay", "exponent", "eps"), number(0)),
                "frozen_share": number(0, 1),
            },
            left_out,
        ),
        "iterations": whole(1),
        "supervises_deeply": flag,
    }
)


@dataclass(frozen=True)
class Terms:
    """Terms a comparison sets for a training, stored in the plans beside the network.

    Attributes
    ----------
    recipe
        How the weights are updated.
    iterations
        Steps of the training.
    supervises_deeply
        Whether the network has coarser heads, which then take part in the loss.
    """

    recipe: Recipe
    iterations: int
    supervises_deeply: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the plans."""
        return asdict(self)

    @classmethod
    def from_plans(cls, plans: dict[str, Any]) -> Terms:
        """Read the terms that ``as_dict`` stored in plans.

        Raises
        ------
        UsageError
            If the plans do not come from a comparison.
        """
        stored = plans.get(PLANS_ENTRY)
        if stored is None:
            raise UsageError(
                "nnUNetTrainerComparison trains for comparisons only, and these plans belong to none",
                hint="run swin-umamba compare, or choose another trainer",
            )
        Provenance("the plans of a comparison", "compare again in an empty folder", UsageError).check(
            stored, _TERMS, PLANS_ENTRY
        )
        return cls(Recipe(**stored["recipe"]), stored["iterations"], stored["supervises_deeply"])


class NoSchedule:
    """Placeholder for a schedule by epochs: the trainer sets the learning rate before each step."""

    def step(self, epoch: int) -> None:
        """Do nothing."""


class nnUNetTrainerComparison(RobustTrainer):
    """Trains the network named in the plans, on the terms stored there.

    Trainings with the same seed see the same batches, however many random numbers the networks draw.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's own default
    ) -> None:
        self.terms = Terms.from_plans(plans)
        self.step_seconds: list[float] = []
        self.loading_seconds: list[float] = []
        self.encoder_is_frozen = False
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = self.terms.recipe.learning_rate
        self.weight_decay = self.terms.recipe.weight_decay
        self.enable_deep_supervision = self.terms.supervises_deeply

    def initialize(self) -> None:
        """Build network, optimizer and loss, and load the pretrained weights."""
        super().initialize()
        if self.options.pretrained is not None:
            path = locate_pretrained(self.options.pretrained)
            for line in load_pretrained(self.bare_network(), path, self.dataset_json):
                self.print_to_log_file(line)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, NoSchedule]:
        """Return the optimizer of the recipe, with all parameters in one group."""
        return self.terms.recipe.make_optimizer(self.bare_network().parameters()), NoSchedule()

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Make the network return the logits of all heads, or only of the finest."""
        if self.terms.supervises_deeply:
            network = self.bare_network()
            # Stock U-Nets have the switch on their decoder.
            owner = network if hasattr(network, "deep_supervision") else network.decoder
            owner.deep_supervision = enabled

    def on_train_epoch_start(self) -> None:
        """Begin an epoch with its share of the steps."""
        super().on_train_epoch_start()
        taken = len(self.step_seconds)
        self.num_iterations_per_epoch = steps_of_epoch(self.terms.iterations, self.current_epoch, taken)

    def next_batch(self, loader: Any) -> dict[str, Any]:
        """Return the next batch, and note how long it took."""
        start = perf_counter()
        batch = super().next_batch(loader)
        if loader is self.dataloader_train:
            self.loading_seconds.append(perf_counter() - start)
        return batch

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take and time a step at the recipe's learning rate for this point of the training."""
        start = perf_counter()
        done = len(self.step_seconds) / self.terms.iterations
        rate = self.terms.recipe.learning_rate_at(done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._freeze_or_release(done)
        outcome = super().train_step(batch)
        outcome["loss"] = outcome["loss"].cpu()  # so the device has finished
        self.step_seconds.append(perf_counter() - start)
        return outcome

    def on_train_end(self) -> None:
        """Close the training and write its cost."""
        super().on_train_end()
        cost = {
            "steps": len(self.step_seconds),
            "seconds": sum(self.step_seconds) + sum(self.loading_seconds),
            # The first step compiles kernels and fills caches.
            "median_step_seconds": statistics.median(self.step_seconds[1:] or self.step_seconds),
            "peak_memory_bytes": peak_memory_bytes(self.device),
            "skipped_steps": self.guard.skipped,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "processors": os.cpu_count(),
        }
        write_contract("training-cost", Path(self.output_folder) / COST_FILE, cost)

    def _freeze_or_release(self, done: float) -> None:
        frozen = self.options.pretrained is not None and done < self.terms.recipe.frozen_share
        if frozen != self.encoder_is_frozen:
            network = self.bare_network()
            (network.freeze_encoder if frozen else network.unfreeze_encoder)()
            self.encoder_is_frozen = frozen


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the peak memory so far: of the device or, on a CPU, of the process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
