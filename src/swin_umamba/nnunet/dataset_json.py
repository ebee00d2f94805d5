"""Reading and checking ``dataset.json``, whose entries nnU-Net uses unchecked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_umamba.errors import DataError
from swin_umamba.exchange.codes import check_codes
from swin_umamba.json_files import read_json
from swin_umamba.schema import LARGEST, Provenance, anything, named, shown

REQUIRED_KEYS = ("channel_names", "labels", "numTraining", "file_ending")

FORMAT_HINT = (
    'it needs entries such as "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, '
    '"numTraining": 20, "file_ending": ".nii.gz"'
)


def read_dataset_json(path: Path) -> dict[str, Any]:
    """Read a ``dataset.json``, and check every entry that planning and training rely on.

    Raises
    ------
    DataError
        If the file is missing, not JSON, lacks an entry, or one has a value that nnU-Net cannot work with.
    """
    if not path.is_file():
        raise DataError("the data set has no dataset.json", where=path, hint=f"write one: {FORMAT_HINT}")
    description = read_json(path, dict, hint=f"correct the file: {FORMAT_HINT}", nan=True)
    if "channel_names" not in description and "modality" in description:
        description["channel_names"] = description["modality"]
    missing = [key for key in REQUIRED_KEYS if key not in description]
    if missing:
        raise DataError("dataset.json lacks " + ", ".join(missing), where=path, hint=FORMAT_HINT)
    source = Provenance(path, f"correct the file: {FORMAT_HINT}")
    check_description(description, source)
    _check_meaning(description, source)
    return description


def check_description(description: Mapping[str, Any], source: Provenance) -> None:
    """Check every entry that is used from the ``dataset.json`` of a data set or a model.

    Raises
    ------
    SwinUMambaError
        If an entry is wrong; the message names it and says why.
    """
    source.check(description, named(anything))
    _check_labels(description, source)
    channels: Any = description.get("channel_names") or description.get("modality")
    numbers = [str(number) for number in range(len(channels))] if isinstance(channels, dict) else []
    if not numbers or {*channels} != {*numbers} or not all(type(channels[each]) is str for each in numbers):
        raise source.refusal(
            f"channel_names in dataset.json is {shown(channels)}; number the channels from 0: "
            '{"0": "T1", "1": "T2"}'
        )
    check_codes(description, source)
    ending = description.get("file_ending", ".")
    if not isinstance(ending, str) or not ending.startswith("."):
        raise source.refusal(f"file_ending in dataset.json is {shown(ending)}; give an ending such as .png")


def _check_labels(description: Mapping[str, Any], source: Provenance) -> None:
    labels = description.get("labels")
    if not isinstance(labels, dict) or type(labels.get("background")) is not int or labels["background"] != 0:
        raise source.refusal('the labels in dataset.json must map names to numbers, with "background": 0')
    for name, value in labels.items():
        members = value if isinstance(value, list | tuple) and name != "ignore" else [value]
        if not members or not all(type(each) is int and abs(each) <= LARGEST for each in members):
            raise source.refusal(
                f"the label {name[:80]!r} in dataset.json is {shown(value)}; give a whole number, "
                "or a list of them for a region"
            )
    values = {each for name, value in labels.items() if name != "ignore" for each in members_of(value)}
    # The network has one output for each label; a number beyond the outputs would have none.
    if values != set(range(len(values))) or labels.get("ignore", len(values)) != len(values):
        found = ", ".join(f"{name}: {value}" for name, value in labels.items())
        raise source.refusal(
            "the labels in dataset.json must count 0, 1, 2 ... without gaps, with ignore as the highest; "
            f"they are {found[:500]}; renumber them, there and in labelsTr"
        )
    regions = _regions(labels)
    order = description.get("regions_class_order")
    if any(len(region) > 1 for region in regions) and not (
        isinstance(order, list | tuple)
        and len(order) == len(regions)
        and all(type(each) is int and each in values for each in order)
    ):
        raise source.refusal(
            "dataset.json has regions, but no regions_class_order with one entry for each: it says which "
            "label each region gets, in the order of the regions; see nnU-Net's documentation"
        )


def _check_meaning(description: Mapping[str, Any], source: Provenance) -> None:
    """Refuse labels that would make a training learn something unintended."""
    labels = description["labels"]
    for name in labels:
        if name != "ignore" and name.casefold() == "ignore":
            raise source.refusal(
                f"the label {name!r} in dataset.json would be a class like any other: call it ignore if "
                "nobody annotated these pixels, or give the class another name"
            )
    regions = _regions(labels)
    if not regions:
        raise source.refusal("the labels in dataset.json name no class except the background")
    if any(len(region) > 1 for region in regions):
        _check_region_order(regions, description["regions_class_order"], source)


def _check_region_order(regions: list[set[int]], order: list[int], source: Provenance) -> None:
    """Refuse an order of regions with which even a perfect network could not reproduce the labels.

    nnU-Net writes the labels in this order wherever the network finds the region at the same place, each one
    over the previous ones. The label that is finally written has to be in exactly the regions of the original
    one.
    """
    for label in sorted(set().union(*regions)):
        inside = [label in region for region in regions]
        written = next(value for value, there in zip(order[::-1], inside[::-1], strict=True) if there)
        if [written in region for region in regions] != inside:
            raise source.refusal(
                f"regions_class_order {order} in dataset.json cannot give back the label {label}: where the "
                f"network sees all regions of it, {written} is written, which is in other regions; name "
                "larger regions before those inside them, and for each the label that is in no later one"
            )


def _regions(labels: Mapping[str, Any]) -> list[set[int]]:
    """Return the label values of each foreground class."""
    groups = [set(members_of(value)) for name, value in labels.items() if name != "ignore"]
    return [group for group in groups if group != {0}]


def members_of(value: Any) -> list[int]:
    """Return the numbers of an entry of ``labels``: one, or those that a region unites."""
    return list(value) if isinstance(value, list | tuple) else [value]
