"""Made-up VMamba checkpoints in the layout of the public ones, and other files for tests."""

from __future__ import annotations

import re
from math import ceil

import torch
from torch import Tensor

FULL = {"depths": (2, 2, 9, 2), "features_per_stage": (96, 192, 384, 768)}
SMALL = {"depths": (1, 1, 2, 1), "features_per_stage": (8, 16, 24, 32)}
Sizes = dict[str, tuple[int, ...]]


def vmamba_classifier(depths: tuple[int, ...], features_per_stage: tuple[int, ...]) -> dict[str, Tensor]:
    """A made-up state dict in the layout of the first public VMamba classifier, three input channels."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (features_per_stage[0], 3, 4, 4),
        "patch_embed.proj.bias": (features_per_stage[0],),
        "patch_embed.norm.weight": (features_per_stage[0],),
        "patch_embed.norm.bias": (features_per_stage[0],),
    }
    for stage, (depth, dim) in enumerate(zip(depths, features_per_stage, strict=True)):
        inner, rank = 2 * dim, ceil(dim / 16)
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            scan = f"{block}.self_attention"
            shapes |= {f"{block}.ln_1.weight": (dim,), f"{block}.ln_1.bias": (dim,)}
            shapes |= {f"{scan}.x_proj_weight": (4, rank + 32, inner)}
            shapes |= {f"{scan}.dt_projs_weight": (4, inner, rank), f"{scan}.dt_projs_bias": (4, inner)}
            shapes |= {f"{scan}.A_logs": (4 * inner, 16), f"{scan}.Ds": (4 * inner,)}
            shapes |= {f"{scan}.in_proj.weight": (2 * inner, dim)}
            shapes |= {f"{scan}.conv2d.weight": (inner, 1, 3, 3), f"{scan}.conv2d.bias": (inner,)}
            shapes |= {f"{scan}.out_norm.weight": (inner,), f"{scan}.out_norm.bias": (inner,)}
            shapes |= {f"{scan}.out_proj.weight": (dim, inner)}
        if stage < 3:
            down = f"layers.{stage}.downsample"
            shapes |= {f"{down}.reduction.weight": (features_per_stage[stage + 1], 4 * dim)}
            shapes |= {f"{down}.norm.weight": (4 * dim,), f"{down}.norm.bias": (4 * dim,)}
    last = features_per_stage[3]
    shapes |= {"norm.weight": (last,), "norm.bias": (last,)}
    shapes |= {"head.weight": (1000, last), "head.bias": (1000,)}
    # One number per tensor, expanded: distinct, and small on disk and in memory.
    return {
        key: torch.tensor(float(index)).expand(shape) for index, (key, shape) in enumerate(shapes.items())
    }


def in_new_spelling(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of VMamba's later code."""
    rules = [
        (r"^patch_embed\.proj", "patch_embed.0"),
        (r"^patch_embed\.norm", "patch_embed.2"),
        (r"\.ln_1\.", ".norm."),
        (r"\.self_attention\.", ".op."),
        (r"^(norm|head)\.", r"classifier.\1."),
    ]
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed
