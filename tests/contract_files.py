"""Each file with a contract as 0.1 wrote it, without a number, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from swin_umamba.compare.budget import Budget
from swin_umamba.compare.comparison import Settings, _check_settings
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.results import RunResult, read_cost
from swin_umamba.compare.step_times import STEP_TIMES_FILE, read_step_times
from swin_umamba.data.datasets.conversion import REPORT_NAME, Conversion
from swin_umamba.errors import DataError
from swin_umamba.evaluation.postprocessing import ComponentStep
from swin_umamba.experiments.run import SETTINGS_NAME, _check_root
from swin_umamba.experiments.settings import choose_settings
from swin_umamba.experiments.steps import Experiment
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.finished_blocks import JOB_FILE, FinishedBlocks
from swin_umamba.inference.blocks.job import BlockResult
from swin_umamba.inference.records import RECORDS_FILE, read_records
from swin_umamba.inference.segmentation_files import recorded_volumes
from swin_umamba.nnunet.preprocessed import content_fingerprint
from swin_umamba.nnunet.record.metrics_file import METRICS_FILE
from swin_umamba.nnunet.record.software_file import SOFTWARE_FILE
from swin_umamba.nnunet.record.training_record import OPTIONS_FILE
from swin_umamba.nnunet.training.folds import CROSS_VALIDATION_FILE
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.ops.launch_settings import LaunchSettings, read_settings
from swin_umamba.paper import EXPERIMENTS
from swin_umamba.summary.curves import read_metrics
from swin_umamba.summary.scores import read_results, scores_of_evaluation
from swin_umamba.summary.software import software_of_training
from swin_umamba.summary.training import cross_validation_facts, read_fold
from swin_umamba.trained.calibration_file import CALIBRATION_FILE, FoldCalibration, read_calibration
from swin_umamba.trained.postprocessing_file import POSTPROCESSING_FILE, postprocessing_of, weights_hash

WEIGHTS = {"a": torch.zeros(2)}
TERMS = Settings(Budget(iterations=2), Recipe(), tolerance=1.0)
RUN = Experiment(
    EXPERIMENTS["microscopy"],
    choose_settings(EXPERIMENTS["microscopy"]),
    Path("/cells"),
    Path(),
    "nnUNetTrainerSwinUMambaD",
)


@dataclass(frozen=True)
class ContractFile:
    """A file with a contract.

    Attributes
    ----------
    name
        Name of the file.
    of_first
        Its content as 0.1 wrote it.
    read
        Reads it from its path and returns what it says; raises an error of ours if that is refused, or if the
        reader tells of it and does without.
    expected
        What ``read`` returns.
    of_today
        Its content today, without the number; by default that of 0.1.
    """

    name: str
    of_first: Mapping[str, Any]
    read: Callable[[Path], object]
    expected: object
    of_today: Mapping[str, Any] | None = None

    def write(self, folder: Path, content: Mapping[str, Any]) -> Path:
        """Write a content as 0.1 wrote it, and return the path."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=None if path.suffix == ".jsonl" else 2) + "\n")
        return path

    def now(self, number: object) -> dict[str, Any]:
        """Return the content of today with a number."""
        return {"schema": number, **(self.of_first if self.of_today is None else self.of_today)}


def unless_told(found: object, missing: list[str]) -> object:
    """Return what a reader found, unless it told that something is missing."""
    if missing:
        raise DataError("; ".join(missing))
    return found


def _scores(path: Path) -> object:
    read = scores_of_evaluation(read_results(path), where=path)
    return read.scores.cases, read.failures


def _records(path: Path) -> object:
    records = read_records(path.parent)
    return unless_told(records, [] if records else ["the line is damaged"])


def _cross_validation(path: Path) -> object:
    missing: list[str] = []
    facts = cross_validation_facts(path.parent, missing)
    return unless_told(facts[0].rows if facts else None, missing)


def _software(path: Path) -> object:
    missing: list[str] = []
    tables = software_of_training(path.parent, missing)
    return unless_told(dict(tables[0].rows) if tables else None, missing)


def _options(path: Path) -> object:
    record = read_fold(path.parent, [])
    unless_told(None, [each for each in record.missing if "options" in each])
    return dict(record.facts[0].rows)["seed"]


def _postprocessing(path: Path) -> object:
    return postprocessing_of(path.parent, [path.parent / "fold_0" / "checkpoint_final.pth"], [WEIGHTS])


def _run_settings(path: Path) -> object:

    return _check_root(replace(RUN, root=path.parent))


