"""Both networks as functions of an image and a state dict, written from the architecture's description.

Only the four-direction scan is shared with the package, in its reference form, which has tests of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from swin_umamba.ops.ss2d_scan import ss2d_scan

Weights = dict[str, Tensor]


def _layer_norm(w: Weights, key: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"])


def _block(w: Weights, key: str, x: Tensor) -> Tensor:
    p = {name.removeprefix(f"{key}.self_attention."): value for name, value in w.items() if key in name}
    inner = p["Ds"].shape[0] // 4
    u, z = F.linear(_layer_norm(w, f"{key}.ln_1", x), p["in_proj.weight"]).split(inner, dim=-1)
    u = F.conv2d(u.movedim(-1, 1), p["conv2d.weight"], p["conv2d.bias"], padding=1, groups=inner)
    u = F.silu(u).movedim(1, -1)
    x_dbl = torch.einsum("kcd,bhwd->bhwkc", p["x_proj_weight"], u)
    A, D = -p["A_logs"].exp().unflatten(0, (4, inner)), p["Ds"].unflatten(0, (4, inner))
    y = ss2d_scan(u, x_dbl, p["dt_projs_weight"], p["dt_projs_bias"], A, D, backend="reference")
    y = F.layer_norm(y, (inner,), p["out_norm.weight"], p["out_norm.bias"])
    return x + F.linear(y * F.silu(z), p["out_proj.weight"])


def _block_v2(w: Weights, key: str, x: Tensor) -> Tensor:
    p = {name.removeprefix(f"{key}.op."): value for name, value in w.items() if name.startswith(f"{key}.op.")}
    inner = p["Ds"].shape[0] // 4
    u = F.linear(_layer_norm(w, f"{key}.norm", x), p["in_proj.weight"]).movedim(-1, 1)
    u = F.silu(F.conv2d(u, p["conv2d.weight"], padding=1, groups=inner)).movedim(1, -1)
    x_dbl = torch.einsum("kcd,bhwd->bhwkc", p["x_proj_weight"], u)
    A, D = -p["A_logs"].exp().unflatten(0, (4, inner)), p["Ds"].unflatten(0, (4, inner))
    y = ss2d_scan(u, x_dbl, p["dt_projs_weight"], p["dt_projs_bias"], A, D, backend="reference")
    x = x + F.linear(_layer_norm(p, "out_norm", y), p["out_proj.weight"])
    y = F.linear(_layer_norm(w, f"{key}.norm2", x), w[f"{key}.mlp.fc1.weight"], w[f"{key}.mlp.fc1.bias"])
    return x + F.linear(F.gelu(y), w[f"{key}.mlp.fc2.weight"], w[f"{key}.mlp.fc2.bias"])


def _stage(w: Weights, key: str, x: Tensor) -> Tensor:
    index = 0
    while (block := f"{key}.blocks.{index}") + ".ln_1.weight" in w or f"{block}.norm.weight" in w:
        x = (_block if f"{block}.ln_1.weight" in w else _block_v2)(w, block, x)
        index += 1
    return x


def _encoder(w: Weights, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
    weight, bias = w["vssm_encoder.patch_embed.proj.weight"], w["vssm_encoder.patch_embed.proj.bias"]
    x = F.conv2d(x, weight, bias, stride=weight.shape[-1]).movedim(1, -1)
    x = _layer_norm(w, "vssm_encoder.patch_embed.norm", x)
    features = []
    for index in range(len(depths)):
        if index:
            down = f"vssm_encoder.downsamples.{index - 1}"
            even, odd = x[:, 0::2], x[:, 1::2]
            x = torch.cat([even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2]], dim=-1)
            x = F.linear(_layer_norm(w, f"{down}.norm", x), w[f"{down}.reduction.weight"])
        x = _stage(w, f"vssm_encoder.layers.{index}", x)
        features.append(x)
    return features


def _residual(w: Weights, key: str, x: Tensor) -> Tensor:
    y = F.leaky_relu(F.instance_norm(F.conv2d(x, w[f"{key}.conv1.conv.weight"], padding=1)), 0.01)
    y = F.instance_norm(F.conv2d(y, w[f"{key}.conv2.conv.weight"], padding=1))
    if f"{key}.conv3.conv.weight" in w:
        x = F.instance_norm(F.conv2d(x, w[f"{key}.conv3.conv.weight"]))
    return F.leaky_relu(x + y, 0.01)


def swin_umamba_forward(w: Weights, image: Tensor, depths: Sequence[int]) -> list[Tensor]:
    """Logits of the four heads of SwinUMamba, finest first."""
    stem = F.conv2d(image, w["stem.0.weight"], w["stem.0.bias"], stride=2, padding=3)
    stem = F.instance_norm(stem, weight=w["stem.1.weight"], bias=w["stem.1.bias"])
    stages = [feature.movedim(-1, 1) for feature in _encoder(w, stem, depths)]
    sources = [image, stem, *stages[:3]]
    outputs = {}
    if "decoder6.transp_conv.conv.weight" in w:
        x, numbers = stages[3], (6, 5, 4, 3, 2)
    else:  # the first version: the last stage does not reach the decoder
        x, numbers = _residual(w, "encoder5.layer", stages[2]), (5, 4, 3, 2)
    for number in numbers:
        skip = _residual(w, f"encoder{number - 1}.layer", sources[number - 2])
        x = F.conv_transpose2d(x, w[f"decoder{number}.transp_conv.conv.weight"], stride=2)
        x = outputs[number] = _residual(w, f"decoder{number}.conv_block", torch.cat([x, skip], dim=1))
    features = [_residual(w, "decoder1.layer", x), outputs[3], outputs[4], outputs[5]]
    return [
        F.conv2d(feature, w[f"out_layers.{i}.conv.conv.weight"], w[f"out_layers.{i}.conv.conv.bias"])
        for i, feature in enumerate(features)
    ]


def swin_umamba_d_forward(w: Weights, image: Tensor, depths: Sequence[int]) -> list[Tensor]:
    """Logits of the four heads of SwinUMambaD, finest first."""
    return _decode(w, _encoder(w, image, depths), 4)


def swin_umamba_dd_forward(w: Weights, image: Tensor, depths: Sequence[int]) -> list[Tensor]:
    """Logits of the five heads of SwinUMambaDD, finest first."""

    def convolve(key: str, x: Tensor) -> Tensor:
        weight, bias = (w[f"vssm_encoder.{key}.{kind}"] for kind in ("weight", "bias"))
        return F.conv2d(x.movedim(-1, 1), weight, bias, stride=2, padding=1).movedim(1, -1)

    stem = "vssm_encoder.patch_embed"
    half = F.gelu(_layer_norm(w, f"{stem}.2", convolve("patch_embed.0", image.movedim(1, -1))))
    x = _layer_norm(w, f"{stem}.7", convolve("patch_embed.5", half))
    features = [half]
    for index in range(len(depths)):
        if index:
            down = f"layers.{index - 1}.downsample"
            x = _layer_norm(w, f"vssm_encoder.{down}.3", convolve(f"{down}.1", x))
        x = _stage(w, f"vssm_encoder.layers.{index}", x)
        features.append(x)
    return _decode(w, features, 2)


def _decode(w: Weights, features: list[Tensor], scale: int) -> list[Tensor]:
    """Logits of all heads, finest first, of the skips and the coarsest stage, finest first."""

    def expand(x: Tensor, index: int, scale: int) -> Tensor:
        x = F.linear(x, w[f"decoder.expand_layers.{index}.expand.weight"])
        batch, height, width, channels = x.shape
        # F.pixel_shuffle wants the channel slowest, these weights have it fastest.
        x = x.unflatten(-1, (scale * scale, -1)).transpose(-1, -2).reshape(batch, height, width, channels)
        x = F.pixel_shuffle(x.movedim(-1, 1), scale).movedim(1, -1)
        return _layer_norm(w, f"decoder.expand_layers.{index}.norm", x)

    def head(x: Tensor, index: int) -> Tensor:
        key = f"decoder.seg_layers.{index}"
        return F.conv2d(x.movedim(-1, 1), w[f"{key}.weight"], w[f"{key}.bias"])

    *skips, x = features
    heads: list[Tensor] = []
    for index, skip in enumerate(reversed(skips)):
        x = torch.cat([expand(x, index, 2), skip], dim=-1)
        key = f"decoder.concat_back_dim.{index}"
        x = _stage(w, f"decoder.stages.{index}", F.linear(x, w[f"{key}.weight"], w[f"{key}.bias"]))
        heads.append(head(x, index))
    last = len(skips)
    return [head(expand(x, last, scale), last), *heads[::-1]]
