"""Reading and checking ``dataset.json``, before nnU-Net takes its entries as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.json_files import read_json

REQUIRED_KEYS = ("channel_names", "labels", "numTraining", "file_ending")

FORMAT_CURE = (
    'it needs entries such as "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, '
    '"numTraining": 20, "file_ending": ".nii.gz"'
)


def read_dataset_json(path: Path) -> dict[str, Any]:
    """Read a ``dataset.json`` and check every entry that planning and training rely on.

    Raises
    ------
    DataError
        If the file is missing, no JSON, lacks an entry, or one has a value that nnU-Net cannot work with.
    """
    if not path.is_file():
        raise DataError("the data set has no dataset.json", where=path, cure=f"write one: {FORMAT_CURE}")
    description = read_json(path, dict, cure=f"correct the file: {FORMAT_CURE}", nan=True)
    if "channel_names" not in description and "modality" in description:
        description["channel_names"] = description["modality"]
    missing = [key for key in REQUIRED_KEYS if key not in description]
    if missing:
        raise DataError("dataset.json lacks " + ", ".join(missing), where=path, cure=FORMAT_CURE)
    _check_labels(description, path)
    _check_channels(description["channel_names"], path)
    ending = description["file_ending"]
    if not isinstance(ending, str) or not ending.startswith("."):
        raise DataError(
            f"file_ending in dataset.json is {ending!r}", where=path, cure='give an ending such as ".png"'
        )
    return description


def _check_labels(description: dict[str, Any], path: Path) -> None:
    labels = description["labels"]
    if not isinstance(labels, dict) or not _is_number(labels.get("background")) or labels["background"] != 0:
        raise DataError(
            'the labels in dataset.json must map names to numbers, with "background": 0',
            where=path,
            cure="correct the entry labels",
        )
    for name, value in labels.items():
        if name != "ignore" and name.casefold() == "ignore":
            raise DataError(
                f"the label {name!r} in dataset.json would be a class like any other",
                where=path,
                cure='call it "ignore" if nobody annotated these pixels, or give the class another name',
            )
        members = value if isinstance(value, list) and name != "ignore" else [value]
        if not members or not all(_is_number(each) for each in members):
            raise DataError(
                f"the label {name!r} in dataset.json is {value!r}",
                where=path,
                cure="give a whole number, or a list of them for a region",
            )
    values = {
        each
        for name, value in labels.items()
        if name != "ignore"
        for each in (value if isinstance(value, list) else [value])
    }
    # The network has one output a label: a number beyond them would have none.
    expected = set(range(len(values)))
    if values != expected or labels.get("ignore", len(values)) != len(values):
        raise DataError(
            "the labels in dataset.json must count 0, 1, 2 ... without gaps, with ignore as the highest; "
            f"they are {', '.join(f'{name}: {value}' for name, value in labels.items())}",
            where=path,
            cure="renumber the labels, there and in labelsTr",
        )
    if len(values) < 2:
        raise DataError("the labels in dataset.json name no class but the background", where=path)
    regions = [
        set(value if isinstance(value, list) else [value])
        for name, value in labels.items()
        if name != "ignore" and value not in (0, [0])
    ]
    if any(len(region) > 1 for region in regions):
        _check_region_order(regions, description.get("regions_class_order"), path)


def _check_region_order(regions: list[set[int]], order: Any, path: Path) -> None:
    """Refuse an order of regions by which a perfect network would not be scored as perfect.

    nnU-Net writes the labels of the order one after the other, each over the ones before, wherever the
    network sees the region of the same place. What is written for a label has to be in the label's regions,
    and in no others.
    """
    if not (isinstance(order, list) and len(order) == len(regions) and all(map(_is_number, order))):
        raise DataError(
            "dataset.json has regions, but no regions_class_order with one entry for each",
            where=path,
            cure="say which label each region gets, in the order of the regions; see nnU-Net's documentation",
        )
    for label in sorted(set().union(*regions)):
        inside = [label in region for region in regions]
        written = next(value for value, there in zip(order[::-1], inside[::-1], strict=True) if there)
        if [written in region for region in regions] != inside:
            raise DataError(
                f"regions_class_order {order} in dataset.json cannot give back the label {label}: where the "
                f"network sees all regions of it, {written} is written, which is in other regions",
                where=path,
                cure="name larger regions before those inside them, and for each the label that is in no "
                "later one",
            )


def _check_channels(channel_names: Any, path: Path) -> None:
    if (
        not isinstance(channel_names, dict)
        or not channel_names
        or set(channel_names) != {str(number) for number in range(len(channel_names))}
        or not all(isinstance(name, str) for name in channel_names.values())
    ):
        raise DataError(
            f"channel_names in dataset.json is {channel_names!r}",
            where=path,
            cure='number the channels from 0: {"0": "T1", "1": "T2"}',
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
