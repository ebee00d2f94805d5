"""What our files hold, as types."""

from __future__ import annotations

from typing import Literal, TypedDict

from swin_umamba.compare.budget import Budget
from swin_umamba.compare.recipe import Recipe
from swin_umamba.data.datasets.conversion import LeftOut
from swin_umamba.evaluation.postprocessing import ComponentStep
from swin_umamba.experiments.settings import RunSettings
from swin_umamba.nnunet.record.software_file import SoftwareOfStart

Scores = dict[str, float | None]
"""Metric or count to its value; null where it is not applicable."""


class ConversionReportJson(TypedDict):
    """What a conversion has made."""

    dataset: str
    num_training: int
    num_test: int
    left_out: list[LeftOut]
    damaged: list[LeftOut]
    remarks: list[str]


class EvaluationJson(TypedDict):
    """Printed by ``evaluate``, and its ``metrics.json``."""

    tolerance_mm: float
    mean: Scores
    classes: dict[str, Scores]
    cases: dict[str, dict[str, Scores]]
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]
    label_values: dict[str, list[int]]


class FormScoresJson(TypedDict):
    """The scores of one form of a protocol."""

    mean: Scores
    classes: dict[str, dict[str, Scores]]
    cases: dict[str, dict[str, Scores]]
    remarks: dict[str, list[str]]


class ProtocolEvaluationJson(TypedDict):
    """Printed by ``evaluate --protocol``, and its ``metrics.json``."""

    protocol: str
    rules: list[dict[str, str]]
    forms: dict[str, FormScoresJson]
    corrected_minus_as_published: Scores
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]


class InstanceSummaryJson(TypedDict):
    """The scores of the objects of one class."""

    mean: Scores
    pooled: Scores
    ap_at: Scores
    count_error: float | None
    num_reference: int
    num_prediction: int
    num_missed: int
    num_false: int
    num_split: int
    num_merged: int
    cases: int
    not_applicable: int


class InstanceEvaluationJson(TypedDict):
    """Printed by ``evaluate --instances``, and its ``metrics.json``."""

    classes: dict[str, InstanceSummaryJson]
    cases: dict[str, dict[str, Scores]]
    missing: list[str]
    failed: dict[str, str]
    extra: list[str]


class ConfidenceJson(TypedDict):
    """How sure a prediction is."""

    quality: float | None
    class_quality: Scores
    mean_entropy: float
    num_members: int
    temperature: float
    quality_exponent: float
    calibrated: bool
    quality_calibrated: bool


class ComparedNetworkJson(TypedDict):
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
    prediction_seconds: float | None
    memory_bytes: int | None


class ComparisonSettingsJson(TypedDict):
    """``settings.json`` of a comparison: the terms of all of its trainings."""

    data: str
    budget: Budget
    recipe: Recipe | None
    fold: int | str | None
    patch_size: tuple[int, int] | None
    batch_size: int | None
    protocol: str | None
    references: str | None
    tolerance: float
    pretrained: str | dict[str, str] | None
    workers: int
    device: str


class ComparisonJson(TypedDict):
    """Printed by ``compare``, and ``comparison.json``."""

    caption: list[str]
    baseline: str
    rows: list[ComparedNetworkJson]


class RecordedErrorJson(TypedDict):
    """What went wrong with a case, and what to do about it."""

    what: str
    hint: str | None


class StartedCaseJson(TypedDict):
    """A line of ``predictions.jsonl`` while a case is predicted."""

    case: str
    status: Literal["started"]
    made_from: dict[str, str] | None


class PredictionsLineJson(TypedDict):
    """A line of ``predictions.jsonl``: what became of a case."""

    case: str
    status: Literal["written", "failed"]
    seconds: float
    finished: str
    inputs: list[str]
    labels: str | None
    error: RecordedErrorJson | None
    confidence: ConfidenceJson | None
    model: str
    device: str
    swin_umamba: str
    made_from: dict[str, str] | None
    files: dict[str, str] | None


class SegmentJson(TypedDict):
    """A segment of a DICOM segmentation; codes are their scheme, value and meaning."""

    number: int
    name: str
    category: list[str]
    type: list[str]
    side: list[str] | None
    voxels: int
    volume_ml: float | None
    estimated_dice: float | None


class SegmentationJson(TypedDict):
    """File ``CASE.seg.json`` beside a DICOM segmentation."""

    segmentation: str
    type: Literal["binary", "labelmap", "fractional"]
    slices: int
    frames: int
    segments: list[SegmentJson]
    empty: list[str]
    model: str
    swin_umamba: str


class MetricsLineJson(TypedDict):
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


class SoftwareJson(TypedDict):
    """``software.json`` of a training."""

    starts: list[SoftwareOfStart]


class DecodingJson(TypedDict):
    """How objects are made of classes."""

    split_distance: int | None
    outer_rim: int


class DecodingScoreJson(DecodingJson):
    """How well that finds the objects of the validation cases."""

    f1: float


class CalibrationDetailsJson(TypedDict, total=False):
    """What a calibration remembers for reports."""

    mirroring: bool
    pixels: int
    reliability: dict[str, dict[str, float | list[float | None] | None]]
    cases: list[dict[str, str | float]]
    decodings: list[DecodingScoreJson]


class CalibrationJson(CalibrationDetailsJson):
    """``calibration.json`` of a fold."""

    format: str
    weights_sha256: str
    checkpoint: str
    temperature: float
    quality_exponent: float | None
    decoding: DecodingJson | None


class PostprocessingJson(TypedDict):
    """``postprocessing.json`` of a model."""

    format: str
    weights_sha256: dict[str, str]
    steps: list[ComponentStep]
    dice: dict[str, Scores]
    num_cases: int


class ExperimentSettingsJson(TypedDict):
    """``reproduce.json``: what all trainings of an experiment have in common."""

    recipe: str
    data: str
    convert_options: dict[str, str]
    epochs: int
    iterations_per_epoch: int
    validation_iterations: int
    patch_size: tuple[int, int]
    batch_size: int
    frozen_epochs: int
    schedule: str


class FoldsDiceJson(TypedDict):
    """Dice of a class: mean, standard deviation (n - 1), and each fold; null where undefined."""

    mean: float | None
    deviation: float | None
    folds: dict[str, float | None]


class CrossValidationJson(TypedDict):
    """File ``cross_validation.json`` of a model whose folds were trained by one command."""

    folds: list[int]
    classes: dict[str, FoldsDiceJson]
    foreground: FoldsDiceJson


class BlockJobJson(TypedDict):
    """File ``blocks/NAME/job.json``: an image that is predicted in blocks, and how it is normalized."""

    identity: str
    image: str
    level: int
    region: list[list[int]]
    statistics: Literal["image", "tissue", "field"]
    mean: list[float]
    deviation: list[float]
    background: float | None
    threshold: int | None
    only_tissue: bool
    blocks: list[list[list[int]]]


class BlockJson(TypedDict):
    """File ``blocks/NAME/NUMBER.json``: a block that is written."""

    number: int
    digest: str
    tiles: int
    seconds: float
    hardware: str


class ExperimentReportJson(TypedDict):
    """``report.json`` of ``reproduce``, which prints it too."""

    recipe: str
    trainer: str
    swin_umamba_version: str
    settings: RunSettings
    weights: str | None
    seed: int | None
    deviations_from_the_paper: list[str]
    data: ConversionReportJson | None
    test_cases: int
    results: dict[str, Scores]
    classes: dict[str, dict[str, Scores]]
    rules: list[dict[str, str]]
    seconds_in_this_session: dict[str, float]
    files: dict[str, str]
