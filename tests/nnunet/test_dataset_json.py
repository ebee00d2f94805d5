"""A wrong dataset.json is refused with what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from swin_umamba.errors import DataError
from swin_umamba.nnunet.dataset_json import read_dataset_json

GOOD = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "cell": 1},
    "numTraining": 3,
    "file_ending": ".png",
}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no dataset.json"),
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        (json.dumps({"labels": {"background": 0}}), "lacks channel_names, numTraining, file_ending"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset_json(tmp_path / "dataset.json")
    assert caught.value.where == str(tmp_path / "dataset.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"cell": 1}}, '"background": 0'),
        ({"labels": {"background": False, "cell": 1}}, '"background": 0'),
        ({"labels": ["background", "cell"]}, '"background": 0'),
        ({"labels": {"background": 0, "cell": "x"}}, "'cell' in dataset.json is 'x'"),
        ({"labels": {"background": 0, "cell": [1, None]}}, r"\[1, None\]"),
        ({"labels": {"background": 0, "cell": []}}, r"'cell' in dataset.json is \[\]"),
        ({"labels": {"background": 0, "cell": 1, "nucleus": 3}}, "without gaps.*nucleus: 3"),
        ({"labels": {"background": 0, "cell": -1}}, "without gaps"),
        ({"labels": {"background": 0, "ignore": 1, "cell": 2}}, "ignore as the highest"),
        ({"labels": REGIONS}, "no regions_class_order"),
        ({"labels": REGIONS, "regions_class_order": [1]}, "no regions_class_order"),
        ({"labels": REGIONS, "regions_class_order": [1, "2"]}, "no regions_class_order"),
        ({"labels": REGIONS, "regions_class_order": [2, 1]}, r"order \[2, 1\].* label 1"),
        ({"labels": {"background": 0, "cell": 1, "Ignore": 2}}, "'Ignore' .* a class like any other"),
        ({"labels": {"background": 0, "cell": 1, "ignore": [2]}}, r"'ignore' in dataset.json is \[2\]"),
        ({"labels": {"background": 0, "whole": [1, 2], "ignore": 2}}, "ignore as the highest"),
        ({"labels": {"background": 0, "ignore": 1}}, "no class except the background"),
        ({"channel_names": ["R", "G", "B"]}, "channel_names in dataset.json"),
        ({"channel_names": {"0": "R", "2": "B"}}, "channel_names in dataset.json"),
        ({"channel_names": {}}, "channel_names in dataset.json"),
        ({"file_ending": "png"}, "file_ending in dataset.json is 'png'"),
        ({"file_ending": 3}, "file_ending in dataset.json is 3"),
    ],
)
def test_a_bad_entry_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(GOOD | changes))
    with pytest.raises(DataError, match=message):
        read_dataset_json(tmp_path / "dataset.json")


@pytest.mark.parametrize(
    "changes", [{}, {"labels": REGIONS, "regions_class_order": [1, 2]}, {"numTraining": "three"}]
)
def test_a_good_file_comes_back_unchanged(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(GOOD | changes))
    assert read_dataset_json(tmp_path / "dataset.json") == GOOD | changes


def test_the_older_name_of_the_channels_is_understood(tmp_path: Path) -> None:
    description = {key: value for key, value in GOOD.items() if key != "channel_names"}
    (tmp_path / "dataset.json").write_text(json.dumps(description | {"modality": {"0": "CT"}}))
    assert read_dataset_json(tmp_path / "dataset.json")["channel_names"] == {"0": "CT"}


def test_orders_of_regions_are_refused_if_and_only_if_a_perfect_network_scores_less_than_1(
    tmp_path: Path,
) -> None:
    """Against nnU-Net's own way from probabilities to labels, for random regions and orders."""
    random = np.random.default_rng(4)
    truth = np.arange(4)
    outcomes = set()
    for _ in range(300):
        regions = [sorted(set(random.integers(1, 4, 3).tolist())) for _ in range(int(random.integers(1, 4)))]
        order = random.integers(1, 4, len(regions)).tolist()
        labels: dict[str, Any] = {"background": 0, **{f"r{k}": each for k, each in enumerate(regions)}}
        if set().union(*regions) != {1, 2, 3} or not any(len(each) > 1 for each in regions):
            continue
        (tmp_path / "dataset.json").write_text(
            json.dumps({**GOOD, "labels": labels, "regions_class_order": order})
        )
        perfect = np.array([np.isin(truth, each) for each in regions], np.float32)
        written = LabelManager(labels, order).convert_probabilities_to_segmentation(perfect)
        right = all(np.array_equal(np.isin(written, each), np.isin(truth, each)) for each in regions)
        outcomes.add(right)
        if right:
            read_dataset_json(tmp_path / "dataset.json")
        else:
            with pytest.raises(DataError, match="cannot give back the label"):
                read_dataset_json(tmp_path / "dataset.json")
    assert outcomes == {True, False}
