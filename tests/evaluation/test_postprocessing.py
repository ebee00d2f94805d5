from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from nnunetv2.postprocessing.remove_connected_components import (
    remove_all_but_largest_component_from_segmentation,
)
from skimage.measure import label

from swin_umamba.evaluation.metrics import dice
from swin_umamba.evaluation.postprocessing import (
    ComponentStep,
    LabelledCase,
    apply_steps,
    choose_steps,
    steps_from_json,
)

CLASSES = {"spotted": (1,), "in two parts": (2,), "hollow": (3,)}


@pytest.mark.parametrize("shape", [(23, 31), (6, 11, 13)])
def test_steps_against_nnunet_and_counting(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(len(shape))
    for _ in range(20):
        labels = random.choice(4, size=shape, p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
        before = labels.copy()
        for values in ((1,), (2, 3), (1, 2, 3)):
            own = apply_steps(labels, [ComponentStep("largest", values)], 1.0)
            theirs = remove_all_but_largest_component_from_segmentation(labels.copy(), [values])
            assert np.array_equal(own, theirs)
            small = apply_steps(labels, [ComponentStep("minimum", values, 1.0)], 0.25)
            parts = label(np.isin(labels, values), connectivity=labels.ndim)
            gone = np.isin(parts, np.flatnonzero(np.bincount(parts.ravel()) < 4)) & (parts > 0)
            assert np.array_equal(small, np.where(gone, 0, labels))
        assert np.array_equal(labels, before)
    ring = np.ones((5, 5), np.uint8)
    ring[1:4, 1:4] = 0
    ring[2, 2] = 2
    filled = apply_steps(ring, [ComponentStep("holes", (1,))], 1.0)
    assert (filled == np.where(ring == 2, 2, 1)).all(), "other labels stay"


def generated_cases(seed: int) -> list[LabelledCase]:
    """Class 1 is predicted with spots elsewhere, class 2 rightly in two parts, class 3 with a hole."""
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(4):
        truth = np.zeros((60, 60), np.uint8)
        row, column = random.integers(2, 6, 2)
        truth[row : row + 12, column : column + 14] = 1
        truth[30:40, 5:15], truth[30:38, 30:37] = 2, 2
        truth[45:57, 40:55] = 3
        found = truth.copy()
        found[3:5, 40:45], found[20, 50] = 1, 1
        found[48:52, 44:50] = 0
        cases.append(LabelledCase(found, truth, 0.5))
    return cases


def test_only_steps_that_help_are_kept() -> None:
    passes = 0

    def cases() -> Iterator[LabelledCase]:
        nonlocal passes
        passes += 1
        yield from generated_cases(1)

    chosen = choose_steps(cases, CLASSES)
    assert [(step.kind, step.labels) for step in chosen.steps] == [("largest", (1,)), ("holes", (3,))]
    assert passes <= 6
    for steps, scores in (((), chosen.before), (chosen.steps, chosen.after)):
        for name, (value,) in CLASSES.items():
            expected = [
                dice(apply_steps(case.prediction, steps, 0.5) == value, case.reference == value)
                for case in generated_cases(1)
            ]
            assert scores[name] == pytest.approx(np.mean(expected))
    assert set(chosen.after.values()) == {1.0}


def test_no_class_is_ever_worse_and_nothing_is_done_without_gain() -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        cases = [
            LabelledCase(*(random.choice(3, size=(2, 20, 20), p=[0.6, 0.3, 0.1]).astype(np.uint8)), 1.0)
            for _ in range(2)
        ]
        chosen = choose_steps(lambda given=cases: given, {"a": (1,), "b": (2,), "both": (1, 2)}, ignore=None)
        assert all(chosen.after[name] >= value for name, value in chosen.before.items())
        assert bool(chosen.steps) == (chosen.after != chosen.before)
    perfect = [LabelledCase(case.reference, case.reference, 1.0) for case in generated_cases(2)]
    assert choose_steps(lambda: perfect, CLASSES).steps == ()


def test_pixels_that_nobody_annotated_do_not_count() -> None:
    cases = [
        LabelledCase(each.prediction, np.where(each.prediction == each.reference, each.reference, 4), 1.0)
        for each in generated_cases(3)
    ]
    assert choose_steps(lambda: cases, CLASSES, ignore=4).steps == ()


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [1],
        [{"kind": "largest"}],
        [{"kind": "other", "labels": [1], "size": None}],
        [{"kind": "largest", "labels": [], "size": None}],
        [{"kind": "largest", "labels": [0], "size": None}],
        [{"kind": "largest", "labels": [1], "size": 2}],
        [{"kind": "minimum", "labels": [1], "size": None}],
        [{"kind": "minimum", "labels": [1], "size": -1}],
        [{"kind": "minimum", "labels": [1], "size": "x"}],
        [{"kind": "holes", "labels": [1, 2], "size": None}],
    ],
)
def test_what_is_stored_is_checked(stored: Any) -> None:
    steps = (
        ComponentStep("largest", (1, 2)),
        ComponentStep("minimum", (1,), 2.0),
        ComponentStep("holes", (2,)),
    )
    assert steps_from_json([asdict(step) for step in steps]) == steps
    with pytest.raises(ValueError, match=r"post-processing|float"):
        steps_from_json(stored)