SCORES = {"dice": 0.5, "nsd": None, "hd95": 3.0}
LEFT_OUT = {"path": "a.txt", "reason": "it is not an image"}
CASES = {"a": {"liver": SCORES}}
REST = {"missing": [], "failed": {"c": "damaged"}, "extra": []}
SEGMENTATION = {
    "segmentation": "a.dcm",
    "type": "binary",
    "slices": 2,
    "frames": 1,
    "segments": [
        {
            "number": 1,
            "name": "liver",
            "category": ["SCT", "123037004", "Anatomical Structure"],
            "type": ["SCT", "10200004", "Liver"],
            "side": None,
            "voxels": 3,
            "volume_ml": 1.5,
            "estimated_dice": None,
        }
    ],
    "empty": [],
    "model": "0" * 64,
    "swin_umamba": "0.2.0",
}
CALIBRATION = {
    "format": "swin-umamba-calibration-1",
    "weights_sha256": "0" * 64,
    "checkpoint": "checkpoint_final.pth",
    "temperature": 1.5,
    "quality_exponent": None,
    "mirroring": True,
    "pixels": 100,
    "reliability": {
        "before": {"expected_calibration_error": 0.25, "counts": [0, 4], "confidence": [None, 0.5]}
    },
    "cases": [{"case": "a", "raw": 0.7, "calibrated": 0.9, "true": 0.8}],
}
COST = {
    "steps": 3,
    "seconds": 2.5,
    "median_step_seconds": 0.5,
    "peak_memory_bytes": None,
    "skipped_steps": 0,
    "device": "cpu",
    "threads": 2,
    "processors": 4,
}
RESULT = {
    "network": "nnunet",
    "seed": 1,
    "cost": {**COST, "prediction_seconds": 1.5},
    "scores": {"a": {"liver": {"dice": 0.5, "hd95": None}}},
}
EPOCH = {
    "epoch": 1,
    "train_loss": 1.0,
    "validation_loss": None,
    "pseudo_dice": 0.5,
    "pseudo_dice_per_class": {"liver": 0.5},
    "ema_pseudo_dice": 0.25,
    "learning_rate": 1e-4,
    "seconds": 10.0,
    "skipped_steps": 2,
    "finished": "2026-01-02T03:04:05.000+00:00",
}
START = {
    "started": "2026-01-01T00:00:00+00:00",
    "first_epoch": 1,
    "versions": {"torch": "2.13.0"},
    "platform": "Linux",
    "device": "Processor",
    "threads": 2,
    "git": None,
}
RECORD = {
    "case": "a",
    "status": "failed",
    "seconds": 2.5,
    "finished": "2026-01-01T00:00:00+00:00",
    "inputs": ["a_0000.nii.gz"],
    "labels": None,
    "error": {"what": "the image is damaged", "cure": "copy it again"},
    "confidence": None,
    "model": "model.safetensors",
    "device": "cpu",
    "swin_umamba": "0.1.0",
    "made_from": None,
    "files": None,
}
RECORD_OF_TODAY = {**RECORD, "error": {"what": "the image is damaged", "hint": "copy it again"}}
STARTED = {"case": "a", "status": "started", "made_from": {"model": "0", "inputs": "1", "options": "2"}}
OPTIONS = TrainingOptions(seed=7, patch_size=(64, 96)).as_dict()
FILES_OF_CASE = {"labelsTr/a.nii.gz": [12, 1_700_000_000_000_000_000, "0" * 64]}
MEANS = {**SCORES, "cases": 1, "not_applicable": 0}
FORM = {"mean": {"dice": 0.5}, "classes": {"liver": {"dice": {"mean": 0.5}}}, "cases": CASES, "remarks": {}}
OBJECTS = {
    "mean": {"f1": 0.5},
    "pooled": {"f1": 0.5},
    "ap_at": {"0.5": 0.5},
    "count_error": 1.0,
    "num_reference": 1,
    "num_prediction": 2,
    "num_missed": 0,
    "num_false": 1,
    "num_split": 0,
    "num_merged": 0,
    "cases": 1,
    "not_applicable": 0,
}
EVALUATION = {
    "tolerance_mm": 2.0,
    "mean": SCORES,
    "classes": {"liver": MEANS},
    "cases": CASES,
    **REST,
    "label_values": {"liver": [1]},
}
PROTOCOL = {
    "protocol": "abdomen-mr",
    "rules": [{"topic": "spacing", "as-published": "1 mm"}],
    "forms": {"corrected": FORM},
    "corrected_minus_as_published": {"dice": 0.0},
    **REST,
}
EVALUATED = {"liver": {"dice": 0.5, "nsd": None, "hd95": 3.0}}
FAILED = (("c", "damaged"),)

WHOLE = Block(0, (0, 1), (0, 40), (0, 30))
FOLDS_DICE = {"mean": 0.5, "deviation": None, "folds": {"0": 0.5}}

BLOCK = {"number": 0, "digest": "0" * 64, "tiles": 4, "seconds": 1.5, "hardware": "x86_64 AVX2, PyTorch 2.13"}
BLOCK_JOB = {
    "identity": "0" * 64,
    "image": "slide.svs",
    "level": 0,
    "region": [[0, 1], [0, 40], [0, 30]],
    "statistics": "tissue",
    "mean": [120.5],
    "deviation": [30.0],
    "background": 0.8,
    "threshold": 200,
    "only_tissue": False,
    "blocks": [[[0, 1], [0, 40], [0, 30]]],
}

