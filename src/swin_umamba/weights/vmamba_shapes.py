"""The shapes of VMamba's first generation, from which a file can be told without building a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from swin_umamba.weights.convert import PATCH_SIZE

STATES, DIRECTIONS, EXPANSION, KERNEL = 16, 4, 2, 3
CHANNELS_PER_RANK = 16


def encoder_shapes(
    depths: Sequence[int], features_per_stage: Sequence[int], in_channels: int = 3
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of the encoder, as ``SwinUMambaD.vssm_encoder`` names them.

    Parameters
    ----------
    depths
        Blocks of each stage.
    features_per_stage
        Channels of each stage.
    in_channels
        Channels of the images.

    Notes
    -----
    arXiv 2401.10166, first version: a block is a layer norm and SS2D with ``dt_rank`` = channels / 16, state
    size 16 and expansion 2; between stages, a 2 x 2 neighbourhood is concatenated and projected.
    """
    first = features_per_stage[0]
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (first, in_channels, PATCH_SIZE, PATCH_SIZE),
        "patch_embed.proj.bias": (first,),
        **_norm("patch_embed.norm", first),
    }
    for stage, (depth, dim) in enumerate(zip(depths, features_per_stage, strict=True)):
        inner, rank = EXPANSION * dim, math.ceil(dim / CHANNELS_PER_RANK)
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            scan = f"{name}.self_attention"
            shapes |= {
                **_norm(f"{name}.ln_1", dim),
                f"{scan}.x_proj_weight": (DIRECTIONS, rank + 2 * STATES, inner),
                f"{scan}.dt_projs_weight": (DIRECTIONS, inner, rank),
                f"{scan}.dt_projs_bias": (DIRECTIONS, inner),
                f"{scan}.A_logs": (DIRECTIONS * inner, STATES),
                f"{scan}.Ds": (DIRECTIONS * inner,),
                f"{scan}.in_proj.weight": (2 * inner, dim),
                f"{scan}.conv2d.weight": (inner, 1, KERNEL, KERNEL),
                f"{scan}.conv2d.bias": (inner,),
                **_norm(f"{scan}.out_norm", inner),
                f"{scan}.out_proj.weight": (dim, inner),
            }
        if stage + 1 < len(depths):
            name = f"downsamples.{stage}"
            shapes[f"{name}.reduction.weight"] = (features_per_stage[stage + 1], 4 * dim)
            shapes |= _norm(f"{name}.norm", 4 * dim)
    return shapes


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
