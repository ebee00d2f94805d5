from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from payload import Payload
from swin_umamba.errors import CheckpointError
from swin_umamba.trained.model import load_trained_model

MakeModel = Callable[..., Path]


def checkpoint_names(path: Path, **options: object) -> list[str]:
    model = load_trained_model(path, **options)  # type: ignore[arg-type]
    return [f"{file.parent.name}/{file.name}" for file in model.checkpoints]


def test_reads_everything_that_prediction_needs(make_model: MakeModel) -> None:
    folder = make_model(channels=("T1", "T2"))
    model = load_trained_model(folder)
    assert model.configuration == "2d"
    assert model.trainer_name == "nnUNetTrainer"
    assert model.mirror_axes == (0, 1)
    assert model.dataset_json["channel_names"] == {"0": "T1", "1": "T2"}
    assert model.plans["plans_name"] == "nnUNetPlans"
    (parameters,) = model.parameters
    assert parameters["encoder.stages.0.0.convs.0.conv.weight"].shape == (4, 2, 3, 3)


def test_folds(make_model: MakeModel) -> None:
    folder = make_model(folds=(0, 2, "all"))
    final = "checkpoint_final.pth"
    assert checkpoint_names(folder) == [f"fold_0/{final}", f"fold_2/{final}"]
    assert checkpoint_names(folder, folds=["all"]) == [f"fold_all/{final}"]
    assert checkpoint_names(folder, folds=[2]) == [f"fold_2/{final}"]
    assert checkpoint_names(folder / "fold_2") == [f"fold_2/{final}"]
    with pytest.raises(CheckpointError, match=r"no fold_1(.|\n)*choose among: fold_0, fold_2, fold_all"):
        load_trained_model(folder, folds=[0, 1])


def test_fold_all_is_used_where_it_is_alone(make_model: MakeModel) -> None:
    assert checkpoint_names(make_model(folds=("all",))) == ["fold_all/checkpoint_final.pth"]


def test_best_stands_in_for_final(make_model: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_model(checkpoint="checkpoint_best.pth")
    shutil.copy(folder / "fold_0/checkpoint_best.pth", folder / "fold_0/checkpoint_latest.pth")
    with caplog.at_level(logging.WARNING):
        assert checkpoint_names(folder) == ["fold_0/checkpoint_best.pth"]
    assert "using checkpoint_best.pth instead" in caplog.text
    (folder / "fold_0/checkpoint_best.pth").unlink()
    assert checkpoint_names(folder) == ["fold_0/checkpoint_latest.pth"]


def test_nothing_stands_in_for_a_named_checkpoint(make_model: MakeModel) -> None:
    with pytest.raises(
        CheckpointError, match=r"checkpoint_99.pth is missing(.|\n)*checkpoints: checkpoint_final.pth"
    ):
        load_trained_model(make_model(), checkpoint="checkpoint_99.pth")


def test_unfinished_folds_are_left_out_aloud(make_model: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_model(folds=(0, 1))
    (folder / "fold_1/checkpoint_final.pth").rename(folder / "fold_1/checkpoint_best.pth")
    with caplog.at_level(logging.WARNING):
        assert checkpoint_names(folder) == ["fold_0/checkpoint_final.pth"]
    assert "only some folds" in caplog.text


def test_a_checkpoint_alone_is_enough(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model()
    shutil.copy(folder / "fold_0/checkpoint_final.pth", tmp_path / "alone.pth")
    inside, alone = load_trained_model(folder), load_trained_model(tmp_path / "alone.pth")
    assert alone.plans == inside.plans
    assert alone.dataset_json == inside.dataset_json


def test_missing_and_damaged_files(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_trained_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"plans.json or dataset.json is missing"):
        load_trained_model(tmp_path / "empty")
    folder = make_model()
    (folder / "plans.json").write_text('{"configurations": ')
    with pytest.raises(CheckpointError, match=r"plans\.json"):
        load_trained_model(folder)
    checkpoint = folder / "fold_0/checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint_final\.pth"):
        load_trained_model(folder)


def test_bare_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="no network_weights, trainer_name, init_args"):
        load_trained_model(tmp_path / "weights.pth")


@pytest.mark.parametrize("key", ["network_weights", "logging", "init_args"])
def test_a_payload_is_not_run(make_model: MakeModel, tmp_path: Path, key: str) -> None:
    path = make_model() / "fold_0/checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    content[key] = {"a": Payload(os.mkdir, str(tmp_path / "executed"))}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="mkdir"):
        load_trained_model(path.parent.parent)
    assert not (tmp_path / "executed").exists()
    # The payload itself works: a loader that trusts the file would have run it.
    pickle.loads(pickle.dumps(Payload(os.mkdir, str(tmp_path / "executed"))))
    assert (tmp_path / "executed").exists()
