from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.utilities.crossval_split import generate_crossval_split

from swin_umamba.errors import DataError, TrainingError, UsageError
from swin_umamba.nnunet.splits import keep_splits_in_step, update_splits


def names(count: int) -> list[str]:
    return [f"case{number:02d}" for number in range(count)]


def test_any_change_of_the_cases_remakes_nnunets_own_splits_and_nobody_elses(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    path = tmp_path / "splits_final.json"
    for _ in range(8):
        pool = names(25)
        before, after = (
            sorted(random.choice(pool, int(random.integers(5, 20)), replace=False).tolist()) for _ in range(2)
        )
        path.unlink(missing_ok=True)
        assert not update_splits(path, before)
        assert json.loads(path.read_text()) == generate_crossval_split(before)
        assert update_splits(path, after) == (before != after)
        assert json.loads(path.read_text()) == generate_crossval_split(after)
        own = [{"train": before[1:], "val": before[:1]}]
        path.write_text(json.dumps(own))
        if set(before) <= set(after):
            assert not update_splits(path, after)
        else:
            with pytest.raises(TrainingError, match=f"name {len(set(before) - set(after))} case"):
                update_splits(path, after)
        assert json.loads(path.read_text()) == own


def test_cases_in_no_fold_of_somebodys_splits_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": names(3), "val": ["case03"]}]))
    with caplog.at_level(logging.WARNING):
        update_splits(path, names(6))
    assert "2 of 6 cases are in no fold" in caplog.text
    assert "case04, case05" in caplog.text


@pytest.mark.parametrize("own", [None, 1, 7])
def test_folds_are_those_of_the_splits(tmp_path: Path, own: int | None) -> None:
    path = tmp_path / "splits_final.json"
    if own is not None:
        path.write_text(json.dumps([{"train": names(3), "val": ["case03"]}] * own))
    number = own or 5
    keep_splits_in_step(path, names(5), tmp_path, range(number))
    for fold in (number, number + 94, -1, "first"):
        with pytest.raises(UsageError, match=rf"no fold {fold}: the splits have {number}\b"):
            keep_splits_in_step(path, names(5), tmp_path, [0, fold])


@pytest.mark.parametrize("text", ["", "{}x", '[{"train": []}]', '["a"]', "[" * 5000])
def test_damaged_splits_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits_final.json").write_text(text)
    with pytest.raises(DataError, match=r"splits are damaged|cannot be read"):
        update_splits(tmp_path / "splits_final.json", names(5))


def test_too_few_cases_are_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="4 training cases are too few"):
        update_splits(tmp_path / "splits_final.json", names(4))
    assert not list(tmp_path.iterdir())
