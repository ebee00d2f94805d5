"""The planner, with the rule for patch and batch size that the paper's plans were made with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from swin_umamba.errors import DataError
from swin_umamba.interrupt import default_termination
from swin_umamba.json_files import read_json, write_json
from swin_umamba.models.network import STRIDE
from swin_umamba.nnunet.environment import PLANS_NAME
from swin_umamba.nnunet.plane import check_plane
from swin_umamba.nnunet.plans_table import BACKGROUND_SHARE
from swin_umamba.nnunet.training.options import check_patch_size

# The planner of nnU-Net up to 2.3.0 shrank the 2D patch until the estimated memory for a batch of 12 fitted,
# newer ones until it fits for a batch of 2, which gives far larger patches on large images. With a reference
# measured for a batch of 2, the new rule becomes the old one.
SHRINKING_BATCH_SIZE = 2
UNLIMITED = 1e18

logger = logging.getLogger(__name__)


def _configurations(path: Path) -> dict[str, Any]:
    """Return the configurations of a plans file; none if it is missing or damaged."""
    if not path.is_file():
        return {}
    try:
        return dict(read_json(path, dict, nan=True)["configurations"])
    except (DataError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and is replaced: %s", path, getattr(error, "what", error))
        return {}


class SwinUMambaPlanner(ExperimentPlanner):
    """Plans the 2D configuration with the patch and batch sizes of the paper.

    The patch size is rounded up to multiples of 32, which only affects images below 128 pixels. Everything
    else (spacing, resampling, normalization) is nnU-Net's own.

    Parameters
    ----------
    dataset_name_or_id
        The data set; its fingerprint must exist.
    cases
        Names of the cases of the fingerprint; by default those that nnU-Net finds.
    patch_size
        (height, width) in pixels instead of the planned one.
    batch_size
        Patches per step, instead of the planned number.
    plans_name
        Name of the plans file.
    **kwargs
        Further arguments of nnU-Net's planner.

    Raises
    ------
    UsageError
        If ``patch_size`` is not a multiple of 32.
    """

    # nnU-Net sets these in its constructor, without types.
    dataset: dict[str, Any]
    UNet_reference_val_2d: float
    UNet_reference_val_corresp_bs_2d: int

    def __init__(
        self,
        dataset_name_or_id: str | int,
        *,
        cases: Sequence[str] | None = None,
        patch_size: tuple[int, int] | None = None,
        batch_size: int | None = None,
        plans_name: str = PLANS_NAME,
        **kwargs: Any,
    ) -> None:
        with default_termination():  # nnU-Net lists the cases in a pool of forked processes
            super().__init__(dataset_name_or_id, plans_name=plans_name, **kwargs)
        if patch_size is not None:
            check_patch_size(patch_size)
        self.requested_patch_size = patch_size
        self.requested_batch_size = batch_size
        # nnU-Net also treats hidden files of other systems as cases.
        self.dataset = {name: case for name, case in self.dataset.items() if not name.startswith(".")}
        self.cases = sorted(self.dataset if cases is None else cases)
        # The number limits the batch size, and a wrong one in dataset.json is common.
        self.dataset_json["numTraining"] = len(self.cases)

    def get_plans_for_configuration(
        self,
        spacing: np.ndarray,
        median_shape: np.ndarray,
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict[str, float],
    ) -> dict[str, Any]:
        """Return the plan of a configuration; for 3D, dropped later, only the parts that the caller reads."""
        if len(spacing) == 3:
            return {"patch_size": median_shape, "spacing": spacing}
        reference = self.UNet_reference_val_2d * self.UNet_vram_target_GB / self.UNet_reference_val_corresp_GB
        reference_batch_size = self.UNet_reference_val_corresp_bs_2d
        plan = self._plan_with_old_rule(
            spacing, median_shape, data_identifier, approximate_n_voxels_dataset, _cache
        )
        planned = plan["patch_size"]
        estimate = _cache[f"{planned}_{plan['architecture']['arch_kwargs']['strides']}"]
        patch_size = self.requested_patch_size or [int(-(-side // STRIDE) * STRIDE) for side in planned]
        # Memory is proportional to the area, so the estimate for any patch follows from that for the planned
        # one.
        estimate *= float(np.prod(patch_size, dtype=np.float64) / np.prod(planned, dtype=np.float64))
        plan["patch_size"] = list(patch_size)
        plan["median_image_size_in_voxels"] = median_shape
        plan["batch_size"] = self.requested_batch_size or self._batch_size(
            round(reference / estimate * reference_batch_size), patch_size, approximate_n_voxels_dataset
        )
        return plan

    @staticmethod
    def static_estimate_VRAM_usage(*args: Any, **kwargs: Any) -> float:
        """Estimate as nnU-Net does, but without drawing weights for networks only asked for shapes."""
        with torch.device("meta"):
            estimate: float = ExperimentPlanner.static_estimate_VRAM_usage(*args, **kwargs)
            return estimate

    def determine_transpose(self) -> tuple[list[int], list[int]]:
        """Return the order of the axes that gives the network's slices and plane, and its inverse.

        Slices are cut across the axis of the largest spacing, as in nnU-Net. If all images are one voxel
        thick along an axis, they are cut across that one, whatever its spacing: the network sees pictures,
        not lines.

        Raises
        ------
        DataError
            If some of the images would be lines in that plane.
        """
        forward, _ = super().determine_transpose()
        shapes = np.array(self.dataset_fingerprint["shapes_after_crop"])
        flat = np.flatnonzero((shapes == 1).all(axis=0))
        first = int(flat[0] if len(flat) == 1 else forward[0])
        order = [first, *(axis for axis in range(3) if axis != first)]
        for name, shape in zip(self.cases, shapes.tolist(), strict=False):
            check_plane(shape, order, f"case {name} of {self.dataset_name}")
        return order, [int(axis) for axis in np.argsort(order)]

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write the plans with the 2D configuration and those that the user has added to earlier plans."""
        background = self.dataset_fingerprint.get(BACKGROUND_SHARE)
        if background is not None:  # a fingerprint of nnU-Net's own has none
            plans[BACKGROUND_SHARE] = background
        recursive_fix_for_json_export(plans)
        path = Path(nnUNet_preprocessed) / self.dataset_name / f"{self.plans_identifier}.json"
        plans["configurations"] = _configurations(path) | {"2d": plans["configurations"]["2d"]}
        write_json(path, plans)

    def _plan_with_old_rule(
        self, spacing: np.ndarray, median_shape: np.ndarray, *rest: Any
    ) -> dict[str, Any]:
        kept = self.UNet_reference_val_corresp_bs_2d, self.UNet_reference_val_2d
        self.UNet_reference_val_corresp_bs_2d = SHRINKING_BATCH_SIZE
        if self.requested_patch_size is not None:
            # nnU-Net clips the patch to the median shape; with this shape it plans for exactly this patch.
            median_shape = np.array(self.requested_patch_size)
            self.UNet_reference_val_2d = UNLIMITED
        try:
            estimate: dict[str, Any] = super().get_plans_for_configuration(spacing, median_shape, *rest)
            return estimate
        finally:
            self.UNet_reference_val_corresp_bs_2d, self.UNet_reference_val_2d = kept

    def _batch_size(self, fits_in_memory: int, patch_size: Any, voxels_in_dataset: float) -> int:
        area = float(np.prod(patch_size, dtype=np.float64))
        share_of_dataset = round(voxels_in_dataset * self.max_dataset_covered / area)
        return int(max(min(fits_in_memory, share_of_dataset), self.UNet_min_batch_size))
