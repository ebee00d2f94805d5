"""AMOS to AbdomenMR: which scans, which classes, what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_umamba.data.datasets.abdomen_mr import AMOS_ORGANS, DESCRIPTION, ORGANS, convert_abdomen_mr
from swin_umamba.data.datasets.conversion import Conversion
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError, OutputError, UsageError
from swin_umamba.evaluation.protocols.abdomen_mr import AbdomenMR

AFFINE = np.diag([1.5, 1.5, 6.0, 1.0])
# Misprint included: this is what the challenge's file says.
AMOS_LABELS = {
    "0": "background",
    **{str(value): organ for value, organ in enumerate(AMOS_ORGANS, start=1)},
    "4": "gall bladder",
    "8": "arota",
    "9": "postcava",
}


def write_scan(folder: Path, part: str, number: int, *, labelled: bool = True, shift: int = 0) -> None:
    """Write a scan whose voxel values are its number and whose label holds every AMOS value once."""
    for name in (f"images{part}", f"labels{part}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    image = np.full((4, 5, 3), number, np.int16)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / f"images{part}" / f"amos_{number:04d}.nii.gz")
    if labelled:
        label = np.zeros((4, 5, 3), np.uint8)
        label.ravel()[shift : shift + 15] = np.arange(1, 16)
        path = folder / f"labels{part}" / f"amos_{number:04d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(label, AFFINE), path)


@pytest.fixture
def amos(tmp_path: Path) -> Path:
    source = tmp_path / "download" / "amos22"
    for number in (1, 500, 507, 508):
        write_scan(source, "Tr", number)
    write_scan(source, "Va", 510)
    write_scan(source, "Ts", 520, labelled=False)
    (source / "labelsTs").rmdir()
    (source / "imagesTr" / "readme.txt").write_text("hello")
    (source / "dataset.json").write_text(json.dumps({"labels": AMOS_LABELS}))
    return source


def test_the_order_of_the_organs_is_that_of_the_protocol() -> None:
    assert AbdomenMR().class_names == ORGANS
    assert set(ORGANS) <= set(AMOS_ORGANS)


def test_mr_scans_of_training_and_validation_with_renumbered_organs(amos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "Dataset702_AbdomenMR"
    result = convert_abdomen_mr(amos.parent, folder)
    assert (result.num_training, result.num_test) == (3, 0)
    names = sorted(path.name for path in (folder / "imagesTr").iterdir())
    assert names == ["amos_0507_0000.nii.gz", "amos_0508_0000.nii.gz", "amos_0510_0000.nii.gz"]
    assert not (folder / "imagesTs").exists()
    copied = folder / "imagesTr" / "amos_0507_0000.nii.gz"
    assert copied.read_bytes() == (amos / "imagesTr" / "amos_0507.nii.gz").read_bytes()

    before = read_labels(amos / "labelsTr" / "amos_0507.nii.gz").data[0]
    label = read_labels(folder / "labelsTr" / "amos_0507.nii.gz")
    assert label.spacing == (6.0, 1.5, 1.5)
    for value, organ in enumerate(AMOS_ORGANS, start=1):
        expected = ORGANS.index(organ) + 1 if organ in ORGANS else 0
        assert label.data[0][before == value].tolist() == [expected], organ

    description = json.loads((folder / "dataset.json").read_text())
    assert description == {**DESCRIPTION, "numTraining": 3}
    assert description["labels"]["left kidney"] == 13
    reasons = [(Path(each.path).name, each.reason) for each in result.left_out]
    assert sorted(reasons) == [
        ("amos_0001.nii.gz", "a CT scan"),
        ("amos_0500.nii.gz", "a CT scan"),
        ("amos_0520.nii.gz", "test scans of AMOS have no public labels"),
        ("readme.txt", "its name is not amos_NNNN.nii.gz"),
    ]
    assert any("bladder, prostate/uterus" in remark for remark in result.remarks)
    assert any("60 training and 50 test cases, this one 3 and 0" in remark for remark in result.remarks)
    assert "left out: 2 x a CT scan (" in result.text()
    assert Conversion.of_folder(folder).to_dict() == result.to_dict()


def test_a_test_set_of_its_own_with_other_numbers(amos: Path, tmp_path: Path) -> None:
    test = tmp_path / "umamba"
    write_scan(test, "Ts", 541, shift=7)
    ours = {**DESCRIPTION["labels"], "bladder": 14, "prostate/uterus": 15}
    (test / "dataset.json").write_text(json.dumps({"labels": ours}))
    folder = tmp_path / "Dataset702_AbdomenMR"
    assert convert_abdomen_mr(amos, folder, test=test).num_test == 1
    values = read_labels(folder / "labelsTs" / "amos_0541.nii.gz").data[0].T.ravel()
    assert values[7:22].tolist() == [*range(1, 14), 0, 0]
    assert (read_image(folder / "imagesTs" / "amos_0541_0000.nii.gz").data == 541).all()

    (test / "dataset.json").unlink()
    with pytest.raises(DataError, match="not known which number means which organ"):
        convert_abdomen_mr(amos, tmp_path / "other", test=test)


def test_validation_as_test(amos: Path, tmp_path: Path) -> None:
    result = convert_abdomen_mr(amos, tmp_path / "out", validation_as_test=True)
    assert (result.num_training, result.num_test) == (2, 1)
    assert (tmp_path / "out" / "labelsTs" / "amos_0510.nii.gz").is_file()
    assert any("not the split of the paper" in remark for remark in result.remarks)
    with pytest.raises(UsageError):
        convert_abdomen_mr(amos, tmp_path / "two", test=amos, validation_as_test=True)


def test_damage_is_refused_as_a_whole_or_skipped_on_request(amos: Path, tmp_path: Path) -> None:
    (amos / "labelsTr" / "amos_0508.nii.gz").unlink()
    broken = amos / "imagesVa" / "amos_0510.nii.gz"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match="2 case") as caught:
        convert_abdomen_mr(amos, tmp_path / "raw" / "out")
    assert "amos_0508.nii.gz: there is no label for it in labelsTr" in str(caught.value)
    assert "amos_0510.nii.gz" in str(caught.value)
    assert not (tmp_path / "raw").exists()

    result = convert_abdomen_mr(amos, tmp_path / "raw" / "out", skip_damaged=True)
    assert result.num_training == 1
    assert sorted(Path(each.path).name for each in result.damaged) == ["amos_0508.nii.gz", "amos_0510.nii.gz"]
    assert [path.name for path in (tmp_path / "raw" / "out" / "labelsTr").iterdir()] == ["amos_0507.nii.gz"]


def test_an_existing_folder_is_never_touched(amos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="exists already"):
        convert_abdomen_mr(amos, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({"0": "background", "1": "liver"}, "the labels lack aorta"),
        ({"0": "background", "-1": "liver"}, "cannot be read"),
        ({"liver": 10**9}, "not numbers from 0 to 255"),
        ([1, 2], "cannot be read"),
    ],
)
def test_wrong_descriptions(amos: Path, tmp_path: Path, labels: object, what: str) -> None:
    (amos / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=what):
        convert_abdomen_mr(amos, tmp_path / "out")


def test_undeclared_values_and_other_grids(amos: Path, tmp_path: Path) -> None:
    label = np.full((4, 5, 3), 77, np.uint8)
    nibabel.save(nibabel.Nifti1Image(label, AFFINE), amos / "labelsTr" / "amos_0507.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), amos / "labelsTr" / "amos_0508.nii.gz")
    with pytest.raises(DataError) as caught:
        convert_abdomen_mr(amos, tmp_path / "out")
    assert "label values without a name in dataset.json: 77" in str(caught.value)
    assert "spacing (6.0, 1.5, 1.5) and (1.0, 1.0, 1.0) mm" in str(caught.value)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder imagesTr"):
        convert_abdomen_mr(tmp_path, tmp_path / "out")
