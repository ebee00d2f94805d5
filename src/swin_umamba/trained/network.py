"""The network of a trained model: what it is, built and filled with its weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from swin_umamba.errors import CheckpointError, SwinUMambaError, UsageError
from swin_umamba.models.backbones import DEFAULT_BACKBONE, find_backbone
from swin_umamba.modules.mamba import Mamba
from swin_umamba.modules.ss2d import SS2D
from swin_umamba.nnunet.architecture import (
    NetworkClass,
    PlannedSwinUMamba,
    PlannedSwinUMambaD,
    architecture_entry,
)
from swin_umamba.ops.free_memory import free_memory
from swin_umamba.schema import Provenance
from swin_umamba.trained.configuration import read_configuration
from swin_umamba.trained.model import TrainedModel
from swin_umamba.trained.model_files import COPY_AGAIN
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.outline import (
    filled,
    is_ours,
    memory_of_a_patch,
    no_more_layers_than,
    without_memory,
)
from swin_umamba.trained.plans_check import check_plans
from swin_umamba.trainer_names import SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_SCRATCH
from swin_umamba.weights.catalog import BACKBONES

# Trainers of the published code, and their networks.
PUBLISHED_TRAINERS: dict[str, NetworkClass] = {
    SWIN_UMAMBA: PlannedSwinUMamba,
    SWIN_UMAMBA_SCRATCH: PlannedSwinUMamba,
    SWIN_UMAMBA_D: PlannedSwinUMambaD,
    SWIN_UMAMBA_D_SCRATCH: PlannedSwinUMambaD,
}
# The first version of the published code (before March 2024) had no such block; its models are still about.
ABSENT_FROM_FIRST_VERSION = "decoder6."
PLAIN_NAME = architecture_entry(PlannedSwinUMamba, {})["network_class_name"]
KEYS_SHOWN = 5


def find_architecture(
    trainer_name: str, planned: Mapping[str, Any], parameters: Mapping[str, Tensor]
) -> Mapping[str, Any]:
    """Return the ``architecture`` entry of plans that describes the network of a trained model.

    It is the one that the plans have, with two exceptions. Plans of the published code name a plain U-Net
    although the trainer trained a Swin-UMamba: there the trainer's name decides. And a SwinUMamba of the
    first published version does not differ in plans and trainer: it is recognised by what its weights lack.

    Parameters
    ----------
    trainer_name
        Name of the trainer class.
    planned
        The entry in the plans.
    parameters
        The state dict of the network.
    """
    if trainer_name in PUBLISHED_TRAINERS and not planned["network_class_name"].startswith("swin_umamba."):
        planned = architecture_entry(PUBLISHED_TRAINERS[trainer_name], {})
    if planned["network_class_name"] == PLAIN_NAME and not any(
        key.startswith(ABSENT_FROM_FIRST_VERSION) for key in parameters
    ):
        planned = {**planned, "arch_kwargs": {**planned["arch_kwargs"], "use_last_stage": False}}
    return planned


def current_plans(model: TrainedModel) -> dict[str, Any]:
    """Return the model's plans with only its own configuration, which names its actual network.

    nnU-Net before 2.4 described a U-Net by flat entries (``UNet_class_name``, ``conv_kernel_sizes`` ...),
    whatever the trainer built. The installed one has an ``architecture`` entry, from which anybody can build
    the network without the trainer. Inherited entries are written out.

    Raises
    ------
    CheckpointError
        If entries are missing or of a wrong type, or name what plans must not name (see ``check_plans``).
    """
    try:
        configuration = read_configuration(
            model.plans, model.configuration, Provenance(model.path, COPY_AGAIN, CheckpointError)
        )
        configuration.pop("inherits_from", None)
        check_plans(model.plans, configuration, model.path)
        configuration["architecture"] = dict(
            find_architecture(model.trainer_name, configuration["architecture"], model.parameters[0])
        )
    except (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"plans.json is incomplete or damaged ({type(error).__name__}: {error})",
            where=model.path,
            hint=COPY_AGAIN,
        ) from error
    return {**model.plans, "configurations": {model.configuration: configuration}}


def check_model(model: TrainedModel) -> ModelPlans:
    """Return the plans of a trained model after checking all that prediction needs of it.

    Raises
    ------
    CheckpointError
        If the model is incomplete, inconsistent or names code that it must not.
    """
    plans = ModelPlans(model)
    plans.mirror_axes()
    _check_outline(plans)
    return plans


def build_network(plans: ModelPlans, device: torch.device | None = None) -> nn.Module:
    """Return the network of a trained model on the CPU, without deep supervision, in eval mode.

    It is first built without memory and compared with the weights, so that plans of a few kilobytes cannot
    ask for more than the weights take.

    Parameters
    ----------
    plans
        Plans of the model.
    device
        Where it is to run; given, its memory has to hold what a patch makes of it.

    Raises
    ------
    CheckpointError
        If the network cannot be built, the weights of a fold do not fit it, it does not take patches of the
        planned size, or these need more memory than there is.
    """
    model = plans.model
    outline, needed = _check_outline(plans)
    free = None if device is None else free_memory(device)
    if free is not None and needed > free:
        raise CheckpointError(
            f"a patch of {plans.patch_size} needs {needed / 2**30:.1f} GiB of memory or more, and "
            f"{device} has {free / 2**30:.1f} GiB left",
            where=model.path,
            hint="use a machine with more memory, or check the patch_size in plans.json",
        )
    if is_ours(outline):
        return filled(outline, model.parameters[0]).eval()
    network = _built(plans)
    network.load_state_dict(model.parameters[0])
    return network.eval()


def _check_outline(plans: ModelPlans) -> tuple[nn.Module, int]:
    """Build the network without memory, and compare it with all weights and the planned patch.

    Returns
    -------
    nn.Module
        The network, on the device "meta".
    int
        Bytes of the largest array that it makes of one patch.
    """
    model = plans.model
    _require_backbone(plans)
    try:
        with without_memory(), no_more_layers_than(model.parameters[0], model.path):
            outline = _built(plans)
        for parameters in model.parameters:
            _check_parameters(outline, parameters, model)
        return outline, memory_of_a_patch(outline, plans)
    except CheckpointError:
        raise
    except Exception as error:
        # Any kind of error: the plans call any network of the known packages with arguments of their own.
        reason = error.what if isinstance(error, SwinUMambaError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"the network cannot be built from the plans: {reason}",
            where=model.path,
            hint="check that plans.json and the checkpoint come from the same training",
        ) from error


def _require_backbone(plans: ModelPlans) -> None:
    """Raise ``CheckpointError`` unless the backbone that one of our networks has is known.

    The model's trainer is looked for in folders that the user has named in ``nnUNet_extTrainer``, and nowhere
    else, because its file may register the backbone.
    """
    planned = plans.configuration.configuration["architecture"]
    name = planned["arch_kwargs"].get("backbone", DEFAULT_BACKBONE)
    if name in BACKBONES or not planned["network_class_name"].startswith("swin_umamba."):
        return
    from swin_umamba.nnunet.trainers import find_external_trainer

    find_external_trainer(plans.model.trainer_name)
    try:
        find_backbone(name)
    except UsageError as error:
        raise CheckpointError(error.what, where=plans.model.path, hint=error.hint) from error


def _built(plans: ModelPlans) -> nn.Module:
    planned = plans.configuration.configuration["architecture"]
    architecture = find_architecture(plans.model.trainer_name, planned, plans.model.parameters[0])
    name, arguments = architecture["network_class_name"], architecture["arch_kwargs"]
    network: nn.Module
    if name.startswith("swin_umamba.") and not architecture["_kw_requires_import"]:
        module, _, cls = name.rpartition(".")  # which have been checked; built as nnU-Net would
        network = getattr(importlib.import_module(module), cls)(
            input_channels=len(plans.channel_names),
            num_classes=plans.num_classes,
            **{**arguments, "deep_supervision": False},
        )
        return network
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    network = get_network_from_plans(
        name,
        arguments,
        architecture["_kw_requires_import"],
        len(plans.channel_names),
        plans.num_classes,
        allow_init=False,
        deep_supervision=False,
    )
    return network


def set_scan_backend(network: nn.Module, backend: str) -> None:
    """Make every scan of the network run on ``backend``; a network without scans stays as it is."""
    for module in network.modules():
        if isinstance(module, SS2D | Mamba):
            module.backend = backend


def _check_parameters(network: nn.Module, parameters: Mapping[str, Tensor], model: TrainedModel) -> None:
    """Raise ``CheckpointError`` naming the tensors that are missing, left over or of another shape."""
    own = network.state_dict()
    problems = [f"{key} is missing" for key in own if key not in parameters]
    problems += [f"{key} is unknown" for key in parameters if key not in own]
    problems += [
        f"{key} has shape {tuple(parameters[key].shape)} and not {tuple(own[key].shape)}"
        for key in own
        if key in parameters and parameters[key].shape != own[key].shape
    ]
    if problems:
        shown = "; ".join(problems[:KEYS_SHOWN])
        more = f"; and {len(problems) - KEYS_SHOWN} more" if len(problems) > KEYS_SHOWN else ""
        raise CheckpointError(
            f"the weights do not fit {type(network).__name__}, the network of trainer {model.trainer_name}: "
            f"{shown}{more}",
            where=model.path,
            hint="check that plans.json and the checkpoint come from the same training",
        )
