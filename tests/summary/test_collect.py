"""Reports of a training and of results, with everything there and with parts of it missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.errors import UsageError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.evaluate import evaluate_folders
from swin_umamba.report.contents import PredictedCase
from swin_umamba.report.html import report_html
from swin_umamba.summary.cases import shown_slices
from swin_umamba.summary.collect import collect_report
from swin_umamba.summary.places import Sources
from swin_umamba.weights.checkpoint import save_checkpoint

LABELS = {"background": 0, "liver": 1, "spleen": 2}
LOG = {
    "train_losses": [0.5, 0.1],
    "val_losses": [0.6, 0.2],
    "lrs": [0.01, 0.005],
    "dice_per_class_or_region": [[0.1, 0.2], [0.3, 0.4]],
    "ema_fg_dice": [0.15, 0.2],
    "epoch_start_timestamps": [100.0, 110.0],
    "epoch_end_timestamps": [110.0, 125.0],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Predictions, references and images of three pictures; the second prediction has lost a row."""
    folder = tmp_path / "results"
    for name in ("predictions", "references", "images"):
        (folder / name).mkdir(parents=True)
    truth = np.zeros((10, 12), np.uint8)
    truth[2:6, 2:6], truth[7:9, 7:9] = 1, 2
    worse = truth.copy()
    worse[2] = 0
    for case, prediction in (("a", truth), ("b", worse), ("c", truth)):
        PillowImage.fromarray(prediction).save(folder / "predictions" / f"{case}.png")
        PillowImage.fromarray(truth).save(folder / "references" / f"{case}.png")
        PillowImage.fromarray(truth * 50).save(folder / "images" / f"{case}_0000.png")
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS, "channel_names": {"0": "MR"}}))
    return folder


@pytest.fixture
def model(tmp_path: Path, results: Path) -> Path:
    """A model folder with one fold whose validation are those pictures, and the raw data."""
    raw = tmp_path / "nnUNet_raw" / "Dataset001_Abdomen"
    raw.mkdir(parents=True)
    (results / "references").rename(raw / "labelsTr")
    (results / "images").rename(raw / "imagesTr")
    model = tmp_path / "nnUNet_results" / "Dataset001_Abdomen" / "nnUNetTrainerX__P__2d"
    fold = model / "fold_0"
    fold.mkdir(parents=True)
    (results / "predictions").rename(fold / "validation")
    description = {"labels": LABELS, "channel_names": {"0": "MR"}, "numTraining": 3, "file_ending": ".png"}
    (model / "dataset.json").write_text(json.dumps(description))
    configuration = {"patch_size": [64, 32], "batch_size": 2}
    (model / "plans.json").write_text(
        json.dumps({"plans_name": "P", "configurations": {"2d": configuration}})
    )
    fingerprint = {"shapes_after_crop": [[1, 10, 12]] * 3, "spacings": [[999.0, 1.0, 1.0]] * 3}
    (model / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    (fold / "training_options.json").write_text(json.dumps({"seed": 0, "epochs": 3, "npz": False}))
    (fold / "debug.json").write_text(json.dumps({"torch_version": "2.13.0"}))
    state = {"logging": LOG, "current_epoch": 2, "swin_umamba": {"skipped_steps": 4}}
    save_checkpoint(fold / "checkpoint_latest.pth", state)
    cases = [
        {
            "metrics": {"1": {"Dice": dice, "IoU": 0.5}, "2": {"Dice": 1.0, "IoU": 1.0}},
            "prediction_file": f"/elsewhere/{case}.png",
        }
        for case, dice in (("a", 1.0), ("b", 6 / 7), ("c", 1.0))
    ]
    summary = {"metric_per_case": cases, "mean": {"1": {}, "2": {}}}
    (fold / "validation" / "summary.json").write_text(json.dumps(summary))
    return model


def test_a_model_folder(model: Path) -> None:
    report = collect_report(model)
    assert report.title == "Report on Dataset001_Abdomen, nnUNetTrainerX__P__2d"
    (curves,) = report.curves
    assert curves.pseudo_dice == {"liver": (0.1, 0.3), "spleen": (0.2, 0.4)}
    assert curves.seconds == (10.0, 15.0)
    facts = {name: value for table in report.facts for name, value in table.rows}
    assert facts["seed"] == "0"
    assert facts["patch size"] == "64 × 32"
    assert facts["time of all epochs"] == "25.0 s"
    assert facts["PyTorch"] == "2.13.0"
    assert len(facts["data fingerprint (SHA-256)"]) == 64
    assert "npz" not in facts
    assert ("fold_0: training is not finished", "checkpoint_latest.pth is of epoch 2 of 3") in report.failures
    assert ("fold_0: 4 steps skipped", "loss or gradients were not finite") in report.failures
    assert report.summary[0].means[0] == pytest.approx((2 + 6 / 7) / 3)
    assert [(case.name, case.rank) for case in report.cases] == [
        ("b", "worst"),
        ("a", "worst"),
        ("c", "best"),
    ]
    assert report.confusion is not None
    assert report.confusion.counts.tolist() == [[300, 0, 0], [4, 44, 0], [0, 0, 12]]
    assert report.classes == {"liver": 1, "spleen": 2}
    assert "Report on Dataset001_Abdomen" in report_html(report)


def test_a_fold_folder_says_the_same(model: Path) -> None:
    assert collect_report(model / "fold_0").curves == collect_report(model).curves


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "spleen": 2, "liver": 1}, ["liver", "spleen"]),
        ({"background": 0, "whole": [1, 2], "core": 1}, ["whole", "core"]),
    ],
)
def test_curves_of_a_checkpoint_have_the_names_in_the_order_of_the_numbers(
    model: Path, labels: dict[str, Any], expected: list[str]
) -> None:
    description = {"labels": labels, "channel_names": {"0": "MR"}, "numTraining": 3, "file_ending": ".png"}
    (model / "dataset.json").write_text(json.dumps(description))
    (curves,) = collect_report(model).curves
    assert list(curves.pseudo_dice) == expected


