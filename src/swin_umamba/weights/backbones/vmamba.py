"""VMamba-Tiny of January 2024, the backbone of the published networks.

arXiv 2401.10166, first version: a block is a layer norm and SS2D with ``dt_rank`` = channels / 16, state size
16 and expansion 2; between stages, a 2 x 2 neighbourhood is concatenated and projected.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from swin_umamba.weights.backbone import STRIDES, BackboneRecord, Shapes, WeightsRecord

_LARGEST_SIZE = 2**14
_NEWER = (
    r"^patch_embed\.[57]\.|\.norm2\.|\.mlp\.|^layers\.\d+\.downsample\.[13]\.|\.op\.out_act|\.op\.x_proj\."
)


def _sizes(shapes: Shapes) -> dict[str, Any]:
    """Read depths and widths off the names and shapes; nothing if they make no sense."""
    depths, features, states = [0] * len(STRIDES), [0] * len(STRIDES), {0}
    for key, shape in shapes.items():
        match = re.search(r"^layers\.([0-3])\.blocks\.(\d{1,3})\..*\.A_logs$", key, re.ASCII)
        if match and len(shape) == 2:
            stage = int(match[1])
            depths[stage] = max(depths[stage], int(match[2]) + 1)
            # Four directions, and twice as many channels inside a block as outside.
            features[stage] = shape[0] // 8
            states.add(shape[1])
    if min(depths) < 1 or not 0 < min(features) <= max(features) <= _LARGEST_SIZE or len(states) != 2:
        return {}
    return {"depths": depths, "features_per_stage": features, "d_state": min(max(states), _LARGEST_SIZE)}


_RELEASED = WeightsRecord(
    name="vmamba_tiny_v0cls",
    architecture="VMamba-Tiny of January 2024: depths 2, 2, 9, 2, widths 96 to 768, 22.9 M parameters",
    file_name="vssmtiny_dp01_ckpt_epoch_292.pth",
    url="https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmtiny_dp01_ckpt_epoch_292.pth",
    size=91_649_482,
    sha256="dbc0cc4f5ec0e45db5fba7c939d2c7d9b617e891ac10766912a8d604c37c5e47",
    licence="MIT, as the code of VMamba; the images are ImageNet's, whose terms ask for non-commercial "
    "research",
    source="https://github.com/MzeroMiko/VMamba/issues/281",
    top1=82.2,
    note="The release asset. It was first released under the tag #20240218, which has been moved. Its "
    "authors publish neither hash nor size: the SHA-256 was published by two independent users of this "
    "address, the size by one of them.",
)
_SHARED_BEFORE = replace(
    _RELEASED,
    name="vmamba_tiny_e292",
    file_name="vmamba_tiny_e292.pth",
    url=None,
    size=None,
    sha256=None,
    source="https://github.com/JiarunLiu/Swin-UMamba",
    note="The same weights as first shared in January 2024, with the training configuration beside them; the "
    "file of the paper. It has no address any more, so who has it places it by hand; everybody else takes "
    "vmamba_tiny_v0cls.",
)

VMAMBA_TINY = BackboneRecord(
    name="vmamba_tiny",
    title="VMamba",
    features_per_stage=(96, 192, 384, 768),
    arguments={"depths": (2, 2, 9, 2)},
    network="vmamba",
    recognised_by={"layers.0.blocks.0.self_attention.A_logs": (None, None)},
    first_convolution="patch_embed.proj.weight",
    # VMamba renamed its layers in 2024; the same weights exist under both names.
    spellings=(
        (r"^patch_embed\.0\.", "patch_embed.proj."),
        (r"^patch_embed\.2\.", "patch_embed.norm."),
        (r"^(layers\.\d+\.blocks\.\d+)\.norm\.", r"\1.ln_1."),
        (r"^(layers\.\d+\.blocks\.\d+)\.op\.", r"\1.self_attention."),
        (r"^classifier\.(norm|head)\.", r"\1."),
    ),
    places=((r"^layers\.(\d+)\.downsample\.", r"downsamples.\1."),),
    classifier=("norm.", "head."),
    foreign_keys={_NEWER: "a newer VMamba architecture"},
    # The published code of Swin-UMamba means to skip the whole patch embedding but lists norm.weight twice
    # and norm.bias never, so the bias is loaded. Its results were obtained that way, so we keep it.
    taken_anyway=("patch_embed.norm.bias",),
    sizes=_sizes,
    weights=(_RELEASED, _SHARED_BEFORE),
    advice="use the first-generation VMamba-Tiny classifier: vssmtiny_dp01_ckpt_epoch_292.pth, "
    "also known as vmamba_tiny_e292.pth",
)
RECORDS = (VMAMBA_TINY,)
