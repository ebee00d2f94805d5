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
    for index, dim in enumerate(features[-2::-1]):
        entries += _stage(f"decoder.stages.{index}", dim, 2, n)
    return entries + list(_decoder(features, num_classes, 4))


def _decoder(features: Sequence[int], num_classes: int, scale: int) -> Iterator[Entry]:
    """The decoder without its blocks."""
    coarse, fine = features[:0:-1], features[-2::-1]
    for index, (before, after) in enumerate(zip(coarse, fine, strict=True)):
        yield f"decoder.expand_layers.{index}.expand.weight", (4 * after, before)
        yield from _norm(f"decoder.expand_layers.{index}.norm", after)
    yield f"decoder.expand_layers.{len(fine)}.expand.weight", (scale**2 * fine[-1], fine[-1])
    yield from _norm(f"decoder.expand_layers.{len(fine)}.norm", fine[-1])
    for index, dim in enumerate((*fine, fine[-1])):
        yield f"decoder.seg_layers.{index}.weight", (num_classes, dim, 1, 1)
        yield f"decoder.seg_layers.{index}.bias", (num_classes,)
    for index, dim in enumerate(fine):
        yield f"decoder.concat_back_dim.{index}.weight", (dim, 2 * dim)
        yield f"decoder.concat_back_dim.{index}.bias", (dim,)


def _stage_v2(prefix: str, dim: int, depth: int, n: int) -> Iterator[Entry]:
    rank = ceil(dim / 16)
    for index in range(depth):
        block, scan = f"{prefix}.blocks.{index}", f"{prefix}.blocks.{index}.op"
        yield from _norm(f"{block}.norm", dim)
        yield f"{scan}.x_proj_weight", (4, rank + 2 * n, dim)
        yield f"{scan}.dt_projs_weight", (4, dim, rank)
        yield f"{scan}.dt_projs_bias", (4, dim)
        yield f"{scan}.A_logs", (4 * dim, n)
        yield f"{scan}.Ds", (4 * dim,)
        yield f"{scan}.in_proj.weight", (dim, dim)
        yield f"{scan}.conv2d.weight", (dim, 1, 3, 3)
        yield from _norm(f"{scan}.out_norm", dim)
        yield f"{scan}.out_proj.weight", (dim, dim)
        yield from _norm(f"{block}.norm2", dim)
        yield f"{block}.mlp.fc1.weight", (4 * dim, dim)
        yield f"{block}.mlp.fc1.bias", (4 * dim,)
        yield f"{block}.mlp.fc2.weight", (dim, 4 * dim)
        yield f"{block}.mlp.fc2.bias", (dim,)


def _convolution(prefix: str, fan_in: int, fan_out: int) -> Iterator[Entry]:
    yield f"{prefix}.weight", (fan_out, fan_in, 3, 3)
    yield f"{prefix}.bias", (fan_out,)


def swin_umamba_dd_layout(
    in_channels: int,
    num_classes: int,
    depths: Sequence[int] = (2, 2, 8, 2),
    features: Sequence[int] = FEATURES,
    n: int = 1,
) -> list[Entry]:
    """Every (name, shape) of SwinUMambaDD with vmamba_tiny_s1l8, in order."""
    half = features[0] // 2
    stem = "vssm_encoder.patch_embed"
    entries = [*_convolution(f"{stem}.0", in_channels, half), *_norm(f"{stem}.2", half)]
    entries += [*_convolution(f"{stem}.5", half, features[0]), *_norm(f"{stem}.7", features[0])]
    for index in range(4):
        layer = f"vssm_encoder.layers.{index}"
        entries += _stage_v2(layer, features[index], depths[index], 1)
        if index < 3:
            entries += _convolution(f"{layer}.downsample.1", features[index], features[index + 1])
            entries += _norm(f"{layer}.downsample.3", features[index + 1])
    for index, (dim, depth) in enumerate(zip((*features[-2::-1], half), (2, 2, 2, 1), strict=True)):
        entries += _stage_v2(f"decoder.stages.{index}", dim, depth, n)
    return entries + list(_decoder((half, *features), num_classes, 2))


def swin_umamba_v1_layout(in_channels: int, num_classes: int, *sizes: Any) -> list[Entry]:
    """Every (name, shape) of the first version of SwinUMamba, in order."""
    entries = swin_umamba_layout(in_channels, num_classes, *sizes)
    return [entry for entry in entries if not entry[0].startswith("decoder6.")]
