"""Networks by name.

A network is a decoder around the encoder of any backbone (``models/backbones.py``). A new decoder belongs in
other lists, too, where ``tests/models/test_registry.py`` looks for it: ``nnunet/architecture.py`` (for
plans), ``nnunet/trainers`` and ``trainer_names.py``, ``models/hub.py``, ``weights/fine_tune.py`` (how its
weights are recognised) and ``compare/networks.py`` (what ``models`` lists). A new backbone needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.models.swin_umamba_dd import SwinUMambaDD
from swin_umamba.weights.convert import load_imagenet_weights
from swin_umamba.weights.download import locate_weights

_MODELS: dict[str, Callable[..., SegmentationNetwork]] = {
    "swin_umamba": SwinUMamba,
    "swin_umamba_d": SwinUMambaD,
    "swin_umamba_dd": SwinUMambaDD,
    # The network of the paper's first version.
    "swin_umamba_v1": partial(SwinUMamba, use_last_stage=False),
}


def list_models() -> list[str]:
    """Return the names that ``create_model`` accepts."""
    return list(_MODELS)


def create_model(
    name: str,
    in_channels: int = 3,
    num_classes: int = 2,
    *,
    pretrained: str | Path | None = None,
    adapt_first_convolution: bool = False,
    **kwargs: Any,
) -> SegmentationNetwork:
    """Build a network, optionally with an encoder pretrained on ImageNet.

    Parameters
    ----------
    name
        One of ``list_models()``.
    in_channels
        Channels of the image.
    num_classes
        Channels of the logits: classes including background, or regions.
    pretrained
        ImageNet checkpoint of the backbone (``.pth`` or ``.safetensors``), or the name of one in the
        catalogue, such as ``"vmamba_tiny_v0cls"``, which is downloaded on first use; None starts from random
        weights.
    adapt_first_convolution
        If images do not have three channels, derive the first convolution of ``swin_umamba_d`` from the
        pretrained one. False leaves it random, as the published code does. It makes no difference for
        ``swin_umamba``, whose first convolution is not pretrained.
    **kwargs
        Further arguments of the network, e.g. ``deep_supervision=True`` or ``backbone="vmamba_tiny"``.

    Raises
    ------
    UsageError
        If no network has this name or an argument has an impossible value.
    CheckpointError
        If the checkpoint is missing, damaged or does not fit the network, or cannot be downloaded.
    """
    if name not in _MODELS:
        raise unknown_name("network", name, _MODELS)
    if isinstance(pretrained, bool):
        raise UsageError(
            f"pretrained is a file or a name, not {pretrained}",
            hint='give None, "vmamba_tiny_v0cls", or the path of VMamba-Tiny\'s checkpoint '
            "vssmtiny_dp01_ckpt_epoch_292.pth",
        )
    if adapt_first_convolution and pretrained is None:
        raise UsageError(
            "adapt_first_convolution adapts pretrained weights, but there are none", hint="give pretrained"
        )
    model = _MODELS[name](in_channels, num_classes, **kwargs)
    if pretrained is not None:
        path = locate_weights(pretrained)
        load_imagenet_weights(
            model, path, backbone=model.backbone, adapt_first_convolution=adapt_first_convolution
        )
    return model
