"""Predicting a tree of studies: the results, the manifest, going on, and series that cannot be read."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.studies.trees import SAGITTAL, TREE, Written, write_tree
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.predictor import Predictor

ORGANS = {"background": 0, "liver": 1, "tumour": 2}


@pytest.fixture
def predictor(make_model: Callable[..., Path]) -> Predictor:
    return Predictor.from_folder(make_model(labels=ORGANS), device="cpu", mirroring=False)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "studies.json").read_text())


def by_uid(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["series_uid"]: each for each in content["series"]}


def test_all_series_of_a_tree(tmp_path: Path, predictor: Predictor) -> None:
    root, out = write_tree(tmp_path / "disc"), tmp_path / "out"
    results = predictor.predict_folder(root, out, studies=True)
    assert [result.status for result in results] == ["written"] * 5
    content = manifest(out)
    assert (content["patients"], content["studies"], content["problems"]) == (2, 3, [])
    found = by_uid(content)
    assert list(found) == [each.uid for each in TREE]
    for each in TREE:
        one = found[each.uid]
        assert (one["status"], one["modality"], one["number"]) == ("written", each.modality, str(each.number))
        assert (one["folder"], one["images"], one["description"]) == (
            each.folder,
            each.images,
            each.description,
        )
        assert one["study_uid"] == each.study
        labels = read_labels(out / one["result"])
        assert labels.spatial_shape[-2:] == (20, 24)
        if each.images == 1:
            assert one["volumes_ml"] is None
        else:
            counts = np.bincount(labels.data.ravel(), minlength=3)
            assert one["volumes_ml"] == pytest.approx(
                {"liver": counts[1] * 2 / 1000, "tumour": counts[2] * 2 / 1000}
            )
    assert sum(sum(each["volumes_ml"].values()) for each in content["series"] if each["volumes_ml"]) > 0
    assert re.fullmatch("MR_1_T2-TSE_[0-9a-f]{12}", found["1.2.3.1"]["case"])
    with (out / "studies.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["series_uid"] for row in rows] == list(found)
    assert float(rows[0]["volume_ml_liver"]) == found["1.2.3.1"]["volumes_ml"]["liver"]


def test_the_choice_and_going_on(tmp_path: Path, predictor: Predictor) -> None:
    root, out = write_tree(tmp_path / "disc"), tmp_path / "out"
    choice: dict[str, Any] = {"series_modality": ["mr"], "series_description": ["*T2*"], "min_slices": 2}
    assert [each.status for each in predictor.predict_folder(root, out, **choice)] == ["written"] * 2
    first = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    found = by_uid(manifest(out))
    assert {uid: each["reason"] for uid, each in found.items()} == {
        "1.2.3.1": None,
        "1.2.3.2": "its description is not like *T2*",
        "1.2.3.3": "its modality is not mr; its description is not like *T2*",
        "1.2.3.4": None,
        "1.2.3.5": "it has fewer than 2 images",
    }
    # The tree is moved and grows; what is finished is kept, with its measurements.
    moved = root.rename(tmp_path / "archive")
    Written("PA2", "1.2.3.6", description="T2 late", number=6, patient="P3").write(moved)
    results = predictor.predict_folder(moved, out, **choice)
    assert sorted(each.status for each in results) == ["kept", "kept", "written"]
    assert {path: path.stat().st_mtime_ns for path in first} == first
    again = by_uid(manifest(out))
    assert again["1.2.3.4"]["volumes_ml"] == found["1.2.3.4"]["volumes_ml"]
    assert (again["1.2.3.4"]["status"], again["1.2.3.6"]["status"]) == ("kept", "written")
    (moved / "PA1" / "ST0" / "SE0" / "IM01000").write_bytes(
        (moved / "PA1" / "ST0" / "SE0" / "IM01000").read_bytes()[:-2] + b"\1\2"
    )
    results = predictor.predict_folder(moved, out, **choice)
    assert [each.status for each in results].count("written") == 1


@pytest.mark.parametrize(
    ("choice", "uids"),
    [
        ({"plane": ["sagittal"]}, ["1.2.3.2"]),
        ({"plane": ["axial", "coronal"], "max_slices": 4}, ["1.2.3.1", "1.2.3.3", "1.2.3.5"]),
        ({"studies": True, "series": "2"}, ["1.2.3.2", "1.2.3.5"]),
        ({"studies": True, "series": "1.2.3.4"}, ["1.2.3.4"]),
        ({"min_slices": 5}, ["1.2.3.4"]),
    ],
)
def test_choices(tmp_path: Path, predictor: Predictor, choice: dict[str, Any], uids: list[str]) -> None:
    predictor.predict_folder(write_tree(tmp_path / "disc"), tmp_path / "out", **choice)
    found = by_uid(manifest(tmp_path / "out"))
    assert [uid for uid, each in found.items() if each["status"] == "written"] == uids
    assert all(each["reason"] for uid, each in found.items() if uid not in uids)


def test_one_bad_series_costs_one_result(tmp_path: Path, predictor: Predictor) -> None:
    root, out = write_tree(tmp_path / "disc", TREE[:1]), tmp_path / "out"
    Written("gap", "1.3.1", number=11).write(root)[2].unlink()
    Written("mixed", "1.3.2", number=12, images=2).write(root)
    Written("mixed", "1.3.2", number=13, patient="P9").write(root)
    Written("planes", "1.3.3", number=14).write(root)
    Written("planes", "1.3.3", number=15, orientation=SAGITTAL).write(root)
    for path in Written("packed", "1.3.4", number=16).write(
        root
    ):  # a video codec, which nothing here decodes
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.102"[:20]))
    cut = Written("cut", "1.3.5", number=17).write(root)[1]
    cut.write_bytes(cut.read_bytes()[:-50])
    (root / "cut" / "torn.dcm").write_bytes(b"no DICOM")
    results = predictor.predict_folder(root, out, studies=True)
    assert [each.status for each in results].count("written") == 1
    found = by_uid(manifest(out))
    for uid, words in {
        "1.3.1": "not evenly spaced",
        "1.3.2": "belong to several patients",
        "1.3.3": "several orientations",
        "1.3.4": "not supported",
        "1.3.5": "pixels are missing",
    }.items():
        assert found[uid]["status"] == "failed"
        assert words in found[uid]["reason"]
        assert found[uid]["hint"]
        assert found[uid]["result"] is None
    assert found["1.3.3"]["plane"] == "several"
    (problem,) = manifest(out)["problems"]
    assert (problem["path"], "does not begin like one" in problem["reason"]) == ("cut/torn.dcm", True)


def test_estimated_dice(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    predictor = Predictor.from_folder(make_model(labels=ORGANS), device="cpu")
    root, out = write_tree(tmp_path / "disc", TREE[:1]), tmp_path / "out"
    (result,) = predictor.predict_folder(root, out, studies=True, confidence=True)
    (one,) = manifest(out)["series"]
    assert result.confidence is not None
    assert one["estimated_dice"] == result.confidence["quality"]
    assert one["class_estimated_dice"] == result.confidence["class_quality"]
    predictor.predict_folder(root, out, studies=True, confidence=True)
    assert manifest(out)["series"][0] == one | {"status": "kept"}


def test_segmentations_of_a_tree(tmp_path: Path, predictor: Predictor) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    root, out = write_tree(tmp_path / "disc"), tmp_path / "out"
    plain = predictor.predict_folder(root, tmp_path / "plain", min_slices=2)
    results = predictor.predict_folder(root, out, min_slices=2, format="dicom-seg")
    assert [each.status for each in results] == ["written"] * 4
    volumes = {each["case"]: each["volumes_ml"] for each in manifest(tmp_path / "plain")["series"]}
    for one in (each for each in manifest(out)["series"] if each["status"] == "written"):
        assert one["result"] == f"{one['case']}.dcm"
        assert one["volumes_ml"] == pytest.approx(volumes[one["case"]], abs=1e-6)
        found = pydicom.dcmread(out / one["result"])
        assert found.StudyInstanceUID == one["study_uid"]
        (referenced,) = found.ReferencedSeriesSequence
        assert referenced.SeriesInstanceUID == one["series_uid"]
        assert len(referenced.ReferencedInstanceSequence) == one["images"]
    assert len(plain) == 4
    (out / f"{one['case']}.seg.json").write_text("{}")
    again = predictor.predict_folder(root, out, min_slices=2, format="dicom-seg")
    assert sorted(each.status for each in again) == ["kept", "kept", "kept", "written"]


def test_parts_write_one_manifest(tmp_path: Path, predictor: Predictor) -> None:
    root, out = write_tree(tmp_path / "disc", TREE[:3]), tmp_path / "out"
    predictor.predict_folder(root, out, studies=True, part="1/2")
    assert not (out / "studies.json").exists()
    predictor.predict_folder(root, out, studies=True, part="2/2")
    assert sorted(each["status"] for each in manifest(out)["series"]) == ["kept", "kept", "written"]
    assert all(each["volumes_ml"] for each in manifest(out)["series"])


def test_what_is_refused(tmp_path: Path, predictor: Predictor, make_model_at: Callable[..., Path]) -> None:
    root, out = write_tree(tmp_path / "disc"), tmp_path / "out"
    with pytest.raises(UsageError, match="none of the 5 series is chosen:\n  - 5 x its modality is not PT"):
        predictor.predict_folder(root, out, series_modality=["PT"])
    with pytest.raises(UsageError, match="among the studies"):
        predictor.predict_folder(root, root / "PA0" / "out", studies=True)
    with pytest.raises(UsageError, match="go into a folder"):
        predictor.predict_folder(root, tmp_path / "a.nii.gz", studies=True)
    with pytest.raises(UsageError, match="2 inputs"):
        predictor.predict_folder([root, root], out, studies=True)
    with pytest.raises(UsageError, match="in blocks"):
        predictor.predict_folder(root, out, studies=True, blocks=True)
    with pytest.raises(UsageError, match="at least 5 and at most 2"):
        predictor.predict_folder(root, out, min_slices=5, max_slices=2)
    with pytest.raises(DataError, match="no DICOM images"):
        predictor.predict_folder(root / "VIEWER", out, studies=True)
    two = Predictor.from_folder(
        make_model_at(tmp_path / "two", channels=("T1", "T2")), device="cpu", mirroring=False
    )
    with pytest.raises(UsageError, match="takes 2 channels"):
        two.predict_folder(root, out, studies=True)
    assert not out.exists()
