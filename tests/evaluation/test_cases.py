"""Pairing files into cases, and the values that label maps may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swin_umamba.errors import DataError
from swin_umamba.evaluation.cases import CaseFiles, check_declared, label_values, pair_up


def make(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_references_may_have_an_ending_of_their_own(tmp_path: Path) -> None:
    predictions = make(tmp_path / "p", "b.png", "a.png")
    references = make(tmp_path / "r", "a_label.tiff", "b.tif")
    cases, extra = pair_up(predictions, references, missing="error", reference_ending="_label")
    assert cases == [
        CaseFiles("a", predictions / "a.png", references / "a_label.tiff"),
        CaseFiles("b", predictions / "b.png", references / "b.tif"),
    ]
    assert extra == ()
    with pytest.raises(DataError, match="no prediction: a_label"):
        pair_up(predictions, references, missing="error")


def test_two_references_of_one_case(tmp_path: Path) -> None:
    predictions = make(tmp_path / "p", "a.png")
    references = make(tmp_path / "r", "a_label.tiff", "a.tiff")
    with pytest.raises(DataError, match="two files belong to the case a"):
        pair_up(predictions, references, missing="error", reference_ending="_label")


def test_cases_without_a_prediction_are_kept_if_asked_for(tmp_path: Path) -> None:
    predictions, references = make(tmp_path / "p", "b.png", "c.png"), make(tmp_path / "r", "a.png", "b.png")
    cases, extra = pair_up(predictions, references, missing="worst")
    assert [(each.case, each.prediction is None) for each in cases] == [("a", True), ("b", False)]
    assert extra == ("c",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_label_values(dtype: type) -> None:
    assert label_values(np.array([[7, 0], [3, 7]], dtype)) == [0, 3, 7]


def test_undeclared_values_are_named() -> None:
    labels = np.array([[0, 1, 9, 12]], np.uint8)
    check_declared(labels, {0, 1, 9, 12, 13}, Path("a.png"))
    with pytest.raises(DataError, match="not declared: 9, 12") as caught:
        check_declared(labels, {0, 1, 2}, Path("a.png"))
    assert caught.value.where == "a.png"
    assert "declared: 0, 1, 2 (swin-umamba convert folder" in (caught.value.hint or "")
