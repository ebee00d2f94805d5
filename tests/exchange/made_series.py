"""DICOM series of any orientation, size and gap, and label maps of them; their voxels' places are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from conformance.dicom_files import Elements, Slice, Stored, enhanced, file_bytes, write_series
from swin_umamba.exchange.codes import meanings_of
from swin_umamba.exchange.segmentation import Algorithm, CodedSegment
from swin_umamba.report.palette import class_colour

FRAME_OF_REFERENCE = "1.2.3.77"
HEAD: Elements = {
    0x00080020: ("DA", "20240131"),
    0x00080030: ("TM", "101112"),
    0x00080050: ("SH", "A1"),
    0x00080080: ("LO", "A hospital"),
    0x00081070: ("PN", "Operator^Anna"),
    0x00090010: ("LO", "PRIVATE"),
    0x00091001: ("LO", "private text"),
    0x00100010: ("PN", "Doe^Jane"),
    0x00100030: ("DA", "19700101"),
    0x00100040: ("CS", "F"),
    0x00180050: ("DS", "2"),
    0x00200010: ("SH", "S1"),
    0x00200052: ("UI", FRAME_OF_REFERENCE),
}
ALGORITHM = Algorithm("A model", "ab" * 32, {"mirroring": True})
NAMES = (
    *("liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava", "right adrenal gland"),
    *("left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum", "left kidney", "a lesion"),
)


@dataclass(frozen=True)
class Series:
    """A series: the shape ``(z, y, x)`` of its image, and where that lies (LPS, mm)."""

    shape: tuple[int, int, int] = (5, 9, 7)
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    spacing: tuple[float, float] = (0.75, 0.5)
    step: float = 2.5
    origin: tuple[float, float, float] = (-7.25, 11.5, 3.0)
    more: Elements = field(default_factory=dict)

    @cached_property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])

    @cached_property
    def slices(self) -> list[Slice]:
        numbers = np.random.default_rng(3).integers(0, 500, self.shape)
        return [
            Slice(each, self.position(index), self.orientation, self.spacing, more=HEAD | self.more)
            for index, each in enumerate(numbers)
        ]

    def position(self, index: int) -> np.ndarray:
        """Return the place of the first pixel of a slice as the file has it: in 10 digits."""
        exact = np.array(self.origin) + index * self.step * self.normal
        return np.array([float(f"{value:.10g}") for value in exact])

    def places(self, voxels: np.ndarray) -> np.ndarray:
        """Return the places (LPS) of voxels, which are indices ``(n, 3)`` in the order z, y, x."""
        starts = np.array([self.position(index) for index in range(self.shape[0])])
        rows, columns = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        return (
            starts[voxels[:, 0]]
            + voxels[:, 1:2] * self.spacing[0] * columns
            + voxels[:, 2:] * self.spacing[1] * rows
        )

    def write(self, folder: Path) -> Path:
        write_series(folder, self.slices)
        return folder

    def write_enhanced(self, path: Path, order: list[int] | None = None) -> Path:
        """Write one file whose frames are the slices in an order."""
        slices = [Slice(s.numbers, s.position, s.orientation, s.spacing) for s in self.slices]
        chosen = slices if order is None else [slices[index] for index in order]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(enhanced(chosen, Stored()) | HEAD))
        return path


def labels_of(shape: tuple[int, ...], classes: int, seed: int = 1) -> np.ndarray:
    """Return a label map of blocks; some slices and perhaps some classes are empty."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for _ in range(2 * classes):
        box = tuple(slice(*sorted(rng.integers(0, size + 1, 2))) for size in shape)
        labels[box] = rng.integers(1, classes + 1)
    return labels


def segments_of(count: int, remark: Callable[[int], str] = lambda number: "") -> list[CodedSegment]:
    names = NAMES[:count]
    return [
        CodedSegment(name, meaning, class_colour(number), remark(number))
        for number, (name, meaning) in enumerate(meanings_of(names, {}, quiet=True).items(), start=1)
    ]
