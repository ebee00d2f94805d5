from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import ndimage

from swin_umamba.cli.main import main
from swin_umamba.evaluation.cohort import cohort_statistics


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
