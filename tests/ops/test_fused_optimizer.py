"""Which optimizers are fused, and which of them skip a step by themselves."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from swin_umamba.ops.fused_optimizer import fused_on, restore_optimizer, skips_on_device


def test_gpus_and_cpus_fuse() -> None:
    assert fused_on(torch.device("cuda", 1)) is True
    assert fused_on(torch.device("cpu")) is True
    assert fused_on(torch.device("mps")) is None


def test_only_optimizers_that_skip_soundly_do_it_on_the_device() -> None:
    parameter = nn.Parameter(torch.ones(2))
    assert skips_on_device(torch.optim.AdamW([parameter], fused=True))
    assert not skips_on_device(torch.optim.AdamW([parameter], fused=False))
    assert not skips_on_device(torch.optim.SGD([parameter], lr=0.1, momentum=0.9, fused=True))
    assert not skips_on_device(torch.optim.RMSprop([parameter]))
    two = torch.optim.AdamW(
        [{"params": [parameter], "fused": True}, {"params": [nn.Parameter(torch.ones(1))]}]
    )
    assert not skips_on_device(two)


@pytest.mark.parametrize("before", [None, False, True])
@pytest.mark.parametrize("after", [None, True])
def test_a_scaler_steps_what_an_earlier_run_left(before: bool | None, after: bool | None) -> None:
    """As pretraining does it: unscaled gradients, then the scaler's step; of either kind the same weights."""
    results = []
    for kinds in ((before, after), (None, None)):
        parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=kinds[0])
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for number in range(2):
            optimizer.zero_grad()
            scaler.scale((parameter * torch.tensor([3.0, 0.5])).sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            if number == 0:
                stored = copy.deepcopy(optimizer.state_dict())
                optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=kinds[1])
                restore_optimizer(optimizer, stored)
        results.append(parameter.detach())
        assert optimizer.param_groups[0]["fused"] == kinds[0]
    torch.testing.assert_close(*results, rtol=1e-6, atol=0)
