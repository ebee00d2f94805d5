"""Scores of instance maps against analytic values and a brute-force oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.evaluation.instances import (
    IOU_THRESHOLDS,
    count_matches,
    measure_overlap,
    remove_border_instances,
    score_instances,
)


def random_instances(rng: np.random.Generator, count: int) -> np.ndarray:
    instances = np.zeros((40, 50), np.int32)
    for number in range(1, count + 1):
        top, left = rng.integers(0, 40), rng.integers(0, 50)
        instances[top : top + rng.integers(2, 12), left : left + rng.integers(2, 12)] = number * 3
    return instances


def dense_ious(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """IoU of all pairs, by looking at the masks of each."""
    references = [reference == number for number in np.unique(reference) if number]
    predictions = [prediction == number for number in np.unique(prediction) if number]
    table = [[(r & p).sum() / (r | p).sum() for p in predictions] for r in references]
    return np.array(table).reshape(len(references), len(predictions))


def test_scores_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        reference, prediction = random_instances(rng, 12), random_instances(rng, 9)
        half = rng.random(reference.shape) < 0.9
        prediction = np.where(half, np.roll(reference, rng.integers(0, 3)), prediction)
        ious = dense_ious(prediction, reference)
        overlap = measure_overlap(prediction, reference)
        for threshold in (0.1, 0.3, *IOU_THRESHOLDS):
            rows, columns = linear_sum_assignment(-(ious >= threshold).astype(float))
            expected = int((ious[rows, columns] >= threshold).sum())
            assert count_matches(overlap, threshold) == expected
        scores = score_instances(prediction, reference)
        found = count_matches(overlap, 0.5)
        assert scores["precision"] == found / ious.shape[1]
        assert scores["recall"] == found / ious.shape[0]
        assert scores["f1"] == pytest.approx(
            2 * scores["precision"] * scores["recall"] / (scores["precision"] + scores["recall"])
        )
        unmatched = sum(ious.shape) - 2 * (ious > 0.5).sum()
        assert scores["pq"] == pytest.approx(
            ious[ious > 0.5].sum() / ((ious > 0.5).sum() + unmatched / 2), abs=1e-12
        )
        assert scores["aji"] == pytest.approx(brute_force_aji(prediction, reference), abs=1e-12)


def brute_force_aji(prediction: np.ndarray, reference: np.ndarray) -> float:
    ious = dense_ious(prediction, reference)
    predictions = [prediction == number for number in np.unique(prediction) if number]
    shared = covered = 0
    used = set()
    for row, number in enumerate(value for value in np.unique(reference) if value):
        mask = reference == number
        best = int(np.argmax(ious[row]))
        if ious[row, best] == 0:
            covered += mask.sum()
            continue
        shared += (mask & predictions[best]).sum()
        covered += (mask | predictions[best]).sum()
        used.add(best)
    covered += sum(mask.sum() for index, mask in enumerate(predictions) if index not in used)
    return shared / covered


def test_shifted_squares() -> None:
    """Squares of side 10 moved by 1, 2, ...: IoU (10 - k) / (10 + k)."""
    reference, prediction = np.zeros((2, 20, 100), np.int32)
    for shift in range(5):
        left = 2 + 20 * shift
        reference[5:15, left : left + 10] = shift + 1
        prediction[5:15, left + shift : left + shift + 10] = 50 - shift
    ious = [(10 - shift) / (10 + shift) for shift in range(5)]  # 1, 0.82, 0.67, 0.54, 0.43
    scores = score_instances(prediction, reference)
    assert scores["f1"] == scores["precision"] == scores["recall"] == 4 / 5
    expected = [sum(iou >= threshold for iou in ious) / 5 for threshold in IOU_THRESHOLDS]
    assert scores["f1_50_95"] == pytest.approx(np.mean(expected))
    assert scores["pq"] == pytest.approx(sum(ious[:4]) / 5)
    assert scores["aji"] == pytest.approx((50 - 10) / (50 + 10))


def test_an_iou_of_exactly_one_half() -> None:
    """Both halves of a cell reach 0.5; only one of them can be its match, and PQ wants more than 0.5."""
    reference = np.ones((4, 6), int)
    prediction = np.ones((4, 6), int)
    prediction[:, 3:] = 2
    overlap = measure_overlap(prediction, reference)
    assert overlap.ious.tolist() == [0.5, 0.5]
    assert count_matches(overlap, 0.5) == 1
    assert overlap.pq() == 0
    assert overlap.aji() == pytest.approx(12 / (24 + 12))


def test_thresholds_are_met_exactly() -> None:
    reference = np.zeros((1, 20), int)
    for index, threshold in enumerate(IOU_THRESHOLDS):
        reference[:] = 0
        reference[0, : 10 + index] = 1
        prediction = np.zeros((1, 20), int)
        prediction[0, :20] = 1
        assert threshold == (10 + index) / 20
        assert count_matches(measure_overlap(prediction, reference), threshold) == 1


def test_empty_maps() -> None:
    empty, full = np.zeros((4, 5), int), np.ones((4, 5), int)
    assert all(math.isnan(value) for value in score_instances(empty, empty).values())
    for prediction, reference in ((empty, full), (full, empty)):
        assert set(score_instances(prediction, reference).values()) == {0.0}
    assert set(score_instances(full, full).values()) == {1.0}


def test_numbers_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    reference, prediction = random_instances(rng, 9), random_instances(rng, 9)
    renumbered = np.where(prediction > 0, 2**31 - 1 - prediction, 0).astype(np.uint32)
    assert score_instances(renumbered, reference) == score_instances(prediction, reference)


def test_border_instances() -> None:
    instances = np.zeros((20, 20), np.uint16)
    instances[1, 5] = 1
    instances[2, 5:8] = 2
    instances[10:12, 17:19] = 500
    instances[10:12, 5:8] = 501
    instances[18, 3] = instances[14, 9] = 7  # one instance of two parts, one of which touches
    kept = remove_border_instances(instances)
    assert np.unique(kept).tolist() == [0, 2, 501]
    assert kept.dtype == instances.dtype
    assert not remove_border_instances(np.ones((20, 20), int)).any()
    assert not remove_border_instances(np.ones((3, 9), int)).any()


def test_wrong_arguments() -> None:
    labels = np.ones((4, 4), int)
    with pytest.raises(GeometryError, match="shapes"):
        score_instances(labels, np.ones((4, 1), int))
    with pytest.raises(UsageError, match="whole numbers"):
        score_instances(labels.astype(float), labels)
    for threshold in (0.0, 1.1, math.nan):
        with pytest.raises(UsageError, match="threshold"):
            count_matches(measure_overlap(labels, labels), threshold)
