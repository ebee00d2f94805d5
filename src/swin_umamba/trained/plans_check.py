"""Check the names in plans.json before nnU-Net imports and calls them.

Plans may be untrusted. nnU-Net imports any class they name as the network, and looks up
preprocessors, normalisations and resampling functions as attributes of its own modules, where whatever these
import is found too. Here every name has to resolve to what it should be, without an import from outside a few
packages.
"""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from swin_umamba.errors import CheckpointError
from swin_umamba.trained.configuration import RESAMPLING, RESAMPLING_OPTIONS
from swin_umamba.trained.label_map import LABEL_MANAGER
from swin_umamba.trained.preprocessing import PREPROCESSOR, SCHEMES

NETWORK_PACKAGES = (
    "swin_umamba.nnunet.architecture.",
    "swin_umamba.baselines.",
    "dynamic_network_architectures.",
)
LAYER_PACKAGES = ("torch.nn.", "dynamic_network_architectures.building_blocks.")
TAKES = ("data", "new_shape", "current_spacing", "new_spacing")
DOTTED_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


def check_plans(plans: Mapping[str, Any], configuration: Mapping[str, Any], where: Path) -> None:
    """Refuse plans that name anything but networks, layers and nnU-Net's own preprocessing.

    Parameters
    ----------
    plans
        The content of plans.json.
    configuration
        The configuration to be used, with what it inherits.
    where
        The model, for the message.

    Raises
    ------
    CheckpointError
        Names the entry that is refused.
    """
    network = configuration["architecture"]
    _check_dotted(network["network_class_name"], NETWORK_PACKAGES, where)
    for key in network["_kw_requires_import"]:
        if network["arch_kwargs"].get(key) is not None:
            _check_dotted(network["arch_kwargs"][key], LAYER_PACKAGES, where)
    if plans.get("label_manager", LABEL_MANAGER) != LABEL_MANAGER:
        raise _refusal(plans["label_manager"], f"is not nnU-Net's {LABEL_MANAGER}", where)
    _check_preprocessing(configuration, where)


def _check_preprocessing(configuration: Mapping[str, Any], where: Path) -> None:
    """Check what a configuration names; nnU-Net is imported only for other names than its default ones."""
    if configuration["preprocessor_name"] != PREPROCESSOR:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        _check_class(configuration["preprocessor_name"], "preprocessing", DefaultPreprocessor, where)
    for name in configuration["normalization_schemes"]:
        if name not in SCHEMES:
            from nnunetv2.preprocessing.normalization.default_normalization_schemes import ImageNormalization

            _check_class(name, "preprocessing.normalization", ImageNormalization, where)
    for key in ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities"):
        if configuration[key] == RESAMPLING and set(configuration[f"{key}_kwargs"]) <= RESAMPLING_OPTIONS:
            continue
        found = _find_in_nnunet(configuration[key], "preprocessing.resampling", where)
        package = "nnunetv2.preprocessing.resampling."
        if not inspect.isfunction(found) or not found.__module__.startswith(package):
            raise _refusal(configuration[key], "is not a resampling function of nnU-Net", where)
        takes = inspect.signature(found).parameters
        unknown = set(configuration[f"{key}_kwargs"]) - set(takes)
        if tuple(takes)[: len(TAKES)] != TAKES or unknown:
            why = "takes no " + ", ".join(sorted(unknown)) if unknown else "does not resample to a shape"
            raise _refusal(configuration[key], why, where)


def _check_dotted(name: object, packages: tuple[str, ...], where: Path) -> None:
    """Refuse a dotted name that is not a ``torch.nn.Module`` class defined in one of ``packages``."""
    if not isinstance(name, str) or not DOTTED_NAME.fullmatch(name) or not name.startswith(packages):
        raise _refusal(name, f"lies outside {', '.join(packages)}", where)
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise CheckpointError(
            f"the network or layer {name!r} cannot be imported: {error.value}",
            where=where,
            hint="install what it needs, in versions that fit each other",
        ) from error
    if found is None:
        raise _refusal(name, "does not exist", where)
    # An attribute path can lead out of a package again, through the modules that it imports.
    is_module = inspect.isclass(found) and issubclass(found, nn.Module)
    if not (is_module and f"{found.__module__}.".startswith(packages)):
        raise _refusal(name, "is not a network or layer", where)


def _check_class(name: object, subpackage: str, base: type, where: Path) -> None:
    found = _find_in_nnunet(name, subpackage, where)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise _refusal(name, f"is not a {base.__name__} of nnU-Net", where)


def _find_in_nnunet(name: object, subpackage: str, where: Path) -> object:
    """Find a name where nnU-Net does: in the first module below ``subpackage`` that has such an attribute."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        raise _refusal(name, "is not a name of a class or function", where)
    folder = Path(nnunetv2.__file__).parent.joinpath(*subpackage.split("."))
    found = recursive_find_python_class(str(folder), name, f"nnunetv2.{subpackage}")
    if found is None:
        raise _refusal(name, "is unknown to the installed nnU-Net", where)
    return found


def _refusal(name: object, why: str, where: Path) -> CheckpointError:
    return CheckpointError(
        f"the plans name {name!r}, which {why}; nothing of it was run",
        where=where,
        hint="use models from people you trust; if this one is yours, restore its plans.json",
    )