def test_what_is_missing_in_a_model_is_named(model: Path) -> None:
    (model / "fold_0" / "checkpoint_latest.pth").write_bytes(b"damaged")
    (model / "fold_0" / "training_options.json").unlink()
    (model / "fold_0" / "validation" / "summary.json").write_text("{")
    (model / "plans.json").write_text("{}")
    (model / "dataset_fingerprint.json").unlink()
    report = collect_report(model)
    missing = "\n".join(report.missing)
    for each in (
        "training curves",
        "options of the training",
        "plans",
        "fingerprint",
        "validation",
        "scores",
        "fold_0: the versions and source code of swin-umamba, as it has no software.json",
    ):
        assert each in missing
    assert report.curves == ()
    assert all(each in report_html(report) for each in ("What this report lacks", "fingerprint"))


def test_results_without_scores_are_scored(results: Path) -> None:
    report = collect_report(results)
    assert report.summary[0].means[0] == pytest.approx((2 + 6 / 7) / 3)
    assert [case.name for case in report.cases] == ["b", "a", "c"]
    assert any(each.startswith("training facts and curves") for each in report.missing)


def test_written_scores_and_a_damaged_prediction(results: Path) -> None:
    evaluate_folders(results / "predictions", results / "references").write(results)
    (results / "predictions" / "a.png").write_bytes(b"damaged")
    report = collect_report(results)
    assert report.scores is not None
    assert report.scores.class_names == ("1", "2")
    assert [name for name, _ in report.failures] == ["a"]
    assert any(each.startswith("pictures of case a") for each in report.missing)
    assert [case.name for case in report.cases] == ["b", "c"]


def test_what_predict_recorded(results: Path) -> None:
    entropy = np.zeros((10, 12), np.float32)
    entropy[:5] = 0.5
    (results / "predictions" / "entropy").mkdir()
    tifffile.imwrite(results / "predictions" / "entropy" / "b.tif", entropy)
    records = [
        {
            "case": "b",
            "status": "written",
            "seconds": 2,
            "confidence": {"quality": 0.5, "mean_entropy": 0.25},
        },
        {"case": "z", "status": "failed", "error": {"what": "it is damaged"}},
    ]
    (results / "predictions" / "predictions.jsonl").write_text("\n".join(map(json.dumps, records)))
    report = collect_report(results)
    assert report.predicted == (PredictedCase("b", 2.0, 0.5, 0.25),)
    assert ("z", "not predicted: it is damaged") in report.failures
    shown = {case.name: case.slices[0].uncertainty for case in report.cases}
    assert shown["a"] is None
    assert np.array_equal(shown["b"], entropy)
    page = report_html(report)
    assert "Uncertainty of case b: 0.250 on average" in page
    assert "true Dice" in page