READ: dict[str, ContractFile] = {
    "block": ContractFile(
        "000000.json",
        BLOCK,
        lambda path: FinishedBlocks(path.parent).results([WHOLE]),
        [BlockResult(**BLOCK)],
    ),
    "block-job": ContractFile(
        JOB_FILE, BLOCK_JOB, lambda path: FinishedBlocks(path.parent).division("0" * 64), [WHOLE]
    ),
    "calibration": ContractFile(
        CALIBRATION_FILE,
        CALIBRATION,
        lambda path: read_calibration(path)[0],
        FoldCalibration(1.5, None),
        of_today={**CALIBRATION, "decoding": None},
    ),
    "comparison-result": ContractFile("result.json", RESULT, RunResult.read, RunResult(**RESULT)),
    "comparison-settings": ContractFile(
        "settings.json",
        {"data": "/liver", **TERMS.as_dict()},
        lambda path: _check_settings(path, SimpleNamespace(raw_folder=Path("/liver")), TERMS),
        None,
    ),
    "conversion": ContractFile(
        f"Dataset001_Liver/{REPORT_NAME}",
        {
            "dataset": "Dataset001_Liver",
            "num_training": 3,
            "num_test": 1,
            "left_out": [LEFT_OUT],
            "damaged": [],
            "remarks": ["two sizes"],
        },
        lambda path: Conversion.of_folder(path.parent).text().splitlines(),
        [
            "Dataset001_Liver: 3 training and 1 test cases",
            "left out: 1 x it is not an image (a.txt)",
            "note: two sizes",
        ],
    ),
    "cross-validation": ContractFile(
        CROSS_VALIDATION_FILE,
        {"folds": [0], "classes": {"liver": FOLDS_DICE}, "foreground": FOLDS_DICE},
        _cross_validation,
        (("liver", "0.5000 ± none (fold 0: 0.5000)"), ("mean of classes", "0.5000 ± none (fold 0: 0.5000)")),
    ),
    "evaluation": ContractFile("metrics.json", EVALUATION, _scores, None),
    "experiment-settings": ContractFile(
        SETTINGS_NAME,
        {"recipe": "microscopy", "data": "/cells", "convert_options": {}, **RUN.settings.as_dict()},
        _run_settings,
        None,
    ),
    "instance-evaluation": ContractFile(
        "metrics.json",
        {"classes": {"cell": OBJECTS}, "cases": {"a": {"cell": {"f1": 0.5}}}, **REST},
        _scores,
        None,
    ),
    "metrics-line": ContractFile(METRICS_FILE, EPOCH, read_metrics, [EPOCH]),
    "postprocessing": ContractFile(
        POSTPROCESSING_FILE,
        {
            "format": "swin-umamba-postprocessing-1",
            "weights_sha256": {"fold_0": weights_hash(WEIGHTS)},
            "steps": [{"kind": "minimum", "labels": [1, 2], "size": 9.0}],
            "dice": {"before": {"liver": 0.5}, "after": {"liver": None}},
            "num_cases": 3,
        },
        _postprocessing,
        (ComponentStep("minimum", (1, 2), 9.0),),
    ),
    "predictions-line": ContractFile(
        RECORDS_FILE, RECORD, _records, {"a": RECORD_OF_TODAY}, of_today=RECORD_OF_TODAY
    ),
    "launch-settings": ContractFile(
        "card.json",
        {"card": "A card", "triton": "3.7.1", "code": "0" * 64, "settings": {"loop_warps": 2}},
        lambda path: read_settings(path, "A card"),
        LaunchSettings(loop_warps=2),
    ),
    "predictions-line-started": ContractFile(RECORDS_FILE, STARTED, _records, {"a": STARTED}),
    "preprocessed-origin": ContractFile(
        "nnUNetPlans_2d.made_from.json",
        {"plans": "0" * 64, "cases": {"a": FILES_OF_CASE}},
        lambda path: content_fingerprint(path.with_name("nnUNetPlans_2d"), ["a"]),
        None,
    ),
    "protocol-evaluation": ContractFile("metrics.json", PROTOCOL, _scores, None),
    "segmentation": ContractFile(
        "a.seg.json", SEGMENTATION, lambda path: recorded_volumes(path.with_name("a.dcm")), {"liver": 1.5}
    ),
    "software": ContractFile(SOFTWARE_FILE, {"starts": [START]}, _software, None),
    "step-times": ContractFile(
        STEP_TIMES_FILE, {"seconds": {"nnunet": 0.5}}, read_step_times, {"nnunet": 0.5}
    ),
    "training-cost": ContractFile("training_cost.json", COST, read_cost, COST),
    "training-options": ContractFile(f"fold_0/{OPTIONS_FILE}", OPTIONS, _options, "7"),
}

NEVER_READ = {"comparison", "experiment-report", "studies"}
