"""The segments in 3D Slicer's ``.seg.nrrd`` files: each with its number, layer and name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swin_umamba.data.image import Image
from swin_umamba.errors import DataError

_KEY = re.compile(r"Segment(\d{1,6})_(LabelValue|Layer|Name)")
_HINT = "open it in 3D Slicer, correct the segments, and export them as a binary label map (.nrrd or .nii.gz)"
_NAMED_VALUES = 5


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes
    ----------
    value
        Number of its voxels (``LabelValue``), which is not its position among the segments.
    layer
        Index of its layer among the overlapping label maps in the file.
    name
        Name shown to users.
    is_named
        Whether the file gives the name; otherwise it is derived from the position.
    """

    value: int
    layer: int
    name: str
    is_named: bool


def read_segments(path: Path, keys: Mapping[str, str], num_layers: int) -> tuple[Segment, ...]:
    """Return the segments described by the keys of an NRRD header; none for other files.

    Files from Slicer before 4.11 name neither values nor layers: there, a segment is 1 in a layer of its own.

    Raises
    ------
    DataError
        A value or layer is impossible, or two segments have the same value.
    """
    found: dict[int, dict[str, str]] = {}
    for key, text in keys.items():
        if match := _KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = text
    segments = []
    for number, parts in sorted(found.items()):
        value = parts.get("LabelValue", "1").strip()
        layer = parts.get("Layer", str(number) if num_layers > 1 else "0").strip()
        if not (re.fullmatch("[0-9]{1,9}", value) and re.fullmatch("[0-9]{1,9}", layer)):
            raise _wrong(path, f"segment {number} has the label value {value!r} and the layer {layer!r}")
        name = parts.get("Name", "").strip()
        segments.append(Segment(int(value), int(layer), name or f"segment {number}", bool(name)))
        if int(value) == 0 or int(layer) >= num_layers:
            raise _wrong(
                path,
                f"segment {segments[-1].name!r} has the label value {value} in layer {layer} of {num_layers}",
            )
    return tuple(segments)


def merge_layers(path: Path, layers: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Return one label map that combines all layers.

    Parameters
    ----------
    path
        Path of the file, for messages.
    layers
        ``(layers, ...)``.
    segments
        Segments to which their values belong.

    Returns
    -------
    numpy.ndarray
        ``(1, ...)``; the label values of the file, unchanged.

    Raises
    ------
    DataError
        Segments overlap or share a value, so one map cannot tell them apart; or voxels have a value that
        belongs to no segment.
    """
    names: dict[int, str] = {}
    for segment in segments:
        if segment.value in names:
            raise _wrong(
                path,
                f"the segments {names[segment.value]!r} and {segment.name!r} have the same label value "
                f"{segment.value}",
            )
        names[segment.value] = segment.name
    merged = np.zeros_like(layers[0])
    for number, layer in enumerate(layers):
        known = [0, *(segment.value for segment in segments if segment.layer == number)]
        unknown = np.setdiff1d(layer, known)
        if unknown.size:
            raise _wrong(
                path,
                f"voxels have values that belong to no segment: {unknown[:_NAMED_VALUES].tolist()}"
                + ("" if len(layers) == 1 else f" in layer {number}"),
            )
        overlapping = (merged != 0) & (layer != 0)
        if overlapping.any():
            first = tuple(np.argwhere(overlapping)[0])
            raise _wrong(
                path,
                f"segments overlap in {np.count_nonzero(overlapping)} voxels (first "
                f"{names[int(merged[first])]!r} and {names[int(layer[first])]!r}); a label map has one class "
                "a voxel",
            )
        merged = np.maximum(merged, layer)
    channel: np.ndarray = merged[None]
    return channel


class SegmentNames:
    """Names that the segmentations of a data set give their values."""

    def __init__(self) -> None:
        # Keys are the value and the name in any case; each maps to the name and the first file that has both.
        self._found: dict[tuple[int, str], tuple[str, Path]] = {}

    def add(self, labels: Image) -> None:
        """Record the names in a label map, if it has any."""
        for value, name in (labels.label_names or {}).items():
            self._found.setdefault((value, name.strip().casefold()), (name.strip(), labels.path))

    def agreed(self) -> dict[int, str]:
        """Return the name of each value.

        Raises
        ------
        DataError
            Two files give a value different names, or a name different values.
        """
        values: dict[int, tuple[int, str, Path]] = {}
        names: dict[str, tuple[int, str, Path]] = {}
        for (value, key), (name, path) in self._found.items():
            this = (value, name, path)
            for number, other, where in (values.setdefault(value, this), names.setdefault(key, this)):
                if (number, other.casefold()) != (value, key):
                    raise DataError(
                        f"{name!r} has the value {value} here, and {other!r} {number} in {where.name}",
                        where=path,
                        hint="export the segmentations with the same values for all cases; if their names "
                        "mean nothing, give --classes",
                    )
        return {value: name for value, name, _ in values.values() if name.casefold() != "background"}

    def check(self, classes: Mapping[str, Sequence[int]]) -> None:
        """Refuse a file that has one of these classes, by name, under another value."""
        known = {name.strip().casefold(): values for name, values in classes.items()}
        for (value, key), (name, path) in self._found.items():
            if value not in known.get(key, [value]):
                raise DataError(
                    f"{name!r} has the value {value} in this file, not {' or '.join(map(str, known[key]))}",
                    where=path,
                    hint="give the classes the same values in all files",
                )


def check_label_names(labels: Image, classes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a label map that has one of these classes, by name, under another value."""
    names = SegmentNames()
    names.add(labels)
    names.check(classes)


def _wrong(path: Path, what: str) -> DataError:
    return DataError(what, where=path, hint=_HINT)


def segment_keys(labels: np.ndarray) -> dict[str, str]:
    """Return the keys that make Slicer show the classes of a label map (y, x) or (z, y, x) as segments."""
    keys: dict[str, str] = {}
    extent = " ".join(
        f"0 {size - 1}" for size in (labels.shape if labels.ndim == 3 else (1, *labels.shape))[::-1]
    )
    for number, value in enumerate(value for value in np.unique(labels).tolist() if value):
        start = f"Segment{number}_"
        keys |= {
            f"{start}ID": f"Segment_{value}",
            f"{start}Name": f"label {value}",
            f"{start}Extent": extent,
            f"{start}LabelValue": str(value),
            f"{start}Layer": "0",
        }
    return keys
