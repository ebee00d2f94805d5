"""Dataset703_NeurIPSCell: the labelled images of the NeurIPS 2022 cell segmentation challenge.

The challenge (Ma et al., Nature Methods 21, 2024) has ``Training-labeled`` (1000) and ``Tuning`` (101, the
test images of the paper), each with ``images`` in many formats and ``labels/NAME_label.tiff``, one number per
cell. As in the challenge's baseline, images become 8-bit RGB, with each channel stretched between the 1st and
99th percentile of its values above zero, and instances become the classes interior and boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.datasets.conversion import Conversion, Found, Split, write_dataset
from swin_umamba.data.image_io import (
    image_stem,
    is_image_name,
    list_images,
    read_image,
    read_labels,
    write_image,
    write_labels,
)
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import DataError
from swin_umamba.paper import MICROSCOPY

DATASET_NAME = MICROSCOPY.dataset_name
DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "interior": 1, "boundary": 2},
    "file_ending": ".png",
    "name": "NeurIPSCell",
    "reference": "NeurIPS 2022 cell segmentation, https://neurips22-cellseg.grand-challenge.org",
}
PUBLISHED_COUNTS = (1000, 101)
LABEL_ENDING = "_label"
PERCENTILES = (1.0, 99.0)
# Folder names without case, hyphens, underscores and spaces, since the releases spell them differently.
_SPLIT_OF_FOLDER: dict[str, Split] = {
    "traininglabeled": "Tr",
    "traininglabelled": "Tr",
    "trainlabeled": "Tr",
    "tuning": "Ts",
    "tuningset": "Ts",
}


@dataclass(frozen=True)
class _Case:
    name: str
    split: Split
    image: Path
    label: Path


def convert_neurips_cell(
    source: str | Path, folder: str | Path, *, skip_damaged: bool = False, needs_test: bool = False
) -> Conversion:
    """Convert the challenge's folders to the data set.

    In addition to nnU-Net's folders, it has ``instancesTs`` with the cells of the test images, which the
    ``microscopy`` protocol scores.

    Parameters
    ----------
    source
        Folder that contains ``Training-labeled`` and ``Tuning``, or the folder around it.
    folder
        The new data set.
    skip_damaged, needs_test
        See :func:`write_dataset`.

    Raises
    ------
    DataError, OutputError
        See :func:`write_dataset`.
    """
    source = Path(source)
    found: Found[_Case] = Found()
    places: dict[Split, Path] = {}
    for place in sorted(path for level in ("*", "*/*") for path in source.glob(level) if path.is_dir()):
        split = _SPLIT_OF_FOLDER.get("".join(letter for letter in place.name.lower() if letter.isalpha()))
        if split is not None and (place / "images").is_dir():
            if split in places:
                raise DataError("two folders hold the same images", where=f"{places[split]} and {place}")
            places[split] = place
            _find(place, split, found)
        elif place.parent == source and not any(each.is_relative_to(place) for each in places.values()):
            found.leave_out(place, "not the labelled training or the tuning images")
    if "Tr" not in places:
        raise DataError(
            "there is no folder Training-labeled with images in it",
            where=source,
            hint="give the folder that the challenge's archives were unpacked in",
        )
    # A folder around the data is listed before its contents.
    found.left_out = [
        each
        for each in found.left_out
        if not any(place.is_relative_to(each.path) for place in places.values())
    ]
    return write_dataset(
        folder,
        write_case=_write_case,
        description=DESCRIPTION,
        published=PUBLISHED_COUNTS,
        skip_damaged=skip_damaged,
        needs_test=needs_test,
        **vars(found),
    )


def to_eight_bits(channel: np.ndarray) -> np.ndarray:
    """Stretch a channel between the 1st and 99th percentile of its values above zero to uint8, 0 to 255."""
    positive = channel[channel > 0]
    low, high = np.percentile(positive, PERCENTILES) if positive.size else (0.0, 0.0)
    if high - low <= 1e-3:  # flat: nothing to stretch
        values: np.ndarray = np.clip(channel, 0, 255).astype(np.uint8)
        return values
    stretched = channel.astype(np.float32)
    np.clip(stretched, low, high, out=stretched)
    stretched -= low
    stretched *= 255.0 / (high - low)
    return stretched.astype(np.uint8)


def _find(place: Path, split: Split, found: Found[_Case]) -> None:
    """Pair the images and labels of one folder."""
    label_folder = place / "labels"
    labels = (
        {image_stem(path).removesuffix(LABEL_ENDING): path for path in list_images(label_folder)}
        if label_folder.is_dir()
        else {}
    )
    for path in sorted((place / "images").iterdir()):
        if path.name.startswith(".") or not is_image_name(path):
            found.leave_out(path, "not an image of a known format")
            continue
        label = labels.pop(image_stem(path), None)
        if label is None:
            found.lack(path, "there is no label for it")
        else:
            found.cases.append(_Case(image_stem(path), split, path, label))
    for path in labels.values():
        found.lack(path, "there is no image for it")


def _write_case(case: _Case, folder: Path) -> list[str]:
    image = read_image(case.image)
    remarks = []
    data = image.data
    if data.ndim == 4 and data.shape[0] == 1 and data.shape[1] <= 4:
        data = data[0]  # TIFF pages that are channels
    if data.ndim != 3 or data.shape[0] > 4:
        raise DataError(f"this is not a picture of up to 4 channels: {image.data.shape}", where=case.image)
    labels = read_labels(case.label)
    if labels.spatial_shape != data.shape[1:]:
        raise DataError(
            f"the image has {data.shape[1:]} pixels, its label {labels.spatial_shape}", where=case.label
        )
    if len(data) == 2:
        remarks.append("2 channels: the third is empty")
    elif len(data) == 4:
        remarks.append("4 channels: the fourth is left out")
    channels = [to_eight_bits(channel) for channel in data[:3]]
    channels = channels * 3 if len(channels) == 1 else channels
    channels += [np.zeros_like(channels[0])] * (3 - len(channels))
    rgb = image.without_geometry(np.stack(channels), case.image)
    instances = labels.data[0]
    if not instances.any():
        remarks.append("no cells")
    classes = instances_to_classes(instances)
    write_image(folder / f"images{case.split}" / f"{case.name}_0000.png", rgb)
    write_labels(folder / f"labels{case.split}" / f"{case.name}.png", classes, like=rgb)
    if case.split == "Ts":
        write_labels(folder / "instancesTs" / f"{case.name}{LABEL_ENDING}.tiff", instances, like=rgb)
    return remarks
