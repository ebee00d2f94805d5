"""VMamba's second generation: its tensors at full size, and what it computes against a naive form of it."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from swin_umamba.models.backbones import build_encoder, encoder_on_meta
from swin_umamba.models.vmamba_v2 import VMambaV2Encoder
from swin_umamba.weights.catalog import BACKBONES
from weights.vmamba_v2_files import SIZES, encoder_shapes

# Largest error relative to the largest value of a stage.
FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = 1e-5, 1e-12
GRADIENT_TOLERANCE = 1e-10
# Tensors and parameters, as published.
COUNTS = {
    "vmamba_tiny_s1l8": (272, 29_478_528),
    "vmamba_tiny_s2l5": (218, 29_935_296),
    "vmamba_small_s2l15": (398, 49_377_216),
    "vmamba_small_s1l20": (488, 48_242_304),
    "vmamba_base_s2l15": (398, 87_530_752),
    "vmamba_base_s1l20": (488, 85_587_456),
}


def tiny(ratio: int, **others: Any) -> VMambaV2Encoder:
    """An encoder of a few channels with random parameters of every kind."""
    torch.manual_seed(ratio)
    arguments = {"patch_size": 4, "d_state": 1, "drop_path_rate": 0.2, "activation_checkpointing": False}
    encoder = VMambaV2Encoder(
        3,
        depths=(1, 2, 1, 1),
        features_per_stage=(8, 16, 32, 64),
        ratio=ratio,
        backend=None,
        **(arguments | others),
    )
    for parameter in encoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return encoder.eval()


def naive_scan(u: Tensor, w: dict[str, Tensor]) -> Tensor:
    """The four recurrences of (batch, channels, height, width), pixel by pixel."""
    _, channels, height, width = u.shape
    rows = [(y, x) for y in range(height) for x in range(width)]
    columns = [(y, x) for x in range(width) for y in range(height)]
    total = torch.zeros_like(u)
    for k, pixels in enumerate((rows, columns, rows[::-1], columns[::-1])):
        a = -w["op.A_logs"][k * channels : (k + 1) * channels, 0].exp()
        skip = w["op.Ds"][k * channels : (k + 1) * channels]
        h = torch.zeros_like(u[:, :, 0, 0])
        found = {}
        for y, x in pixels:
            value = u[:, :, y, x]
            *p, b, c = (value @ w["op.x_proj_weight"][k].T).unbind(1)
            delta = F.softplus(torch.stack(p, 1) @ w["op.dt_projs_weight"][k].T + w["op.dt_projs_bias"][k])
            h = (delta * a).exp() * h + delta * b[:, None] * value
            found[y, x] = c[:, None] * h + skip * value
        flat = torch.stack([found[y, x] for y in range(height) for x in range(width)], dim=2)
        total = total + flat.unflatten(2, (height, width))
    return total


def norm(w: dict[str, Tensor], key: str, x: Tensor) -> Tensor:
    """Layer norm over the channels of (batch, channels, height, width)."""
    weight, bias = (w[f"{key}.{kind}"][:, None, None] for kind in ("weight", "bias"))
    centred = x - x.mean(1, keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt() * weight + bias


def naive_encoder(w: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Stem between its convolutions, then the stages, (batch, channels, height, width)."""

    def convolve(key: str, x: Tensor) -> Tensor:
        return F.conv2d(x, w[f"{key}.weight"], w[f"{key}.bias"], stride=2, padding=1)

    half = F.gelu(norm(w, "patch_embed.2", convolve("patch_embed.0", x)))
    x = norm(w, "patch_embed.7", convolve("patch_embed.5", half))
    found = [half]
    for stage in range(4):
        if stage:
            down = f"layers.{stage - 1}.downsample"
            x = norm(w, f"{down}.3", convolve(f"{down}.1", x))
        block = 0
        while f"layers.{stage}.blocks.{block}.norm.weight" in w:
            prefix = f"layers.{stage}.blocks.{block}."
            p = {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}
            u = torch.einsum("oc,bchw->bohw", p["op.in_proj.weight"], norm(p, "norm", x))
            u = F.silu(F.conv2d(u, p["op.conv2d.weight"], padding=1, groups=u.shape[1]))
            y = norm(p, "op.out_norm", naive_scan(u, p))
            x = x + torch.einsum("oc,bchw->bohw", p["op.out_proj.weight"], y)
            y = torch.einsum("oc,bchw->bohw", p["mlp.fc1.weight"], norm(p, "norm2", x))
            y = F.gelu(y + p["mlp.fc1.bias"][:, None, None])
            y = torch.einsum("oc,bchw->bohw", p["mlp.fc2.weight"], y)
            x = x + y + p["mlp.fc2.bias"][:, None, None]
            block += 1
        found.append(x)
    return found


