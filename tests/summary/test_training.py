"""What a fold folder tells of its training: from its records, from a checkpoint, from whatever is left."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.errors import DataError
from swin_umamba.json_files import write_contract
from swin_umamba.nnunet.training.options import TrainingOptions
from swin_umamba.summary import training
from swin_umamba.summary.curves import read_metrics
from swin_umamba.summary.training import FoldRecord, cross_validation_facts, data_facts, read_fold
from swin_umamba.weights.checkpoint import save_checkpoint

WANTED = 3


def line(epoch: int, **changes: Any) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 1.0 / epoch,
        "validation_loss": None,
        "pseudo_dice": 0.5,
        "pseudo_dice_per_class": {"liver": 0.1 * epoch, "spleen": None},
        "ema_pseudo_dice": 0.25,
        "learning_rate": 1e-4,
        "seconds": 10.0,
        "skipped_steps": 2 * epoch,
        "finished": "2026-01-02T03:04:05.000+00:00",
    } | changes


def start(first_epoch: int, **changes: Any) -> dict[str, Any]:
    return {
        "started": f"2026-01-0{first_epoch}T00:00:00+00:00",
        "first_epoch": first_epoch,
        "versions": {"swin-umamba": "0.1.0", "torch": "2.13.0", "numba": None},
        "platform": "Linux",
        "device": "Processor",
        "threads": 2,
        "git": {"commit": "0123456789abcdef" * 2 + "01234567", "uncommitted_changes": True},
    } | changes


def write_lines(fold: Path, lines: list[dict[str, Any]]) -> None:
    (fold / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))


def write_starts(fold: Path, *starts: dict[str, Any]) -> None:
    (fold / "software.json").write_text(json.dumps({"starts": starts}))


def write_checkpoint(fold: Path, name: str, epochs: int) -> None:
    log = {
        "train_losses": [7.0] * epochs,
        "val_losses": [7.0] * epochs,
        "lrs": [7.0] * epochs,
        "dice_per_class_or_region": [[7.0, 7.0]] * epochs,
        "ema_fg_dice": [7.0] * epochs,
        "epoch_start_timestamps": [0.0] * epochs,
        "epoch_end_timestamps": [7.0] * epochs,
    }
    own = {"skipped_steps": 77}
    save_checkpoint(
        fold / f"checkpoint_{name}.pth", {"logging": log, "current_epoch": epochs, "swin_umamba": own}
    )


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """A training of three epochs that has ended; its checkpoint has other numbers than its lines."""
    fold = tmp_path / "fold_0"
    fold.mkdir()
    (fold / "training_options.json").write_text(json.dumps({"seed": 1, "epochs": WANTED}))
    write_lines(fold, [line(epoch) for epoch in range(1, WANTED + 1)])
    write_starts(fold, start(1))
    write_checkpoint(fold, "final", WANTED)
    return fold


def read(fold: Path) -> FoldRecord:
    return read_fold(fold, ["liver", "spleen"])


def names_of(record: FoldRecord) -> dict[str, str]:
    return dict(record.failures)


def test_a_finished_training_is_told_without_its_checkpoint(
    fold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "load_checkpoint", None)
    record = read(fold)
    assert record.missing == ()
    assert record.curves is not None
    assert record.curves.train_loss == (1.0, 1 / 2, 1 / 3)
    assert record.curves.mean_pseudo_dice == (0.25,) * 3
    assert record.curves.pseudo_dice["liver"] == pytest.approx((0.1, 0.2, 0.3))
    assert all(math.isnan(value) for value in record.curves.pseudo_dice["spleen"])
    assert all(math.isnan(value) for value in record.curves.validation_loss)
    assert record.failures == (("fold_0: 6 steps skipped", "loss or gradients were not finite"),)


def test_a_killed_training_is_as_far_as_its_checkpoint(fold: Path) -> None:
    (fold / "checkpoint_final.pth").unlink()
    write_checkpoint(fold, "best", 1)
    write_lines(fold, [line(1), line(2)])
    with open(fold / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3')
    record = read(fold)
    assert names_of(record)["fold_0: training is not finished"] == "checkpoint_best.pth is of epoch 1 of 3"
    assert record.curves is not None
    assert record.curves.train_loss == (1.0, 0.5)
    assert "fold_0: 4 steps skipped" in names_of(record)


def test_a_longer_training_that_was_stopped_is_not_finished(fold: Path) -> None:
    (fold / "training_options.json").write_text(json.dumps({"seed": 1, "epochs": 5}))
    record = read(fold)
    assert names_of(record)["fold_0: training is not finished"] == "checkpoint_final.pth is of epoch 3 of 5"
    # Killed after its last epoch: the final checkpoint is still that of the shorter one.
    write_lines(fold, [line(epoch) for epoch in range(1, 6)])
    os.utime(fold / "checkpoint_final.pth", (1000, 1000))
    assert "fold_0: training is not finished" in names_of(read(fold))


def test_lines_alone_give_the_curves(fold: Path) -> None:
    (fold / "checkpoint_final.pth").write_bytes(b"damaged")
    os.utime(fold / "checkpoint_final.pth", (1000, 1000))
    record = read(fold)
    assert record.curves is not None
    assert record.curves.train_loss == (1.0, 1 / 2, 1 / 3)
    assert names_of(record) == {
        "fold_0: no checkpoint to resume from": "3 epochs were trained",
        "fold_0: 6 steps skipped": "loss or gradients were not finite",
    }
    assert [each.split(" (")[0] for each in record.missing] == ["fold_0: what checkpoint_final.pth holds"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b'{"epoch": 1}\n',
        json.dumps([line(1)]).encode() + b"\n",
        json.dumps(line(2)).encode() + b"\n",
        json.dumps(line(1, train_loss="high")).encode() + b"\n",
        json.dumps(line(1, pseudo_dice_per_class=1)).encode() + b"\n",
        json.dumps(line(1, seconds=10**400)).encode() + b"\n",
    ],
)
def test_damaged_lines_are_named_and_the_checkpoint_serves(fold: Path, damaged: bytes) -> None:
    (fold / "metrics.jsonl").write_bytes(damaged)
    with pytest.raises(DataError):
        read_metrics(fold / "metrics.jsonl")
    record = read(fold)
    assert [each.split(" (")[0] for each in record.missing] == ["fold_0: what metrics.jsonl holds"]
    assert record.curves is not None
    assert record.curves.train_loss == (7.0,) * 3
    assert "fold_0: 77 steps skipped" in names_of(record)


def test_a_line_without_the_skipped_steps_is_read(fold: Path) -> None:
    old = line(1)
    del old["skipped_steps"]
    write_lines(fold, [old])
    assert "fold_0: 77 steps skipped" in names_of(read(fold))


def tables(record: FoldRecord) -> dict[str, dict[str, str]]:
    return {each.heading: dict(each.rows) for each in record.facts if each.heading.startswith("Software")}


def test_the_software_of_a_training(fold: Path) -> None:
    assert tables(read(fold)) == {
        "Software of fold_0": {
            "started": "2026-01-01T00:00:00+00:00",
            "swin-umamba": "0.1.0",
            "torch": "2.13.0",
            "numba": "not installed",
            "git state of swin-umamba": "0123456789ab with uncommitted changes",
            "platform": "Linux",
            "device": "Processor",
            "threads": "2",
        }
    }


def test_starts_that_differ_have_tables_of_their_own(fold: Path) -> None:
    newer = {"swin-umamba": "0.2.0", "torch": "2.13.0", "numba": None}
    write_starts(fold, start(1), start(2), start(3, versions=newer, git=None))
    shown = tables(read(fold))
    assert list(shown) == ["Software of fold_0", "Software of fold_0 from epoch 3 on"]
    last = shown["Software of fold_0 from epoch 3 on"]
    assert (last["swin-umamba"], last["git state of swin-umamba"]) == ("0.2.0", "not from a git clone")


def test_epochs_of_unknown_software_are_named(fold: Path) -> None:
    write_starts(fold, start(3))
    assert read(fold).missing == (
        "fold_0: the software of epochs 1 to 2, which software.json does not contain",
    )
    write_starts(fold)
    assert "fold_0: the software of the training, which software.json does not contain" in read(fold).missing


@pytest.mark.parametrize(
    "damaged",
    [b"{", b"{}", b'{"starts": 1}', b'{"starts": [1]}', b'{"starts": [{"first_epoch": "x"}]}']
    + [json.dumps({"starts": [start(1, **each)]}).encode() for each in ({"versions": 1}, {"git": {}})],
)
def test_a_damaged_software_file_is_named(fold: Path, damaged: bytes) -> None:
    (fold / "software.json").write_bytes(damaged)
    record = read(fold)
    assert tables(record) == {}
    assert "fold_0: the software of the training, software.json" in "\n".join(record.missing)


def test_a_training_of_an_older_version(fold: Path) -> None:
    (fold / "software.json").unlink()
    (fold / "metrics.jsonl").unlink()
    (fold / "debug.json").write_text(json.dumps({"torch_version": "2.5.0", "cudnn_version": "None"}))
    record = read(fold)
    assert record.missing == (
        "fold_0: the versions and source code of swin-umamba, as it has no software.json",
    )
    assert tables(record) == {"Software of fold_0": {"PyTorch": "2.5.0"}}
    assert record.curves is not None
    assert record.curves.train_loss == (7.0,) * 3


def test_the_number_of_the_schema_is_no_option(fold: Path) -> None:
    write_contract(
        "training-options", fold / "training_options.json", TrainingOptions(seed=1, epochs=WANTED).as_dict()
    )
    rows = dict(read(fold).facts[0].rows)
    assert rows["seed"] == "1"
    assert "schema" not in rows


def test_numbers_without_end_and_lists_in_lists(fold: Path) -> None:
    model = fold.parent
    lists = f"{'[' * 90}{']' * 90}"
    (fold / "training_options.json").write_text(f'{{"seed": 1, "epochs": {WANTED}, "x": {lists}}}')
    assert ("x", "…") in read(fold).facts[0].rows
    fingerprint = {"shapes_after_crop": [[math.inf]], "spacings": [[1.0]]}
    (model / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    (model / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1}}))
    missing: list[str] = []
    data_facts(model, missing)
    assert "the data fingerprint, as dataset_fingerprint.json is missing or damaged" in missing


def test_cross_validation(tmp_path: Path) -> None:
    missing: list[str] = []
    assert cross_validation_facts(tmp_path, missing) == ()
    liver = {"mean": 0.6, "deviation": 0.1414, "folds": {"0": 0.5, "2": 0.7}}
    spleen = {"mean": 0.75, "deviation": None, "folds": {"0": None, "2": 0.75}}
    content = {"folds": [0, 2], "classes": {"liver": liver, "spleen": spleen}, "foreground": liver}
    write_contract("cross-validation", tmp_path / "cross_validation.json", content)
    (facts,) = cross_validation_facts(tmp_path, missing)
    assert facts.rows == (
        ("liver", "0.6000 ± 0.1414 (fold 0: 0.5000, fold 2: 0.7000)"),
        ("spleen", "0.7500 ± none (fold 0: none, fold 2: 0.7500)"),
        ("mean of classes", "0.6000 ± 0.1414 (fold 0: 0.5000, fold 2: 0.7000)"),
    )
    assert missing == []


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": 3}', '{"classes": {"a": {}}, "foreground": {}}'])
def test_a_damaged_cross_validation_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "cross_validation.json").write_text(content)
    missing: list[str] = []
    assert cross_validation_facts(tmp_path, missing) == ()
    assert len(missing) == 1
    assert "cross_validation.json" in missing[0]
