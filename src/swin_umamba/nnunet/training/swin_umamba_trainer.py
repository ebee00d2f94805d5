"""The recipe of the paper as a trainer for nnU-Net."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from swin_umamba.errors import TrainingError, UsageError
from swin_umamba.models.backbones import find_backbone
from swin_umamba.models.network import STRIDE
from swin_umamba.nnunet.architecture import NetworkClass, architecture_entry
from swin_umamba.nnunet.training.pretrained import load_pretrained, locate_pretrained, take_over_stock_loading
from swin_umamba.nnunet.training.robust_trainer import RobustTrainer
from swin_umamba.nnunet.training.schedule import CosineSchedule
from swin_umamba.ops.fused_optimizer import fused_on
from swin_umamba.paper import ADAM_EPS, FROZEN_EPOCHS, LEARNING_RATE, SCHEDULE_EPOCHS, WEIGHT_DECAY

logger = logging.getLogger(__name__)

NO_WEIGHTS = "none"


class SwinUMambaTrainer(RobustTrainer):
    """AdamW, a cosine for 1000 epochs, and a pretrained encoder that is frozen at first.

    Deep supervision, loss, augmentation and sampling are nnU-Net's (section 3 and 4 of arXiv 2402.03302 and
    the published code). A subclass overrides ``build_loss``, ``training_transforms`` or
    ``configure_optimizers`` (``docs/extending.md``); ``compare`` trains all networks with
    ``compare.trainer.nnUNetTrainerComparison`` instead.

    Attributes
    ----------
    network_class
        The network.
    network_kwargs
        Arguments that differ from the network's defaults; stored in the plans of the model.
    starts_pretrained
        Whether the network starts with pretrained weights and its encoder is frozen for the first epochs.
    supervises_deeply
        Whether the coarser heads contribute to the loss.
    """

    network_class: ClassVar[NetworkClass]
    network_kwargs: ClassVar[Mapping[str, Any]] = {}
    starts_pretrained: ClassVar[bool] = True
    supervises_deeply: ClassVar[bool] = True

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's own default
    ) -> None:
        plans = deepcopy(plans)
        self._check_patch_size(plans, configuration)
        # The plans of the model name its network, so that stock nnU-Net can rebuild it without this trainer.
        plans["configurations"][configuration]["architecture"] = architecture_entry(
            self.network_class, self.network_kwargs
        )
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = self.options.learning_rate or LEARNING_RATE
        self.weight_decay = WEIGHT_DECAY
        self.enable_deep_supervision = self.supervises_deeply
        self.encoder_is_frozen: bool | None = None
        self.has_pretrained_weights = False

    @staticmethod
    def _check_patch_size(plans: dict[str, Any], configuration: str) -> None:
        patch_size = PlansManager(plans).get_configuration(configuration).patch_size
        if len(patch_size) != 2:
            raise UsageError(
                f"configuration {configuration!r} is 3D, the networks are 2D", hint="train configuration 2d"
            )
        if min(patch_size) < STRIDE:
            raise UsageError(
                f"the plans have patch size {list(patch_size)}; the networks need at least {STRIDE}x{STRIDE}",
                hint="plan with swin-umamba plan, which rounds up to multiples of 32",
            )

    @property
    def frozen_epochs(self) -> int:
        """Number of epochs at the beginning in which the encoder is frozen."""
        if self.options.frozen_epochs is not None:
            return self.options.frozen_epochs
        # Freezing random weights would only waste epochs.
        return FROZEN_EPOCHS if self.starts_pretrained and self.options.pretrained != NO_WEIGHTS else 0

    def initialize(self) -> None:
        """Build network, optimizer and loss; in a new run, load the pretrained weights, if given."""
        path = None
        if self.starts_fresh and self.options.pretrained not in (None, NO_WEIGHTS):
            self.refuse_weights_for_scratch()
            path = locate_pretrained(str(self.options.pretrained))
        super().initialize()
        if self.starts_fresh:
            take_over_stock_loading(self.network, self.load_stock_pretrained)
        if path is not None:
            self.start_from(path)

    def on_train_start(self) -> None:
        """Prepare everything; fail if the initial weights are missing."""
        given = self.has_pretrained_weights or self.options.pretrained is not None
        if self.starts_fresh and self.starts_pretrained and not given:
            backbone = find_backbone(self.network_kwargs.get("backbone", self.network_class.default_backbone))
            known = ", ".join(weights.name for weights in backbone.weights)
            raise TrainingError(
                f"{type(self).__name__} starts from pretrained weights, but none were given",
                hint=f"give --pretrained FILE (an ImageNet checkpoint of {backbone.name}, by file or name: "
                f"{known or 'no name is known'}; or a trained model), or --pretrained none for random "
                "weights; with nnUNetv2_train set SWIN_UMAMBA_PRETRAINED to either",
            )
        super().on_train_start()
        if self.frozen_epochs >= self.num_epochs and self.local_rank == 0:
            logger.warning(
                "the encoder stays frozen in all %d epochs; to train it, give fewer --freeze-encoder-epochs",
                self.num_epochs,
            )

    def start_from(self, path: Path) -> None:
        """Load the weights of a file into the network, and log what happened to each tensor."""
        lines = load_pretrained(
            self.bare_network(),
            path,
            self.dataset_json,
            adapt_first_convolution=self.options.adapt_first_convolution,
        )
        self.has_pretrained_weights = True
        for line in lines:
            self.print_to_log_file(line)
            if self.local_rank == 0:
                logger.info("%s", line)

    def load_stock_pretrained(self, given: str) -> None:
        """Start from the file that ``nnUNetv2_train`` got with ``-pretrained_weights``."""
        if self.options.pretrained is not None:
            raise UsageError(
                f"two different initial weights are given: -pretrained_weights {given} and "
                f"SWIN_UMAMBA_PRETRAINED={self.options.pretrained}",
                hint="unset SWIN_UMAMBA_PRETRAINED",
            )
        self.refuse_weights_for_scratch()
        path = locate_pretrained(given)
        self.options = replace(self.options, pretrained=str(path))
        self.start_from(path)

    def refuse_weights_for_scratch(self) -> None:
        """Raise ``UsageError`` if this trainer starts from random weights."""
        if not self.starts_pretrained:
            name = type(self).__name__
            raise UsageError(
                f"{name} starts from random weights, but initial weights were given",
                hint=f"choose the trainer {name.removesuffix('Scratch')}, or leave the weights out "
                "(--pretrained, SWIN_UMAMBA_PRETRAINED, -pretrained_weights)",
            )

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, CosineSchedule]:
        """Return AdamW and the cosine schedule: a hook for subclasses.

        Any optimizer of PyTorch can be used, with any schedule that has ``step(epoch)``, which is called at
        the beginning of each epoch. ``bare_network()`` has the parameters, including frozen ones.

        All parameters are in one group, as in the published code, unless the encoder has a separate learning
        rate. Then the second group contains the parameters that can be frozen.
        """
        network = self.bare_network()
        groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
        if self.options.encoder_learning_rate is not None:
            encoder = network.encoder_parameters()
            in_encoder = {id(parameter) for parameter in encoder}
            rest = [parameter for parameter in network.parameters() if id(parameter) not in in_encoder]
            groups = [{"params": rest}, {"params": encoder, "lr": self.options.encoder_learning_rate}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.initial_lr,
            weight_decay=self.weight_decay,
            eps=ADAM_EPS,
            fused=fused_on(self.device),
        )
        period = SCHEDULE_EPOCHS if self.options.schedule == "paper" else self.num_epochs
        return optimizer, CosineSchedule(optimizer, period)

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if not self.enable_deep_supervision:
            return None
        return [[scale, scale] for scale in self.network_class.deep_supervision_scales]

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Make the network return the logits of all heads, or only of the finest."""
        self.bare_network().deep_supervision = enabled

    def on_train_epoch_start(self) -> None:
        """Freeze or unfreeze the encoder for the present epoch, and log changes."""
        super().on_train_epoch_start()
        frozen = self.current_epoch < self.frozen_epochs
        if frozen == self.encoder_is_frozen:
            return
        network = self.bare_network()
        if frozen:
            network.freeze_encoder()
        else:
            network.unfreeze_encoder()
        if frozen or self.encoder_is_frozen:
            self.print_to_log_file(
                f"The encoder is frozen up to epoch {self.frozen_epochs}"
                if frozen
                else "The encoder is trained now"
            )
        self.encoder_is_frozen = frozen