def test_an_entropy_of_another_size_is_named(results: Path) -> None:
    (results / "predictions" / "entropy").mkdir()
    tifffile.imwrite(results / "predictions" / "entropy" / "b.tif", np.zeros((3, 4), np.float32))
    assert any(each.startswith("pictures of case b") for each in collect_report(results).missing)


def test_predictions_alone(results: Path) -> None:
    report = collect_report(results / "predictions", Sources(images=results / "images"))
    assert [case.rank for case in report.cases] == ["case"] * 3
    assert report.classes == {"label 1": 1, "label 2": 2}
    assert any("--references" in each for each in report.missing)


def test_predictions_with_probabilities_are_no_model(results: Path) -> None:
    predictions = results / "predictions"
    for name in ("plans.json", "dataset.json"):  # as --probabilities and nnUNetv2_predict write them
        (predictions / name).write_text((results / "dataset.json").read_text())
    report = collect_report(predictions, Sources(images=results / "images"))
    assert [case.name for case in report.cases] == ["a", "b", "c"]
    assert not any("plans.json" in each for each in report.missing)


def test_an_evaluation_says_which_values_its_classes_have(results: Path) -> None:
    """There is no dataset.json: the classes were named in the evaluation, or by the segmentations."""
    (results / "dataset.json").unlink()
    classes = LabelClasses.from_mapping({"background": 0, "liver": 1, "spleen": 2, "both": [1, 2]})
    evaluate_folders(results / "predictions", results / "references", classes=classes).write(results)
    report = collect_report(results)
    assert report.classes == {"liver": 1, "spleen": 2}
    assert report.confusion is not None
    assert report.confusion.names == ("background", "liver", "spleen")
    assert report.confusion.counts.tolist() == [[300, 0, 0], [4, 44, 0], [0, 0, 12]]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a training"):
        collect_report(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        collect_report(tmp_path / "none")


def test_a_volume_has_slices_and_its_shape(tmp_path: Path) -> None:
    labels = np.zeros((10, 20, 40), np.uint8)
    labels[2:5, 3:9, 5:35] = 1
    for name in ("predictions", "references", "images"):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(labels, np.diag([1.0, 2.0, 5.0, 1.0])), tmp_path / name / "a.nii.gz")
    (case,) = collect_report(tmp_path).cases
    indices = [each.index for each in case.slices]
    assert (len(indices), indices[0], indices[-1]) == (16, 5, 34)
    assert case.aspect == 2.0
    assert case.note == "16 of 40 axial slices"
    assert case.edges == ("R", "L", "A", "P")
    assert case.slices[0].image.shape == (20, 10, 3)


def test_single_cells_are_shown_as_one_class(results: Path) -> None:
    cells = np.arange(120, dtype=np.uint8).reshape(10, 12)
    PillowImage.fromarray(cells).save(results / "predictions" / "a.png")
    report = collect_report(results / "predictions", Sources(images=results / "images"))
    case = next(each for each in report.cases if each.name == "a")
    assert case.note == "119 labels, such as of single cells, are shown as one"
    assert case.slices[0].prediction is not None
    assert np.array_equal(case.slices[0].prediction, cells > 0)


def test_a_training_without_a_seed_says_so(model: Path) -> None:
    (model / "fold_0" / "training_options.json").write_text(json.dumps({"seed": None, "epochs": 3}))
    facts = {name: value for table in collect_report(model).facts for name, value in table.rows}
    assert facts["seed"] == "none was given"


def test_slices_of_a_volume_without_labels() -> None:
    assert shown_slices([np.zeros((3, 4, 4))], 3) == [0, 1, 2]
