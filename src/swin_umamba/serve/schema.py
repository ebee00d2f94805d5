"""Answers of the API, as in its OpenAPI description."""

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
    """Base of every answer."""

    number: Literal[2] = Field(
        default=SCHEMA, serialization_alias="schema", description="number of the schema of this answer"
    )


class ErrorDetail(BaseModel):
    """The problem, its place, and what to do about it."""

    what: str
    where: str | None = Field(description="name of the file as the client gave it")
    hint: str | None


class ErrorAnswer(Answer):
    """The answer to every request that fails."""

    model_config = ConfigDict(json_schema_extra={"example": ERROR_EXAMPLE})

    error: ErrorDetail


class Health(Answer):
    """The server is running."""

    status: Literal["ok"] = "ok"


class ModelClass(BaseModel):
    """A class of the model."""

    name: str
    value: int = Field(description="value of the class in the label map")
    members: list[int] = Field(description="all values that belong to the class; several for a region")
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class ServerLimits(BaseModel):
    """Limits on what the server accepts and keeps."""

    upload_bytes: int
    voxels: int
    queue: int
    kept_seconds: float = Field(description="time without a request after which a result is deleted")


class ModelInfo(Answer):
    """The model of the server."""

    name: str
    trainer: str
    folds: int
    device: str
    channels: list[str]
    classes: list[ModelClass]
    confidence: bool = Field(description="whether results have an estimated Dice and an uncertainty")
    objects: Literal["found", "on request", "none"] = Field(
        description="whether the objects of an image (cells, lesions) are found and measured: always, with "
        "?instances=1, or never, since classes of the model overlap"
    )
    formats: list[str] = Field(description="endings of file names that can be read")
    limits: ServerLimits
    version: str


class ResultClass(BaseModel):
    """Share of a class in the image."""

    name: str
    value: int
    colour: str
    voxels: int
    percent: float
    millilitres: float | None = Field(description="for volumes whose file has a spacing")
    quality: float | None = Field(description="estimated Dice, with --confidence")
    objects: int | None = Field(
        description="number of objects; null without them, and for the boundary between them"
    )


class ResultObjects(BaseModel):
    """The objects of the image: cells, nuclei, lesions."""

    count: int
    instances: str = Field(description="file name of the instance map: each pixel has its object's number")
    table: str = Field(description="file name of objects.csv: a line for each object")
    outlines: str | None = Field(description="file name of objects.geojson; for pictures only")


class JobResult(BaseModel):
    """A finished segmentation."""

    shape: list[int] = Field(description="shape of the image as it is stored, (y, x) or (z, y, x)")
    spacing: list[float] | None = Field(description="spacing in mm, in the same order")
    slices: int = Field(description="number of slices as displayed, in radiological convention")
    width: int = Field(description="width of a displayed slice, in pixels")
    plane: Literal["axial", "coronal", "sagittal"] | None = Field(
        description="plane of the slices; null if the file has no orientation, and its order is kept"
    )
    edges: list[str] = Field(
        description="letters at the left, right, top and bottom of slices; empty without orientation"
    )
    start: int = Field(description="slice with the most labels, else the most contrast")
    views: list[str] = Field(description="names of the images that can be shown under the labels")
    classes: list[ResultClass]
    quality: float | None = Field(description="estimated mean Dice, with --confidence")
    calibrated: bool | None = Field(description="whether the uncertainty is calibrated, with --confidence")
    quality_calibrated: bool | None = Field(
        description="whether the estimated Dice is calibrated, with --confidence"
    )
    objects: ResultObjects | None = Field(description="null if they were not asked for")
    seconds: float
    download: str = Field(description="name of the label map")


class JobStatus(Answer):
    """Status of a job."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})

    id: str
    state: Literal["queued", "running", "done", "failed"]
    name: str
    position: int = Field(description="number of jobs ahead of it")
    progress: float = Field(ge=0, le=1)
    error: ErrorDetail | None
    result: JobResult | None


class SliceLayer(BaseModel):
    """A class in a slice, as SVG path data in pixels of the picture."""

    value: int
    fill: str
    outline: str


class SliceObjects(BaseModel):
    """The objects in a slice."""

    fill: str = Field(description="data URI of an overlay with one colour an object")
    outline: str = Field(description="SVG path data of all outlines, in pixels of the picture")


class SliceAnswer(Answer):
    """A slice for display. Large slices are scaled down, labels by nearest neighbour."""

    index: int
    width: int
    height: int
    aspect: float = Field(description="height of a pixel divided by its width")
    picture: str = Field(description="data URI")
    layers: list[SliceLayer]
    uncertainty: str | None = Field(description="data URI of an overlay, with --confidence")
    objects: SliceObjects | None = Field(description="instead of the layers, with ?show=objects")
