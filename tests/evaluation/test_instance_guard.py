from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.errors import DataError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.evaluate import evaluate_folders


def maps(folder: Path, counts: Sequence[int], *, parts: int = 1, gap: bool = False) -> Path:
    """Write maps of so many squares, numbered in each; of several parts each, or without the number 2."""
    folder.mkdir()
    for case, count in enumerate(counts):
        labels = np.zeros((60, 60), np.uint8)
        for number in range(count * parts):
            row, column = divmod(number, 10)
            labels[row * 5 : row * 5 + 3, column * 5 : column * 5 + 3] = number % count + 1
        PillowImage.fromarray(np.where(labels == 2, 0, labels) if gap else labels).save(
            folder / f"{case}.png"
        )
    return folder


@pytest.mark.parametrize("counts", [(3, 9, 5), (8, 7), (70,), (70, 70)])
def test_numbered_objects_are_no_classes(tmp_path: Path, counts: Sequence[int]) -> None:
    folder = maps(tmp_path / "maps", counts)
    with pytest.raises(DataError, match="number objects") as caught:
        evaluate_folders(folder, folder)
    assert "--protocol microscopy" in str(caught.value)
    named = LabelClasses.from_values(range(1, max(counts) + 1))
    assert evaluate_folders(folder, folder, classes=named).mean("dice") == 1


@pytest.mark.parametrize(
    ("counts", "parts", "gap"),
    [((9, 9), 1, False), ((3, 5), 1, False), ((9, 5), 2, False), ((9, 5), 1, True), ((9,), 1, False)],
)
def test_classes_are_scored(tmp_path: Path, counts: Sequence[int], parts: int, gap: bool) -> None:
    folder = maps(tmp_path / "maps", counts, parts=parts, gap=gap)
    assert evaluate_folders(folder, folder).mean("dice") == 1
