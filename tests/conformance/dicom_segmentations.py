"""DICOM segmentations written byte by byte, for tests: nothing here parses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conformance.dicom_files import Elements, Slice, Stored, file_bytes, placed

SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
BITS = {"BINARY": 1, "FRACTIONAL": 8, "LABELMAP": 8}


def segmentation(
    frames: Sequence[tuple[int, Slice]],
    names: Mapping[int, str],
    kind: str = "BINARY",
    step: float | None = 2.5,
    more: Elements | None = None,
) -> Elements:
    """Return the data set of a segmentation.

    Each frame has the number of its segment, which means nothing in a label map, and a slice with its numbers
    and its place. ``step`` is the distance of slices that the header gives.
    """
    groups = []
    for number, each in frames:
        known = placed(each)
        group: Elements = {0x0062000A: ("SQ", [{0x0062000B: ("US", number)}])} if kind != "LABELMAP" else {}
        for sequence, tag in ((0x00209113, 0x00200032), (0x00209116, 0x00200037)):
            if tag in known:
                group[sequence] = ("SQ", [{tag: known[tag]}])
        groups.append(group)
    measures: dict[int, tuple[str, Any]] = {}
    if frames[0][1].spacing is not None:
        measures[0x00280030] = placed(frames[0][1])[0x00280030]
    if step is not None:
        measures[0x00180088] = ("DS", f"{step:.10g}")
    stored = Stored(BITS[kind], BITS[kind])
    return {
        0x00080016: ("UI", LABEL_MAP if kind == "LABELMAP" else SEGMENTATION),
        0x00080018: ("UI", "1.2.3.4.5"),
        0x00080060: ("CS", "SEG"),
        0x0020000D: ("UI", "1.2.3.8"),
        0x0020000E: ("UI", "1.2.3.4"),
        0x00200052: ("UI", "1.2.3.77"),
        **stored.elements(np.stack([each.numbers for _, each in frames])),
        0x00280008: ("IS", len(frames)),
        0x00620001: ("CS", kind),
        0x00620002: ("SQ", [{0x00620004: ("US", n), 0x00620005: ("LO", name)} for n, name in names.items()]),
        0x0062000E: ("US", 255),
        0x52009229: ("SQ", [{0x00289110: ("SQ", [measures])}]),
        0x52009230: ("SQ", groups),
        **(more or {}),
    }


def write_segmentation_file(path: Path, *arguments: Any, **options: Any) -> Path:
    """Write a file with a ``segmentation``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(segmentation(*arguments, **options)))
    return path
