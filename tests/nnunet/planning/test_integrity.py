"""The check of raw data: everything wrong is named at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from conformance.nifti_files import nifti_file
from swin_umamba.errors import DataError
from swin_umamba.nnunet.environment import Dataset
from swin_umamba.nnunet.planning.integrity import check_dataset, declared_labels


def edit_description(edited: Dataset, **changes: Any) -> None:
    path = edited.raw_folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_good_data_give_their_cases(raw_dataset: Dataset) -> None:
    cases = check_dataset(raw_dataset)
    assert [case.name for case in cases] == [f"case{number}" for number in range(6)]
    assert cases[2].images == (raw_dataset.raw_folder / "imagesTr" / "case2_0000.png",)
    assert cases[2].label == raw_dataset.raw_folder / "labelsTr" / "case2.png"


def test_all_problems_are_reported_at_once(raw_dataset: Dataset) -> None:
    images, labels = raw_dataset.raw_folder / "imagesTr", raw_dataset.raw_folder / "labelsTr"
    content = (images / "case0_0000.png").read_bytes()
    (images / "case0_0000.png").write_bytes(content[: len(content) // 2])
    wrong = np.array(PILImage.open(labels / "case1.png"))
    wrong[0, :3] = 7
    PILImage.fromarray(wrong).save(labels / "case1.png")
    PILImage.fromarray(np.zeros((60, 64), np.uint8)).save(labels / "case2.png")
    (labels / "case3.png").unlink()
    PILImage.fromarray(np.zeros((64, 64), np.uint8)).save(images / "case4_0000.png")
    PILImage.fromarray(np.zeros((64, 64), np.uint8)).save(labels / "orphan.png")
    (images / "case9.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_dataset(raw_dataset)
    message = str(caught.value)
    assert "7 problem(s)" in message
    assert f"{images / 'case0_0000.png'}: " in message
    assert f"{labels / 'case1.png'}: 3 pixels have the value 7" in message
    assert "shape (64, 64) and (60, 64)" in message
    assert f"{labels / 'case3.png'}: the label of this case is missing" in message
    assert f"{images / 'case4_0000.png'}: 1 channel(s), but dataset.json names 3" in message
    assert f"{labels / 'orphan.png'}: a label without an image" in message
    assert f"{images / 'case9.png'}: the name lacks the channel number" in message
    assert not raw_dataset.folders.preprocessed.exists()


def rename(dataset: Dataset, old: str, image: str, label: str) -> None:
    for folder, before, after in (("imagesTr", f"{old}_0000", f"{image}_0000"), ("labelsTr", old, label)):
        (dataset.raw_folder / folder / f"{before}.png").rename(dataset.raw_folder / folder / f"{after}.png")


def test_names_of_all_kinds_are_cases(raw_dataset: Dataset) -> None:
    accents, decomposed = "M\u00fcller", "Mu\u0308ller"
    names = ("\u809d \u814e", 'it\'s "a"', "\u0e2a\u0e35", "tumour_seg")
    rename(raw_dataset, "case0", accents, decomposed)
    for number, name in enumerate(names, start=1):
        rename(raw_dataset, f"case{number}", name, name)
    for folder, name in (
        ("imagesTr", "._case5_0000.png"),
        ("labelsTr", "._case5.png"),
        ("imagesTr", ".DS_Store"),
    ):
        (raw_dataset.raw_folder / folder / name).write_bytes(b"left behind")
    cases = {case.name: case for case in check_dataset(raw_dataset)}
    assert cases.keys() == {accents, *names[:-1], "tumour_seg_", "case5"}
    assert cases[accents].label.stem == decomposed
    assert cases["tumour_seg_"].label.stem == "tumour_seg"


@pytest.mark.parametrize(
    ("name", "reason"), [("CASE1", "on Windows and macOS"), ("Mu\u0308ller", "another Unicode normal form")]
)
def test_names_that_are_one_elsewhere_are_problems(raw_dataset: Dataset, name: str, reason: str) -> None:
    rename(raw_dataset, "case0", name, name)
    rename(raw_dataset, "case2", "M\u00fcller", "M\u00fcller")
    with pytest.raises(DataError, match=reason):
        check_dataset(raw_dataset)


def test_a_wrong_number_of_cases_is_only_warned_about(
    raw_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    edit_description(raw_dataset, numTraining=50)
    with caplog.at_level(logging.WARNING):
        assert len(check_dataset(raw_dataset)) == 6
    assert "numTraining 50, but there are 6" in caplog.text


def test_a_wrong_file_ending_is_explained(raw_dataset: Dataset) -> None:
    edit_description(raw_dataset, file_ending=".nii.gz")
    with pytest.raises(DataError, match=r"no training images that end in '.nii.gz'"):
        check_dataset(raw_dataset)


def test_cases_may_be_listed_in_the_description(raw_dataset: Dataset, tmp_path: Path) -> None:
    edit_description(
        raw_dataset, dataset={"one": {"images": ["imagesTr/case1_0000.png"], "label": "labelsTr/case1.png"}}
    )
    (case,) = check_dataset(raw_dataset)
    assert (case.name, case.label.name) == ("one", "case1.png")


def test_another_spacing_than_nnunet_takes_is_a_problem(raw_dataset: Dataset) -> None:
    """Nibabel, which nnU-Net reads .nii files by, takes micrometres for millimetres."""
    edit_description(raw_dataset, file_ending=".nii", channel_names={"0": "CT"})
    for number, unit in enumerate((0, 2, 3)):
        for folder, name in (("imagesTr", f"{number}_0000.nii"), ("labelsTr", f"{number}.nii")):
            content = nifti_file(np.ones((4, 5, 6), np.uint8), pixdim=(1, 2, 2, 5), xyzt_units=unit)
            (raw_dataset.raw_folder / folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"1 problem\(s\)") as caught:
        check_dataset(raw_dataset)
    image = raw_dataset.raw_folder / "imagesTr" / "2_0000.nii"
    assert f"{image}: the file's spacing is 0.005 x 0.002 x 0.002 mm" in str(caught.value)
    assert "NibabelIO takes 5 x 2 x 2" in str(caught.value)


def test_regions_and_the_ignore_label_are_declared() -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}
    assert declared_labels({"labels": labels}) == {0, 1, 2, 3, 4}
