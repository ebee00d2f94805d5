"""A configuration of the plans, and its resampling, without an import of nnU-Net where none is needed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from torch import Tensor

from swin_umamba.nnunet.plans_table import inherited_configuration
from swin_umamba.schema import Provenance

RESAMPLING = "resample_data_or_seg_to_shape"
"""nnU-Net's function in the plans of its default planner."""
RESAMPLING_OPTIONS = frozenset(
    {"is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"}
)
Z_SCORE = "ZScoreNormalization"


class Configuration:
    """The entries of a configuration that prediction reads.

    Attributes
    ----------
    configuration
        All entries, with those that it inherits.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    @property
    def patch_size(self) -> list[int]:
        """Size of the network's patches, in pixels."""
        return list(self.configuration["patch_size"])

    @property
    def spacing(self) -> list[float]:
        """Spacing that the network works at, in mm, in its own order of axes."""
        return list(self.configuration["spacing"])

    @property
    def normalization_schemes(self) -> list[str]:
        """The scheme of each channel."""
        return list(self.configuration["normalization_schemes"])

    @property
    def use_mask_for_norm(self) -> list[bool]:
        """For each channel, whether zeros around the content do not count."""
        return list(self.configuration["use_mask_for_norm"])

    @property
    def z_scored_channels(self) -> list[int]:
        """Numbers of the channels that are normalized by mean and deviation of all their pixels."""
        channels = enumerate(zip(self.normalization_schemes, self.use_mask_for_norm, strict=True))
        return [number for number, (name, masked) in channels if name == Z_SCORE and not masked]

    @property
    def median_image_size_in_voxels(self) -> list[float]:
        """Size of the typical training image at this spacing."""
        return list(self.configuration["median_image_size_in_voxels"])

    def resampled(
        self,
        kind: str,
        values: Tensor | np.ndarray,
        shape: Sequence[int],
        current: Sequence[float],
        wanted: Sequence[float],
    ) -> Tensor | np.ndarray:
        """Return numbers ``(channels, z, y, x)`` in another shape.

        Parameters
        ----------
        kind
            ``data`` or ``probabilities``: what the plans have a function for.
        values
            Numbers to resample.
        shape
            Shape to resample to, without the channels.
        current, wanted
            Spacing before and after, in mm.
        """
        name = self.configuration[f"resampling_fn_{kind}"]
        if name == RESAMPLING and tuple(values.shape[1:]) == tuple(shape):
            return values
        from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name

        options = self.configuration[f"resampling_fn_{kind}_kwargs"]
        resampled: Tensor | np.ndarray = recursive_find_resampling_fn_by_name(name)(
            values, shape, current, wanted, **options
        )
        return resampled


def read_configuration(plans: Mapping[str, Any], name: str, source: Provenance) -> dict[str, Any]:
    """Return a copy of a configuration with the entries that it inherits.

    Plans of nnU-Net before 2.4, which described a U-Net by flat entries, get an ``architecture``.

    Parameters
    ----------
    plans
        The content of plans.json.
    name
        Name of the configuration.
    source
        Source of the plans, for errors.

    Raises
    ------
    SwinUMambaError
        If it is not there, or inherits from itself.
    """
    found = deepcopy(inherited_configuration(plans["configurations"], name, source))
    if "architecture" in found:
        return found
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it reads an old format
        converted: dict[str, Any] = ConfigurationManager(found).configuration
    return converted
