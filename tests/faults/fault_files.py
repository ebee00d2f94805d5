"""Files with exactly one fault, and data sets to put them into."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest

import forked

SPACING = (1.5, 1.0, 4.0)  # x, y, z
SHAPE = (3, 40, 36)  # z, y, x
DATASET_NAME = "Dataset903_Faults"
CASES = tuple("abcdef")


class Outcome(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """End what a test that failed has left running."""
    yield
    forked.end_all()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``swin-umamba`` with the given arguments in this process."""
    from swin_umamba.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


def save_volume(
    path: Path,
    array: np.ndarray,
    spacing: tuple[float, ...] = SPACING,
    origin: tuple[float, ...] = (0, 0, 0),
    angle: float = 0.0,
) -> Path:
    """Write ``array`` (z, y, x) as NIfTI, turned by ``angle`` radians around the z axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = origin
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), path)
    return path


def cut(path: Path, part: float) -> None:
    """Keep the first ``part`` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def flip_bit(path: Path, position: float) -> None:
    """Flip a bit at ``position``, a part of the file's length."""
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0b100
    path.write_bytes(content)


def header_field(path: Path, offset: int, form: str, *values: float) -> None:
    """Overwrite a field of the header of a ``.nii`` file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)


def write_dataset(root: Path) -> Path:
    """Write a data set of six noisy volumes with a bright box of class 1 and a darker one of class 2.

    Returns the folder of the raw data set; ``root`` is what the commands take as ``--root``.
    """
    folder = root / "nnUNet_raw" / DATASET_NAME
    random = np.random.default_rng(0)
    for case in CASES:
        image = random.normal(100, 10, SHAPE).astype(np.float32)
        labels = np.zeros(SHAPE, np.uint8)
        for value, brightness in ((1, 200), (2, 150)):
            row, column = random.integers(0, 22, 2)
            box = np.s_[:, row : row + 12, column : column + 12]
            image[box] += brightness
            labels[box] = value
        save_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", image)
        save_volume(folder / "labelsTr" / f"{case}.nii.gz", labels)
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "bright": 1, "dark": 2},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
