from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from swin_umamba.confidence.labelled_pixels import (
    LabelledPixels,
    calibration_curves,
    draw_pixels,
    joined,
    temperature_of,
)

CLASSES = {"one": (1,), "two": (2,)}


def too_sure(seed: int, temperature: float, pixels: int = 40_000) -> LabelledPixels:
    """Return pixels of a model whose logits are ``temperature`` times too large."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=1.5, size=(3, pixels))
    honest = special.softmax(logits, axis=0)
    truth = (random.random(pixels) > np.cumsum(honest, axis=0)[:2]).sum(axis=0)
    said = special.softmax(logits * temperature, axis=0).astype(np.float32)
    return LabelledPixels(said, truth, said[0] < 0.99)


def test_drawn_pixels_are_those_of_the_case() -> None:
    random = np.random.default_rng(0)
    probabilities = special.softmax(random.normal(scale=3, size=(3, 2, 30, 40)), axis=0).astype(np.float32)
    labels = random.integers(0, 4, size=(2, 30, 40))  # 3 is nobody's

    def draw(number: int) -> LabelledPixels:
        return draw_pixels(
            probabilities,
            labels,
            CLASSES,
            regions=False,
            ignore=3,
            number=number,
            random=np.random.default_rng(1),
        )

    some, all_of_them = draw(100), draw(10**6)
    assert some.probabilities.shape == (3, 100)
    assert all_of_them.truth.size == np.count_nonzero(labels != 3)
    assert set(all_of_them.truth.tolist()) == {0, 1, 2}
    assert np.array_equal(draw(100).probabilities, some.probabilities)
    where = {tuple(column): place for place, column in enumerate(probabilities.reshape(3, -1).T.tolist())}
    for column, true, inside in zip(
        some.probabilities.T.tolist(), some.truth, some.near_structure, strict=True
    ):
        assert labels.ravel()[where[tuple(column)]] == true
        assert inside == (column[0] <= 0.99)


def test_regions_of_drawn_pixels_may_overlap() -> None:
    probabilities = np.array([[0.9, 0.2, 0.001], [0.1, 0.3, 0.002]], np.float32)
    found = draw_pixels(
        probabilities,
        np.array([2, 1, 0]),
        {"whole": (1, 2), "core": (2,)},
        regions=True,
        ignore=None,
        number=3,
        random=np.random.default_rng(0),
    )
    order = [probabilities[0].tolist().index(value) for value in found.probabilities[0].tolist()]
    assert found.truth.tolist() == np.array([[True, True, False], [True, False, False]])[:, order].tolist()
    assert found.near_structure.tolist() == np.array([True, True, False])[order].tolist()
    assert found.independent


def test_curves_before_and_after() -> None:
    parts = [too_sure(seed, 2.5) for seed in range(4)]
    assert temperature_of(parts) == pytest.approx(2.5, rel=0.02)
    curves = calibration_curves(parts)
    assert curves.before.counts.sum() == curves.after.counts.sum() == 160_000
    assert curves.before.expected_calibration_error > 0.1
    assert curves.after.expected_calibration_error < 0.01
    inside = sum(int(each.near_structure.sum()) for each in parts)
    assert curves.structures_after.counts.sum() == inside
    expected = joined(parts).near_structures().reliability()
    assert curves.structures_before.expected_calibration_error == pytest.approx(
        expected.expected_calibration_error
    )


def test_a_case_is_judged_with_the_temperature_of_others() -> None:
    """Two cases that need opposite temperatures: each one's own would look good, the other's must not."""
    opposite = calibration_curves([too_sure(0, 3.0), too_sure(1, 0.5)])
    assert opposite.after.expected_calibration_error > opposite.before.expected_calibration_error


def test_a_single_case_is_judged_with_its_own() -> None:
    assert calibration_curves([too_sure(0, 3.0)]).after.expected_calibration_error < 0.01
