"""What commands print with ``--json`` and what our files hold, as types; ``docs/schemas/`` is made of them.

A key is a promise: it stays, or the number of the schemas grows and the upgrade notes say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from swin_umamba.compare.results import RESULT, TrainingCost
from swin_umamba.compare.step_times import STEP_TIMES
from swin_umamba.contracts import files, printed, studies
from swin_umamba.json_files import SCHEMA
from swin_umamba.nnunet.preprocessed import ORIGIN_PARTS
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.ops.launch_settings import LAUNCH_PARTS
from swin_umamba.options import declared_options
from swin_umamba.schema import ValueRule, anything, listed, rule_of, table
from swin_umamba.weights.backbone import WeightsRecord

_LISTED_WEIGHTS = get_type_hints(WeightsRecord) | get_type_hints(printed.ListedWeightsJson)
_LISTED = table({name: rule_of(kind) for name, kind in _LISTED_WEIGHTS.items()}, others=anything)

_KINDS: Mapping[str, Any] = {
    "block": files.BlockJson,
    "block-job": files.BlockJobJson,
    "calibrate": printed.CalibrateJson,
    "calibration": files.CalibrationJson,
    "comparison": files.ComparisonJson,
    "comparison-result": RESULT,
    "comparison-settings": files.ComparisonSettingsJson,
    "conversion": files.ConversionReportJson,
    "convert": printed.ConvertJson,
    "cross-validation": files.CrossValidationJson,
    "demo": printed.DemoJson,
    "doctor": printed.DoctorJson,
    "env": printed.EnvJson,
    "error": printed.ErrorJson,
    "evaluation": files.EvaluationJson,
    "experiment-report": files.ExperimentReportJson,
    "experiment-settings": files.ExperimentSettingsJson,
    "export": printed.ExportJson,
    "instance-evaluation": files.InstanceEvaluationJson,
    "launch-settings": table(LAUNCH_PARTS),
    "metrics-line": files.MetricsLineJson,
    "models": printed.ModelsJson,
    "plan": printed.PlanJson,
    "postprocess": printed.PostprocessJson,
    "postprocessing": files.PostprocessingJson,
    "predict": printed.PredictJson,
    "predictions-line": files.PredictionsLineJson,
    "predictions-line-started": files.StartedCaseJson,
    "preprocessed-origin": table(ORIGIN_PARTS),
    "pretrain": printed.PretrainJson,
    "preview": printed.PreviewJson,
    "protocol-evaluation": files.ProtocolEvaluationJson,
    "report": printed.ReportJson,
    "reproduce-dry-run": printed.DryRunJson,
    "segmentation": files.SegmentationJson,
    "serve": printed.ServeJson,
    "software": files.SoftwareJson,
    "step-times": STEP_TIMES,
    "statistics": printed.StatisticsJson,
    "statistics-folder": printed.CohortStatisticsJson,
    "studies": studies.StudiesJson,
    "train": printed.TrainJson,
    "train-folds": printed.TrainFoldsJson,
    "training-cost": TrainingCost,
    "training-options": table({each.name: each.stored_as for each in declared_options(TrainingOptions)}),
    "weights-convert": printed.WeightsConvertJson,
    "weights-download": printed.WeightsDownloadJson,
    "weights-import": printed.WeightsImportJson,
    "weights-import-model": printed.WeightsImportModelJson,
    "weights-inspect": printed.WeightsInspectJson,
    "weights-list": table({"weights": listed(_LISTED)}),
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
