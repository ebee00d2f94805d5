"""Dice, NSD and Hausdorff distances against those of MONAI, an independent implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from scipy import ndimage

from swin_umamba.evaluation.metrics import MaskPair, dice, surface_distances

# MONAI computes in float32.
TOLERANCE = 1e-6
SHAPES = [(30, 41), (14, 20, 17)]


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


def blobs(rng: np.random.Generator, shape: tuple[int, ...], kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unrelated masks, a mask and itself moved with stray voxels, or a mask cut by the border."""
    first, second = (ndimage.gaussian_filter(rng.random(shape), 1.7) > 0.505 for _ in range(2))
    if kind == 1:
        second = np.roll(first, 2, axis=0) ^ (rng.random(shape) < 0.02)
    if kind == 2:
        second[: shape[0] // 2] = True
    return first, second


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("shape", SHAPES)
def test_dice_and_nsd(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for kind in (0, 1, 2) * 3:
        spacing = tuple(rng.uniform(0.4, 4, len(shape)).tolist())
        tolerance = float(rng.uniform(0.5, 5))
        masks = blobs(rng, shape, kind)
        tensors = [one_hot(mask) for mask in masks]
        theirs = DiceMetric(include_background=False)(*tensors).item()
        assert dice(*masks) == pytest.approx(theirs, abs=TOLERANCE)
        metric = SurfaceDiceMetric(class_thresholds=[tolerance], include_background=False, use_subvoxels=True)
        theirs = metric(*tensors, spacing=spacing).item()
        assert MaskPair(*masks, spacing, tolerance).nsd() == pytest.approx(theirs, abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("shape", SHAPES)
def test_hausdorff_distance_of_shifted_boxes(shape: tuple[int, ...]) -> None:
    spacing = (2.5, 0.8, 1.3)[: len(shape)]
    for shift in range(1, 4):
        first, second = np.zeros((2, *shape), bool)
        inside = tuple(slice(2, size - 5) for size in shape)
        first[inside] = True
        second[(slice(2 + shift, shape[0] - 5 + shift), *inside[1:])] = True
        metric = HausdorffDistanceMetric(include_background=False, percentile=95)
        theirs = metric(one_hot(first), one_hot(second), spacing=spacing).item()
        assert MaskPair(first, second, spacing).hd95() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("shape", SHAPES)
def test_largest_hausdorff_distance_is_within_a_voxel(shape: tuple[int, ...]) -> None:
    """MONAI's surface is the outermost voxels and ours their corners: half a diagonal apart at each end."""
    rng = np.random.default_rng(1)
    for kind in (0, 1, 2):
        spacing = tuple(rng.uniform(0.4, 4, len(shape)).tolist())
        masks = blobs(rng, shape, kind)
        ours = surface_distances(*masks, spacing)
        largest = max(ours.prediction_to_reference.max(), ours.reference_to_prediction.max())
        metric = HausdorffDistanceMetric(include_background=False)
        theirs = metric(*(one_hot(mask) for mask in masks), spacing=spacing).item()
        assert largest == pytest.approx(theirs, abs=math.hypot(*spacing))


def test_balls_one_inside_the_other() -> None:
    """Analytic: the surfaces are r apart, whatever the spacing, up to the voxels."""
    spacing = (2.0, 0.7, 1.1)
    axes = np.meshgrid(*(np.arange(-25, 25, length) for length in spacing), indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    outer, inner = distance < 20, distance < 15
    voxel = math.hypot(*spacing)
    assert MaskPair(inner, outer, spacing).hd95() == pytest.approx(5, abs=voxel)
    assert MaskPair(inner, outer, spacing, 5 + voxel).nsd() == 1
    assert MaskPair(inner, outer, spacing, 5 - voxel).nsd() == 0
    assert dice(inner, outer) == pytest.approx(2 * 15**3 / (15**3 + 20**3), abs=0.01)
