"""Outcome of one case of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swin_umamba.errors import SwinUMambaError

if TYPE_CHECKING:
    from swin_umamba.confidence.estimate import Confidence


@dataclass(frozen=True)
class CaseResult:
    """Outcome of one case.

    Attributes
    ----------
    case
        Name of the case.
    files
        Image files of the case.
    output
        The label file.
    status
        ``written``; ``kept``, if the label file already existed; ``failed``; or ``begun``, if other parts
        have not finished their blocks of a large image.
    seconds
        Time taken, in seconds.
    error
        Reason for a failure.
    confidence
        Confidence of the prediction, without the entropy of its pixels: ``quality``, ``class_quality``,
        ``mean_entropy``, ``num_members``, ``temperature``, ``calibrated``. None if not asked for.
    """

    case: str
    files: tuple[Path, ...]
    output: Path
    status: Literal["written", "kept", "begun", "failed"]
    seconds: float = 0.0
    error: SwinUMambaError | None = None
    confidence: Mapping[str, Any] | None = None


def summary_of(confidence: Confidence) -> dict[str, Any]:
    """Return the parts of a confidence worth keeping, without the entropy of its pixels."""
    return {
        "quality": confidence.quality,
        "class_quality": dict(confidence.class_quality),
        "mean_entropy": float(confidence.entropy.mean()),
        "num_members": confidence.num_members,
        "temperature": confidence.temperature,
        "quality_exponent": confidence.quality_exponent,
        "calibrated": confidence.calibrated,
        "quality_calibrated": confidence.quality_calibrated,
    }
