"""Swin-UMamba: medical image segmentation with an ImageNet-pretrained VMamba encoder, on stock nnU-Net.

Everything below is imported on first use, so that ``import swin_umamba`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME_OF = {
    "BackboneRecord": "swin_umamba.weights.backbone",
    "WeightsRecord": "swin_umamba.weights.backbone",
    "list_backbones": "swin_umamba.models.backbones",
    "register_backbone": "swin_umamba.models.backbones",
    "register_challenge": "swin_umamba.experiments",
    "register_chart": "swin_umamba.report.charts",
    "register_command": "swin_umamba.cli",
    "register_metric": "swin_umamba.metric_table",
    "SwinUMamba": "swin_umamba.models.swin_umamba",
    "SwinUMambaD": "swin_umamba.models.swin_umamba_d",
    "SwinUMambaDD": "swin_umamba.models.swin_umamba_dd",
    "create_model": "swin_umamba.models.registry",
    "list_models": "swin_umamba.models.registry",
    "Predictor": "swin_umamba.inference.predictor",
    "selective_scan": "swin_umamba.ops.selective_scan",
    "ss2d_scan": "swin_umamba.ops.ss2d_scan",
}

__all__ = [
    "BackboneRecord",
    "Predictor",
    "SwinUMamba",
    "SwinUMambaD",
    "SwinUMambaDD",
    "WeightsRecord",
    "__version__",
    "create_model",
    "list_backbones",
    "list_models",
    "register_backbone",
    "register_challenge",
    "register_chart",
    "register_command",
    "register_metric",
    "selective_scan",
    "ss2d_scan",
]

if TYPE_CHECKING:
    from swin_umamba.cli import register_command
    from swin_umamba.experiments import register_challenge
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.metric_table import register_metric
    from swin_umamba.models.backbones import list_backbones, register_backbone
    from swin_umamba.models.registry import create_model, list_models
    from swin_umamba.models.swin_umamba import SwinUMamba
    from swin_umamba.models.swin_umamba_d import SwinUMambaD
    from swin_umamba.models.swin_umamba_dd import SwinUMambaDD
    from swin_umamba.ops.selective_scan import selective_scan
    from swin_umamba.ops.ss2d_scan import ss2d_scan
    from swin_umamba.report.charts import register_chart
    from swin_umamba.weights.backbone import BackboneRecord, WeightsRecord


def __getattr__(name: str) -> Any:
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
