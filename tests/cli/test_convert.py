"""``swin-umamba convert``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.cli import convert
from swin_umamba.cli.main import main
from swin_umamba.data.datasets import DATASETS, AbdomenMROptions, ChallengeDataset
from swin_umamba.errors import DataError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures and two masks."""
    folder = tmp_path / "my polyps"
    folder.mkdir()
    label = np.zeros((20, 30), np.uint8)
    label[5:15, 5:15] = 255
    for number in range(3):
        PillowImage.fromarray(np.full((20, 30, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    for number in range(2):
        PillowImage.fromarray(label).save(folder / f"{number}_mask.png")
    return folder


def test_a_folder_of_ones_own(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["convert", "folder", "--images", str(pictures), "--masks", str(pictures)]
    assert main([*arguments, "-o", str(tmp_path / "work")]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "work" / "nnUNet_raw" / "Dataset801_MyPolyps"
    assert "Dataset801_MyPolyps: 2 training and 0 test cases" in printed
    assert f"left out: 1 x there is no mask of this name ({pictures / '2.png'})" in printed
    assert f"swin-umamba plan {folder}" in printed
    with PillowImage.open(folder / "preview.png") as preview:
        assert preview.height > 2 * 200
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]

    assert main([*arguments, "-o", str(tmp_path / "work")]) == 1
    assert "exists already" in capsys.readouterr().err


def test_json_names_and_classes(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["convert", "folder", "--images", str(pictures), "--masks", str(pictures), "--json"]
    output = tmp_path / "Dataset123_Polyps"
    assert main([*arguments, "-o", str(output), "--classes", "polyp=255"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["folder"], printed["num_training"]) == (str(output), 2)
    assert json.loads((output / "dataset.json").read_text())["labels"] == {"background": 0, "polyp": 1}

    assert main([*arguments, "-o", str(tmp_path / "new"), "--name", "Polyps"]) == 2
    assert "is not a valid name for a data set" in json.loads(capsys.readouterr().out)["error"]["what"]
    assert main([*arguments, "-o", str(tmp_path / "new"), "--classes", "polyp"]) == 2
    assert not (tmp_path / "new").exists()


def test_a_challenge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "cells" / "Training-labeled"
    for name in ("images", "labels"):
        (source / name).mkdir(parents=True)
    tifffile.imwrite(source / "images" / "cell_00001.tif", np.arange(900, dtype=np.uint16).reshape(30, 30))
    tifffile.imwrite(source / "labels" / "cell_00001_label.tiff", np.ones((30, 30), np.uint16))
    assert main(["convert", "microscopy", str(source.parent), "-o", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dataset"] == "Dataset703_NeurIPSCell"
    assert Path(printed["preview"]).is_file()
    for name in ("abdomen-mr", "endoscopy"):
        assert main(["convert", name, str(source), "-o", str(tmp_path / "x")]) == 1
        assert str(source) in capsys.readouterr().err


def test_names_from_folders() -> None:
    assert convert.own_name(Path("/data/kvasir-seg_v2")) == "Dataset801_KvasirSegV2"
    assert convert.own_name(Path("/")) == "Dataset801_Own"


def test_a_challenge_that_is_not_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def convert_made_up(source: Path, folder: Path, **options: object) -> None:
        asked.append((source, folder, options))
        raise DataError("no data")

    module = SimpleNamespace(DATASET_NAME="Dataset321_MadeUp", convert_made_up=convert_made_up)
    monkeypatch.setitem(sys.modules, "swin_umamba.data.datasets.made_up", module)
    made_up = ChallengeDataset("made-up", "the folder", "swin_umamba.data.datasets.made_up", AbdomenMROptions)
    monkeypatch.setitem(DATASETS, "made-up", made_up)
    arguments = ["convert", "made-up", str(tmp_path), "-o", str(tmp_path / "out"), "--validation-as-test"]
    assert main(arguments) == 1
    folder = tmp_path / "out" / "nnUNet_raw" / "Dataset321_MadeUp"
    assert asked == [(tmp_path, folder, {"validation_as_test": True, "skip_damaged": False})]


def test_there_is_one_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ("--test-data", str(tmp_path), "--validation-as-test")
    assert main(["convert", "abdomen-mr", str(tmp_path), "-o", str(tmp_path / "out"), *both]) == 2
    assert "two test sets" in capsys.readouterr().err


@pytest.mark.parametrize("name", DATASETS)
def test_each_challenge_has_its_converter(name: str, tmp_path: Path) -> None:
    assert DATASETS[name].load("DESCRIPTION")["labels"]["background"] == 0
    assert main(["convert", name, str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
