from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.preprocessed import check_origin, content_fingerprint, origin_file, write_origin

PLANS: dict[str, Any] = {
    "transpose_forward": [0, 1, 2],
    "image_reader_writer": "SimpleITKIO",
    "configurations": {"2d": {"spacing": [1.0, 1.0], "batch_size": 2, "normalization_schemes": ["CT"]}},
}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """Preprocessed data (empty) with their origin, and the raw data set."""
    raw, folder = tmp_path / "raw", tmp_path / "preprocessed" / "plans_2d"
    cases = {}
    for name in ("a", "b"):
        cases[name] = [raw / "imagesTr" / f"{name}_0000.png", raw / "labelsTr" / f"{name}.png"]
        for path in cases[name]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
    folder.mkdir(parents=True)
    write_origin(folder, PLANS, "2d", cases, raw)
    return folder, raw


@pytest.mark.parametrize("key", ["spacing", "normalization_schemes", "resampling_fn_data"])
def test_data_of_other_plans_are_refused(made: tuple[Path, Path], key: str) -> None:
    folder, raw = made
    check_origin(folder, PLANS, "2d", raw)
    other = copy.deepcopy(PLANS)
    other["configurations"]["2d"][key] = ["other"]
    with pytest.raises(TrainingError, match="other plans"):
        check_origin(folder, other, "2d", raw)
    other = copy.deepcopy(PLANS)
    other["configurations"]["2d"]["batch_size"] = 5  # of no importance for the data
    check_origin(folder, other, "2d", raw)


@pytest.mark.parametrize("file", ["imagesTr/b_0000.png", "labelsTr/b.png"])
def test_raw_files_are_compared_by_their_content(made: tuple[Path, Path], file: str) -> None:
    folder, raw = made
    before = content_fingerprint(folder, ["b", "a"])
    assert before == content_fingerprint(folder, ["a", "b"]) != content_fingerprint(folder, ["a"])
    path = raw / file
    os.utime(path, ns=(1, 1))  # as a copy has
    check_origin(folder, PLANS, "2d", raw)
    path.write_text(path.read_text()[::-1])
    with pytest.raises(TrainingError, match=r"of 1 case\(s\) were changed.*: b"):
        check_origin(folder, PLANS, "2d", raw)
    path.unlink()
    with pytest.raises(TrainingError, match="were removed"):
        check_origin(folder, PLANS, "2d", raw)
    check_origin(folder, PLANS, "2d", None)
    raw.rename(raw.with_name("away"))
    check_origin(folder, PLANS, "2d", raw)


def test_data_of_unknown_origin_are_taken_and_a_damaged_origin_is_not(made: tuple[Path, Path]) -> None:
    folder, raw = made
    assert content_fingerprint(folder, ["a", "new"]) is None
    origin_file(folder).write_text('{"plans"')
    with pytest.raises(TrainingError, match="cannot be read"):
        check_origin(folder, PLANS, "2d", raw)
    origin_file(folder).unlink()
    check_origin(folder, PLANS, "2d", raw)
    assert content_fingerprint(folder, ["a"]) is None
