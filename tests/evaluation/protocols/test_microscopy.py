"""The microscopy protocol: each rule of both forms on cells whose scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.evaluation.protocols import microscopy
from swin_umamba.evaluation.protocols.microscopy import Microscopy


def cells(side: int, pitch: int, size: int = 120, offset: int = 4) -> np.ndarray:
    """Squares in a grid, one instance each."""
    place = np.arange(size) - offset
    inside = (place >= 0) & (place % pitch < side) & (place // pitch < (size - offset - 3) // pitch)
    instances = (place // pitch)[:, None] * 50 + place // pitch + 1
    return np.where(inside[:, None] & inside, instances, 0).astype(np.uint16)


def scores(form: str, prediction: np.ndarray, reference: np.ndarray, outer_rim: int = 1) -> dict[str, float]:
    result = getattr(Microscopy(outer_rim), form)(prediction, reference, (1.0, 1.0))
    return dict(result.scores["cells"])


def test_boundary_counts_only_if_corrected() -> None:
    """Cells of 12 x 12 have interiors of 8 x 8, an IoU of 0.44; cells of 20 x 20 of 16 x 16, 0.64."""
    small = cells(12, 16)
    assert scores("as_published", instances_to_classes(small), small)["f1"] == 0
    assert set(scores("corrected", instances_to_classes(small), small).values()) == {1.0}
    large = cells(20, 22)
    assert scores("as_published", instances_to_classes(large), large)["f1"] == 1


def test_counts_as_published() -> None:
    """Of 25 cells 5 are missed, and there are 2 that do not exist."""
    reference = cells(20, 22)
    assert len(np.unique(reference)) == 26
    missed = np.unique(reference)[1:6]
    prediction = instances_to_classes(np.where(np.isin(reference, missed), 0, reference))
    assert not prediction[4:20, 4:110].any()
    prediction[6:16, 6:16] = prediction[6:16, 50:60] = 1
    precision, recall = 20 / 22, 20 / 25
    published = scores("as_published", prediction, reference)
    assert published == {
        "f1": round(2 * precision * recall / (precision + recall), 4),
        "precision": round(precision, 4),
        "recall": recall,
    }


def test_border_cells_are_left_out_of_both() -> None:
    """Of 25 cells 9 begin in the second row or column of the picture."""
    reference = cells(20, 22, offset=1)
    border = np.unique(np.concatenate([reference[1], reference[:, 1]]))
    assert len(border) == 1 + 9
    inner = np.where(np.isin(reference, border), 0, reference)
    assert scores("corrected", instances_to_classes(reference), reference)["f1"] == 1
    assert scores("corrected", instances_to_classes(inner), reference)["f1"] == 1
    assert scores("as_published", instances_to_classes(inner), reference)["f1"] == 1
    # The predicted interiors of the 9 do not reach the border as the cells do, and count as wrong.
    assert scores("as_published", instances_to_classes(reference), reference)["precision"] == 16 / 25


def test_pictures_without_cells() -> None:
    empty, full = np.zeros((120, 120), np.uint8), cells(20, 22)
    assert set(scores("as_published", empty, empty).values()) == {0.0}
    assert all(math.isnan(value) for value in scores("corrected", empty, empty).values())
    for pair in ((empty, full), (instances_to_classes(full), empty)):
        assert set(scores("as_published", *pair).values()) == {0.0}
        assert set(scores("corrected", *pair).values()) == {0.0}


def test_large_pictures_are_tiled_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 x 5 cells from pixel 4 on, 22 apart, in tiles of 50 pixels: rows and columns 3 and 5 are cut."""
    reference = cells(20, 22)
    prediction = instances_to_classes(reference)
    prediction[:47, :47] = 0  # four of them are missed
    whole = scores("as_published", prediction, reference)
    assert whole["recall"] == round(21 / 25, 4)
    corrected = scores("corrected", prediction, reference)
    monkeypatch.setattr(microscopy, "TILED_FROM_PIXELS", reference.size)
    monkeypatch.setattr(microscopy, "TILE_SIDE", 50)
    # Pieces by tile along one axis: 4 to 24 and 26 to 46 whole, 48 to 50 at the border; 50 to 68 at the
    # border, 70 to 90 whole, 92 to 100 at the border; 100 to 112 at the border.
    assert scores("as_published", prediction, reference) == {
        "precision": 1.0,
        "recall": round(5 / 9, 4),
        "f1": round(2 * (5 / 9) / (1 + 5 / 9), 4),
    }
    assert scores("corrected", prediction, reference) == corrected
    monkeypatch.setattr(microscopy, "TILED_FROM_PIXELS", reference.size + 1)
    assert scores("as_published", prediction, reference) == whole


def test_cell_numbers_of_large_pictures_overflow_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reference of 8 bits the predicted cell 256 becomes background, and 257 a part of cell 1."""
    prediction = np.zeros((66, 66), np.uint8)
    prediction[3:63:3, 3:63:3] = 1
    reference = np.zeros((66, 66), np.uint8)
    reference[3, 3] = 1
    monkeypatch.setattr(microscopy, "TILED_FROM_PIXELS", 1)
    # 255 of 400 cells are left; the first covers half of its pixels with the reference.
    assert scores("as_published", prediction, reference)["precision"] == round(1 / 255, 4)
    assert scores("as_published", prediction, reference.astype(np.uint16))["precision"] == round(1 / 400, 4)


def test_boundary_that_lies_inside_the_cells() -> None:
    reference = cells(12, 14)
    prediction = (reference > 0).astype(np.uint8) * 2
    for top in range(4, 110, 14):
        for left in range(4, 110, 14):
            prediction[top + 1 : top + 11, left + 1 : left + 11] = np.where(
                reference[top + 1 : top + 11, left + 1 : left + 11] > 0, 1, 0
            )
    assert scores("corrected", prediction, reference, outer_rim=0)["aji"] == 1
    assert scores("corrected", prediction, reference, outer_rim=1)["aji"] == pytest.approx(100 / 144)
