"""The abdominal protocol: each rule of both forms on volumes whose scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin_umamba.errors import UsageError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.metrics import MaskPair, image_diagonal
from swin_umamba.evaluation.protocols.abdomen_mr import ORGAN_TOLERANCES, TUBULAR_ORGANS, AbdomenMR

SPACING = (3.0, 1.0, 1.0)
# Facts of the published evaluation, in the order of the label values 1 to 13.
PUBLISHED_TOLERANCES = [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3]
AORTA = AbdomenMR({"aorta": 5})
LIVER = AbdomenMR({"liver": 1})


def volume(value: int, first: int, last: int, *, depth: int = 10, left: int = 4) -> np.ndarray:
    """A block of the given value from slice ``first`` to slice ``last``, 8 x 8 in the plane."""
    labels = np.zeros((depth, 20, 24), np.uint8)
    labels[first : last + 1, 6:14, left : left + 8] = value
    return labels


def scores(protocol: AbdomenMR, form: str, prediction: np.ndarray, reference: np.ndarray) -> dict:
    result = getattr(protocol, form)(prediction, reference, SPACING)
    (organ,) = result.scores
    return dict(result.scores[organ])


def test_organs_values_and_tolerances() -> None:
    assert list(AbdomenMR().values.values()) == list(range(1, 14))
    assert list(ORGAN_TOLERANCES.values()) == PUBLISHED_TOLERANCES
    assert [AbdomenMR().values[organ] for organ in TUBULAR_ORGANS] == [5, 6, 10]


@pytest.mark.parametrize("organ", sorted(ORGAN_TOLERANCES))
@pytest.mark.parametrize("form", ["as_published", "corrected"])
def test_each_organ_has_its_tolerance(organ: str, form: str) -> None:
    tolerance = int(ORGAN_TOLERANCES[organ])
    reference = volume(1, 1, 8)
    for shift, expected in ((tolerance, True), (tolerance + 1, False)):
        found = volume(1, 1, 8, left=4 + shift)
        nsd = scores(AbdomenMR({organ: 1}), form, found, reference)["nsd"]
        assert (nsd == 1) == expected


def test_spacing_is_in_the_order_of_the_axes() -> None:
    """A shift of one slice is 3 mm: within the 5 mm of the liver, beyond the 2 mm of the gallbladder."""
    reference, found = volume(1, 2, 5), volume(1, 3, 6)
    for form in ("as_published", "corrected"):
        assert scores(LIVER, form, found, reference)["nsd"] == 1
        assert scores(AbdomenMR({"gallbladder": 1}), form, found, reference)["nsd"] < 0.9


def test_last_labelled_slice_is_left_out_as_published() -> None:
    """The prediction is right but for the last slice of the reference, and wrong above and below it."""
    reference = volume(5, 2, 5)
    found = volume(5, 0, 8)
    found[5] = 0
    assert scores(AORTA, "as_published", found, reference) == {"dice": 1.0, "nsd": 1.0}
    corrected = scores(AORTA, "corrected", found, reference)
    assert corrected["dice"] == pytest.approx(2 * 3 / (3 + 4))
    assert corrected["nsd"] < 1
    # Not of the other organs: 3 slices of 8 and 4 agree.
    other = scores(LIVER, "corrected", found // 5, reference // 5)
    assert other["dice"] == pytest.approx(2 * 3 / (8 + 4))
    assert scores(LIVER, "as_published", found // 5, reference // 5)["dice"] == 0.5


def test_tubular_organ_in_a_single_slice() -> None:
    reference = volume(5, 4, 4)
    published = AORTA.as_published(reference, reference, SPACING)
    assert all(math.isnan(value) for value in published.scores["aorta"].values())
    assert "aorta in a single slice" in published.remarks[0]
    assert scores(AORTA, "corrected", reference, reference) == {"dice": 1, "nsd": 1, "hd95": 0}


def test_empty_masks() -> None:
    empty, full = volume(1, 0, -1), volume(1, 2, 5)
    assert scores(LIVER, "as_published", empty, empty) == {"dice": 1, "nsd": 1}
    assert all(math.isnan(value) for value in scores(LIVER, "corrected", empty, empty).values())
    for protocol, value in ((LIVER, 1), (AORTA, 5)):
        for pair in ((empty, full * value), (full * value, empty)):
            assert scores(protocol, "as_published", *pair) == {"dice": 0, "nsd": 0}
            worst = {"dice": 0, "nsd": 0, "hd95": image_diagonal(full.shape, SPACING)}
            assert scores(protocol, "corrected", *pair) == pytest.approx(worst)
    # Found only outside the labelled slices: compared with nothing.
    assert scores(AORTA, "as_published", volume(5, 7, 8), full * 5) == {"dice": 0, "nsd": 0}


def test_scores_are_rounded_as_published() -> None:
    rng = np.random.default_rng(0)
    prediction, reference = (rng.random((2, 9, 20, 21)) < 0.003).astype(np.uint8)
    prediction[2:4, 3:5, 3:6] = reference[2:5, 3:6, 3:7] = 1
    published = scores(LIVER, "as_published", prediction, reference)
    corrected = scores(LIVER, "corrected", prediction, reference)
    masks = prediction == 1, reference == 1
    assert corrected["nsd"] == pytest.approx(MaskPair(*masks, SPACING, 5.0).nsd())
    assert corrected["hd95"] == MaskPair(*masks, SPACING).hd95()
    for metric in ("dice", "nsd"):
        assert published[metric] == round(corrected[metric], 4) != corrected[metric]


def test_rounded_spacings_count_as_close_only_if_corrected() -> None:
    reference, found = volume(1, 2, 5), volume(1, 3, 6)
    spacing = (float(np.nextafter(np.float32(5), np.float32(6))), 1.0, 1.0)  # 5.0000005, tolerance 5
    assert LIVER.corrected(found, reference, spacing).scores["liver"]["nsd"] == 1
    assert LIVER.as_published(found, reference, spacing).scores["liver"]["nsd"] < 0.9


def test_other_label_values() -> None:
    classes = LabelClasses.from_mapping(
        {"background": 0, "Left_Kidney": 7, "right adrenal": 2, "liver": 3}, where="dataset.json"
    )
    protocol = AbdomenMR.from_classes(classes)
    assert protocol.values == {"left kidney": 7, "right adrenal gland": 2, "liver": 3}
    assert protocol.prediction_values == {0, 2, 3, 7}
    result = protocol.corrected(volume(7, 2, 5), volume(7, 2, 5), SPACING)
    assert result.scores["left kidney"]["dice"] == 1
    assert math.isnan(result.scores["liver"]["dice"])


@pytest.mark.parametrize(
    ("labels", "named"),
    [({"tumour": 1}, "tumour"), ({"liver": [1, 2]}, "liver"), ({"liver": 1, "ignore": 2}, "ignore")],
)
def test_classes_that_the_protocol_lacks(labels: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        AbdomenMR.from_classes(LabelClasses.from_mapping(labels))
