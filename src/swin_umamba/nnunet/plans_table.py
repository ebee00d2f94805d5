"""Checks of the values in ``plans.json``, which nnU-Net uses unchecked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_umamba.json_files import read_json
from swin_umamba.schema import (
    Provenance,
    ValueRule,
    anything,
    either,
    flag,
    left_out,
    listed,
    named,
    number,
    one_of,
    optional,
    shown,
    table,
    text,
    whole,
)

LARGEST_SIDE = 2**16
MOST_VOXELS = 2**27
"""Largest number of voxels in a patch: 512 x 512 x 512."""
_LONGEST = 1000

BACKGROUND_SHARE = "background_share"
"""Key of the mean fraction of background in the training images, by ``data.tissue``; not one of nnU-Net's."""

_AXES = (2, 3)
_LENGTH_IN_MM = number(1e-6, 1e6)
_INTENSITY = number(-1e30, 1e30)
_RESAMPLING = {
    "order": whole(0, 5),
    "order_z": whole(0, 5),
    "force_separate_z": optional(flag),
    "separate_z_anisotropy_threshold": number(above=0, most=1e6),
    "num_threads": whole(1, 256),
    "memefficient_seg_resampling": flag,
    "mode": one_of("linear", "nearest", "nearest-exact", "area"),
    "aniso_axis_mode": one_of("linear", "nearest", "nearest-exact", "area"),
}


def _resampling(*, of_labels: bool) -> ValueRule:
    return table({}, {"is_seg": one_of(of_labels), **_RESAMPLING}, left_out)


def _parts_of_argument(value: Any) -> Any:
    if isinstance(value, dict):
        return ((f".{name[:80]}", each, ARGUMENT) for name, each in value.items())
    entries = enumerate(value) if isinstance(value, list | tuple) else ()
    return ((f"[{place}]", each, ARGUMENT) for place, each in entries)


_LEAF = either(flag, whole(-LARGEST_SIDE, LARGEST_SIDE), number(-LARGEST_SIDE, LARGEST_SIDE), text())
ARGUMENT = ValueRule(
    f"null, true, false, a number up to {LARGEST_SIDE:,}, a text, or a list or object of at most {_LONGEST}",
    lambda value: (
        value is None
        or _LEAF.holds(value)
        or (isinstance(value, list | tuple) and len(value) <= _LONGEST)
        or (named(anything).holds(value) and len(value) <= _LONGEST)
    ),
    _parts_of_argument,
)
"""Arguments of a network; no memory is allocated before the weights match its shapes."""
_STRIDE = either(whole(1, 64), listed(whole(1, 64), _AXES))
NETWORK = {
    "network_class_name": text(),
    "arch_kwargs": table({}, {"strides": listed(_STRIDE, range(1, _LONGEST))}, ARGUMENT),
    "_kw_requires_import": listed(text(), range(_LONGEST)),
}
FLAT_NETWORK = {  # before nnU-Net 2.4
    "UNet_class_name": text(),
    "UNet_base_num_features": whole(1, LARGEST_SIDE),
    "unet_max_num_features": whole(1, LARGEST_SIDE),
    "n_conv_per_stage_encoder": listed(whole(1, 100), range(1, 17)),
    "n_conv_per_stage_decoder": listed(whole(1, 100), range(17)),
    "num_pool_per_axis": listed(whole(0, 16), _AXES),
    "pool_op_kernel_sizes": listed(_STRIDE, range(1, 17)),
    "conv_kernel_sizes": listed(_STRIDE, range(1, 17)),
}
CONFIGURATION = {
    "preprocessor_name": text(),
    "batch_size": whole(1, 2**20),
    "patch_size": listed(whole(1, LARGEST_SIDE), _AXES),
    "spacing": listed(_LENGTH_IN_MM, _AXES),
    "normalization_schemes": listed(text(), range(1, 100_001)),
    "use_mask_for_norm": listed(flag, range(1, 100_001)),
    "resampling_fn_data": text(),
    "resampling_fn_data_kwargs": _resampling(of_labels=False),
    "resampling_fn_seg": text(),
    "resampling_fn_seg_kwargs": _resampling(of_labels=True),
    "resampling_fn_probabilities": text(),
    "resampling_fn_probabilities_kwargs": _resampling(of_labels=False),
}
MAY_HAVE = {
    "data_identifier": text(),
    "median_image_size_in_voxels": listed(number(above=0, most=1e9), _AXES),
    "batch_dice": flag,
    "next_stage": optional(either(text(), listed(text(), range(100)))),
    "previous_stage": optional(text()),
}
INTENSITIES = {
    "mean": _INTENSITY,
    "std": number(0, 1e30),
    "percentile_00_5": _INTENSITY,
    "percentile_99_5": _INTENSITY,
}
"""Statistics of a channel; only CT normalization uses them, and nnU-Net writes NaN where it found none."""
CT = "CTNormalization"
"""nnU-Net's normalization by the statistics of the training images."""
INTENSITIES_OF = (
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",  # nnU-Net's older name
)
"""Keys of the channels' statistics: the first that plans have counts."""
PLANS = {
    "image_reader_writer": text(),
    "transpose_forward": listed(whole(0, 2), (3,)),
    "transpose_backward": listed(whole(0, 2), (3,)),
    "original_median_spacing_after_transp": listed(_LENGTH_IN_MM, (3,)),
    "configurations": named(table({}, {"inherits_from": text()}), 1),
}
PLANS_MAY_HAVE = {
    "dataset_name": text(),
    "plans_name": text(),
    "label_manager": text(),
    "experiment_planner_used": text(),
    BACKGROUND_SHARE: number(0, 1),
    "original_median_shape_after_transp": listed(number(above=0, most=1e9), (3,)),
    **dict.fromkeys(INTENSITIES_OF, named(named(anything))),
}


