"""What commands print with ``--json`` and what our files hold, as types; ``docs/schemas/`` is made of them.

A key is a promise: it stays, or the number of the schemas grows and the upgrade notes say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from swin_umamba.cli.doctor import Finding
from swin_umamba.compare.results import RESULT
from swin_umamba.evaluation.postprocessing import ComponentStep
from swin_umamba.evaluation.statistics import ClassStatistics
from swin_umamba.json_files import SCHEMA
from swin_umamba.nnunet.preprocessed import ORIGIN
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.options import stored_rule
from swin_umamba.schema import ValueRule, rule_of

Scores = dict[str, float | None]
"""Metric or count to its value; null where it is not applicable."""


class ErrorDetail(TypedDict):
    """What went wrong, where, and what to do about it."""

    what: str
    where: str | None
    hint: str | None


class Error(TypedDict):
    """What every command prints instead of a result when it fails."""

    error: ErrorDetail


class FoldCalibration(TypedDict):
    """The calibration of one fold."""

    temperature: float
    quality_exponent: float | None
    expected_calibration_error: Scores
    quality: Scores
    cases: list[dict[str, str | float]]
    failed: dict[str, str]
    file: str


class Calibrate(TypedDict):
    """Printed by ``calibrate``."""

    folds: dict[str, FoldCalibration]


class LeftOut(TypedDict):
    """A file or folder that is not in the data set, and why."""

    path: str
    reason: str


class ConversionReport(TypedDict):
    """What a conversion has made."""

    dataset: str
    num_training: int
    num_test: int
    left_out: list[LeftOut]
    damaged: list[LeftOut]
    remarks: list[str]


class Convert(ConversionReport):
    """Printed by ``convert``."""

    folder: str
    preview: str


class Demo(TypedDict):
    """Printed by ``demo``."""

    dice: float
    seconds: float
    sheet: str
    report: str
    metrics: str
    model: str


class Doctor(TypedDict):
    """Printed by ``doctor``."""

    ok: bool
    findings: list[Finding]


class Env(TypedDict):
    """Printed by ``env``."""

    variables: dict[str, str]


class Evaluation(TypedDict):
    """Printed by ``evaluate``, and its ``metrics.json``."""

    tolerance_mm: float
    mean: Scores
    classes: dict[str, Scores]
    cases: dict[str, dict[str, Scores]]
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]


class FormScores(TypedDict):
    """The scores of one form of a protocol."""

    mean: Scores
    classes: dict[str, dict[str, Scores]]
    cases: dict[str, dict[str, Scores]]
    remarks: dict[str, list[str]]


class ProtocolEvaluation(TypedDict):
    """Printed by ``evaluate --protocol``, and its ``metrics.json``."""

    protocol: str
    rules: list[dict[str, str]]
    forms: dict[str, FormScores]
    corrected_minus_as_published: Scores
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]


class InstanceSummary(TypedDict):
    """The scores of the objects of one class."""

    mean: Scores
    pooled: Scores
    ap_at: Scores
    count_error: float | None
    num_reference: int
    num_prediction: int
    cases: int
    not_applicable: int


class InstanceEvaluation(TypedDict):
    """Printed by ``evaluate --instances``, and its ``metrics.json``."""

    classes: dict[str, InstanceSummary]
    cases: dict[str, dict[str, Scores]]
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]


class Export(TypedDict):
    """Printed by ``export``."""

    output: str
    bytes: int
    sha256: str
    checkpoints: list[str]


class NetworkSize(TypedDict):
    """Parameters and multiply-accumulates of a network."""

    name: str
    title: str
    parameters: int
    macs: int


class Models(TypedDict):
    """Printed by ``models``."""

    networks: list[NetworkSize]


class Plan(TypedDict):
    """Printed by ``plan``."""

    dataset: str
    plans_file: str
    preprocessed_folder: str
    num_cases: int
    patch_size: tuple[int, int]
    batch_size: int


class Postprocess(TypedDict):
    """Printed by ``postprocess``."""

    file: str
    folds: list[str]
    num_cases: int
    steps: list[ComponentStep]
    before: Scores
    after: Scores


class Confidence(TypedDict):
    """How sure a prediction is."""

    quality: float | None
    class_quality: Scores
    mean_entropy: float
    num_members: int
    temperature: float
    quality_exponent: float
    calibrated: bool
    quality_calibrated: bool


class PredictedCase(TypedDict):
    """What became of a case."""

    case: str
    inputs: list[str]
    output: str
    status: Literal["written", "kept", "failed"]
    seconds: float
    confidence: Confidence | None
    error: ErrorDetail | None


class Predict(TypedDict):
    """Printed by ``predict``."""

    output: str
    checkpoints: list[str]
    device: str
    labels: dict[str, int | list[int]]
    written: int
    kept: int
    failed: int
    cases: list[PredictedCase]


class Pretrain(TypedDict):
    """Printed by ``pretrain``."""

    backbone: str
    epochs: int
    num_classes: int
    best_top1: float
    last_top1: float | None
    last_top5: float | None


class Preview(TypedDict):
    """Printed by ``preview``."""

    output: str


class Report(TypedDict):
    """Printed by ``report``."""

    output: str
    bytes: int
    cases_shown: list[str]
    failures: dict[str, str]
    missing: list[str]


class DryRun(TypedDict):
    """Printed by ``reproduce --dry-run``."""

    steps: list[str]


class Serve(TypedDict):
    """Printed by ``serve`` once it listens."""

    address: str
    device: str


class Statistics(TypedDict):
    """Printed by ``statistics`` of a label map."""

    unit: Literal["mm3", "mm2", "pixels", "voxels"]
    classes: list[ClassStatistics]


class CaseFailure(TypedDict):
    """A case that could not be measured, and why."""

    case: str
    error: str


class CohortStatistics(TypedDict):
    """Printed by ``statistics`` of a folder."""

    rows: list[dict[str, str | float | None]]
    failures: list[CaseFailure]


class Train(TypedDict):
    """Printed by ``train``."""

    fold_folder: str
    epochs: int
    validation_dice: float | None
    skipped_steps: int


class WeightsConvert(TypedDict):
    """Printed by ``weights convert``."""

    output: str
    loaded: list[str]
    adapted: dict[str, str]
    skipped: dict[str, str]
    missing: list[str]


class WeightsDownload(TypedDict):
    """Printed by ``weights download``."""

    name: str
    file: str
    sha256: str


class WeightsImport(TypedDict):
    """Printed by ``weights import`` of a backbone."""

    name: str
    path: str


class WeightsImportModel(TypedDict):
    """Printed by ``weights import`` of a trained model."""

    output: str
    checkpoint: str
    reason: str
    not_taken: list[str]
    folds: list[str]
    trainer: str
    network: str
    tensors: int
    parameters: int


class WeightsInspect(TypedDict):
    """Printed by ``weights inspect``."""

    file: str
    kind: str
    bytes: int
    sha256: str
    tensors: int
    parameters: int
    facts: dict[str, str]
    fits: dict[str, str]


class WeightsList(TypedDict):
    """Printed by ``weights list``."""

    weights: list[dict[str, Any]]


class ComparedNetwork(TypedDict):
    """A row of a comparison."""

    name: str
    title: str
    seeds: list[int]
    parameters: int
    macs: int
    scores: Scores
    differences: dict[str, dict[str, float | bool] | None]
    step_seconds: float
    seconds: float
    steps: float
    memory_bytes: int | None


class Comparison(TypedDict):
    """Printed by ``compare``, and ``comparison.json``."""

    caption: list[str]
    baseline: str
    rows: list[ComparedNetwork]


class TrainingCost(TypedDict):
    """``cost.json`` of a training of a comparison."""

    steps: int
    seconds: float
    median_step_seconds: float
    peak_memory_bytes: int | None
    skipped_steps: int
    device: str
    threads: int
    processors: int | None


class RecordedError(TypedDict):
    """What went wrong with a case, and what to do about it."""

    what: str
    hint: str | None


class PredictionsLine(TypedDict, total=False):
    """A line of ``predictions.jsonl``: a case that is begun, or what became of it."""

    case: str
    status: Literal["started", "written", "kept", "failed"]
    seconds: float
    finished: str
    inputs: list[str]
    labels: str | None
    error: RecordedError | None
    confidence: Confidence | None
    model: str
    device: str
    swin_umamba: str
    made_from: dict[str, str] | None
    files: dict[str, str] | None


class MetricsLine(TypedDict):
    """A line of ``metrics.jsonl``: what an epoch of a training has measured."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    pseudo_dice: float | None
    pseudo_dice_per_class: Scores
    ema_pseudo_dice: float | None
    learning_rate: float | None
    seconds: float
    skipped_steps: int | None
    finished: str


