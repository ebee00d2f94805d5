"""Whatever stands in JSON that we read: the answer is a result or an error of ours, soon and in bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

import contract_files
from faults.hostile_values import mutations, outcomes
from json_edits import changed_json
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.results import RunResult, score_array
from swin_umamba.compare.step_times import STEP_TIMES_FILE, read_step_times
from swin_umamba.compare.trainer import PLANS_ENTRY, Terms
from swin_umamba.data.datasets.conversion import REPORT_NAME, Conversion, LeftOut
from swin_umamba.data.tiff_pixel_size import read_spacing_file
from swin_umamba.errors import CheckpointError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords
from swin_umamba.json_files import read_json
from swin_umamba.nnunet import preprocessed
from swin_umamba.nnunet.dataset_json import read_dataset_json
from swin_umamba.nnunet.plans_table import read_plans
from swin_umamba.nnunet.preprocessed import check_origin, content_fingerprint
from swin_umamba.nnunet.record.metrics_file import METRICS_FILE, MetricsFile
from swin_umamba.nnunet.record.software_file import SOFTWARE_FILE, record_start
from swin_umamba.nnunet.resume.checkpoints import newest_checkpoint
from swin_umamba.nnunet.resume.training_state import OWN_ENTRY, stored_options, stored_own_state
from swin_umamba.nnunet.splits import SPLITS_FILE, validation_cases
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.summary.confidence import calibration_of, predicted_cases
from swin_umamba.summary.places import Gaps, read_classes
from swin_umamba.summary.scores import read_results, scores_of_evaluation, scores_of_validation, summarize
from swin_umamba.summary.training import data_facts, read_fold
from swin_umamba.trained.calibration_file import CALIBRATION_FILE, read_calibration, weights_hash
from swin_umamba.trained.export_model import export_model
from swin_umamba.trained.import_model import import_model
from swin_umamba.trained.model_file import content_hash
from swin_umamba.trained.postprocessing_file import FORMAT, POSTPROCESSING_FILE
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.safetensors_file import load_metadata, load_safetensors, save_safetensors
from trained.model_folder import ARCHITECTURES, make_model_folder, make_plans

Use = Callable[[Any], object]
Prepare = Callable[[Path], tuple[Any, Use]]
IMAGE = np.random.default_rng(0).integers(0, 200, (2, 3, 40, 36)).astype(np.float32)
REGIONS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}


def model(tmp_path: Path, **options: Any) -> Path:
    """Write a model of two channels, one of them normalized as CT."""
    folder = make_model_folder(tmp_path, channels=("CT", "MR"), file_ending=".nii.gz", **options)
    with changed_json(folder / "plans.json") as plans:
        for configuration in plans["configurations"].values():
            configuration["normalization_schemes"][0] = "CTNormalization"
    return folder


def predict(path: Path) -> object:
    spacing = (3.0, 1.25, 1.0)
    return Predictor.from_folder(path, device="cpu").predict(IMAGE, spacing=spacing, probabilities=True)


def described(name: str, **options: Any) -> Prepare:
    """Return how a file beside the checkpoints is mutated, and predicted with."""

    def prepare(tmp_path: Path) -> tuple[Any, Use]:
        folder = model(tmp_path, **options)

        def use(document: Any) -> object:
            (folder / name).write_text(json.dumps(document))
            return predict(folder)

        return json.loads((folder / name).read_text()), use

    return prepare


def checkpoint(tmp_path: Path) -> tuple[Any, Use]:
    """What is plain in a checkpoint that carries plans and description itself."""
    folder = model(tmp_path)
    path = tmp_path / "alone.pth"
    content = load_checkpoint(folder / "fold_0/checkpoint_final.pth")
    weights = content.pop("network_weights")
    content["init_args"].pop("device")
    content["init_args"]["plans"] = {**content["init_args"]["plans"], "label_manager": "LabelManager"}

    def use(document: Any) -> object:
        whole = document if not isinstance(document, dict) else {**document, "network_weights": weights}
        torch.save(whole, path)
        return predict(path)

    return content, use


def postprocessed(tmp_path: Path) -> tuple[Any, Use]:
    """What is done to the predictions of a model."""
    folder = model(tmp_path)
    weights = load_checkpoint(folder / "fold_0/checkpoint_final.pth")["network_weights"]
    steps = [
        {"kind": "largest", "labels": [1], "size": None},
        {"kind": "minimum", "labels": [1, 2], "size": 9.0},
    ]

    def use(document: Any) -> object:
        (folder / POSTPROCESSING_FILE).write_text(json.dumps(document))
        return predict(folder)

    return {"format": FORMAT, "weights_sha256": {"fold_0": weights_hash(weights)}, "steps": steps}, use


def exported(tmp_path: Path) -> tuple[Any, Use]:
    """The descriptions in an exported file, with the right checksum."""
    path = tmp_path / "model.safetensors"
    export_model(model(tmp_path), path)
    metadata, tensors = load_metadata(path), load_safetensors(path)
    names = ("plans", "dataset", "inference")

    def use(document: Any) -> object:
        changed = dict(metadata)
        if isinstance(document, dict):
            changed |= {name: json.dumps(document.get(name)) for name in names}
        save_safetensors(path, tensors, changed | {"sha256": content_hash(changed, tensors)})
        return predict(path)

    return {name: json.loads(metadata[name]) for name in names}, use


def imported(tmp_path: Path) -> tuple[Any, Use]:
    """Plans of before nnU-Net 2.4, that name a U-Net by flat entries."""
    folder = model(tmp_path)
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["2d"]
    del configuration["architecture"]
    sizes = {"UNet_base_num_features": 4, "unet_max_num_features": 8, "num_pool_per_axis": [1, 1]}
    convolutions = {"n_conv_per_stage_encoder": [1, 1], "n_conv_per_stage_decoder": [1]}
    kernels = {"pool_op_kernel_sizes": [[1, 1], [2, 2]], "conv_kernel_sizes": [[3, 3], [3, 3]]}
    configuration |= {"UNet_class_name": "PlainConvUNet", **sizes, **convolutions, **kernels}
    plans["configurations"]["mine"] = {"inherits_from": "2d"}

    def use(document: Any) -> object:
        (folder / "plans.json").write_text(json.dumps(document))
        return import_model(folder, tmp_path / "imported", force=True)

    return plans, use


def plain_file(name: str, document: Any, read: Callable[[Path], object]) -> Prepare:
    """Return how a file is mutated that is read alone."""

    def prepare(tmp_path: Path) -> tuple[Any, Use]:
        fold = tmp_path / "Trainer__nnUNetPlans__2d" / "fold_0"
        fold.mkdir(parents=True)

        def use(document: Any) -> object:
            lines = document if name.endswith(".jsonl") and isinstance(document, list) else [document]
            (fold / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            return read(fold / name)

        return document, use

    return prepare


def read_options(path: Path) -> object:
    read_fold(path.parent, ["liver"])
    return TrainingOptions.from_stored(read_json(path, dict, hint="start again"))


def read_metrics(path: Path) -> object:
    found = read_fold(path.parent, ["liver"])
    values = {key: [0.5] for key in ("train_losses", "val_losses", "lrs", "mean_fg_dice", "ema_fg_dice")}
    times = {"epoch_start_timestamps": [1.0], "epoch_end_timestamps": [2.0]}
    MetricsFile(path, ["liver"]).start({**values, **times, "dice_per_class_or_region": [[0.5]]}, 0)
    return found


def read_software(path: Path) -> object:
    found = read_fold(path.parent, ["liver"])
    with patch("swin_umamba.nnunet.record.software_file.this_start", return_value=START):  # asks git
        record_start(path, first_epoch=2, device=torch.device("cpu"), replace=False)
    return found


def read_records(path: Path) -> object:
    found = predicted_cases(path.parent, [])
    return found, PredictionRecords(path.parent).confidence_of("a")


def read_description(path: Path) -> object:
    data_facts(path.parent, [])
    read_classes(path, Gaps([], []))
    LabelClasses.from_dataset_json(path)
    return read_dataset_json(path)


def read_origin(path: Path) -> object:
    folder = path.with_name(path.name.removesuffix(".made_from.json"))
    content_fingerprint(folder, ["a"])
    return check_origin(folder, PLANS, "2d", path.parent)


def read_prepared(path: Path) -> object:
    data_facts(path.parent, [])
    return read_plans(path, "2d", "run: swin-umamba plan")


def read_comparison(path: Path) -> object:
    return score_array([RunResult.read(path)], "dice")


def read_conversion(path: Path) -> object:
    return Conversion.of_folder(path.parent).text()


def read_terms(path: Path) -> object:
    return Terms.from_plans({PLANS_ENTRY: read_json(path, object)})


def read_facts(path: Path) -> object:
    return data_facts(path.parent, []), read_fold(path.parent, ["liver"])


def read_tiff_spacing(path: Path) -> object:
    return read_spacing_file(path.with_name("a_0000.tif"), of_labels=False)


def resumed(tmp_path: Path) -> tuple[Any, Use]:
    """What a training resumes from, beside tensors."""
    weights = {"a": torch.zeros(2)}
    own = {
        "options": OPTIONS,
        "batches_drawn": [3, 4],
        "skipped_steps": 1,
        "random_state": None,
        "loss": ["L1Loss"],
    }

    def use(document: Any) -> object:
        whole = {**document, "network_weights": weights} if isinstance(document, dict) else document
        torch.save(whole, tmp_path / "checkpoint_latest.pth")
        newest = newest_checkpoint(tmp_path)
        assert newest is not None
        try:
            return stored_options(newest), stored_own_state(newest, (2, 2), torch.nn.L1Loss())
        except ValueError as error:  # as the trainer does
            raise CheckpointError(str(error), hint="continue with the loss of the first run") from error

    return {"current_epoch": 2, OWN_ENTRY: own}, use


def read_evaluation(path: Path) -> object:
    return summarize(scores_of_evaluation(read_results(path), where=path).scores)


def read_validation(path: Path) -> object:
    return summarize(scores_of_validation(read_results(path), {"1": "liver"}, where=path))


CURVE = {
    "expected_calibration_error": 0.25,
    "counts": [0, 4],
    "confidence": [None, 0.5],
    "accuracy": [None, 1.0],
}
CURVES = dict.fromkeys(("before", "after", "structures_before", "structures_after"), CURVE)
START = {
    **contract_files.START,
    "versions": {"torch": "2.13.0", "numba": None},
    "git": {"commit": "0123456789abcdef", "uncommitted_changes": True},
}
RECORD = {
    "case": "a",
    "status": "written",
    "seconds": 2.5,
    "error": {"what": "damaged", "hint": "copy it"},
    "confidence": {"quality": 0.5, "mean_entropy": 0.1, "class_quality": {"liver": 0.5}, "calibrated": True},
}
CALIBRATION = {
    "format": "swin-umamba-calibration-1",
    "weights_sha256": "0" * 64,
    "temperature": 1.5,
    "quality_exponent": 1.25,
    "reliability": CURVES,
    "cases": [{"case": "a", "calibrated": 0.9, "true": 0.8}],
}
DESCRIPTION = {
    "channel_names": {"0": "CT", "1": "MR"},
    "labels": REGIONS,
    "regions_class_order": [1, 2],
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
METRICS = {
    "tolerance_mm": 2.0,
    "classes": {"liver": {}},
    "cases": {"a": {"liver": {"dice": 0.5, "hd95": None}}},
    "missing": ["a"],
    "failed": {"c": "damaged"},
    "label_values": {"liver": [1]},
}
SUMMARY = {
    "mean": {"1": {"Dice": 0.5}},
    "metric_per_case": [{"prediction_file": "a.nii.gz", "metrics": {"1": {"Dice": 0.5, "IoU": 0.4}}}],
}
RESULT = RunResult(
    "nnunet",
    1,
    {"seconds": 1.0, "median_step_seconds": 0.5, "steps": 3},
    {"a": {"liver": {"dice": 0.5, "hd95": None}}},
)
CONVERSION = Conversion(Path(), 3, 1, (LeftOut("a", "b"),), (LeftOut("a", "b"),), ("c",))
PLANS = json.loads(json.dumps(make_plans(ARCHITECTURES["swin_umamba"], (64, 64), (1.0, 1.0), 2, "2d")))
FILES_OF_CASE = {"labelsTr/a.nii.gz": [12, 1_700_000_000_000_000_000, "0" * 64], "b": [1, 2, "c"]}
ORIGIN = {"plans": preprocessed._of_preprocessing(PLANS, "2d"), "cases": {"a": FILES_OF_CASE}}
OPTIONS = TrainingOptions(patch_size=(64, 64), seed=1, learning_rate=0.1, precision="float32").as_dict()
MODELS: dict[str, Prepare] = {
    "plans.json": described("plans.json"),
    "dataset.json of a model": described("dataset.json", labels=REGIONS, regions_class_order=(1, 2)),
    "checkpoint": checkpoint,
    "post-processing": postprocessed,
    "exported model": exported,
    "old plans": imported,
    "state of a training": resumed,
}
FILES: dict[str, Prepare] = {
    "dataset.json": plain_file("dataset.json", DESCRIPTION, read_description),
    "prepared plans": plain_file("plans.json", PLANS, read_prepared),
    "origin": plain_file("nnUNetPlans_2d.made_from.json", ORIGIN, read_origin),
    "options": plain_file("training_options.json", OPTIONS, read_options),
    "splits": plain_file(
        SPLITS_FILE, 5 * [{"train": ["a", "b"], "val": ["c"]}], partial(validation_cases, fold=1, hint="plan")
    ),
    "calibration": plain_file(
        CALIBRATION_FILE, CALIBRATION, lambda path: (calibration_of(path.parent, []), read_calibration(path))
    ),
    "predictions": plain_file(RECORDS_FILE, [RECORD, {**RECORD, "status": "failed"}], read_records),
    "metrics": plain_file(METRICS_FILE, [contract_files.EPOCH], read_metrics),
    "software": plain_file(SOFTWARE_FILE, {"starts": [START]}, read_software),
    "evaluation": plain_file("metrics.json", METRICS, read_evaluation),
    "validation": plain_file("summary.json", SUMMARY, read_validation),
    "comparison": plain_file("result.json", asdict(RESULT), read_comparison),
    "comparison's terms": plain_file("terms.json", Terms(Recipe(), 5, True).as_dict(), read_terms),
    "step times": plain_file(STEP_TIMES_FILE, {"seconds": {"nnunet": 0.5}}, read_step_times),
    "fingerprint": plain_file(
        "dataset_fingerprint.json",
        {"shapes_after_crop": [[1, 5, 6]], "spacings": [[1.0, 2.0, 3.0]]},
        read_facts,
    ),
    "debug.json": plain_file("debug.json", {"torch_version": "2", "device": "cpu"}, read_facts),
    "spacing of a TIFF volume": plain_file("a.json", {"spacing": [3.0, 1, 1]}, read_tiff_spacing),
    "conversion": plain_file(REPORT_NAME, CONVERSION.to_dict(), read_conversion),
}


BELIEVED = ("predictions", "metrics", "software", "fingerprint", "debug.json")
"""Records, of which each reader takes what is whole: nothing in them ends a command."""


def check(name: str, folder: Path, number: int | None) -> None:
    document, use = {**MODELS, **FILES}[name](folder)
    use(document)
    changed = mutations(document, number)
    found = outcomes(use, [(str(each), each.of(document)) for each in changed])
    assert found.total() == len(changed)
    assert (found["refused"] > 0) == (name not in BELIEVED)


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, 20)


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODELS, *FILES])
def test_every_value(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, 1000 if name in MODELS else None)
