"""NeurIPS cells: formats, stretching, instances to classes, large images, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.datasets.neurips_cell import DESCRIPTION, convert_neurips_cell, to_eight_bits
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import DataError


def cells(side: int = 32) -> np.ndarray:
    instances = np.zeros((side, side), np.int32)
    instances[4:14, 4:14] = 1
    instances[4:14, 14:26] = 70000  # more than 16 bits
    return instances


def write_case(folder: Path, file: str, image: np.ndarray, instances: np.ndarray) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / "images" / file
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        PillowImage.fromarray(image).save(path)
    tifffile.imwrite(folder / "labels" / f"{path.stem}_label.tiff", instances)


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    source = tmp_path / "NeurIPS22-CellSeg"
    random = np.random.default_rng(0)
    training, tuning = source / "Training-labeled", source / "Tuning"
    write_case(training, "cell_00001.png", random.integers(0, 256, (32, 32, 3), dtype=np.uint8), cells())
    grey = random.integers(0, 3000, (32, 32)).astype(np.uint16)
    write_case(training, "cell_00002.tif", grey, cells())
    write_case(training, "cell_00003.bmp", random.integers(0, 99, (32, 32), dtype=np.uint8), cells() * 0)
    pages = random.integers(1, 500, (2, 32, 32)).astype(np.uint16)
    write_case(training, "cell_00004.tiff", pages, cells())
    write_case(tuning, "cell_00001.png", random.integers(0, 256, (40, 40, 3), dtype=np.uint8), cells(40))
    (source / "train-unlabeled-part1").mkdir()
    (source / "Testing").mkdir()
    return source


def test_training_and_tuning_images_in_the_classes_of_the_baseline(challenge: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset703_NeurIPSCell"
    result = convert_neurips_cell(challenge, folder)
    assert (result.num_training, result.num_test) == (4, 1)
    classes = read_labels(folder / "labelsTr" / "cell_00002.png").data[0]
    assert np.array_equal(classes, instances_to_classes(cells()))
    assert np.unique(classes).tolist() == [0, 1, 2]
    instances = read_labels(folder / "instancesTs" / "cell_00001_label.tiff").data[0]
    assert np.array_equal(instances, cells(40))
    for path in (folder / "imagesTr").iterdir():
        image = read_image(path).data
        assert (image.shape, image.dtype) == ((3, 32, 32), np.uint8), path
    grey = read_image(folder / "imagesTr" / "cell_00002_0000.png").data
    assert (grey[0] == grey[1]).all()
    assert grey.max() == 255
    assert not read_image(folder / "imagesTr" / "cell_00004_0000.png").data[2].any()
    assert json.loads((folder / "dataset.json").read_text()) == {**DESCRIPTION, "numTraining": 4}
    remarks = "\n".join(result.remarks)
    assert "cell_00003: no cells" in remarks
    assert "cell_00004: 2 channels: the third is empty" in remarks
    assert "1000 training and 101 test cases, this one 4 and 1" in remarks
    left_out = sorted(Path(each.path).name for each in result.left_out)
    assert left_out == ["Testing", "train-unlabeled-part1"]


def test_the_folder_around_the_data_may_be_given(challenge: Path, tmp_path: Path) -> None:
    result = convert_neurips_cell(challenge.parent, tmp_path / "elsewhere" / "out")
    assert (result.num_training, result.num_test) == (4, 1)
    assert all(Path(each.path).name != challenge.name for each in result.left_out)


def test_stretching() -> None:
    channel = np.concatenate([np.zeros(50), np.arange(1, 102)]).astype(np.uint16).reshape(1, -1)
    stretched = to_eight_bits(channel)
    # The percentiles of 1 to 101 are 2 and 100.
    assert stretched.dtype == np.uint8
    assert stretched[0, 50:53].tolist() == [0, 0, int(255 / 98)]
    assert stretched[0, -2:].tolist() == [255, 255]
    assert stretched[0, 50 + 50] == int(255 * 49 / 98)
    assert to_eight_bits(np.full((2, 2), 7, np.uint8)).tolist() == [[7, 7], [7, 7]]
    assert to_eight_bits(np.zeros((2, 2), np.uint16)).tolist() == [[0, 0], [0, 0]]


def test_images_and_labels_that_lack_each_other_or_differ_in_size(challenge: Path, tmp_path: Path) -> None:
    training = challenge / "Training-labeled"
    (training / "labels" / "cell_00001_label.tiff").unlink()
    (training / "images" / "cell_00002.tif").unlink()
    tifffile.imwrite(training / "labels" / "cell_00003_label.tiff", cells(31))
    with pytest.raises(DataError, match="3 case") as caught:
        convert_neurips_cell(challenge, tmp_path / "out")
    message = str(caught.value)
    assert "cell_00001.png: there is no label for it" in message
    assert "cell_00002_label.tiff: there is no image for it" in message
    assert "the image has (32, 32) pixels, its label (31, 31)" in message
    assert not (tmp_path / "out").exists()
    assert convert_neurips_cell(challenge, tmp_path / "out", skip_damaged=True).num_training == 1


def test_other_folders_are_refused(challenge: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder Training-labeled"):
        convert_neurips_cell(challenge / "Tuning", tmp_path / "out")