def read_plans(path: Path, configuration: str, hint: str) -> dict[str, Any]:
    """Read the plans of preprocessed data, for training.

    Raises
    ------
    DataError
        If the file cannot be read, or has an invalid value.
    """
    source = Provenance(path, hint, beginning="the plans are damaged: ")
    plans = read_json(path, dict, hint=hint, nan=True)
    check_plan_values(plans, configuration, source)
    key = f"configurations.{configuration}"
    source.check(plans["configurations"][configuration], table({"data_identifier": text()}), key)
    return plans


def check_plan_values(plans: Any, configuration: str, source: Provenance) -> None:
    """Check every value of plans that preprocessing, training and prediction with a configuration use.

    Dotted names are checked by ``trained.plans_check``.

    Parameters
    ----------
    plans
        Plain values.
    configuration
        Configuration to use; those that it inherits from are checked, too.
    source
        Source of the plans, for errors.

    Raises
    ------
    SwinUMambaError
        If a value is invalid; the message names the key, its value and what it has to be.
    """
    source.check(plans, table(PLANS, PLANS_MAY_HAVE))
    used = inherited_configuration(plans["configurations"], configuration, source)
    key = f"configurations.{configuration}"
    network = {"architecture": table(NETWORK)} if "architecture" in used else FLAT_NETWORK
    source.check(used, table({**CONFIGURATION, **network}, MAY_HAVE), key)
    sides, channels = used["patch_size"], len(used["normalization_schemes"])
    if math.prod(sides) > MOST_VOXELS:
        raise source.refusal(
            f"{key}.patch_size is {shown(sides)}; it may have {MOST_VOXELS:,} voxels at most"
        )
    for name, length in (("spacing", len(sides)), ("use_mask_for_norm", channels)):
        if len(used[name]) != length:
            raise source.refusal(f"{key}.{name} is {shown(used[name])}; it has to have {length} entries")
    forward, backward = plans["transpose_forward"], plans["transpose_backward"]
    if [forward[axis] for axis in backward] != [0, 1, 2]:
        what = f"transpose_forward is {forward} and transpose_backward is {backward}"
        raise source.refusal(f"{what}; they have to be permutations of 0, 1 and 2 that undo each other")
    _check_intensities(plans, used["normalization_schemes"], source)


def inherited_configuration(
    configurations: Mapping[str, Any], name: str, source: Provenance
) -> dict[str, Any]:
    """Return a configuration with its inherited entries, resolved as in nnU-Net.

    Parameters
    ----------
    configurations
        All configurations of the plans.
    name
        Name of the configuration.
    source
        Source of the plans, for errors.

    Raises
    ------
    SwinUMambaError
        If it, or one that it inherits from, is not there or inherits from itself.
    """
    chain: list[str] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in chain or wanted not in configurations:
            why = "inherits from itself" if wanted in chain else "is not there"
            known = ", ".join(configurations)[:200]
            raise source.refusal(f"configurations.{wanted[:80]} {why}; there are {known}")
        chain.append(wanted)
        wanted = configurations[wanted].get("inherits_from")
    return {key: value for each in reversed(chain) for key, value in configurations[each].items()}


def _check_intensities(plans: Mapping[str, Any], schemes: list[str], source: Provenance) -> None:
    """Check the values for normalization: one for each channel, and percentiles in order where used."""
    name = next((each for each in INTENSITIES_OF if each in plans), INTENSITIES_OF[0])
    properties = plans.get(name, {})
    used = {str(channel): scheme == CT for channel, scheme in enumerate(schemes)}
    source.check(
        properties, table({key: table(INTENSITIES if by_ct else {}) for key, by_ct in used.items()}), name
    )
    for key, by_ct in used.items():
        if by_ct and properties[key]["percentile_00_5"] > properties[key]["percentile_99_5"]:
            raise source.refusal(f"{name}.{key} has its percentiles in the wrong order")
