"""What ``doctor --json`` prints, as types."""

from __future__ import annotations

from typing import Literal, TypedDict


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
