"""The endoscopic protocol: each rule of both forms on pictures whose scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin_umamba.evaluation.metrics import MaskPair
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy


def picture(*boxes: tuple[int, int, int]) -> np.ndarray:
    """``(value, top, left)`` of squares of side 12."""
    labels = np.zeros((40, 60), np.uint8)
    for value, top, left in boxes:
        labels[top : top + 12, left : left + 12] = value
    return labels


def scores(form: str, prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    return dict(getattr(Endoscopy(), form)(prediction, reference, (1.0, 1.0)).scores["instruments"])


def test_mean_over_the_classes_of_either_label_map() -> None:
    """Class 1 moved by 3 (Dice 0.75), class 4 right, class 2 missed, class 7 made up."""
    reference = picture((1, 2, 2), (4, 2, 30), (2, 25, 2))
    prediction = picture((1, 2, 5), (4, 2, 30), (7, 25, 30))
    expected = (0.75 + 1 + 0 + 0) / 4
    assert scores("as_published", prediction, reference)["dice"] == round(expected, 4)
    assert scores("corrected", prediction, reference)["dice"] == pytest.approx(expected)


def test_nsd_of_the_area_as_published_and_of_the_outline_corrected() -> None:
    reference, prediction = picture((1, 10, 10)), picture((1, 10, 16))
    masks = prediction == 1, reference == 1
    published = scores("as_published", prediction, reference)["nsd"]
    assert published == round(MaskPair(*(mask[..., None] for mask in masks), (1, 1, 1), 2.0).nsd(), 4)
    assert scores("corrected", prediction, reference)["nsd"] == MaskPair(*masks, (1, 1), 2.0).nsd()
    # Of the area all but a strip of 4 pixels in 12 is close; of the outline the upper and lower sides are.
    assert published == pytest.approx(2 / 3, abs=0.05)
    assert scores("corrected", prediction, reference)["hd95"] == 6


def test_two_pixels_are_close() -> None:
    for shift, close in ((2, True), (3, False)):
        prediction = picture((1, 10, 10 + shift))
        assert (scores("corrected", prediction, picture((1, 10, 10)))["nsd"] == 1) == close


def test_smallest_value_is_background_as_published() -> None:
    reference = np.ones((40, 60), np.uint8)
    reference[:, 30:] = 2
    prediction = np.where(reference == 1, 3, 2).astype(np.uint8)
    # As published 1 of the reference and 2 of the prediction are dropped, but not the others' 2 and 3.
    assert scores("as_published", prediction, reference)["dice"] == round((1 + 0) / 2, 4)
    assert scores("corrected", prediction, reference)["dice"] == pytest.approx((0 + 1 + 0) / 3)


def test_pictures_without_instruments() -> None:
    empty = picture()
    published = Endoscopy().as_published(empty, empty, (1.0, 1.0))
    assert math.isnan(published.scores["instruments"]["dice"])
    assert "stop here" in published.remarks[0]
    assert all(math.isnan(value) for value in scores("corrected", empty, empty).values())
    assert scores("corrected", picture((1, 3, 3)), empty) == {
        "dice": 0,
        "nsd": 0,
        "hd95": pytest.approx(math.hypot(40, 60)),
    }
    assert scores("as_published", picture((1, 3, 3)), empty) == {"dice": 0, "nsd": 0}
