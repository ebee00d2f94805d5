"""Predictions in bands have the bits of one over the whole image, however the bands lie."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swin_umamba.confidence.members import MemberDecisions
from swin_umamba.tiling import bands
from swin_umamba.tiling.bands import plan_bands
from swin_umamba.tiling.patches import ImagePatches
from swin_umamba.tiling.sliding_window import SlidingWindow
from swin_umamba.tiling.tiles import TileGrid

NUM_CLASSES = 3


class PerPixel(nn.Module):
    """Logits that depend on the pixel, its place in the patch and the network, by the same bits each time."""

    def __init__(self, patch_size: Sequence[int], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.factors = torch.randn(NUM_CLASSES, *patch_size, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) * self.factors + self.factors.flip(0)


def starts(size: int, patch: int, step: float) -> list[int]:
    steps = int(np.ceil((size - patch) / (patch * step)))
    return [int(np.round((size - patch) / max(steps, 1) * number)) for number in range(steps + 1)]


def weights_of(patch_size: Sequence[int]) -> Tensor:
    result = torch.ones((), dtype=torch.float64)
    for size in patch_size:
        distance = torch.arange(size, dtype=torch.float64) - size // 2
        result = result[..., None] * torch.exp(-0.5 * (distance / (size / 8)) ** 2)
    return result.float()


def one_shot(
    networks: Sequence[nn.Module],
    image: Tensor,
    patch_size: Sequence[int],
    step: float,
    mirror_axes: Sequence[int],
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits, and the decisions of each network for each mirrored image: all sums at once."""
    flat = len(patch_size) == 2
    wanted = [1, *patch_size] if flat else list(patch_size)
    missing = [max(want - have, 0) for want, have in zip(wanted, image.shape[1:], strict=True)]
    padding = [part for each in missing[::-1] for part in (each // 2, each - each // 2)]
    padded = nn.functional.pad(image, padding)
    inside = (
        slice(None),
        *(slice(m // 2, m // 2 + s) for m, s in zip(missing, image.shape[1:], strict=True)),
    )
    corners = [starts(size, patch, step) for size, patch in zip(padded.shape[1:], wanted, strict=True)]
    weights = weights_of(patch_size).reshape(wanted)
    total, decisions = None, []
    for network in networks:
        sums = torch.zeros(NUM_CLASSES, *padded.shape[1:])
        weight_sums = torch.zeros(padded.shape[1:])
        views = [torch.zeros_like(sums) for _ in range(2 ** len(mirror_axes))]
        for corner in itertools.product(*(range(image.shape[1]) if flat else corners[0], *corners[1:])):
            tile = tuple(slice(first, first + size) for first, size in zip(corner, wanted, strict=True))
            patch = padded[(slice(None), *tile)].reshape(1, len(image), *patch_size)
            outputs = []
            for number in range(len(mirror_axes) + 1):
                for axes in itertools.combinations([axis + 2 for axis in mirror_axes], number):
                    outputs.append(network(patch.flip(axes)).flip(axes).reshape(NUM_CLASSES, *wanted))
            mean = outputs[0]
            for output in outputs[1:]:
                mean = mean + output
            sums[(slice(None), *tile)] += mean / len(outputs) * weights
            weight_sums[tile] += weights
            for view, output in zip(views, outputs, strict=True):
                view[(slice(None), *tile)] += output * weights
        decisions += [view[inside].argmax(0) for view in views]
        logits = (sums / weight_sums)[inside]
        total = logits if total is None else total + logits
    assert total is not None
    return total / len(networks), decisions


CASES = [
    # Image, patch, step, mirrored axes, networks, tiles a batch.
    ((1, 101, 37), (16, 16), 0.5, (), 1, 1),
    ((1, 97, 50), (16, 24), 0.5, (0, 1), 2, 3),
    ((5, 61, 19), (16, 16), 0.3, (1,), 1, 4),
    ((7, 9, 40), (16, 16), 0.5, (0, 1), 3, 2),
    ((3, 33, 7), (16, 16), 1.0, (0,), 2, 7),
    ((1, 17, 33), (16, 16), 0.7, (), 2, 5),
    ((43, 11, 13), (8, 8, 8), 0.5, (0, 1, 2), 2, 3),
    ((6, 20, 5), (8, 8, 8), 0.4, (2,), 1, 2),
    ((70, 6, 9), (8, 8, 8), 0.5, (), 3, 1),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("smallest", [0, bands.SMALLEST_IN_PATCHES])
def test_bands_have_the_bits_of_the_whole(
    case: tuple[Any, ...], smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, patch_size, step, axes, folds, batch = case
    monkeypatch.setattr(bands, "SMALLEST_IN_PATCHES", smallest)
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(sum(size)))
    networks = [PerPixel(patch_size, seed) for seed in range(folds)]
    window = SlidingWindow(patch_size, NUM_CLASSES, step, axes, batch)
    expected, decisions = one_shot(networks, image, patch_size, step, axes)
    for members in (None, MemberDecisions(independent=False)):
        found = torch.full(expected.shape, torch.nan)
        for band in window.bands(networks, image, members=members):
            for place, logits in band.parts():
                found[:, place[0], place[1]] = logits
        assert torch.equal(found, expected)
        assert torch.equal(window.logits(networks, image, members=members), expected)
        if members is not None:
            assert torch.equal(members.stacked()[:, 0].long(), torch.stack(decisions))
    assert torch.equal(window.logits(networks, image, one_band=True), expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("smallest", [0, bands.SMALLEST_IN_PATCHES])
def test_regions_have_the_bits_of_the_whole(
    case: tuple[Any, ...], smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, patch_size, step, axes, folds, batch = case
    monkeypatch.setattr(bands, "SMALLEST_IN_PATCHES", smallest)
    generator = np.random.default_rng(sum(size))
    image = torch.from_numpy(generator.standard_normal((2, *size), np.float32))
    networks = [PerPixel(patch_size, seed) for seed in range(folds)]
    window = SlidingWindow(patch_size, NUM_CLASSES, step, axes, batch)
    expected, _ = one_shot(networks, image, patch_size, step, axes)
    for _ in range(4):
        corners = [sorted(generator.choice(length + 1, 2, replace=False)) for length in size]
        region = z, y, x = tuple(slice(int(first), int(last)) for first, last in corners)
        found = torch.full((NUM_CLASSES, *(int(last - first) for first, last in corners)), torch.nan)
        for band in window.bands_of_region(networks, ImagePatches(image), region):
            for place, logits in band.parts():
                found[:, place[0], place[1]] = logits
        assert torch.equal(found, expected[:, z, y, x])


@pytest.mark.parametrize("case", CASES)
def test_bands_follow_each_other(case: tuple[Any, ...]) -> None:
    size, patch_size, step, _, _, batch = case
    grid = TileGrid(size, patch_size, step)
    plans = plan_bands(grid, batch, patch_size[0], one_band=False)
    assert [tile for plan in plans for tile in plan.tiles] == grid.tiles
    assert [each for plan in plans for each in plan.batches(batch)] == [
        grid.tiles[start : start + batch] for start in range(0, len(grid.tiles), batch)
    ]
    assert plans[0].first == 0
    assert plans[-1].finished == plans[-1].last == grid.num_rows
    for plan, following in itertools.pairwise(plans):
        assert plan.first < plan.finished == following.first <= plan.last
        assert all(tile.rows.start >= plan.finished for tile in following.tiles)
    for plan in plans:
        assert all(plan.first <= tile.rows.start < tile.rows.stop <= plan.last for tile in plan.tiles)


def test_a_band_is_little_of_a_high_image() -> None:
    grid = TileGrid((1, 4096, 512), (512, 512), 0.5)
    plans = plan_bands(grid, 1, 512, one_band=False)
    assert len(plans) == 15
    assert max(plan.last - plan.first for plan in plans) == 512
    assert len(plan_bands(grid, 1, 512, one_band=True)) == 1
