"""The convolutional twin is SwinUMambaD in everything but the scan."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.baselines.conv_twin import ConvMixer, SwinUMambaDConv
from swin_umamba.errors import DataError
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.modules.ss2d import SS2D

KWARGS = {"depths": (1, 1, 1, 1), "features_per_stage": (8, 16, 24, 32), "d_state": 2}
SCAN = ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")


def test_differs_in_the_scan_alone() -> None:
    twin, network = SwinUMambaDConv(2, 3, **KWARGS), SwinUMambaD(2, 3, **KWARGS)
    theirs = {name: p.shape for name, p in twin.named_parameters() if ".mixer." not in name}
    ours = {name: p.shape for name, p in network.named_parameters() if not name.endswith(SCAN)}
    assert theirs == ours
    assert not any(isinstance(module, SS2D) for module in twin.modules())
    mixers = [module for module in twin.modules() if isinstance(module, ConvMixer)]
    assert len(mixers) == 4 + 3 * 2
    assert all(each.mixer.weight.shape[1:] == (1, 7, 7) for each in mixers)


def test_mixer_by_value() -> None:
    mixer = ConvMixer(SS2D(4, 2)).double()
    with torch.no_grad():
        mixer.mixer.weight.zero_()
        mixer.mixer.weight[:, 0, 3, 4] = 2.0  # twice the right neighbour
    x = torch.randn(1, 5, 6, 4, dtype=torch.float64)
    u, z = (x @ mixer.in_proj.weight.T).split(8, dim=-1)
    u = F.silu(F.conv2d(u.permute(0, 3, 1, 2), mixer.conv2d.weight, mixer.conv2d.bias, padding=1, groups=8))
    moved = torch.zeros_like(u)
    moved[..., :-1] = 2 * u[..., 1:]
    expected = (F.layer_norm(moved.permute(0, 2, 3, 1), (8,)) * F.silu(z)) @ mixer.out_proj.weight.T
    torch.testing.assert_close(mixer(x), expected)


def test_shapes_and_gradients() -> None:
    twin = SwinUMambaDConv(2, 3, deep_supervision=True, **KWARGS)
    heads = twin(torch.randn(1, 2, 64, 40))
    assert [tuple(head.shape[1:]) for head in heads] == [(3, 64, 40), (3, 16, 10), (3, 8, 5), (3, 4, 2)]
    sum(head.square().sum() for head in heads).backward()
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.ndim < 2 or bool(parameter.grad.any()), name


def test_refuses_what_the_network_refuses() -> None:
    with pytest.raises(DataError, match="smaller than 32x32"):
        SwinUMambaDConv(2, 3, **KWARGS)(torch.zeros(1, 2, 31, 32))
