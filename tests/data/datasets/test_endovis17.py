"""EndoVis 2017: masks of instruments to classes, the test set's label maps, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.datasets.endovis17 import DESCRIPTION, INSTRUMENTS, convert_endovis17
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy

SIZE = (6, 8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(array).save(path)


def frame(value: int) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


def row(index: int, value: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[index] = value
    return mask


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Two training sequences in different archives and a test sequence, as the challenge unpacks."""
    source = tmp_path / "endovis"
    first = source / "instrument_1_4_training" / "instrument_dataset_1"
    second = source / "instrument_5_8_training" / "instrument_dataset_7"
    for number in range(2):
        name = f"frame{number:03d}.png"
        save(first / "left_frames" / name, frame(10 + number))
        save(first / "right_frames" / name, frame(99))
        save(first / "ground_truth" / "Left_Prograsp_Forceps_labels" / name, row(0, 10))
        save(first / "ground_truth" / "Maryland_Bipolar_Forceps_labels" / name, row(1, 20))
        save(first / "ground_truth" / "Right_Prograsp_Forceps_labels" / name, row(2, 30))
        save(first / "ground_truth" / "Other_labels" / name, row(3, 40))
    save(second / "left_frames" / "frame000.png", frame(70))
    save(second / "ground_truth" / "Left_Bipolar_Forceps" / "frame000.png", row(4, 10))
    save(second / "ground_truth" / "Right_Vessel_Sealer" / "frame000.png", row(4, 10))
    test = source / "instrument_2017_test" / "instrument_2017_test" / "instrument_dataset_1"
    save(test / "left_frames" / "frame225.png", frame(20))
    save(test / "gt" / "TypeSegmentation" / "frame225.png", row(5, 7))
    save(test / "gt" / "TypeSegmentationRescaled" / "frame225.png", row(5, 224))
    return source


def test_classes_come_from_the_names_of_mask_folders(challenge: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset704_Endovis17"
    result = convert_endovis17(challenge, folder)
    assert (result.num_training, result.num_test) == (3, 1)
    labels = read_labels(folder / "labelsTr" / "instrument_dataset_1_frame001.png").data[0]
    assert labels[:, 0].tolist() == [2, 1, 2, 7, 0, 0]
    image = read_image(folder / "imagesTr" / "instrument_dataset_1_frame001_0000.png").data
    assert image.shape == (3, *SIZE)
    assert (image == 11).all()
    test = read_labels(folder / "labelsTs" / "instrument_dataset_1_frame225.png").data[0]
    assert test[:, 0].tolist() == [0, 0, 0, 0, 0, 7]
    assert json.loads((folder / "dataset.json").read_text()) == {**DESCRIPTION, "numTraining": 3}
    assert frozenset(DESCRIPTION["labels"].values()) == Endoscopy().prediction_values
    assert INSTRUMENTS[6] == "ultrasound probe"


def test_the_report_names_counts_overlaps_and_what_is_not_used(challenge: Path, tmp_path: Path) -> None:
    result = convert_endovis17(challenge, tmp_path / "out")
    remarks = "\n".join(result.remarks)
    assert "training sequence 1 has 2 labelled frames, published 225" in remarks
    assert "test sequence 1 has 1 labelled frames, published 75" in remarks
    assert "instrument_dataset_7_frame000: 8 pixels are claimed by two instruments" in remarks
    assert "1800 training and 1200 test cases, this one 3 and 1" in remarks
    assert [Path(each.path).name for each in result.left_out] == ["right_frames"]


def test_a_test_set_without_labels_is_left_out_with_a_reason(challenge: Path, tmp_path: Path) -> None:
    for path in (challenge / "instrument_2017_test").rglob("TypeSegmentation/*.png"):
        path.unlink()
    result = convert_endovis17(challenge, tmp_path / "out")
    assert result.num_test == 0
    assert any("without a label in gt/TypeSegmentation" in each.reason for each in result.left_out)


def test_a_missing_mask_is_no_background(challenge: Path, tmp_path: Path) -> None:
    mask = "instrument_1_4_training/instrument_dataset_1/ground_truth/Other_labels/frame001.png"
    (challenge / mask).unlink()
    with pytest.raises(DataError, match=r"frame001\.png: a mask is missing"):
        convert_endovis17(challenge, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert convert_endovis17(challenge, tmp_path / "out", skip_damaged=True).num_training == 2


def test_unknown_instruments_other_sizes_and_rescaled_labels_are_refused(
    challenge: Path, tmp_path: Path
) -> None:
    labels = next(challenge.rglob("TypeSegmentation")) / "frame225.png"
    save(labels, row(5, 224))
    mask = "instrument_1_4_training/instrument_dataset_1/ground_truth/Other_labels/frame001.png"
    save(challenge / mask, np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        convert_endovis17(challenge, tmp_path / "out")
    assert "class numbers go up to 7, this label map up to 224" in str(caught.value)
    assert "shape (6, 8) and (3, 3)" in str(caught.value)

    strange = challenge / "instrument_5_8_training" / "instrument_dataset_7" / "ground_truth" / "Spoon_labels"
    strange.mkdir()
    with pytest.raises(DataError, match="no instrument"):
        convert_endovis17(challenge, tmp_path / "out")


def test_the_same_sequence_twice_and_no_sequence(challenge: Path, tmp_path: Path) -> None:
    save(challenge / "copy" / "instrument_dataset_1" / "left_frames" / "frame000.png", frame(1))
    (challenge / "copy" / "instrument_dataset_1" / "ground_truth").mkdir()
    with pytest.raises(DataError, match="two folders hold the same sequence"):
        convert_endovis17(challenge, tmp_path / "out")
    with pytest.raises(DataError, match="no folder instrument_dataset_N"):
        convert_endovis17(tmp_path / "nowhere", tmp_path / "out")
