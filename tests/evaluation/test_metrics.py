"""Dice, NSD and HD95 against analytic values and a brute-force oracle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.evaluation.metrics import MaskPair, dice, image_diagonal
from swin_umamba.evaluation.surface import element_areas

BOXES = [((20, 24), (2.0, 0.7)), ((14, 16, 12), (5.0, 0.7, 1.1))]


def box(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = True
    return mask


def oracle(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    """NSD and HD95 by comparing every surface element with every other one."""
    areas = element_areas(spacing)
    places, weights = [], []
    for mask in (prediction, reference):
        padded = np.pad(mask, 1)
        codes = {}
        for index in itertools.product(*(range(size - 1) for size in padded.shape)):
            window = padded[tuple(slice(i, i + 2) for i in index)].ravel()
            if window.any() and not window.all():
                codes[index] = int("".join(str(int(bit)) for bit in window), 2)
        places.append(np.array(list(codes)) * spacing)
        weights.append(areas[list(codes.values())])
    between = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
    close = total = 0.0
    percentiles = []
    for nearest, weight in zip((between.min(axis=1), between.min(axis=0)), weights, strict=True):
        close += weight[nearest <= tolerance + 1e-6].sum()
        total += weight.sum()
        reached = 0.0
        for distance, area in sorted(zip(nearest, weight, strict=True)):
            reached += area
            if reached >= 0.95 * weight.sum() - 1e-9:
                percentiles.append(distance)
                break
    return close / total, max(percentiles)


def box_surface(size: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[float, float, float]:
    """Areas of a box: one ring of its sides, the edges around one end face, and the inside of that face."""
    areas = element_areas(spacing)
    if len(size) == 2:
        return 2 * spacing[0], 2 * areas[0b0001], (size[1] - 1) * spacing[1]
    (_, rows, columns), (depth, height, width) = size, spacing
    ring = 2 * depth * ((rows - 1) * height + (columns - 1) * width) + 4 * areas[0b00010001]
    edges = 2 * (rows - 1) * areas[0b00000101] + 2 * (columns - 1) * areas[0b00000011] + 4 * areas[0b00000001]
    return ring, edges, (rows - 1) * (columns - 1) * height * width


@pytest.mark.parametrize(("shape", "spacing"), BOXES)
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_shifted_boxes(shape: tuple[int, ...], spacing: tuple[float, ...], shift: int) -> None:
    """A box moved along its first axis: overlap and surfaces are known exactly."""
    size = tuple(length // 2 for length in shape)
    reference = box(shape, (2,) * len(shape), size)
    prediction = box(shape, (2 + shift, *(2,) * (len(shape) - 1)), size)
    distance = shift * spacing[0]
    assert dice(prediction, reference) == pytest.approx((size[0] - shift) / size[0])
    assert MaskPair(prediction, reference, spacing).hd95() == pytest.approx(distance)
    assert MaskPair(prediction, reference, spacing, distance).nsd() == pytest.approx(1)
    if shift:
        # Without tolerance the sides that overlap are left, with the edges of one end of each box.
        ring, edges, face = box_surface(size, spacing)
        shared = (size[0] - shift) * ring + edges
        total = (size[0] - 1) * ring + 2 * (edges + face)
        assert MaskPair(prediction, reference, spacing, 0.0).nsd() == pytest.approx(shared / total)
        below = MaskPair(prediction, reference, spacing, distance * 0.999).nsd()
        assert shared / total - 1e-9 <= below < 1


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7)])
def test_random_masks_against_brute_force(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for density in (0.02, 0.1, 0.5, 0.9):
        spacing = tuple(rng.uniform(0.3, 4, len(shape)))
        prediction, reference = rng.random((2, *shape)) < density
        prediction[0], reference[-1] = True, True  # touch the border, and never empty
        overlap = sum(bool(p and r) for p, r in zip(prediction.ravel(), reference.ravel(), strict=True))
        assert dice(prediction, reference) == 2 * overlap / (prediction.sum() + reference.sum())
        for tolerance in (0.0, 0.5, 1.5, 4.0):
            nsd, hd95 = oracle(prediction, reference, spacing, tolerance)
            assert MaskPair(prediction, reference, spacing, tolerance).nsd() == pytest.approx(nsd, abs=1e-9)
            assert MaskPair(prediction, reference, spacing).hd95() == pytest.approx(hd95)


def test_place_in_the_image_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    prediction, reference = rng.random((2, 6, 7, 8)) < 0.4
    scores = (
        MaskPair(prediction, reference, (3, 1, 2), 1.5).nsd(),
        MaskPair(prediction, reference, (3, 1, 2)).hd95(),
    )
    moved = [np.pad(mask, ((0, 9), (5, 0), (3, 3))) for mask in (prediction, reference)]
    assert (MaskPair(*moved, (3, 1, 2), 1.5).nsd(), MaskPair(*moved, (3, 1, 2)).hd95()) == scores


def test_swapping_the_masks_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    prediction, reference = rng.random((2, 12, 13)) < 0.4
    for metric in (
        dice,
        lambda p, r: MaskPair(p, r, (1, 2), 1.0).nsd(),
        lambda p, r: MaskPair(p, r, (1, 2)).hd95(),
    ):
        assert metric(prediction, reference) == pytest.approx(metric(reference, prediction))


def test_spacing_decides_what_is_close() -> None:
    reference = box((20, 20), (5, 5), (8, 8))
    prediction = box((20, 20), (7, 5), (8, 8))
    assert MaskPair(prediction, reference, (1.0, 1.0), 2.0).nsd() == pytest.approx(1)
    assert MaskPair(prediction, reference, (2.0, 1.0), 2.0).nsd() < 0.8
    assert MaskPair(prediction, reference, (1.0, 2.0), 2.0).nsd() == pytest.approx(1)


def test_tolerance_includes_float32_spacing() -> None:
    spacing = (float(np.float32(1.1)), 1.0)  # 1.10000002...
    prediction, reference = box((9, 9), (3, 2), (4, 4)), box((9, 9), (2, 2), (4, 4))
    assert MaskPair(prediction, reference, spacing, 1.1).nsd() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(6, 8), (4, 5, 6)])
def test_empty_masks(shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    spacing = (2.0, 1.5, 1.0)[: len(shape)]
    diagonal = math.sqrt(sum((size * length) ** 2 for size, length in zip(shape, spacing, strict=True)))
    assert math.isnan(dice(empty, empty))
    assert math.isnan(MaskPair(empty, empty, spacing, 2.0).nsd())
    assert math.isnan(MaskPair(empty, empty, spacing).hd95())
    for prediction, reference in ((empty, full), (full, empty)):
        assert dice(prediction, reference) == 0
        assert MaskPair(prediction, reference, spacing, 1e9).nsd() == 0
        assert MaskPair(prediction, reference, spacing).hd95() == pytest.approx(diagonal)
    assert image_diagonal(shape, spacing) == pytest.approx(diagonal)
    assert dice(full, full) == MaskPair(full, full, spacing, 0.0).nsd() == 1
    assert MaskPair(full, full, spacing).hd95() == 0


def test_shapes_that_would_broadcast_are_refused() -> None:
    wide, narrow = np.ones((4, 4), bool), np.ones((4, 1), bool)
    for metric in (
        dice,
        lambda p, r: MaskPair(p, r, (1, 1), 1).nsd(),
        lambda p, r: MaskPair(p, r, (1, 1)).hd95(),
    ):
        with pytest.raises(GeometryError, match=r"\(4, 4\).*\(4, 1\)"):
            metric(wide, narrow)


def test_wrong_arguments() -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(UsageError, match="boolean"):
        dice(mask.astype(int), mask)
    with pytest.raises(UsageError, match="spacing"):
        MaskPair(mask, mask, (1, 1, 1), 1.0).nsd()
    with pytest.raises(UsageError, match="spacing"):
        MaskPair(mask, mask, (1, 0), 1.0).nsd()
    for tolerance in (-1.0, math.nan):
        with pytest.raises(UsageError, match="tolerance"):
            MaskPair(mask, mask, (1, 1), tolerance).nsd()
