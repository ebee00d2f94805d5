"""Build the network of a trained model and fill it with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import Tensor, nn

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.inference.trained_model import TrainedModel
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.nnunet.architecture import NetworkClass, PlannedSwinUMamba, PlannedSwinUMambaD

# The trainers of the published code and the networks they trained.
PUBLISHED_TRAINERS: dict[str, NetworkClass] = {
    "nnUNetTrainerSwinUMamba": PlannedSwinUMamba,
    "nnUNetTrainerSwinUMambaScratch": PlannedSwinUMamba,
    "nnUNetTrainerSwinUMambaD": PlannedSwinUMambaD,
    "nnUNetTrainerSwinUMambaDScratch": PlannedSwinUMambaD,
}
# The first version of the published code (before March 2024) had no such block; its models are still about.
ABSENT_FROM_FIRST_VERSION = "decoder6."
KEYS_SHOWN = 5


def build_network(
    model: TrainedModel, configuration_manager: Any, in_channels: int, num_classes: int
) -> nn.Module:
    """Return the network of a trained model, without deep supervision, in eval mode.

    It is the one that the plans name; check those before. Only plans of the published code name a plain U-Net
    although the trainer trained a Swin-UMamba: there the trainer's name decides.

    Parameters
    ----------
    model
        The trained model.
    configuration_manager
        nnU-Net's view of the configuration.
    in_channels, num_classes
        Channels of the input and of the logits.

    Raises
    ------
    CheckpointError
        If the network cannot be built, or the weights of the first fold do not fit it.
    """
    class_name = configuration_manager.network_arch_class_name
    try:
        if model.trainer_name in PUBLISHED_TRAINERS and not class_name.startswith("swin_umamba."):
            network: nn.Module = PUBLISHED_TRAINERS[model.trainer_name](in_channels, num_classes)
        else:
            network = get_network_from_plans(
                class_name,
                configuration_manager.network_arch_init_kwargs,
                configuration_manager.network_arch_init_kwargs_req_import,
                in_channels,
                num_classes,
                allow_init=False,
                deep_supervision=False,
            )
    except (TypeError, ValueError, KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(
            f"the network cannot be built from the plans ({type(error).__name__}: {error})",
            where=model.path,
            cure="check that plans.json and the checkpoint come from the same training",
        ) from error
    load_parameters(network, model.parameters[0], model)
    return network.eval()


def load_parameters(network: nn.Module, parameters: Mapping[str, Tensor], model: TrainedModel) -> None:
    """Fill ``network`` with ``parameters``: every tensor, none left over.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, left over or of another shape.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in parameters]
    problems = [f"{key} is missing" for key in missing]
    problems += [f"{key} is unknown" for key in parameters if key not in own]
    problems += [
        f"{key} has shape {tuple(parameters[key].shape)} and not {tuple(own[key].shape)}"
        for key in own
        if key in parameters and parameters[key].shape != own[key].shape
    ]
    if problems:
        shown = "; ".join(problems[:KEYS_SHOWN])
        more = f"; and {len(problems) - KEYS_SHOWN} more" if len(problems) > KEYS_SHOWN else ""
        cure = "check that plans.json and the checkpoint come from the same training"
        if missing and all(key.startswith(ABSENT_FROM_FIRST_VERSION) for key in missing):
            cure = "this is a model of the first version of Swin-UMamba (before March 2024): use a later one"
        raise CheckpointError(
            f"the weights do not fit {type(network).__name__}, the network of trainer {model.trainer_name}: "
            f"{shown}{more}",
            where=model.path,
            cure=cure,
        )
    network.load_state_dict(parameters)


def set_scan_backend(network: nn.Module, backend: str) -> None:
    """Make every scan of the network run on ``backend``; a network without scans stays as it is."""
    for module in network.modules():
        if isinstance(module, SS2D):
            module.backend = backend
