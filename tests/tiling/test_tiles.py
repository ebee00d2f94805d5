from __future__ import annotations

import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from torch.nn.functional import pad

from swin_umamba.tiling.tiles import TileGrid, gaussian_weights, tile_starts, tiles_per_batch, views_together


@pytest.mark.parametrize("size", [32, 33, 47, 48, 49, 100, 320])
@pytest.mark.parametrize("step_size", [0.25, 0.5, 0.7, 1.0])
def test_tiles_start_where_those_of_nnunet_do(size: int, step_size: float) -> None:
    starts = tile_starts(size, 32, step_size)
    assert starts == compute_steps_for_sliding_window((size,), (32,), step_size)[0]
    assert starts[0] == 0
    assert starts[-1] == size - 32


def test_every_slice_is_tiled() -> None:
    grid = TileGrid((2, 32, 48), (32, 32), 0.5)
    assert [tile.pixels for tile in grid.tiles] == [
        (0, slice(0, 32), slice(0, 32)),
        (0, slice(0, 32), slice(16, 48)),
        (1, slice(0, 32), slice(0, 32)),
        (1, slice(0, 32), slice(16, 48)),
    ]
    assert [tile.rows for tile in grid.tiles] == [slice(0, 32)] * 2 + [slice(32, 64)] * 2
    assert (grid.num_rows, grid.row_shape, grid.slice_height) == (64, (48,), 32)


@pytest.mark.parametrize(
    ("size", "patch_size"), [((2, 5, 9), (8, 4)), ((1, 3, 3), (8, 8)), ((3, 9, 2), (4, 4, 4))]
)
def test_tiles_of_small_images_are_those_of_the_padded_image(
    size: tuple[int, ...], patch_size: tuple[int, ...]
) -> None:
    image = torch.randn(2, *size)
    padding: list[int] = []
    for have, wanted in zip(size[-len(patch_size) :], patch_size, strict=True):
        missing = max(wanted - have, 0)
        padding = [missing // 2, missing - missing // 2, *padding]
    padded = pad(image, padding)
    whole = TileGrid(padded.shape[1:], patch_size, 0.5)
    tiles = TileGrid(size, patch_size, 0.5).tiles
    assert len(tiles) == len(whole.tiles)
    for tile, expected in zip(tiles, whole.tiles, strict=True):
        assert torch.equal(tile.patch_of(image, patch_size), padded[(slice(None), *expected.pixels)])


def test_weights_are_positive_everywhere() -> None:
    weights = gaussian_weights((64, 32, 16))
    assert weights.max() == weights[32, 16, 8] == 1
    assert weights.min() > 0


@pytest.mark.parametrize(
    ("patch_size", "axes", "on_cpu", "on_gpu"),
    [
        ((512, 512), 0, 1, 8),
        ((512, 512), 2, 1, 2),
        ((256, 256), 2, 1, 8),
        ((128, 128), 2, 4, 32),
        ((128, 128), 0, 16, 128),
        ((1024, 1024), 2, 1, 1),
        ((64, 96, 96), 3, 1, 1),
        ((300, 300), 1, 1, 11),
    ],
)
def test_a_gpu_takes_more_tiles_at_once(
    patch_size: tuple[int, ...], axes: int, on_cpu: int, on_gpu: int
) -> None:
    assert tiles_per_batch(patch_size, axes, torch.device("cpu")) == on_cpu
    assert tiles_per_batch(patch_size, axes, torch.device("cuda")) == on_gpu


@pytest.mark.parametrize(
    ("patch_size", "axes", "on_cpu"),
    [((512, 512), 0, True), ((512, 512), 1, False), ((256, 256), 2, True), ((256, 257), 2, False)],
)
def test_small_mirrored_images_go_together(patch_size: tuple[int, ...], axes: int, on_cpu: bool) -> None:
    assert views_together(patch_size, axes, torch.device("cpu")) == on_cpu
    assert views_together(patch_size, axes, torch.device("cuda"))
