"""``swin-umamba statistics``: table, JSON and CSV."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from cli.command_line import parsed
from swin_umamba.cli import statistics


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A label map with four pixels of class 1, and an image of 7."""
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:3] = 1
    PillowImage.fromarray(mask).save(tmp_path / "mask.png")
    PillowImage.fromarray(np.full((6, 8), 7, np.uint8)).save(tmp_path / "image.png")
    return tmp_path


def run(folder: Path, *given: str) -> int:
    return statistics.run(parsed(statistics, folder / "mask.png", *given))


def test_table_and_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--labels", "cell=1", "none=2", "-o", str(folder / "s.csv")]
    assert run(folder, str(folder / "image.png"), *options) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["cell", "1", "4", "4.00", "1", "7.00", "0.00", "7.00", "7.00"]
    assert lines[2] == ["none", "2", "0", "0.00", "0", "-", "-", "-", "-"]
    assert (folder / "s.csv").read_text().splitlines()[1] == "cell,1,4,4.0,1,7.0,0.0,7.0,7.0"


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "cell": 1}}')
    assert run(folder, "--dataset-json", str(folder / "dataset.json"), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "schema": 2,
        "unit": "pixels",
        "classes": [
            {"name": "cell", "values": [1], "pixels": 4, "size": 4.0, "components": 1, "intensities": []}
        ],
    }


def test_small_volumes_are_not_rounded_to_nothing() -> None:
    assert [statistics._text(cell) for cell in (0.00024, 0.5, 0.0, -0.0004, 1.0, float("nan"))] == [
        *("0.00024", "0.5", "0.00", "-0.0004", "1.00", "-")
    ]
