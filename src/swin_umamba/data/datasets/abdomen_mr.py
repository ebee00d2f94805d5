"""Dataset702_AbdomenMR: the MR volumes of the AMOS 2022 challenge with 13 of its organs.

AMOS (Ji et al., NeurIPS Datasets and Benchmarks 2022) has ``imagesTr``, ``labelsTr``, ``imagesVa``,
``labelsVa`` and ``imagesTs`` with files ``amos_NNNN.nii.gz``; scans numbered up to 500 are CT, the others MR.
The 40 MR scans for training and the 20 for validation are the 60 training cases of the paper (Liu et al.,
MICCAI 2024). Its 50 test cases were annotated by the authors of U-Mamba (Ma et al., arXiv:2401.04722) and are
not part of AMOS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.datasets.conversion import Conversion, Found, Split, write_dataset
from swin_umamba.data.image_io import check_same_grid, read_image, read_labels, write_image, write_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.files import copy_file
from swin_umamba.json_files import read_json
from swin_umamba.paper import ABDOMEN_MR

DATASET_NAME = ABDOMEN_MR.dataset_name
ORGANS = (
    "liver",
    "right kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior vena cava",
    "right adrenal gland",
    "left adrenal gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left kidney",
)
DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "MR"},
    "labels": {"background": 0, **{organ: value for value, organ in enumerate(ORGANS, start=1)}},
    "file_ending": ".nii.gz",
    "name": "AbdomenMR",
    "reference": "AMOS 2022, https://amos22.grand-challenge.org",
}
PUBLISHED_COUNTS = (60, 50)
LAST_CT = 500
# Numbered as in AMOS; used if its dataset.json is missing.
AMOS_ORGANS = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate/uterus",
)
# AMOS's dataset.json has one misprint and one synonym; other copies omit words.
_OTHER_NAMES = {
    "gall bladder": "gallbladder",
    "arota": "aorta",
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "right adrenal": "right adrenal gland",
    "left adrenal": "left adrenal gland",
    "oesophagus": "esophagus",
}
_FILE_NAME = re.compile(r"amos_(\d{4})(?:_0000)?\.nii(?:\.gz)?")


@dataclass(frozen=True)
class _Case:
    name: str
    split: Split
    image: Path
    label: Path
    values: Mapping[int, int]  # source value to our value


def convert_abdomen_mr(
    source: str | Path,
    folder: str | Path,
    *,
    test: str | Path | None = None,
    validation_as_test: bool = False,
    skip_damaged: bool = False,
    needs_test: bool = False,
) -> Conversion:
    """Convert AMOS to the data set.

    Parameters
    ----------
    source
        Folder of the unpacked challenge that contains ``imagesTr``, or the folder around it.
    folder
        The new data set.
    test
        Folder with ``imagesTs``, ``labelsTs`` and a ``dataset.json`` that names the label values, such as
        U-Mamba's download. Without it, labelled test cases in ``source`` are used if there are any.
    validation_as_test
        Whether to test on the 20 labelled validation scans of AMOS and train on the other 40: not the paper's
        split, but one that AMOS alone allows.
    skip_damaged, needs_test
        See :func:`write_dataset`.

    Raises
    ------
    DataError, OutputError
        See :func:`write_dataset`.
    """
    if test is not None and validation_as_test:
        raise UsageError("there are two test sets", hint="give either the test folder or validation as test")
    root = _root(Path(source))
    found: Found[_Case] = Found()
    values, found.remarks = _organ_values(root, default=True)
    validation: Split = "Ts" if validation_as_test else "Tr"
    for part, split in (("Tr", "Tr"), ("Va", validation)):
        _find(root, part, split, values, found)  # type: ignore[arg-type]
    if test is not None:
        test_root = _root(Path(test), "imagesTs")
        test_values, _ = _organ_values(test_root, default=False)
        _find(test_root, "Ts", "Ts", test_values, found)
    elif (root / "labelsTs").is_dir() and not validation_as_test:
        _find(root, "Ts", "Ts", values, found)
    elif (root / "imagesTs").is_dir():
        for path in sorted((root / "imagesTs").glob("*.nii*")):
            found.leave_out(path, "test scans of AMOS have no public labels")
    if validation_as_test:
        remark = "the validation scans of AMOS are the test set: this is not the split of the paper"
        found.remarks.append(remark)
    return write_dataset(
        folder,
        write_case=_write_case,
        description=DESCRIPTION,
        published=PUBLISHED_COUNTS,
        skip_damaged=skip_damaged,
        needs_test=needs_test,
        **vars(found),
    )


def _root(source: Path, needed: str = "imagesTr") -> Path:
    for candidate in (source, *sorted(source.glob("*"))):
        if (candidate / needed).is_dir():
            return candidate
    raise DataError(
        f"there is no folder {needed} in it", where=source, hint="give the folder of the unpacked AMOS data"
    )


def _organ_values(root: Path, *, default: bool) -> tuple[dict[int, int], list[str]]:
    """Return our value for each source value, 0 for organs that are not a class, and remarks."""
    path = root / "dataset.json"
    if not path.is_file():
        if not default:
            raise DataError(
                "without a dataset.json it is not known which number means which organ",
                where=path,
                hint="copy the one of the data set there",
            )
        names = dict(enumerate(AMOS_ORGANS, start=1))
        remarks = ["there is no dataset.json: labels are taken to be numbered as in AMOS"]
    else:
        names, remarks = _stored_names(path), []
    ours = {organ: value for value, organ in enumerate(ORGANS, start=1)}
    absent = sorted(ours.keys() - names.values())
    if absent:
        raise DataError(
            f"the labels lack {', '.join(absent)}", where=path, hint="give a data set with all 13 organs"
        )
    others = sorted(set(names.values()) - ours.keys())
    if others:
        remarks.append(f"{', '.join(others)}: no classes of the experiment, made background")
    return {0: 0, **{value: ours.get(organ, 0) for value, organ in names.items()}}, remarks


def _stored_names(path: Path) -> dict[int, str]:
    """Return organ names by value from a dataset.json, which may map in either direction."""
    hint = "copy the file again"
    stored = read_json(path, dict, hint=hint, nan=True)
    try:
        labels = stored["labels"]
        pairs = [(key, value) if str(key).isdecimal() else (value, key) for key, value in labels.items()]
        names = {int(value): str(name).lower().replace("_", " ").strip() for value, name in pairs}
        wrong = not all(0 <= value < 256 for value in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("the labels in dataset.json cannot be read", where=path, hint=hint) from error
    if wrong:
        raise DataError("the labels in dataset.json are not numbers from 0 to 255", where=path)
    return {value: _OTHER_NAMES.get(name, name) for value, name in names.items() if name != "background"}


def _find(root: Path, part: str, split: Split, values: Mapping[int, int], found: Found[_Case]) -> None:
    """Add the contents of the folders ``images{part}`` and ``labels{part}``."""
    labels = _by_number(root / f"labels{part}", found)
    for number, image in _by_number(root / f"images{part}", found).items():
        label = labels.pop(number, None)
        if number <= LAST_CT:
            found.leave_out(image, "a CT scan")
        elif label is None:
            found.lack(image, f"there is no label for it in labels{part}")
        else:
            found.cases.append(_Case(f"amos_{number:04d}", split, image, label, values))
    for number, label in labels.items():
        if number > LAST_CT:
            found.lack(label, f"there is no image for it in images{part}")


def _by_number(folder: Path, found: Found[_Case]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            found.leave_out(path, "its name is not amos_NNNN.nii.gz")
        elif int(match.group(1)) in files:
            found.leave_out(path, "another file has the same number")
        else:
            files[int(match.group(1))] = path
    return files


def _write_case(case: _Case, folder: Path) -> list[str]:
    image = read_image(case.image)
    if image.num_channels != 1 or len(image.spatial_shape) != 3:
        raise DataError(
            f"an MR volume has one channel and three axes, not {image.data.shape}", where=image.path
        )
    labels = read_labels(case.label)
    check_same_grid(image, labels)
    found = np.unique(labels.data)
    unknown = sorted(set(found.tolist()) - case.values.keys())
    if unknown:
        raise DataError(
            f"label values without a name in dataset.json: {', '.join(map(str, unknown))}", where=case.label
        )
    table = np.zeros(int(found.max()) + 1, np.uint8)
    for value in found.tolist():
        table[value] = case.values[value]
    classes = table[labels.data[0]]
    image_path = folder / f"images{case.split}" / f"{case.name}_0000.nii.gz"
    if case.image.suffix == ".gz":
        copy_file(case.image, image_path)
    else:
        write_image(image_path, image)
    write_labels(folder / f"labels{case.split}" / f"{case.name}.nii.gz", classes, like=labels)
    return [] if classes.any() else ["none of the 13 organs is labelled"]
