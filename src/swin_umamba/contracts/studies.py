"""What the manifest of a tree of DICOM studies holds, as types."""

from __future__ import annotations

from typing import Literal, TypedDict

from swin_umamba.contracts.files import Scores


class SeriesOfStudiesJson(TypedDict):
    """A series of a tree of DICOM studies, and what became of it."""

    case: str
    status: Literal["chosen", "written", "kept", "begun", "failed", "left_out"]
    reason: str | None
    hint: str | None
    result: str | None
    patient: int
    study: int
    study_uid: str | None
    series_uid: str | None
    number: str | None
    modality: str | None
    description: str | None
    images: int
    plane: Literal["axial", "coronal", "sagittal", "oblique", "several", "unknown"]
    folder: str | None
    volumes_ml: dict[str, float] | None
    estimated_dice: float | None
    class_estimated_dice: Scores | None


class StudiesProblemJson(TypedDict):
    """A file of a tree of studies that belongs to no series, and what is wrong with it."""

    path: str | None
    reason: str
    hint: str | None


class StudiesJson(TypedDict):
    """``studies.json`` of a prediction of a tree of DICOM studies; printed by ``predict --dry-run``."""

    input: str
    patients: int
    studies: int
    series: list[SeriesOfStudiesJson]
    other_files: dict[str, int]
    problems: list[StudiesProblemJson]
    model: str | None
    swin_umamba: str
