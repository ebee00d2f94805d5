"""The demo touches no foreign folder, replaces its own, and makes all that it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.cli import demo
from swin_umamba.cli.main import main


class Drawn(Exception):
    """Ends a demo at the moment when it would draw its images."""


@pytest.fixture
def stops_at_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_nuclei(*args: object, **kwargs: object) -> None:
        raise Drawn

    monkeypatch.setattr("swin_umamba.data.datasets.synthetic.make_nuclei", make_nuclei)


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.usefixtures("stops_at_drawing")
def test_a_foreign_folder_or_file_is_refused_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "file"):
        assert main(["demo", "--output", str(tmp_path / name), "--json"]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["where"] == str(tmp_path / name)
        assert "--output" in error["hint"]
    assert contents(tmp_path) == ["file", "thesis", "thesis/chapter.txt"]
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("stops_at_drawing")
@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_is_taken_and_its_own_is_replaced(tmp_path: Path, exists: bool) -> None:
    output = tmp_path / "demo"
    if exists:
        output.mkdir()
    for _ in range(2):
        with pytest.raises(Drawn):
            main(["demo", "--output", str(output), "--debug"])
        assert contents(output) == [demo.MARKER]
        (output / "nnUNet_raw").mkdir()
        (output / "nnUNet_raw" / "of_the_first_run").write_text("old")


@pytest.mark.slow
def test_one_short_demo_makes_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reduced = {"NUM_TRAINING": 4, "NUM_TEST": 2, "IMAGE_SIZE": 64, "BATCH_SIZE": 2, "ITERATIONS_PER_EPOCH": 2}
    reduced["NUM_CALIBRATION"] = 1
    for name, value in reduced.items():
        monkeypatch.setattr(demo, name, value)
    output = tmp_path / "demo"
    assert main(["demo", "--output", str(output), "--epochs", "1", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [f"[{step}/5]" in captured.err for step in range(1, 6)] == [True] * 5

    metrics = json.loads(Path(result["metrics"]).read_text())
    assert result["dice"] == metrics["mean"]["dice"]
    assert 0 <= result["dice"] <= 1
    assert len(metrics["cases"]) == 2
    objects = json.loads(Path(result["object_metrics"]).read_text())["classes"]["objects"]
    assert result["num_objects"] == objects["num_prediction"]
    assert result["num_true_objects"] == objects["num_reference"] > 2
    assert result["f1"] == objects["pooled"]["f1"]
    table = (output / "predictions" / "objects.csv").read_text().splitlines()
    assert len(table) == 1 + result["num_objects"]
    assert (Path(result["model"]) / "fold_all" / "calibration.json").is_file()
    assert "Errors of objects" in Path(result["report"]).read_text()
    with PillowImage.open(result["sheet"]) as sheet:
        assert sheet.width > 3 * 64
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 10
    predictions = sorted((output / "predictions").glob("*.png"))
    assert [path.name for path in predictions] == sorted(f"{name}.png" for name in metrics["cases"])
    assert PillowImage.open(predictions[0]).size == (64, 64)
    model = Path(result["model"])
    assert (model / "plans.json").is_file()
    assert (model / "fold_all" / "checkpoint_final.pth").is_file()
    assert [name for name in contents(output) if "/." in name or name.startswith(".")] == []
