from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import ndimage

from conformance.dicom_files import Slice
from conformance.dicom_segmentations import write_segmentation_file
from swin_umamba.cli.main import main
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.cohort import cohort_statistics
from swin_umamba.pseudonyms import Pseudonyms, in_use


def test_every_case_has_a_row_for_every_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(2)
    maps = {
        name: (random.random((12, 10, 5)) < 0.2).astype(np.uint8) * (number + 1)
        for number, name in enumerate("ab")
    }
    for name, values in maps.items():
        nibabel.save(nibabel.Nifti1Image(values, np.diag([0.5, 0.5, 4, 1])), tmp_path / f"{name}.nii.gz")
    PillowImage.fromarray(maps["a"][..., 0]).save(tmp_path / "picture.png")
    (tmp_path / "damaged.png").write_bytes(b"")
    assert main(["statistics", str(tmp_path), "-o", str(tmp_path / "cohort.csv")]) == 1
    assert "case damaged could not be measured" in capsys.readouterr().err
    with (tmp_path / "cohort.csv").open() as file:
        rows = {(row["case"], row["label"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {(case, label) for case in ("a", "b", "picture") for label in "12"}
    for name, values in maps.items():
        for label in (1, 2):
            row, mask = rows[name, str(label)], values == label
            assert int(row["pixels"]) == mask.sum()
            assert int(row["count"]) == ndimage.label(mask, np.ones((3, 3, 3)))[1]
            assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 0.001)
            assert row["area_mm2"] == ""
    assert (rows["picture", "1"]["volume_ml"], rows["picture", "1"]["area_mm2"]) == ("", "")
    assert int(rows["picture", "1"]["pixels"]) == maps["a"][..., 0].sum()


def test_the_table_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PillowImage.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    assert main(["statistics", str(tmp_path), "--labels", "line=1", "other=2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["class"], row["count"], row["pixels"]) for row in rows] == [("line", 1, 4), ("other", 0, 0)]
    assert len(cohort_statistics(tmp_path).rows()) == 2


def test_classes_are_called_as_the_segments_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.repeat([0, 1, 2, 2], 4).reshape(4, 4)
    for case, names in (("a", {1: "Liver", 2: "spleen"}), ("b", {1: "liver", 3: "tumour"})):
        masks = [(number, Slice(labels == number)) for number in (1, 2) if number in names]
        write_segmentation_file(tmp_path / "cases" / f"{case}.dcm", masks, names)
    # The tumour was looked for and not found, which is a result.
    expected = [
        *(("a", "Liver", "1", 4), ("a", "spleen", "2", 8), ("a", "tumour", "3", 0)),
        *(("b", "Liver", "1", 4), ("b", "spleen", "2", 0), ("b", "tumour", "3", 0)),
    ]
    assert main(["statistics", str(tmp_path / "cases"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["case"], row["class"], row["label"], row["pixels"]) for row in rows] == expected
    assert main(["statistics", str(tmp_path / "cases" / "b.dcm"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["classes"]
    assert [(each["name"], each["values"], each["pixels"]) for each in found] == [
        ("liver", [1], 4),
        ("tumour", [3], 0),
    ]
    named = cohort_statistics(tmp_path / "cases", LabelClasses({"organ": (1, 2)})).rows()
    assert [row[1] for row in named[1:]] == ["organ", "organ"]

    # Names that contradict each other, and names that must not be shown.
    write_segmentation_file(tmp_path / "cases" / "c.dcm", [(1, Slice(labels == 1))], {1: "kidney"})
    assert {row[1] for row in cohort_statistics(tmp_path / "cases").rows()[1:]} == {"1", "2", "3"}
    assert "1 is Liver and kidney" in caplog.text
    (tmp_path / "cases" / "c.dcm").unlink()
    with in_use(Pseudonyms(b"k" * 32)):
        assert {row[1] for row in cohort_statistics(tmp_path / "cases").rows()[1:]} == {"1", "2", "3"}
