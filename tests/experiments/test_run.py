"""Recipes: each step once, from wherever the run was stopped; other settings refused; the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.data.datasets.neurips_cell import convert_neurips_cell
from swin_umamba.errors import DataError, SwinUMambaError, UsageError
from swin_umamba.experiments.run import dry_run, reproduce
from swin_umamba.experiments.settings import choose_settings
from swin_umamba.experiments.steps import Experiment
from swin_umamba.paper import EXPERIMENTS

Announce = Callable[[str], None]
STEP_NAMES = ["convert", "plan", "train", "predict", "evaluate"]
RECIPE = EXPERIMENTS["microscopy"]


def experiment_of(challenge: Path, tmp_path: Path, **changes: Any) -> Experiment:
    return replace(
        Experiment(
            recipe=RECIPE,
            settings=choose_settings(RECIPE),
            data=challenge,
            root=tmp_path / "run",
            trainer="nnUNetTrainerSwinUMambaDScratch",
        ),
        **changes,
    )


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_steps_once_and_the_report(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce, lines: list[str]
) -> None:
    experiment = experiment_of(challenge, tmp_path)
    markdown, report = reproduce(experiment, announce)
    assert fakes.calls == STEP_NAMES
    assert [line.split(":")[0] for line in lines] == [
        f"[{n}/5] {name}" for n, name in enumerate(STEP_NAMES, 1)
    ]
    assert fakes.training_options == {
        "trainer": "nnUNetTrainerSwinUMambaDScratch",
        "fold": "all",
        "epochs": 350,
        "iterations_per_epoch": 250,
        "validation_iterations": 50,
        "schedule": "paper",
        "device": "auto",
        "skip_validation": True,
    }
    content = json.loads(report.read_text())
    # One of four cells is found: precision 1, recall 1/4.
    assert content["results"]["f1"] == {"paper": 0.5186, "as-published": 0.4, "corrected": pytest.approx(0.4)}
    assert content["deviations_from_the_paper"] == []
    assert (content["test_cases"], content["data"]["num_training"]) == (2, 4)
    text = markdown.read_text()
    assert "| f1 | 0.5186 | 0.4000 | 0.4000 | +0.0000 |" in text
    assert "the published data set has 1000 training and 101 test cases, this one 4 and 2" in text
    assert "not the experiment" not in text

    fakes.calls.clear()
    lines.clear()
    reproduce(experiment, announce)
    assert fakes.calls == []
    assert all(line.endswith("done before") for line in lines)


@pytest.mark.parametrize("stopped", STEP_NAMES)
def test_a_stopped_run_goes_on_where_it_was(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce, stopped: str
) -> None:
    experiment = experiment_of(challenge, tmp_path)
    fakes.stop_in = stopped
    with pytest.raises(KeyboardInterrupt):
        reproduce(experiment, announce)
    position = STEP_NAMES.index(stopped)
    assert fakes.calls == STEP_NAMES[: position + 1]
    assert not (experiment.root / experiment.trainer / "report.md").exists()

    fakes.calls.clear()
    _, report = reproduce(experiment, announce)
    assert fakes.calls == STEP_NAMES[position:]
    assert fakes.continued[-1] is (stopped == "train")
    assert json.loads(report.read_text())["results"]["f1"]["corrected"] == pytest.approx(0.4)


def test_a_second_trainer_shares_data_and_plans(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce
) -> None:
    reproduce(experiment_of(challenge, tmp_path), announce)
    fakes.calls.clear()
    other = experiment_of(challenge, tmp_path, trainer="nnUNetTrainerSwinUMambaScratch", seed=3, workers=1)
    reproduce(other, announce)
    assert fakes.calls == STEP_NAMES[2:]
    assert (fakes.training_options["seed"], fakes.training_options["workers"]) == (3, 1)
    assert {path.name for path in other.root.iterdir()} >= {other.trainer, "nnUNetTrainerSwinUMambaDScratch"}


def test_predictions_of_an_earlier_model_are_not_taken(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce
) -> None:
    experiment = experiment_of(challenge, tmp_path)
    reproduce(experiment, announce)
    fakes.calls.clear()
    experiment.final_checkpoint.write_text("another training")
    reproduce(experiment, announce)
    assert fakes.calls == ["predict", "evaluate"]


def test_other_settings_and_foreign_folders_are_refused(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce
) -> None:
    reproduce(experiment_of(challenge, tmp_path), announce)
    before = files_below(tmp_path / "run")
    shorter = experiment_of(challenge, tmp_path, settings=choose_settings(RECIPE, budget=20))
    with pytest.raises(UsageError, match="epochs was 350, is 10"):
        reproduce(shorter, announce)
    assert files_below(tmp_path / "run") == before

    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no run of a recipe"):
        reproduce(experiment_of(challenge, tmp_path, root=foreign), announce)
    assert files_below(foreign) == ["chapter.txt"]


def test_a_converted_data_set_is_taken_as_it_is(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce
) -> None:
    folder = tmp_path / "elsewhere" / RECIPE.dataset_name
    convert_neurips_cell(challenge, folder)
    # As the authors' download calls them.
    (folder / "imagesTs").rename(folder / "imagesVal")
    (folder / "instancesTs").rename(folder / "labelsVal-instance-mask")
    before = files_below(folder)
    reproduce(experiment_of(folder, tmp_path), announce)
    assert fakes.calls == STEP_NAMES[1:]
    assert files_below(folder) == before
    assert not (tmp_path / "run" / "nnUNet_raw").exists()

    (folder / "labelsVal-instance-mask").rename(folder / "gone")
    with pytest.raises(DataError, match="no instancesTs or labelsVal-instance-mask"):
        reproduce(experiment_of(folder, tmp_path, root=tmp_path / "new"), announce)


def test_pretrained_trainers_look_for_weights_first(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def locate(given: str) -> Path:
        asked.append(given)
        raise SwinUMambaError("no such weights")

    monkeypatch.setattr("swin_umamba.nnunet.training.pretrained.locate_pretrained", locate)
    experiment = experiment_of(challenge, tmp_path, trainer="nnUNetTrainerSwinUMambaD")
    with pytest.raises(SwinUMambaError, match="no such weights"):
        reproduce(experiment, announce)
    assert asked == ["vmamba_tiny_v0cls"]
    assert fakes.calls == []

    reproduce(replace(experiment, pretrained="none"), announce)
    assert (fakes.training_options["pretrained"], fakes.training_options["frozen_epochs"]) == ("none", 0)


def test_a_step_without_its_result_and_missing_data(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin_umamba.nnunet.training.train.train", lambda *args, **options: None)
    with pytest.raises(SwinUMambaError, match="the step train ended without its result"):
        reproduce(experiment_of(challenge, tmp_path), announce)
    with pytest.raises(UsageError, match="no such folder"):
        reproduce(experiment_of(tmp_path / "no", tmp_path, root=tmp_path / "x"), announce)
    assert not (tmp_path / "x").exists()


def test_no_test_labels(challenge: Path, tmp_path: Path, fakes: Any, announce: Announce) -> None:
    (challenge / "Tuning").rename(challenge / "away")
    with pytest.raises(DataError, match="no test case with a label"):
        reproduce(experiment_of(challenge, tmp_path), announce)
    assert fakes.calls == ["convert"]


def test_a_dry_run_changes_nothing(challenge: Path, tmp_path: Path, fakes: Any, announce: Announce) -> None:
    experiment = experiment_of(challenge, tmp_path)
    before = files_below(tmp_path)
    printed = list(dry_run(experiment))
    assert files_below(tmp_path) == before
    assert [line.split(":")[0] for line in printed[:5]] == [
        f"[{number}/5] {name}" for number, name in enumerate(STEP_NAMES, 1)
    ]
    assert "350 epochs of 250 steps" in printed[2]
    fakes.stop_in = "train"
    with pytest.raises(KeyboardInterrupt):
        reproduce(experiment, announce)
    assert [line.endswith("done before") for line in dry_run(experiment)][:5] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_shortened_run_says_so_everywhere(
    challenge: Path, tmp_path: Path, fakes: Any, announce: Announce, lines: list[str]
) -> None:
    experiment = experiment_of(challenge, tmp_path, settings=choose_settings(RECIPE, budget=100))
    markdown, report = reproduce(experiment, announce)
    assert "NOT THE EXPERIMENT OF THE PAPER" in lines[0]
    assert any("training steps: 100 of 87500, 0.11%" in line for line in lines)
    assert "**This is not the experiment of the paper.**" in markdown.read_text()
    assert json.loads(report.read_text())["settings"]["patch_size"] == [256, 256]