class GitState(TypedDict):
    """The commit of a checkout, and whether files differ from it."""

    commit: str
    uncommitted_changes: bool


class SoftwareOfStart(TypedDict):
    """What one start of a training ran with."""

    started: str
    first_epoch: int
    versions: dict[str, str | None]
    platform: str
    device: str
    threads: int
    git: GitState | None


class Software(TypedDict):
    """``software.json`` of a training."""

    starts: list[SoftwareOfStart]


class Calibration(TypedDict):
    """``calibration.json`` of a fold."""

    format: str
    weights_sha256: str
    checkpoint: str
    temperature: float
    quality_exponent: float | None
    mirroring: bool
    pixels: int
    reliability: dict[str, dict[str, float | list[float | None] | None]]
    cases: list[dict[str, str | float]]


class Postprocessing(TypedDict):
    """``postprocessing.json`` of a model."""

    format: str
    weights_sha256: dict[str, str]
    steps: list[ComponentStep]
    dice: dict[str, Scores]
    num_cases: int


class ExperimentReport(TypedDict):
    """``report.json`` of ``reproduce``, which prints it too."""

    recipe: str
    trainer: str
    swin_umamba_version: str
    settings: dict[str, Any]
    weights: str | None
    seed: int
    deviations_from_the_paper: list[str]
    data: ConversionReport | None
    test_cases: int
    results: dict[str, Scores]
    classes: dict[str, dict[str, Scores]]
    rules: list[dict[str, str]]
    seconds_in_this_session: dict[str, float]
    files: dict[str, str]


