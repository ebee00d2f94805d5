"""Objects found tile by tile are those of the whole label map, to the number of each."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from swin_umamba.errors import DataError
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.instances.tiles import components
from swin_umamba.instances.tiles.decode import decode_over
from swin_umamba.instances.tiles.stored import Workspace

CELLS = ObjectClasses({1: "object"}, 2)
KINDS = ObjectClasses({1: "round", 2: "long"}, None)
TWO_KINDS = ObjectClasses({1: "round", 3: "long"}, 2)


def found(
    folder: Path,
    labels: np.ndarray,
    classes: ObjectClasses,
    decoding: Decoding,
    side: tuple[int, ...],
    depth: np.ndarray | None = None,
    min_size: int = 4,
) -> np.ndarray:
    work = Workspace(folder / "work", labels.shape, side)
    stored, count = decode_over(
        work,
        lambda region: labels[region],
        classes,
        decoding,
        min_size=min_size,
        depth=None if depth is None else lambda region: depth[region],
    )
    values = stored.read(tuple(slice(0, length) for length in labels.shape))
    assert count == values.max(initial=0)
    return values


def noise(shape: tuple[int, ...], classes: int, smoothing: float, seed: int) -> np.ndarray:
    """Return labels in patches of all shapes: rings, snakes, specks, and cells that touch."""
    generator = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(generator.normal(size=shape), smoothing) for _ in range(classes)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def cells(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of round cells, many of which touch, and their depth."""
    generator = np.random.default_rng(seed)
    y, x = np.indices(shape)
    labels, depth = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    for _ in range(shape[0] * shape[1] // 120):
        radius = generator.uniform(2, 8)
        middle = generator.uniform((0, 0), shape)
        distance = np.hypot(y - middle[0], x - middle[1])
        labels[(distance < radius + 1) & (labels == 0)] = 2
        labels[distance < radius - 1] = 1
        depth = np.maximum(depth, np.clip(1 - distance / radius, 0, 1).astype(np.float32))
    return labels, np.round(depth + generator.normal(0, 0.05, shape), 2).astype(np.float32)


def snake(shape: tuple[int, int]) -> np.ndarray:
    """Return one winding object in a boundary, with a second inside its turns."""
    labels = np.zeros(shape, np.uint8)
    for number, y in enumerate(range(4, shape[0] - 8, 8)):
        labels[y : y + 3, 3:-3] = 1
        x = shape[1] - 6 if number % 2 == 0 else 3
        labels[y : y + 11, x : x + 3] = 1
    return np.where(ndimage.binary_dilation(labels == 1, iterations=2) & (labels == 0), 2, labels).astype(
        np.uint8
    )


def same(
    tmp_path: Path,
    labels: np.ndarray,
    classes: ObjectClasses,
    decoding: Decoding,
    side: tuple[int, ...],
    depth: np.ndarray | None = None,
) -> None:
    expected, _ = classes.decode(labels, decoding, min_size=4, depth=depth)
    np.testing.assert_array_equal(found(tmp_path, labels, classes, decoding, side, depth), expected)


@pytest.mark.parametrize(
    ("decoding", "with_depth"),
    [(Decoding(), False), (Decoding(3, 0), False), (Decoding(7), True), (Decoding(), True)],
)
def test_cells_on_faces_and_corners(tmp_path: Path, decoding: Decoding, with_depth: bool) -> None:
    labels, depth = cells((75, 50), 0)
    same(tmp_path, labels, CELLS, decoding, (23, 16), depth if with_depth else None)


def test_classes_without_a_boundary(tmp_path: Path) -> None:
    labels = noise((70, 45), 3, 1.5, 0)
    same(tmp_path, labels, KINDS, Decoding(), (16, 16))
    same(tmp_path, labels, KINDS, Decoding(5), (16, 16))


def test_what_reaches_over_many_tiles(tmp_path: Path) -> None:
    labels = snake((60, 45))
    same(tmp_path, labels, CELLS, Decoding(), (16, 16))
    ring = np.zeros((60, 45), np.uint8)
    ring[3:50, 4:40] = 1
    ring[8:44, 9:35] = 0  # its hole is larger than a tile, and is filled
    same(tmp_path, ring, CELLS, Decoding(outer_rim=0), (16, 16))
    boundary = np.full((60, 45), 2, np.uint8)
    boundary[2, 2] = boundary[57, 40] = 1  # they meet far from both
    same(tmp_path, boundary, CELLS, Decoding(), (16, 16))
    same(tmp_path, np.full((60, 45), 2, np.uint8), CELLS, Decoding(), (16, 16))
    same(tmp_path, np.zeros((60, 45), np.uint8), CELLS, Decoding(), (16, 16))


def test_volumes(tmp_path: Path) -> None:
    same(tmp_path, noise((9, 20, 17), 4, 1.0, 0), TWO_KINDS, Decoding(3), (4, 8, 9))


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "MOST_PIXELS", 1000)
    labels, depth = snake((60, 45)), np.ones((60, 45), np.float32)
    with pytest.raises(DataError, match=r"touching cells has a box of 5\d x 4\d pixels"):
        found(tmp_path, labels, CELLS, Decoding(), (16, 16), depth)
    with pytest.raises(DataError, match="to cut has a box") as refused:
        found(tmp_path, labels, CELLS, Decoding(3), (16, 16))
    assert "--split-distance 0" in str(refused.value)
    same(tmp_path, labels, CELLS, Decoding(), (16, 16))
    with pytest.raises(DataError, match="one object"):
        found(tmp_path, np.ones((60, 45), np.uint8), CELLS, Decoding(3), (16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_maps_of_all_kinds(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    axes = choice.choice((2, 2, 2, 3))
    sizes, sides = ((20, 120), (7, 50)) if axes == 2 else ((5, 24), (3, 12))
    shape = tuple(choice.randrange(*sizes) for _ in range(axes))
    side = tuple(choice.randrange(*sides) for _ in range(axes))
    decoding = Decoding(choice.choice((None, None, 1, 2, 3, 5, 9)), choice.choice((0, 1, 1, 2)))
    depth = None
    if axes == 2 and choice.random() < 0.5:
        labels, depth = cells((shape[0], shape[1]), seed)
    else:
        labels = noise(shape, 4, choice.choice((0.6, 1, 2, 3)), seed)
    if choice.random() < 0.4:
        field = np.random.default_rng(seed).random(shape)
        depth = np.round(ndimage.gaussian_filter(field, 1) * 3, choice.choice((1, 6))).astype(np.float32)
    same(tmp_path, labels, choice.choice((CELLS, KINDS, TWO_KINDS)), decoding, side, depth)
