"""What the API answers, as its OpenAPI description shows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from swin_umamba.json_files import SCHEMA

JOB_EXAMPLE: JsonDict = {
    "schema": SCHEMA,
    "id": "kJ0v3h8Yw0Jb6bXhNf5mYyHk2pQmT1aZ",
    "state": "running",
    "name": "case_12.nii.gz",
    "position": 0,
    "progress": 0.42,
    "error": None,
    "result": None,
}
ERROR_EXAMPLE: JsonDict = {
    "schema": SCHEMA,
    "error": {
        "what": "the image has 3 channels, but the model takes 1: grey",
        "where": "photo.png",
        "hint": "convert the image to grey, or give its one channel alone",
    },
}


class Answer(BaseModel):
    """What every answer has."""

    number: Literal[2] = Field(
        default=SCHEMA, serialization_alias="schema", description="number of the schema of this answer"
    )


class ErrorDetail(BaseModel):
    """What is wrong, where, and what to do about it."""

    what: str
    where: str | None = Field(description="the file as the client has called it")
    hint: str | None


class ErrorAnswer(Answer):
    """The answer to every request that fails."""

    model_config = ConfigDict(json_schema_extra={"example": ERROR_EXAMPLE})

    error: ErrorDetail


class Health(Answer):
    """The server runs."""

    status: Literal["ok"] = "ok"


class ModelClass(BaseModel):
    """A class that the model finds."""

    name: str
    value: int = Field(description="its number in the label map")
    members: list[int] = Field(description="all numbers that belong to it; several for a region")
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class ServerLimits(BaseModel):
    """What the server takes and keeps at most."""

    upload_bytes: int
    voxels: int
    queue: int
    kept_seconds: float = Field(description="a result is deleted when nobody has asked for it for so long")


class ModelInfo(Answer):
    """What the server runs."""

    name: str
    trainer: str
    folds: int
    device: str
    channels: list[str]
    classes: list[ModelClass]
    confidence: bool = Field(description="whether results have an estimate of the Dice, and the uncertainty")
    formats: list[str] = Field(description="endings of file names that can be read")
    limits: ServerLimits
    version: str


class ResultClass(BaseModel):
    """How much of the image a class takes."""

    name: str
    value: int
    colour: str
    voxels: int
    percent: float
    millilitres: float | None = Field(description="for volumes whose file has a spacing")
    quality: float | None = Field(description="estimated Dice, with --confidence")


class JobResult(BaseModel):
    """A finished segmentation."""

    shape: list[int] = Field(description="of the image as it is stored, (y, x) or (z, y, x)")
    spacing: list[float] | None = Field(description="in mm, in the same order")
    slices: int = Field(description="of the image as it is shown: in radiological convention")
    width: int = Field(description="of a slice as it is shown, in pixels")
    plane: Literal["axial", "coronal", "sagittal"] | None = Field(
        description="what the slices show; null without orientation, which leaves the order of the file"
    )
    edges: list[str] = Field(
        description="letters of the left, right, top and bottom of slices; empty without orientation"
    )
    start: int = Field(description="the slice that shows most")
    views: list[str] = Field(description="what can be shown under the labels")
    classes: list[ResultClass]
    quality: float | None = Field(description="estimated mean Dice, with --confidence")
    calibrated: bool | None = Field(description="whether the uncertainty is calibrated, with --confidence")
    quality_calibrated: bool | None = Field(
        description="whether the estimated Dice is calibrated, with --confidence"
    )
    seconds: float
    download: str = Field(description="name of the label map")


class JobStatus(Answer):
    """Where a job stands."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})

    id: str
    state: Literal["queued", "running", "done", "failed"]
    name: str
    position: int = Field(description="how many jobs are before it")
    progress: float = Field(ge=0, le=1)
    error: ErrorDetail | None
    result: JobResult | None


class SliceLayer(BaseModel):
    """A class in a slice, as SVG path data in pixels of the picture."""

    value: int
    fill: str
    outline: str


class SliceAnswer(Answer):
    """A slice to look at. Large ones are scaled down, labels to the nearest pixel."""

    index: int
    width: int
    height: int
    aspect: float = Field(description="height of a pixel divided by its width")
    picture: str = Field(description="data URI")
    layers: list[SliceLayer]
    uncertainty: str | None = Field(description="data URI of a layer over the picture, with --confidence")