@pytest.mark.parametrize("ratio", [1, 2])
def test_stages_and_gradients_are_those_of_the_naive_form(ratio: int) -> None:
    encoder = tiny(ratio)
    image = torch.randn(2, 3, 13, 22, dtype=torch.float64)
    weights = {key: value.double().requires_grad_() for key, value in encoder.state_dict().items()}
    expected = naive_encoder(weights, image)
    assert [tuple(each.shape[2:]) for each in expected] == [(7, 11), (4, 6), (2, 3), (1, 2), (1, 1)]
    single = encoder.with_stem(image.float())
    double = encoder.double().with_stem(image)
    for found, tolerance in ((single, FLOAT32_TOLERANCE), (double, FLOAT64_TOLERANCE)):
        for ours, theirs in zip(found, expected, strict=True):
            error = (ours.permute(0, 3, 1, 2) - theirs).abs().max() / theirs.abs().max()
            assert error < tolerance
    for ours, theirs in zip(encoder(image), double[1:], strict=True):
        assert torch.equal(ours, theirs)
    sum(stage.square().sum() for stage in double).backward()
    sum(stage.square().sum() for stage in expected).backward()
    for key, parameter in encoder.named_parameters():
        gradient = weights[key].grad
        assert (parameter.grad - gradient).norm() <= GRADIENT_TOLERANCE * gradient.norm(), key


@pytest.mark.parametrize("name", SIZES)
def test_tensors_are_those_of_the_public_files(name: str) -> None:
    state = encoder_on_meta(BACKBONES[name], 3).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes == encoder_shapes(*SIZES[name])
    assert (len(shapes), sum(map(prod, shapes.values()))) == COUNTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_a_full_state_dict_is_loaded_strictly(name: str) -> None:
    encoder = build_encoder(BACKBONES[name], 3)
    state = {key: torch.full(shape, 0.01) for key, shape in encoder_shapes(*SIZES[name]).items()}
    encoder.load_state_dict(state, strict=True)
    assert all((parameter == 0.01).all() for parameter in encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vmamba_tiny_s2l5"])
def test_full_size_in_single_and_double_precision(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(BACKBONES[name], 3).eval()
    image = torch.randn(1, 3, 320, 320)
    with torch.no_grad():
        single = encoder(image)
        double = encoder.double()(image.double())
    for a, b in zip(single, double, strict=True):
        assert (a - b).abs().max() / b.abs().max() < FLOAT32_TOLERANCE


def test_fewer_stages_and_an_input_at_half_the_size() -> None:
    encoder = tiny(1, patch_size=2)
    stages = encoder(torch.randn(1, 3, 32, 64), num_stages=3)
    assert [tuple(each.shape) for each in stages] == [(1, 16, 32, 8), (1, 8, 16, 16), (1, 4, 8, 32)]


def test_initial_values() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(
        BACKBONES["vmamba_tiny_s2l5"], 1, depths=(1, 1, 1, 1), features_per_stage=(32, 32, 32, 64)
    )
    block = encoder.layers[3].blocks[0]
    for layer in (block.op.in_proj, block.op.out_proj, block.mlp.fc1, block.mlp.fc2):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert layer.bias is None or (layer.bias == 0).all()
    assert (block.op.A_logs == 0).all()
    assert (block.op.Ds == 1).all()
    steps = F.softplus(block.op.dt_projs_bias)
    assert steps.min() >= 1e-4
    assert steps.max() <= 0.1001
    assert block.op.x_proj_weight.abs().max() <= 128**-0.5
    assert block.op.dt_projs_weight.abs().max() <= 4**-0.5


def test_stochastic_depth_draws_for_each_branch() -> None:
    encoder = tiny(1, drop_path_rate=0.5)
    assert [round(b.drop_path.drop_prob, 4) for layer in encoder.layers for b in layer.blocks] == [
        0.0,
        0.125,
        0.25,
        0.375,
        0.5,
    ]
    block = encoder.layers[3].blocks[0].train()
    x = torch.randn(400, 1, 1, 64)
    torch.manual_seed(0)
    unchanged = (block(x) == x).flatten(1).all(1).float().mean().item()
    assert unchanged == pytest.approx(0.25, abs=0.07)
