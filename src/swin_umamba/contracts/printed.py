"""What commands print with ``--json``, as types."""

from __future__ import annotations

from typing import Literal, TypedDict

from swin_umamba.contracts.files import (
    ConfidenceJson,
    ConversionReportJson,
    CrossValidationJson,
    DecodingJson,
    DecodingScoreJson,
    Scores,
)
from swin_umamba.evaluation.postprocessing import ComponentStep
from swin_umamba.evaluation.results import CaseFailure
from swin_umamba.evaluation.statistics import ClassStatistics


class ErrorDetailJson(TypedDict):
    """What went wrong, where, and what to do about it."""

    what: str
    where: str | None
    hint: str | None


class ErrorJson(TypedDict):
    """What every command prints instead of a result when it fails."""

    error: ErrorDetailJson


class FoldCalibrationJson(TypedDict):
    """The calibration of one fold."""

    temperature: float
    quality_exponent: float | None
    decoding: DecodingJson | None
    decodings: list[DecodingScoreJson]
    expected_calibration_error: Scores
    quality: Scores
    cases: list[dict[str, str | float]]
    failed: dict[str, str]
    file: str


class CalibrateJson(TypedDict):
    """Printed by ``calibrate``."""

    folds: dict[str, FoldCalibrationJson]


class ConvertJson(ConversionReportJson):
    """Printed by ``convert``."""

    folder: str
    preview: str


class DemoJson(TypedDict):
    """Printed by ``demo``."""

    dice: float
    num_objects: int
    num_true_objects: int
    f1: float | None
    seconds: float
    sheet: str
    report: str
    metrics: str
    object_metrics: str
    model: str


class FindingJson(TypedDict):
    """What one check found, and what to do about it."""

    name: str
    status: Literal["ok", "warning", "error"]
    detail: str
    hint: str | None


class FormatJson(TypedDict):
    """What a format of images can do.

    ``writes``: label maps and images can be written, not only read; ``label_suffix`` is that of the label map
    of an image of this format.
    """

    name: str
    suffixes: list[str]
    writes: bool
    holds_labels: bool
    has_geometry: bool
    label_suffix: str


class ExtraJson(TypedDict):
    """An extra of the package, and which of its packages are missing."""

    purpose: str
    installed: bool
    missing: list[str]


class LimitsJson(TypedDict):
    """What inputs may not exceed; ``picture_pixels`` is what is read whole, larger ones by region."""

    image_voxels: int
    picture_pixels: int
    label_value: int
    json_bytes: int
    network_smallest_side: int


class DoctorJson(TypedDict):
    """Printed by ``doctor``."""

    ok: bool
    findings: list[FindingJson]
    formats: list[FormatJson]
    extras: dict[str, ExtraJson]
    limits: LimitsJson


class EnvJson(TypedDict):
    """Printed by ``env``."""

    variables: dict[str, str]


class ExportJson(TypedDict):
    """Printed by ``export``."""

    output: str
    bytes: int
    sha256: str
    checkpoints: list[str]


class NetworkSizeJson(TypedDict):
    """Parameters and multiply-accumulates of a network; its cost on this machine, if it was measured."""

    name: str
    title: str
    parameters: int
    macs: int
    inference_seconds: float | None
    step_seconds: float | None
    memory_bytes: int | None


class ModelsJson(TypedDict):
    """Printed by ``models``."""

    networks: list[NetworkSizeJson]


class PlanJson(TypedDict):
    """Printed by ``plan``."""

    dataset: str
    plans_file: str
    preprocessed_folder: str
    num_cases: int
    patch_size: tuple[int, int]
    batch_size: int


class PostprocessJson(TypedDict):
    """Printed by ``postprocess``."""

    file: str
    folds: list[str]
    num_cases: int
    steps: list[ComponentStep]
    before: Scores
    after: Scores


class PredictedCaseJson(TypedDict):
    """What became of a case."""

    case: str
    inputs: list[str]
    output: str
    status: Literal["written", "kept", "begun", "failed"]
    seconds: float
    confidence: ConfidenceJson | None
    error: ErrorDetailJson | None


class PredictJson(TypedDict):
    """Printed by ``predict``."""

    output: str
    checkpoints: list[str]
    device: str
    labels: dict[str, int | list[int]]
    written: int
    kept: int
    begun: int
    failed: int
    cases: list[PredictedCaseJson]


class PretrainJson(TypedDict):
    """Printed by ``pretrain``."""

    backbone: str
    epochs: int
    num_classes: int
    best_top1: float
    last_top1: float | None
    last_top5: float | None


class PreviewJson(TypedDict):
    """Printed by ``preview``."""

    output: str


class ReportJson(TypedDict):
    """Printed by ``report``."""

    output: str
    bytes: int
    cases_shown: list[str]
    failures: dict[str, str]
    missing: list[str]


class DryRunJson(TypedDict):
    """Printed by ``reproduce --dry-run``."""

    steps: list[str]


class ServeJson(TypedDict):
    """Printed by ``serve`` once it listens."""

    address: str
    device: str


class StatisticsJson(TypedDict):
    """Printed by ``statistics`` of a label map."""

    unit: Literal["mm3", "mm2", "pixels", "voxels"]
    classes: list[ClassStatistics]


class CohortStatisticsJson(TypedDict):
    """Printed by ``statistics`` of a folder."""

    rows: list[dict[str, str | float | None]]
    failures: list[CaseFailure]


class TrainJson(TypedDict):
    """Printed by ``train``."""

    fold_folder: str
    epochs: int
    validation_dice: float | None
    skipped_steps: int


class TrainFoldsJson(TypedDict):
    """Printed by ``train`` for several folds."""

    trained: list[TrainJson]
    cross_validation: CrossValidationJson


class WeightsConvertJson(TypedDict):
    """Printed by ``weights convert``."""

    output: str
    loaded: list[str]
    adapted: dict[str, str]
    skipped: dict[str, str]
    missing: list[str]


class WeightsDownloadJson(TypedDict):
    """Printed by ``weights download``."""

    name: str
    file: str
    sha256: str


class WeightsImportJson(TypedDict):
    """Printed by ``weights import`` of a backbone."""

    name: str
    path: str


class WeightsImportModelJson(TypedDict):
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


class WeightsInspectJson(TypedDict):
    """Printed by ``weights inspect``."""

    file: str
    kind: str
    backbone: str | None
    bytes: int
    sha256: str
    tensors: int
    parameters: int
    facts: dict[str, str]
    fits: dict[str, str]


class ListedWeightsJson(TypedDict):
    """What is printed of a ``WeightsRecord`` besides its fields; other keys are arguments of its backbone."""

    backbone: str
    features_per_stage: list[int]
    file: str
    in_cache: bool
