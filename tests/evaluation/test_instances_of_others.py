"""Scores of instances are those that cellpose and StarDist compute."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from instance_oracle import NUM_PAIRS, ORACLE, THRESHOLDS, map_pair, scores_of_cellpose, scores_of_stardist
from swin_umamba.evaluation.instances import IOU_THRESHOLDS, Overlap, measure_overlap, scores_of

SINGLE = 1e-6  # both compute in float32 here and there


def stored(number: int) -> dict[str, Any]:
    return json.loads(ORACLE.read_text())[number]


def overlap_of(number: int) -> Overlap:
    reference, prediction = map_pair(number)
    return measure_overlap(prediction, reference)


@pytest.mark.parametrize("number", range(NUM_PAIRS))
def test_cellpose(number: int) -> None:
    overlap, theirs = overlap_of(number), stored(number)["cellpose"]
    assert overlap.matches == theirs["matches"]
    assert overlap.ap_at == pytest.approx(theirs["ap"], abs=SINGLE)
    scores = scores_of(overlap)
    assert scores["ap"] == pytest.approx(theirs["ap"][0], abs=SINGLE)
    assert scores["ap_50_95"] == pytest.approx(sum(theirs["ap"]) / len(theirs["ap"]), abs=SINGLE)
    assert scores["aji_plus"] == pytest.approx(theirs["aji_plus"], abs=1e-12)


@pytest.mark.parametrize("number", range(NUM_PAIRS))
def test_stardist(number: int) -> None:
    overlap, theirs = overlap_of(number), stored(number)["stardist"]
    scores = scores_of(overlap)
    for key in ("precision", "recall", "f1"):
        assert scores[key] == pytest.approx(theirs[0][key], abs=1e-12), key
    assert overlap.ap_at == pytest.approx([each["accuracy"] for each in theirs], abs=1e-12)
    f1 = [each["f1"] for each in theirs]
    assert scores["f1_50_95"] == pytest.approx(sum(f1) / len(f1), abs=1e-12)
    # A pair at an IoU of 0.5 exactly is a match of StarDist's panoptic quality, and none in the definition.
    assert (overlap.ious == 0.5).sum() == 2  # of the one object that is split in halves
    total = overlap.num_reference + overlap.num_prediction
    assert theirs[0]["panoptic_quality"] == pytest.approx(scores["pq"] + 2 * 0.5 / total, abs=SINGLE)


def test_the_thresholds_are_the_same() -> None:
    assert tuple(THRESHOLDS) == IOU_THRESHOLDS


@pytest.mark.parametrize(
    ("package", "score"), [("cellpose", scores_of_cellpose), ("stardist", scores_of_stardist)]
)
def test_the_file_holds_what_the_package_computes(package: str, score: Any) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    for number in range(NUM_PAIRS):
        assert score(*map_pair(number)) == stored(number)[package]
