"""Patch embedding, merging and expanding, pixel by pixel."""

import pytest
import torch
from torch.nn import functional as F

from swin_umamba.modules.patching import PatchEmbed, PatchExpand, PatchMerging


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_()
    return module


def test_embedding_projects_each_patch() -> None:
    embed = randomise(PatchEmbed(3, 8, patch_size=4))
    image = torch.randn(2, 3, 8, 12)
    embedded = embed(image)
    assert embedded.shape == (2, 2, 3, 8)
    patch = image[1, :, 4:8, 8:12]
    vector = embed.proj.weight.flatten(1) @ patch.flatten() + embed.proj.bias
    expected = F.layer_norm(vector, (8,), embed.norm.weight, embed.norm.bias)
    torch.testing.assert_close(embedded[1, 1, 2], expected)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (2, 3)])
def test_merging_takes_neighbours_column_by_column(height: int, width: int) -> None:
    merge = randomise(PatchMerging(4, 6))
    x = torch.randn(2, height, width, 4)
    merged = merge(x)
    assert merged.shape == (2, height // 2, width // 2, 6)
    for row in range(height // 2):
        for column in range(width // 2):
            r, c = 2 * row, 2 * column
            neighbours = torch.cat([x[:, r, c], x[:, r + 1, c], x[:, r, c + 1], x[:, r + 1, c + 1]], dim=-1)
            normed = F.layer_norm(neighbours, (16,), merge.norm.weight, merge.norm.bias)
            torch.testing.assert_close(merged[:, row, column], normed @ merge.reduction.weight.T)


@pytest.mark.parametrize("scale", [2, 4])
def test_expanding_reads_row_then_column_then_channel(scale: int) -> None:
    expand = randomise(PatchExpand(6, 5, scale))
    x = torch.randn(2, 3, 2, 6)
    expanded = expand(x)
    assert expanded.shape == (2, 3 * scale, 2 * scale, 5)
    for row in range(3 * scale):
        for column in range(2 * scale):
            projected = x[:, row // scale, column // scale] @ expand.expand.weight.T
            start = ((row % scale) * scale + column % scale) * 5
            expected = F.layer_norm(
                projected[:, start : start + 5], (5,), expand.norm.weight, expand.norm.bias
            )
            torch.testing.assert_close(expanded[:, row, column], expected)