_KINDS: Mapping[str, Any] = {
    "calibrate": Calibrate,
    "calibration": Calibration,
    "comparison": Comparison,
    "comparison-result": RESULT,
    "comparison-settings": dict[str, Any],
    "conversion": ConversionReport,
    "convert": Convert,
    "demo": Demo,
    "doctor": Doctor,
    "env": Env,
    "error": Error,
    "evaluation": Evaluation,
    "experiment-report": ExperimentReport,
    "experiment-settings": dict[str, Any],
    "export": Export,
    "instance-evaluation": InstanceEvaluation,
    "metrics-line": MetricsLine,
    "models": Models,
    "plan": Plan,
    "postprocess": Postprocess,
    "postprocessing": Postprocessing,
    "predict": Predict,
    "predictions-line": PredictionsLine,
    "preprocessed-origin": ORIGIN,
    "pretrain": Pretrain,
    "preview": Preview,
    "protocol-evaluation": ProtocolEvaluation,
    "report": Report,
    "reproduce-dry-run": DryRun,
    "serve": Serve,
    "software": Software,
    "statistics": Statistics,
    "statistics-folder": CohortStatistics,
    "train": Train,
    "training-cost": TrainingCost,
    "training-options": stored_rule(TrainingOptions),
    "weights-convert": WeightsConvert,
    "weights-download": WeightsDownload,
    "weights-import": WeightsImport,
    "weights-import-model": WeightsImportModel,
    "weights-inspect": WeightsInspect,
    "weights-list": WeightsList,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (draft 2020-12) of every contract by its name."""
    return {name: _json_schema(name, kind) for name, kind in _KINDS.items()}


def _json_schema(name: str, kind: Any) -> dict[str, Any]:
    rule = kind if isinstance(kind, ValueRule) else rule_of(kind)
    assert isinstance(rule.as_json, dict), name
    content = rule.as_json
    about = kind.__doc__ if isinstance(kind, type) else None
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **({"description": about} if about else {}),
        **content,
        "properties": {**content.get("properties", {}), "schema": {"const": SCHEMA}},
        "required": ["schema", *content.get("required", [])],
        "additionalProperties": False if "properties" in content else content["additionalProperties"],
    }
