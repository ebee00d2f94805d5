"""Plans of a trained model in the form that the installed nnU-Net writes."""

from __future__ import annotations

from typing import Any

from swin_umamba.errors import CheckpointError
from swin_umamba.schema import Provenance
from swin_umamba.trained.configuration import read_configuration
from swin_umamba.trained.model import COPY_AGAIN, TrainedModel
from swin_umamba.trained.network import find_architecture
from swin_umamba.trained.plans_check import check_plans


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
