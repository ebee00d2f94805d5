"""Dataset704_Endovis17: the seven kinds of instruments of the MICCAI 2017 robotic instrument segmentation.

The challenge (Allan et al., arXiv:1902.06426) has eight training sequences of 225 stereo frames,
``instrument_dataset_N/left_frames/frameNNN.png``, with a mask folder for each instrument in ``ground_truth``.
The test set has the next 75 frames of each and two sequences of 300 frames, with class numbers in
``gt/TypeSegmentation``. Left frames are used whole, including their black border.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.datasets.conversion import (
    Conversion,
    Found,
    LeftOut,
    Split,
    store_picture,
    write_dataset,
)
from swin_umamba.data.image_io import check_same_grid, read_image, read_labels, write_labels
from swin_umamba.errors import DataError
from swin_umamba.paper import ENDOSCOPY

DATASET_NAME = ENDOSCOPY.dataset_name
INSTRUMENTS = (
    "bipolar forceps",
    "prograsp forceps",
    "large needle driver",
    "vessel sealer",
    "grasping retractor",
    "monopolar curved scissors",
    "ultrasound probe",
)
DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, **{name: value for value, name in enumerate(INSTRUMENTS, start=1)}},
    "file_ending": ".png",
    "name": "Endovis17",
    "reference": "MICCAI 2017 robotic instrument segmentation, "
    "https://endovissub2017-roboticinstrumentsegmentation.grand-challenge.org",
}
PUBLISHED_COUNTS = (1800, 1200)
TRAINING_FRAMES = 225
TEST_FRAMES = {**dict.fromkeys(range(1, 9), 75), 9: 300, 10: 300}
# Words in the names of the mask folders; the challenge calls the probe "Other".
_WORDS = {name.replace(" ", "_"): value for value, name in enumerate(INSTRUMENTS, start=1)} | {"other": 7}
_SEQUENCE = re.compile(r"instrument_dataset_0*(\d+)")
_FRAME = re.compile(r"frame\d+\.png")


@dataclass(frozen=True)
class _Case:
    name: str
    split: Split
    image: Path
    masks: tuple[tuple[int, Path], ...]  # class and mask of each instrument
    classes: Path | None  # or one file with all classes


def convert_endovis17(
    source: str | Path, folder: str | Path, *, skip_damaged: bool = False, needs_test: bool = False
) -> Conversion:
    """Convert the challenge's folders to the data set.

    Parameters
    ----------
    source
        Folder with the unpacked archives anywhere below it. A sequence with ``ground_truth`` is for training,
        any other for testing.
    folder
        The new data set.
    skip_damaged, needs_test
        See :func:`write_dataset`.

    Raises
    ------
    DataError, OutputError
        See :func:`write_dataset`.
    """
    found: Found[_Case] = Found()
    for (split, number), place in sorted(_sequences(Path(source)).items()):
        cases, without = _training_frames(place) if split == "Tr" else _test_frames(place)
        found.cases += cases
        # The challenge first provides a test set without labels, so that is not damage.
        (found.problems if split == "Tr" or cases else found.left_out).extend(without)
        expected = TRAINING_FRAMES if split == "Tr" else TEST_FRAMES.get(number)
        if expected != len(cases):
            kind = "training" if split == "Tr" else "test"
            remark = f"{kind} sequence {number} has {len(cases)} labelled frames, published {expected}"
            found.remarks.append(remark)
        for name in ("right_frames", "camera_calibration.txt"):
            if (place / name).exists():
                found.leave_out(place / name, "not used by the experiment")
    return write_dataset(
        folder,
        write_case=_write_case,
        description=DESCRIPTION,
        published=PUBLISHED_COUNTS,
        skip_damaged=skip_damaged,
        needs_test=needs_test,
        **vars(found),
    )


def _sequences(source: Path) -> dict[tuple[Split, int], Path]:
    """Return the folder of each training and test sequence."""
    found: dict[tuple[Split, int], Path] = {}
    for frames in sorted(source.rglob("left_frames")):
        place = frames.parent
        match = _SEQUENCE.fullmatch(place.name)
        if match is None or "__MACOSX" in place.parts:
            continue
        key: tuple[Split, int] = ("Tr" if (place / "ground_truth").is_dir() else "Ts", int(match.group(1)))
        if key in found:
            raise DataError(
                "two folders hold the same sequence", where=f"{found[key]} and {place}", hint="remove one"
            )
        found[key] = place
    if not found:
        raise DataError(
            "there is no folder instrument_dataset_N/left_frames anywhere below it",
            where=source,
            hint="give the folder that the challenge's archives were unpacked in",
        )
    return found


def _frames(place: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((place / "left_frames").iterdir()):
        if _FRAME.fullmatch(path.name):
            yield f"{place.name}_{path.stem}", path


def _training_frames(place: Path) -> tuple[list[_Case], list[LeftOut]]:
    folders = [
        (_class_of(folder), folder)
        for folder in sorted((place / "ground_truth").iterdir())
        if folder.is_dir()
    ]
    cases, problems = [], []
    for name, image in _frames(place):
        masks = tuple((value, folder / image.name) for value, folder in folders)
        absent = [path for _, path in masks if not path.is_file()]
        if absent or not masks:
            reason = "a mask is missing" if masks else "there is no mask folder in ground_truth"
            problems.append(LeftOut(str(absent[0] if absent else image), reason))
        else:
            cases.append(_Case(name, "Tr", image, masks, None))
    return cases, problems


def _class_of(folder: Path) -> int:
    name = folder.name.lower()
    values = {value for word, value in _WORDS.items() if word in name}
    if len(values) != 1:
        raise DataError(
            "the folder of masks is named for no instrument, or for more than one",
            where=folder,
            hint=f"its name must contain one of {', '.join(_WORDS)}",
        )
    return values.pop()


def _test_frames(place: Path) -> tuple[list[_Case], list[LeftOut]]:
    labels = next(
        (each for each in (place / "gt" / "TypeSegmentation", place / "TypeSegmentation") if each.is_dir()),
        place / "gt" / "TypeSegmentation",
    )
    cases, without = [], []
    for name, image in _frames(place):
        label = labels / image.name
        if label.is_file():
            cases.append(_Case(name, "Ts", image, (), label))
        else:
            without.append(LeftOut(str(image), "a test frame without a label in gt/TypeSegmentation"))
    return cases, without


def _write_case(case: _Case, folder: Path) -> list[str]:
    image = read_image(case.image)
    if image.num_channels != 3 or image.data.dtype != np.uint8:
        raise DataError("a frame has three colours of 8 bits", where=case.image)
    remarks = []
    if case.classes is not None:
        labels = read_labels(case.classes)
        check_same_grid(image, labels)
        classes = labels.data[0]
        if classes.max() > len(INSTRUMENTS):
            raise DataError(
                f"class numbers go up to {len(INSTRUMENTS)}, this label map up to {classes.max()}",
                where=case.classes,
                hint="use TypeSegmentation, not one that was rescaled for viewing or holds parts",
            )
    else:
        classes = np.zeros(image.spatial_shape, np.uint8)
        claimed_twice = 0
        for value, path in case.masks:
            mask_image = read_image(path)
            check_same_grid(image, mask_image)
            mask = mask_image.data.any(axis=0)
            claimed_twice += int(np.count_nonzero(mask & (classes != 0) & (classes != value)))
            classes[mask] = value
        if claimed_twice:
            remarks.append(f"{claimed_twice} pixels are claimed by two instruments; the last mask has them")
    store_picture(image, folder / f"images{case.split}" / f"{case.name}_0000.png")
    write_labels(folder / f"labels{case.split}" / f"{case.name}.png", classes.astype(np.uint8), like=image)
    return remarks
