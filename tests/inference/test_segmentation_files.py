"""Predictions as DICOM segmentations: what is in the folder, in the file and in the record."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

import pydicom
from PIL import Image as PillowImage

from exchange.made_series import HEAD, Series
from swin_umamba.data.image_io import on_grid_of, read_image, read_labels
from swin_umamba.errors import UsageError
from swin_umamba.inference import case_run
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.stages import pass_through

MakeModel = Callable[..., Path]
SERIES = Series(shape=(3, 40, 36))
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    SERIES.write(tmp_path / "scans" / "anna")
    return tmp_path / "scans"


@pytest.fixture
def organs(make_model: MakeModel) -> Predictor:
    labels = {"background": 0, "right kidney": 2, "liver": 1}
    return Predictor.from_folder(make_model(labels=labels), device="cpu", mirroring=False)


def predict(predictor: Predictor, scans: Path, out: Path, **options: Any) -> Path:
    (result,) = predictor.predict_folder(scans, out, format="dicom-seg", **options)
    assert (result.status, result.error) == ("written", None)
    return result.output


def test_what_cannot_be_written_is_not_predicted(
    organs: Predictor, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(SERIES, more={0x00200052: ("UI", r"1.2\3.4")}).write(scans / "bert")
    predicted = []
    monkeypatch.setattr(
        case_run, "pass_through", lambda *given: predicted.append(given) or pass_through(*given)
    )
    anna, bert = organs.predict_folder(scans, tmp_path / "out", format="dicom-seg")
    assert (anna.status, bert.status) == ("written", "failed")
    assert bert.error is not None
    assert "no segmentation can be made of the headers" in bert.error.what
    assert len(predicted) == 1


def test_the_segmentation_is_the_label_map(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    path = predict(organs, scans, tmp_path / "out")
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "anna.dcm",
        "anna.seg.json",
        "predictions.jsonl",
    ]
    image = read_image(scans / "anna")
    expected = organs.predict(scans / "anna").labels
    found = read_labels(path)
    np.testing.assert_array_equal(on_grid_of(image, found).data[0], expected)
    assert found.label_names == {1: "liver", 2: "right kidney"}

    record = json.loads((tmp_path / "out" / "anna.seg.json").read_text())
    counts = np.bincount(expected.ravel(), minlength=3)
    liver, kidney = record["segments"]
    assert (liver["number"], liver["name"], liver["type"]) == (1, "liver", ["SCT", "10200004", "Liver"])
    assert kidney["side"] == ["SCT", "24028007", "Right"]
    for segment in (liver, kidney):
        count = counts[segment["number"]]
        assert segment["voxels"] == count
        assert segment["volume_ml"] == pytest.approx(count * 0.75 * 0.5 * 2.5 / 1000, abs=1e-6)
        assert segment["estimated_dice"] is None
    assert (record["slices"], record["model"]) == (3, organs.fingerprint)
    file = pydicom.dcmread(path)
    assert file.NumberOfFrames == record["frames"]
    assert file.SegmentSequence[0].SegmentDescription == f"volume {liver['volume_ml']:.3f} ml"
    assert file.DeviceSerialNumber == organs.fingerprint
    assert organs.model.trainer_name in file.SeriesDescription


def test_a_finished_one_is_kept_and_another_kind_made_anew(
    organs: Predictor, scans: Path, tmp_path: Path
) -> None:
    path = predict(organs, scans, tmp_path / "out", derived_uids=True)
    content = path.read_bytes()
    (kept,) = organs.predict_folder(scans, tmp_path / "out", format="dicom-seg", derived_uids=True)
    assert (kept.status, path.read_bytes()) == ("kept", content)
    uid = pydicom.dcmread(predict(organs, scans, tmp_path / "out", seg_type="labelmap")).SOPInstanceUID
    again = pydicom.dcmread(predict(organs, scans, tmp_path / "out", derived_uids=True))
    assert again.SOPInstanceUID == pydicom.dcmread(_saved(tmp_path, content)).SOPInstanceUID != uid


def test_a_folder_holds_a_case_in_one_format(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = predict(organs, scans, out)
    (refused,) = organs.predict_folder(scans, out)
    assert refused.status == "failed"
    assert refused.error is not None
    assert refused.error.where == str(path)
    (result,) = organs.predict_folder(scans, out, overwrite=True)
    assert (result.status, result.output) == ("written", out / "anna.nii.gz")
    assert sorted(each.name for each in out.iterdir()) == ["anna.nii.gz", "predictions.jsonl"]
    (refused,) = organs.predict_folder(scans, out, format="dicom-seg")
    assert refused.status == "failed"
    predict(organs, scans, out, overwrite=True)
    assert sorted(each.name for each in out.iterdir()) == ["anna.dcm", "anna.seg.json", "predictions.jsonl"]


def _saved(folder: Path, content: bytes) -> Path:
    (folder / "saved.dcm").write_bytes(content)
    return folder / "saved.dcm"


def test_confidence_and_probabilities(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    organs = Predictor.from_folder(make_model(), device="cpu")
    out = tmp_path / "out"
    path = predict(organs, scans, out, seg_type="fractional", confidence=True, preview=True)
    assert not (out / "anna.npz").exists()
    assert (out / "entropy" / "anna.nii.gz").exists()
    assert (out / "previews" / "anna.png").exists()
    record = json.loads((out / "anna.seg.json").read_text())
    line = json.loads((out / "predictions.jsonl").read_text())
    for segment in record["segments"]:
        assert segment["estimated_dice"] == line["confidence"]["class_quality"][segment["name"]]
    file = pydicom.dcmread(path)
    dice = record["segments"][0]["estimated_dice"]
    assert file.SegmentSequence[0].SegmentDescription.endswith(f"estimated Dice {dice:.3f}")

    expected = organs.predict(scans / "anna", probabilities=True).probabilities
    assert expected is not None
    frames = file.pixel_array.reshape(-1, 40, 36)
    for frame, group in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        index = round((height - SERIES.origin[2]) / SERIES.step)
        np.testing.assert_allclose(frame / 255, expected[number, index], atol=0.51 / 255)


def test_regions_overlap(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    model = make_model(labels=REGIONS, regions_class_order=[1, 2])
    tumours = Predictor.from_folder(model, device="cpu", mirroring=False)
    file = pydicom.dcmread(predict(tumours, scans, tmp_path / "out"))
    labels = tumours.predict(scans / "anna").labels
    assert [each.SegmentLabel for each in file.SegmentSequence] == ["whole", "core"]
    counts = {1: 0, 2: 0}
    frames = file.pixel_array.reshape(-1, 40, 36)
    for frame, group in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        counts[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int(frame.sum())
    assert counts == {1: (labels > 0).sum(), 2: (labels == 2).sum()}
    (kept,) = tumours.predict_folder(scans, tmp_path / "out", format="dicom-seg")
    assert kept.status == "kept"
    with pytest.raises(UsageError, match="regions of this model overlap"):
        tumours.predict_folder(scans, tmp_path / "map", format="dicom-seg", seg_type="labelmap")
    assert not (tmp_path / "map").exists()


def test_a_picture_has_no_volume(organs: Predictor, tmp_path: Path) -> None:
    Series(shape=(1, 40, 36)).write(tmp_path / "scans" / "anna")
    path = predict(organs, tmp_path / "scans", tmp_path / "out")
    record = json.loads(path.with_name("anna.seg.json").read_text())
    assert [each["volume_ml"] for each in record["segments"]] == [None, None]
    assert "SegmentDescription" not in pydicom.dcmread(path).SegmentSequence[0]


def test_what_was_not_found_is_said(
    organs: Predictor, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    from swin_umamba.inference import case_run

    conclude = case_run.conclude

    def found(keep: int) -> Callable[..., Any]:
        def concluded(*arguments: Any) -> Any:
            prediction = conclude(*arguments)
            prediction.labels[...] = np.minimum(prediction.labels, keep)
            prediction.labels[0, 0, 0] = keep
            return prediction

        return concluded

    with caplog.at_level(logging.INFO):
        for keep, empty in ((1, ["right kidney"]), (0, ["liver", "right kidney"])):
            monkeypatch.setattr(case_run, "conclude", found(keep))
            path = predict(organs, scans, tmp_path / "out", overwrite=True)
            record = json.loads(path.with_name("anna.seg.json").read_text())
            assert record["empty"] == empty
            assert len(pydicom.dcmread(path).SegmentSequence) == 2
    assert "nothing was found of right kidney" in caplog.text
    assert "nothing was found; the segmentation holds empty frames of one slice" in caplog.text


def test_only_images_that_are_not_dicom_fail(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((40, 50), np.uint8)).save(scans / "picture.png")
    Series(shape=(3, 40, 36), more=HEAD | {0x00200052: ("UI", "")}).write(scans / "nowhere")
    results = organs.predict_folder(scans, tmp_path / "out", format="dicom-seg")
    assert [(each.case, each.status) for each in results] == [
        ("anna", "written"),
        ("nowhere", "failed"),
        ("picture", "failed"),
    ]
    assert "no frame of reference" in str(results[1].error)
    assert "this is none" in str(results[2].error)
    assert sorted(each.name for each in (tmp_path / "out").glob("*.dcm")) == ["anna.dcm"]


def test_options_that_do_not_go_together(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    for options in ({"seg_type": "labelmap"}, {"derived_uids": True}):
        with pytest.raises(UsageError, match="are of DICOM segmentations"):
            organs.predict_folder(scans, tmp_path / "out", **options)
    with pytest.raises(UsageError, match="images in blocks"):
        organs.predict_folder(scans, tmp_path / "out", format="dicom-seg", blocks=True)


def test_names_of_files(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    """A single one may be named; nothing is predicted for a name that cannot hold it."""
    path = predict(organs, scans / "anna", tmp_path / "named.dcm")
    assert path == tmp_path / "named.dcm"
    assert (tmp_path / "named.seg.json").exists()
    with pytest.raises(UsageError, match=r"ends in \.dcm"):
        organs.predict_folder(scans / "anna", tmp_path / "a.nii.gz", format="dicom-seg")
    with pytest.raises(UsageError, match=r"not written as \.dcm") as caught:
        organs.predict_folder(scans / "anna", tmp_path / "a.dcm")
    assert "--format dicom-seg" in str(caught.value.hint)


def test_probabilities_for_an_ensemble(organs: Predictor, scans: Path, tmp_path: Path) -> None:
    path = predict(organs, scans, tmp_path / "out", probabilities=True)
    with np.load(path.with_suffix(".npz")) as file:
        assert file["probabilities"].shape == (3, *SERIES.shape)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["file_ending"] == ".nii.gz"
