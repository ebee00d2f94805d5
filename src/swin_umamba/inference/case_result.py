"""What became of a case of a folder."""

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
    """What became of one case.

    Attributes
    ----------
    case
        Its name.
    files
        Its image files.
    output
        The label file.
    status
        ``written``; ``kept``, if the label file was there before; or ``failed``.
    seconds
        Time taken.
    error
        Why it failed.
    confidence
        How sure the prediction is, without the entropy of its pixels: ``quality``, ``class_quality``,
        ``mean_entropy``, ``num_members``, ``temperature``, ``calibrated``. None if it was not asked for.
    """

    case: str
    files: tuple[Path, ...]
    output: Path
    status: Literal["written", "kept", "failed"]
    seconds: float = 0.0
    error: SwinUMambaError | None = None
    confidence: Mapping[str, Any] | None = None


def summary_of(confidence: Confidence) -> dict[str, Any]:
    """Return what is worth keeping of a confidence without the entropy of its pixels."""
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
