"""Classes from dataset.json, from words of the command line and from values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.errors import DataError, UsageError
from swin_umamba.evaluation.classes import LabelClasses


def write(path: Path, labels: Any) -> Path:
    path.write_text(json.dumps({"labels": labels}))
    return path


def test_dataset_json(tmp_path: Path) -> None:
    path = write(tmp_path / "dataset.json", {"background": 0, "liver": 1, "tumour": [2, 3], "ignore": 4})
    classes = LabelClasses.from_dataset_json(path)
    assert classes.values == {"liver": (1,), "tumour": (2, 3)}
    assert classes.ignore == 4
    assert classes.declared == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0}, "no class"),
        ({"a": "1"}, "whole number"),
        ({"a": 1.5}, "whole number"),
        ({"a": -1}, "whole number"),
        ({"a": True}, "whole number"),
        ({"a": 10**400}, "whole number"),
        ({"a": []}, "whole number"),
        ({"a": 1, "ignore": [2, 3]}, "ignore needs one number"),
        ({"a": 1, "ignore": 0}, "ignore needs one number"),
        ({"a": [1, 2], "ignore": 2}, "ignore needs one number"),
        ("labels", "not the dataset.json"),
        (None, "not the dataset.json"),
    ],
)
def test_wrong_dataset_json(tmp_path: Path, labels: Any, message: str) -> None:
    path = write(tmp_path / "dataset.json", labels)
    with pytest.raises(DataError, match=message) as caught:
        LabelClasses.from_dataset_json(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b'{"labels', b"[" * 100_000])
def test_file_that_is_no_dataset_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"not the dataset\.json"):
        LabelClasses.from_dataset_json(tmp_path / "dataset.json")
    with pytest.raises(DataError, match="cannot be read"):
        LabelClasses.from_dataset_json(tmp_path / "absent.json")


def test_arguments() -> None:
    classes = LabelClasses.from_arguments(["1", "kidneys=2,3", "a=b=4"])
    assert classes.values == {"1": (1,), "kidneys": (2, 3), "a=b": (4,)}


@pytest.mark.parametrize("word", ["liver", "liver=", "=", "1,x", "liver=-1", "1.0"])
def test_wrong_arguments(word: str) -> None:
    with pytest.raises(UsageError, match="cannot read the label"):
        LabelClasses.from_arguments([word])


def test_values() -> None:
    assert LabelClasses.from_values([3, 0, 1, 3]).values == {"1": (1,), "3": (3,)}
