"""Rows 6 to 8: labels that are none, and label maps that lie elsewhere than their image or reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from faults.fault_files import DATASET_NAME, SHAPE, Command, files_below, save_volume, write_dataset
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, GeometryError
from swin_umamba.evaluation.cases import CaseFiles
from swin_umamba.evaluation.evaluate import evaluate_case

WRONG_LABELS = [
    pytest.param(0.6, np.float32, "1 voxels hold 0.6", id="fraction"),
    pytest.param(-1, np.int16, "1 voxels hold -1", id="negative"),
    pytest.param(300, np.int16, "value 300|not declared: 300", id="300"),
    pytest.param(3, np.uint8, "value 3|not declared: 3", id="undeclared"),
]


def put_label(path: Path, value: float, dtype: type) -> None:
    """Give one voxel of a label map the value."""
    labels = read_labels(path).data[0].astype(dtype)
    labels[0, 0, 0] = value
    save_volume(path, labels)


@pytest.mark.parametrize(("value", "dtype", "message"), WRONG_LABELS)
def test_row_06_labels_of_no_class_in_planning(
    tmp_path: Path, command: Command, value: float, dtype: type, message: str
) -> None:
    folder = write_dataset(tmp_path)
    spoilt = folder / "labelsTr" / "d.nii.gz"
    put_label(spoilt, value, dtype)
    before = files_below(tmp_path)
    done = command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1)
    assert done.code == 1
    assert any(part in done.err for part in message.split("|"))
    assert f"{spoilt}: " in done.err
    assert "1 problem(s)" in done.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(("value", "dtype", "message"), WRONG_LABELS)
@pytest.mark.parametrize("side", ["predicted", "truth"])
def test_row_06_labels_of_no_class_in_evaluation(
    tmp_path: Path, command: Command, side: str, value: float, dtype: type, message: str
) -> None:
    for folder in ("predicted", "truth"):
        for case in "ab":
            save_volume(tmp_path / folder / f"{case}.nii.gz", np.ones(SHAPE, np.uint8))
    put_label(tmp_path / side / "b.nii.gz", value, dtype)
    folders = tmp_path / "predicted", tmp_path / "truth"
    done = command("evaluate", *folders, "--labels", "liver=1", "spleen=2")
    assert done.code == 1
    assert "1 cases failed" in done.out
    assert "case b could not be evaluated" in done.err
    assert any(part in done.err for part in message.split("|"))
    assert str(tmp_path / side / "b.nii.gz") in done.err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spacing": (1.5, 1.0, 5.0)}, "spacing (4.0, 1.0, 1.5) and (5.0, 1.0, 1.5)"),
        ({"origin": (0, 3, 0)}, "origin (0.0, 0.0, 0.0) and (0.0, 3.0, 0.0)"),
        ({"spacing": (-1.5, 1.0, 4.0)}, "direction"),
        ({"angle": 0.1}, "direction"),
    ],
    ids=["spacing", "origin", "mirrored", "turned"],
)
def test_row_07_another_grid(tmp_path: Path, command: Command, change: dict, named: str) -> None:
    labels = np.ones(SHAPE, np.uint8)
    predicted = save_volume(tmp_path / "predicted" / "a.nii.gz", labels)
    truth = save_volume(tmp_path / "truth" / "a.nii.gz", labels, **change)
    with pytest.raises(GeometryError) as caught:
        evaluate_case(CaseFiles("a", predicted, truth), None, 2.0)
    assert named in caught.value.what
    done = command("evaluate", predicted.parent, truth.parent)
    assert done.code == 1
    assert named in done.err

    folder = write_dataset(tmp_path)
    shifted = folder / "labelsTr" / "d.nii.gz"
    save_volume(shifted, read_labels(shifted).data[0], **change)
    done = command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1)
    assert done.code == 1
    assert named in done.err
    assert str(shifted) in done.err
    assert not (tmp_path / "nnUNet_preprocessed").exists()


def test_row_08_shapes_that_broadcast(tmp_path: Path, command: Command) -> None:
    for folder, shape in (("predicted", (6, 1)), ("truth", (6, 7))):
        (tmp_path / folder).mkdir()
        PillowImage.fromarray(np.ones(shape, np.uint8)).save(tmp_path / folder / "a.png")
    done = command("evaluate", tmp_path / "predicted", tmp_path / "truth")
    assert done.code == 1
    assert "shape (6, 1) and (6, 7)" in done.err

    folder = write_dataset(tmp_path)
    flat = folder / "labelsTr" / "d.nii.gz"
    save_volume(flat, read_labels(flat).data[0][:1])
    done = command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1)
    assert done.code == 1
    assert "shape (3, 40, 36) and (1, 40, 36)" in done.err
    with pytest.raises(DataError):
        evaluate_case(CaseFiles("a", flat, folder / "imagesTr" / "d_0000.nii.gz"), None, 2.0)
