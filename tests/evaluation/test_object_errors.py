"""Errors of objects by kind: drawn cases, and against sets of pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from swin_umamba.evaluation.instances import measure_overlap
from swin_umamba.evaluation.object_errors import ERRORS, draw_errors, errors_of


def counts(prediction: str, truth: str) -> tuple[int, ...]:
    maps = (np.array([[int(each) for each in row]]) for row in (prediction, truth))
    found = errors_of(measure_overlap(*maps)).counts()
    assert tuple(found) == ERRORS
    return tuple(found.values())


@pytest.mark.parametrize(
    ("prediction", "truth", "missed_false_split_merged"),
    [
        ("0", "0", (0, 0, 0, 0)),
        ("1100", "0000", (0, 1, 0, 0)),
        ("0000", "5500", (1, 0, 0, 0)),
        ("1100", "0550", (1, 1, 0, 0)),  # an IoU of 1/3
        ("1110", "0111", (0, 0, 0, 0)),  # of 1/2
        ("1122", "7777", (0, 0, 1, 0)),
        ("7777", "1122", (0, 0, 0, 1)),
        ("1111120", "7777777", (0, 0, 1, 0)),  # one of the two is a match
        ("1020000000", "7777777777", (1, 2, 0, 0)),  # two specks do not cover it
        ("7777777777", "1020000000", (0, 0, 0, 1)),  # one prediction over all
        ("1199", "7700", (0, 1, 0, 0)),
        ("110022", "555566", (0, 0, 0, 0)),
        ("111222", "004400", (1, 2, 0, 0)),  # just half of it in each
    ],
)
def test_kinds(prediction: str, truth: str, missed_false_split_merged: tuple[int, ...]) -> None:
    assert counts(prediction, truth) == missed_false_split_merged


def by_sets(prediction: np.ndarray, truth: np.ndarray) -> dict[str, set[int]]:
    """The definitions word by word, on sets of pixels."""

    def objects(labels: np.ndarray) -> dict[int, set[int]]:
        return {n: set(np.flatnonzero(labels == n).tolist()) for n in np.unique(labels).tolist() if n}

    true, predicted = objects(truth), objects(prediction)
    lies = lambda inner, outer: len(inner & outer) > len(inner) / 2  # noqa: E731
    split = set()
    for t, pixels in true.items():
        parts = [each for each in predicted.values() if lies(each, pixels)]
        if len(parts) >= 2 and len(set().union(*parts) & pixels) > len(pixels) / 2:
            split.add(t)
    merged = {p for p, pixels in predicted.items() if sum(lies(each, pixels) for each in true.values()) >= 2}
    pairs = {
        (t, p)
        for t, p in product(true, predicted)
        if len(true[t] & predicted[p]) / len(true[t] | predicted[p]) >= 0.5
    }
    return {
        "missed": {
            t
            for t in true
            if t not in split
            and all((t, p) not in pairs for p in predicted)
            and not any(lies(true[t], predicted[p]) for p in merged)
        },
        "false": {
            p
            for p in predicted
            if p not in merged
            and all((t, p) not in pairs for t in true)
            and not any(lies(predicted[p], true[t]) for t in split)
        },
        "split": split,
        "merged": merged,
    }


@pytest.mark.parametrize("seed", range(40))
def test_against_sets_of_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (9, 7) if seed % 2 else (3, 5, 4)
    # Coarse blocks, moved by a pixel, with other numbers: objects meet in all ways, with gaps in the numbers.
    blocks = rng.choice([0, 3, 4, 9, 70_000], shape)
    truth = np.where(rng.random(shape) < 0.8, blocks, 0)
    prediction = np.where(rng.random(shape) < 0.4, rng.choice([0, 5, 6], shape), np.roll(blocks, seed % 3, 0))
    prediction[prediction == 4] = rng.choice([3, 4])
    found = errors_of(measure_overlap(prediction, truth))
    numbers = {"missed": truth, "split": truth, "false": prediction, "merged": prediction}
    for kind, wanted in by_sets(prediction, truth).items():
        values = np.unique(numbers[kind][numbers[kind] > 0])
        assert set(values[getattr(found, kind)].tolist()) == wanted, kind


def test_errors_are_drawn() -> None:
    truth = np.array([[1, 1, 0, 0, 2, 2, 3, 3, 0, 4, 4, 4, 4]])
    found = np.array([[0, 0, 5, 0, 6, 6, 6, 6, 0, 7, 7, 8, 8]])
    drawn, counts = draw_errors(found, truth)
    assert drawn.tolist() == [[1, 1, 2, 0, 4, 4, 4, 4, 0, 3, 3, 3, 3]]
    assert counts == dict.fromkeys(ERRORS, 1)
    overlapping, _ = draw_errors(np.array([[0, 9, 9]]), np.array([[1, 1, 0]]))
    assert overlapping.tolist() == [[1, 1, 2]]


def test_time_goes_with_the_pairs() -> None:
    """Ten thousand objects, one in four of them cut in two."""
    truth = np.kron(np.arange(1, 10_001).reshape(100, 100), np.ones((2, 4), np.int64))
    prediction = truth.copy()
    right = np.zeros(truth.shape, bool)
    right[:, 2::4] = right[:, 3::4] = True
    prediction[right & (truth % 4 == 0)] += 20_000
    assert errors_of(measure_overlap(prediction, truth)).counts() == dict(
        zip(ERRORS, (0, 0, 2500, 0), strict=True)
    )
