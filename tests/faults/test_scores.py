"""Rows 9 to 11: missing predictions, missed structures, and scores that are known exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from faults.fault_files import SHAPE, SPACING, Command, save_volume

DIAGONAL = math.sqrt(sum((size * length) ** 2 for size, length in zip(SHAPE, reversed(SPACING), strict=True)))


def evaluate(command: Command, folder: Path, *options: object) -> dict[str, Any]:
    done = command("evaluate", folder / "predicted", folder / "truth", "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def box(first: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A box of class 1, 8 rows high, whose first row is ``first``."""
    labels = np.zeros(shape, np.uint8)
    labels[..., first : first + 8, 5:20] = 1
    return labels


def test_row_09_missing_predictions(tmp_path: Path, command: Command) -> None:
    for case in "abcd":
        save_volume(tmp_path / "truth" / f"{case}.nii.gz", box(4))
    save_volume(tmp_path / "predicted" / "b.nii.gz", box(4))
    done = command("evaluate", tmp_path / "predicted", tmp_path / "truth")
    assert done.code == 1
    assert "3 of 4 cases have no prediction: a, c, d" in done.err
    assert done.out == ""
    result = evaluate(command, tmp_path, "--missing", "worst")
    assert result["missing"] == ["a", "c", "d"]
    assert result["classes"]["1"]["dice"] == result["classes"]["1"]["nsd"] == 0.25
    assert result["classes"]["1"]["hd95"] == pytest.approx(0.75 * DIAGONAL)
    assert result["classes"]["1"]["cases"] == 4


def test_row_10_a_missed_structure(tmp_path: Path, command: Command) -> None:
    save_volume(tmp_path / "truth" / "a.nii.gz", box(4) * 2)
    save_volume(tmp_path / "predicted" / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    save_volume(tmp_path / "truth" / "b.nii.gz", np.zeros(SHAPE, np.uint8))
    save_volume(tmp_path / "predicted" / "b.nii.gz", box(4) * 2)
    result = evaluate(command, tmp_path, "--labels", "liver=1", "spleen=2")
    for case in "ab":  # missed, and found where there is none
        assert result["cases"][case]["spleen"] == {"dice": 0, "nsd": 0, "hd95": pytest.approx(DIAGONAL)}
        assert result["cases"][case]["liver"] == {"dice": None, "nsd": None, "hd95": None}
    assert (result["classes"]["spleen"]["cases"], result["classes"]["spleen"]["not_applicable"]) == (2, 0)
    assert (result["classes"]["liver"]["cases"], result["classes"]["liver"]["not_applicable"]) == (0, 2)
    assert result["classes"]["spleen"]["hd95"] == pytest.approx(DIAGONAL)
    assert result["mean"]["dice"] == 0


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("flat", [True, False])
def test_row_11_shifted_boxes(tmp_path: Path, command: Command, shift: int, flat: bool) -> None:
    """Moved along y, where neighbours are 1 pixel or 1 mm apart; z and x are 4 and 1.5 mm."""
    for folder, first in (("truth", 4), ("predicted", 4 + shift)):
        if flat:
            (tmp_path / folder).mkdir()
            PillowImage.fromarray(box(first, SHAPE[1:])).save(tmp_path / folder / "a.png")
        else:
            save_volume(tmp_path / folder / "a.nii.gz", box(first))
    scores = evaluate(command, tmp_path, "--tolerance", max(shift, 1))["cases"]["a"]["1"]
    assert scores["dice"] == pytest.approx((8 - shift) / 8)
    assert scores["hd95"] == pytest.approx(shift)
    assert scores["nsd"] == pytest.approx(1)
    if shift and flat:
        # Without tolerance the parts of the two sides that overlap are left, with the ends of each box. Only
        # the corners are cut. tests/evaluation/test_metrics.py has the formula for any spacing and for 3D.
        corner = math.sqrt(0.5)
        shared = 2 * (8 - shift) + 2 * corner
        total = 2 * (8 - 1) + 2 * (15 - 1) + 4 * corner
        scores = evaluate(command, tmp_path, "--tolerance", 0)["cases"]["a"]["1"]
        assert scores["nsd"] == pytest.approx(shared / total)
