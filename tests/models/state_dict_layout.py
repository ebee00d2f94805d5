"""The names, shapes and order of the public state dicts, as rules that are independent of the networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

Entry = tuple[str, tuple[int, ...]]
DEPTHS, FEATURES, D_STATE = (2, 2, 9, 2), (96, 192, 384, 768), 16


def _norm(prefix: str, dim: int) -> Iterator[Entry]:
    yield f"{prefix}.weight", (dim,)
    yield f"{prefix}.bias", (dim,)


def _stage(prefix: str, dim: int, depth: int, n: int) -> Iterator[Entry]:
    inner, rank = 2 * dim, ceil(dim / 16)
    for index in range(depth):
        block = f"{prefix}.blocks.{index}"
        yield from _norm(f"{block}.ln_1", dim)
        scan = f"{block}.self_attention"
        yield f"{scan}.x_proj_weight", (4, rank + 2 * n, inner)
        yield f"{scan}.dt_projs_weight", (4, inner, rank)
        yield f"{scan}.dt_projs_bias", (4, inner)
        yield f"{scan}.A_logs", (4 * inner, n)
        yield f"{scan}.Ds", (4 * inner,)
        yield f"{scan}.in_proj.weight", (2 * inner, dim)
        yield f"{scan}.conv2d.weight", (inner, 1, 3, 3)
        yield f"{scan}.conv2d.bias", (inner,)
        yield from _norm(f"{scan}.out_norm", inner)
        yield f"{scan}.out_proj.weight", (dim, inner)


def _encoder(
    in_channels: int, patch: int, depths: Sequence[int], features: Sequence[int], n: int
) -> Iterator[Entry]:
    yield "vssm_encoder.patch_embed.proj.weight", (features[0], in_channels, patch, patch)
    yield "vssm_encoder.patch_embed.proj.bias", (features[0],)
    yield from _norm("vssm_encoder.patch_embed.norm", features[0])
    for index in range(4):
        yield from _stage(f"vssm_encoder.layers.{index}", features[index], depths[index], n)
    for index in range(3):
        prefix = f"vssm_encoder.downsamples.{index}"
        yield f"{prefix}.reduction.weight", (features[index + 1], 4 * features[index])
        yield from _norm(f"{prefix}.norm", 4 * features[index])


def _residual(prefix: str, fan_in: int, fan_out: int) -> Iterator[Entry]:
    yield f"{prefix}.conv1.conv.weight", (fan_out, fan_in, 3, 3)
    yield f"{prefix}.conv2.conv.weight", (fan_out, fan_out, 3, 3)
    if fan_in != fan_out:
        yield f"{prefix}.conv3.conv.weight", (fan_out, fan_in, 1, 1)


def swin_umamba_layout(
    in_channels: int,
    num_classes: int,
    depths: Sequence[int] = DEPTHS,
    features: Sequence[int] = FEATURES,
    n: int = D_STATE,
) -> list[Entry]:
    """Every (name, shape) of SwinUMamba, in order."""
    dims = (features[0] // 2, *features)
    entries: list[Entry] = [("stem.0.weight", (dims[0], in_channels, 7, 7)), ("stem.0.bias", (dims[0],))]
    entries += _norm("stem.1", dims[0])
    entries += _encoder(dims[0], 2, depths, features, n)
    for number, (fan_in, fan_out) in enumerate(zip((in_channels, *dims), dims, strict=False), start=1):
        entries += _residual(f"encoder{number}.layer", fan_in, fan_out)
    for number in (6, 5, 4, 3, 2):
        fan_in, fan_out = dims[min(number - 1, 4)], dims[number - 2]
        entries.append((f"decoder{number}.transp_conv.conv.weight", (fan_in, fan_out, 2, 2)))
        entries += _residual(f"decoder{number}.conv_block", 2 * fan_out, fan_out)
    entries += _residual("decoder1.layer", dims[0], dims[0])
    for index in range(4):
        entries.append((f"out_layers.{index}.conv.conv.weight", (num_classes, dims[index], 1, 1)))
        entries.append((f"out_layers.{index}.conv.conv.bias", (num_classes,)))
    return entries


def swin_umamba_d_layout(
    in_channels: int,
    num_classes: int,
    depths: Sequence[int] = DEPTHS,
    features: Sequence[int] = FEATURES,
    n: int = D_STATE,
) -> list[Entry]:
    """Every (name, shape) of SwinUMambaD, in order."""
    entries = list(_encoder(in_channels, 4, depths, features, n))
    coarse, fine = features[:0:-1], features[-2::-1]
    for index, dim in enumerate(fine):
        entries += _stage(f"decoder.stages.{index}", dim, 2, n)
    for index, (before, after) in enumerate(zip(coarse, fine, strict=True)):
        entries.append((f"decoder.expand_layers.{index}.expand.weight", (4 * after, before)))
        entries += _norm(f"decoder.expand_layers.{index}.norm", after)
    entries.append(("decoder.expand_layers.3.expand.weight", (16 * fine[-1], fine[-1])))
    entries += _norm("decoder.expand_layers.3.norm", fine[-1])
    for index, dim in enumerate((*fine, fine[-1])):
        entries.append((f"decoder.seg_layers.{index}.weight", (num_classes, dim, 1, 1)))
        entries.append((f"decoder.seg_layers.{index}.bias", (num_classes,)))
    for index, dim in enumerate(fine):
        entries.append((f"decoder.concat_back_dim.{index}.weight", (dim, 2 * dim)))
        entries.append((f"decoder.concat_back_dim.{index}.bias", (dim,)))
    return entries


def swin_umamba_v1_layout(in_channels: int, num_classes: int, *sizes: Any) -> list[Entry]:
    """Every (name, shape) of the first version of SwinUMamba, in order."""
    entries = swin_umamba_layout(in_channels, num_classes, *sizes)
    return [entry for entry in entries if not entry[0].startswith("decoder6.")]
