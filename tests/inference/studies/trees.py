"""Trees of DICOM studies for tests, as discs and archives leave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conformance.dicom_files import Elements, Slice, Stored, file_bytes, single
from conformance.dicom_kinds import DIRECTORY, REPORT

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
SIZE = (20, 24)


@dataclass
class Written:
    """A series of a tree: its place in it, what its header says, and how its images lie."""

    folder: str
    uid: str
    modality: str = "MR"
    description: str = "T2 TSE"
    number: int = 1
    images: int = 4
    orientation: Sequence[float] = AXIAL
    patient: str = "P1"
    study: str = "1.2.3.8"
    more: Elements | None = None

    def write(self, root: Path) -> list[Path]:
        """Write its files, with names as scanners give them, and return their paths."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        generator = np.random.default_rng(self.number)
        folder = root / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for index in range(self.images):
            numbers = generator.integers(0, 1000, SIZE)
            slice_ = Slice(numbers, tuple(2.0 * index * normal), self.orientation, (1.0, 1.0))
            described: Elements = {
                0x0008103E: ("LO", self.description),
                0x00100010: ("PN", f"{self.patient}^NAME"),
                0x00100020: ("LO", self.patient),
                0x0020000D: ("UI", self.study),
                0x00200011: ("IS", self.number),
                0x00200052: ("UI", f"{self.study}.9"),
                **(self.more or {}),
            }
            elements = single(slice_, Stored(), index + 1, self.uid, self.modality) | described
            paths.append(folder / f"IM{self.number:02}{index:03}")
            paths[-1].write_bytes(file_bytes(elements))
        return paths


TREE = (
    Written("PA0/ST0/SE0", "1.2.3.1", number=1),
    Written("PA0/ST0/SE0", "1.2.3.2", description="T1 mprage", number=2, orientation=SAGITTAL),
    Written("PA0/ST1", "1.2.3.3", modality="CT", description="Thorax", number=3, study="1.2.4.8"),
    Written(
        "PA1/ST0/SE0", "1.2.3.4", description="t2 flair", number=1, images=6, patient="P2", study="1.2.5.8"
    ),
    Written("PA1/ST0/SE1", "1.2.3.5", number=2, images=1, patient="P2", study="1.2.5.8"),
)


def write_tree(root: Path, series: Sequence[Written] = TREE) -> Path:
    """Write series of studies, a DICOMDIR, a report and what else is on a disc."""
    root.mkdir(exist_ok=True)
    paths = [path for each in series for path in each.write(root)]
    write_directory(root, [path.relative_to(root).as_posix() for path in paths])
    report = {0x00080016: ("UI", REPORT), 0x00080060: ("CS", "SR"), 0x0020000E: ("UI", "1.2.3.99")}
    (root / "SR000").write_bytes(file_bytes(report))
    (root / "AUTORUN.INF").write_text("a viewer")
    (root / "VIEWER").mkdir()
    (root / "VIEWER" / "RUN.EXE").write_bytes(b"MZ" + bytes(200))
    return root


def write_directory(root: Path, places: Sequence[str]) -> Path:
    """Write a DICOMDIR that lists files."""
    records = [{0x00041430: ("CS", "IMAGE"), 0x00041500: ("CS", each.replace("/", "\\"))} for each in places]
    path = root / "DICOMDIR"
    path.write_bytes(file_bytes({0x00080016: ("UI", DIRECTORY), 0x00041220: ("SQ", records)}))
    return path
