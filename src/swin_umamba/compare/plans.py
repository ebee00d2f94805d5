"""The plans of a comparison: the data set's own, and those of each network with its terms."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from swin_umamba.compare.complexity import Complexity, measure_complexity
from swin_umamba.compare.networks import ComparedNetwork, build_from_entry
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.trainer import PLANS_ENTRY, Terms
from swin_umamba.json_files import write_json
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset
from swin_umamba.nnunet.plans_table import read_plans

logger = logging.getLogger(__name__)


def planned(
    dataset: Dataset, marker: Path, patch_size: tuple[int, int] | None, batch_size: int | None
) -> dict[str, Any]:
    """Plan and preprocess unless already done; return the plans."""
    from swin_umamba.nnunet.planning.plan import plan

    if not marker.is_file():
        logger.info("planning and preprocessing %s", dataset.name)
        plan(dataset, patch_size=patch_size, batch_size=batch_size)
        write_json(marker, {"dataset": dataset.name})
    path = dataset.preprocessed_folder / f"{PLANS_NAME}.json"
    return read_plans(path, "2d", hint="compare again, in an empty folder")


def complexity(dataset: Dataset, plans: dict[str, Any], network: ComparedNetwork) -> Complexity:
    """Return the size of a network at the planned patch size."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    description = dataset.description()
    labels = PlansManager(plans).get_label_manager(description)
    entry = _entry(network, plans)

    def build(channels: int, classes: int, size: Sequence[int], device: str) -> Any:
        return build_from_entry(entry, channels, classes, network.supervises_deeply, device)

    patch_size = plans["configurations"]["2d"]["patch_size"]
    channels = len(description["channel_names"])
    return measure_complexity(build, channels, labels.num_segmentation_heads, patch_size)


def _entry(network: ComparedNetwork, plans: dict[str, Any]) -> dict[str, Any]:
    configuration = plans["configurations"]["2d"]
    return network.entry(configuration["patch_size"], configuration["spacing"])


def plans_of_networks(
    plans: dict[str, Any],
    networks: Sequence[ComparedNetwork],
    recipe: Recipe | None,
    steps: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """Return the plans of each network by its name, with its number of steps; no recipe is each one's own."""
    found = {}
    for network in networks:
        found[network.name] = own = deepcopy(plans)
        own["configurations"]["2d"]["architecture"] = _entry(network, plans)
        own["plans_name"] = network.name
        own[PLANS_ENTRY] = Terms(
            recipe or network.recipe, steps[network.name], network.supervises_deeply
        ).as_dict()
    return found
