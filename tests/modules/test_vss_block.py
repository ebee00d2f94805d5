"""VSS block, stage and stochastic depth."""

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.modules.vss_block import DropPath, VSSBlock, VSSLayer


def test_block_is_a_prenorm_residual() -> None:
    torch.manual_seed(0)
    block = VSSBlock(8, drop_path=0.5, d_state=4).eval()
    x = torch.randn(2, 3, 5, 8)
    normed = F.layer_norm(x, (8,), block.ln_1.weight, block.ln_1.bias, eps=1e-5)
    torch.testing.assert_close(block(x), x + block.self_attention(normed))


def test_layer_applies_its_blocks_in_order() -> None:
    torch.manual_seed(0)
    layer = VSSLayer(8, [0.0, 0.1], d_state=4).eval()
    x = torch.randn(1, 4, 4, 8)
    assert [block.drop_path.drop_prob for block in layer.blocks] == [0.0, 0.1]
    torch.testing.assert_close(layer(x), layer.blocks[1](layer.blocks[0](x)))


def test_drop_path_drops_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    x = torch.rand(4000, 2, 3, 1) + 1
    y = DropPath(0.25)(x)
    kept = (y != 0).flatten(1)
    assert (kept.all(dim=1) | ~kept.any(dim=1)).all()
    torch.testing.assert_close(y[kept[:, 0]], x[kept[:, 0]] / 0.75)
    assert kept[:, 0].float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_drop_path_is_the_identity_in_evaluation_and_at_rate_zero() -> None:
    x = torch.randn(3, 2, 2, 1)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_checkpointing_changes_neither_outputs_nor_gradients() -> None:
    torch.manual_seed(0)
    layer = VSSLayer(8, [0.3, 0.3], d_state=4).train()
    x = torch.randn(4, 3, 3, 8)
    results = []
    for checkpointing in (False, True):
        layer.activation_checkpointing = checkpointing
        layer.zero_grad()
        torch.manual_seed(1)  # the same samples are dropped, in the second forward pass of a block too
        y = layer(x)
        y.square().sum().backward()
        results.append([y.detach(), *(parameter.grad for parameter in layer.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        assert torch.equal(plain, checkpointed)


@pytest.mark.slow
def test_block_compiles_to_one_graph() -> None:
    torch.manual_seed(0)
    block = VSSBlock(8, d_state=4)
    x = torch.randn(1, 4, 4, 8)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x))
