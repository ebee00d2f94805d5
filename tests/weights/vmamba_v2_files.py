"""Names and shapes of the public classifiers of VMamba's second generation, and made-up tensors for them."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

SIZES = {
    "vmamba_tiny_s1l8": ((2, 2, 8, 2), 96, 1),
    "vmamba_tiny_s2l5": ((2, 2, 5, 2), 96, 2),
    "vmamba_small_s2l15": ((2, 2, 15, 2), 96, 2),
    "vmamba_small_s1l20": ((2, 2, 20, 2), 96, 1),
    "vmamba_base_s2l15": ((2, 2, 15, 2), 128, 2),
    "vmamba_base_s1l20": ((2, 2, 20, 2), 128, 1),
}
"""Depths, width of the first stage, and width of a scan relative to its stage."""

Shapes = dict[str, tuple[int, ...]]


def encoder_shapes(depths: tuple[int, ...], width: int, ratio: int, in_channels: int = 3) -> Shapes:
    """The tensors of a public file without those of its classifier."""
    shapes: Shapes = {"patch_embed.0.weight": (width // 2, in_channels, 3, 3)}
    shapes |= {"patch_embed.5.weight": (width, width // 2, 3, 3)}
    shapes |= {f"patch_embed.{i}.bias": (n,) for i, n in ((0, width // 2), (5, width))}
    shapes |= {f"patch_embed.{i}.{k}": (n,) for i, n in ((2, width // 2), (7, width)) for k in KINDS}
    for stage, depth in enumerate(depths):
        dim = width << stage
        inner, rank = ratio * dim, ceil(dim / 16)
        for index in range(depth):
            block, scan = (f"layers.{stage}.blocks.{index}{part}" for part in ("", ".op"))
            shapes |= {f"{block}.{norm}.{kind}": (dim,) for norm in ("norm", "norm2") for kind in KINDS}
            shapes |= {f"{scan}.out_norm.{kind}": (inner,) for kind in KINDS}
            shapes |= {f"{scan}.x_proj_weight": (4, rank + 2, inner)}
            shapes |= {f"{scan}.dt_projs_weight": (4, inner, rank), f"{scan}.dt_projs_bias": (4, inner)}
            shapes |= {f"{scan}.A_logs": (4 * inner, 1), f"{scan}.Ds": (4 * inner,)}
            shapes |= {f"{scan}.in_proj.weight": (inner, dim), f"{scan}.out_proj.weight": (dim, inner)}
            shapes |= {f"{scan}.conv2d.weight": (inner, 1, 3, 3)}
            shapes |= {f"{block}.mlp.fc1.weight": (4 * dim, dim), f"{block}.mlp.fc1.bias": (4 * dim,)}
            shapes |= {f"{block}.mlp.fc2.weight": (dim, 4 * dim), f"{block}.mlp.fc2.bias": (dim,)}
        if stage < 3:
            down = f"layers.{stage}.downsample"
            shapes |= {f"{down}.1.weight": (2 * dim, dim, 3, 3), f"{down}.1.bias": (2 * dim,)}
            shapes |= {f"{down}.3.{kind}": (2 * dim,) for kind in KINDS}
    return shapes


KINDS = ("weight", "bias")


def classifier(name: str) -> dict[str, Tensor]:
    """A made-up public file: one number per tensor, expanded, so that it takes no memory."""
    depths, width, ratio = SIZES[name]
    shapes = encoder_shapes(depths, width, ratio)
    shapes |= {f"classifier.norm.{kind}": (8 * width,) for kind in KINDS}
    shapes |= {"classifier.head.weight": (1000, 8 * width), "classifier.head.bias": (1000,)}
    return {
        key: torch.tensor(float(index)).expand(shape) for index, (key, shape) in enumerate(shapes.items())
    }
