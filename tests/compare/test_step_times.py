"""Steps of several networks, timed side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.compare import step_times
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.step_times import STEP_TIMES_FILE, TIMED, UNTIMED, merged
from swin_umamba.compare.trainer import PLANS_ENTRY, Terms, nnUNetTrainerComparison
from swin_umamba.errors import SwinUMambaError
from swin_umamba.nnunet.architecture import PlannedSwinUMambaD, architecture_entry
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset

TINY = {"depths": [1, 1, 1, 1], "features_per_stage": [8, 16, 24, 32], "d_state": 2}


def plans_of(dataset: Dataset, name: str) -> dict[str, Any]:
    plans: dict[str, Any] = json.loads((dataset.preprocessed_folder / f"{PLANS_NAME}.json").read_text())
    plans["plans_name"] = name
    plans["configurations"]["2d"] |= {
        "batch_size": 2,
        "architecture": architecture_entry(PlannedSwinUMambaD, TINY),
    }
    plans[PLANS_ENTRY] = Terms(Recipe(), UNTIMED + TIMED, True).as_dict()
    return plans


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name of the network of every step; one takes 1 s and the other 2 s, and loading takes 0.25 s."""
    monkeypatch.setattr(step_times, "run_apart", lambda name, function, *arguments: function(*arguments))
    taken: list[str] = []

    def step(self: nnUNetTrainerComparison, batch: dict[str, Any]) -> None:
        name = self.plans_manager.plans["plans_name"]
        taken.append(name)
        self.step_seconds.append({"slow": 2.0}.get(name, 1.0) if self.loading_seconds[UNTIMED:] else 60.0)
        self.loading_seconds[-1] = 0.25

    monkeypatch.setattr(nnUNetTrainerComparison, "train_step", step)
    return taken


def test_networks_take_turns_and_times_are_remembered(
    planned_dataset: Dataset, turns: list[str], tmp_path: Path
) -> None:
    plans = {name: plans_of(planned_dataset, name) for name in ("fast", "slow", "third")}
    two = {name: plans[name] for name in ("fast", "slow")}
    path = tmp_path / STEP_TIMES_FILE
    folders = planned_dataset.folders.results, planned_dataset.preprocessed_folder
    before = [set(folder.rglob("*")) for folder in folders]
    times = step_times.step_times(path, planned_dataset, two, "all", "cpu", 0)
    assert times == {"fast": 1.25, "slow": 2.25}
    assert turns == ["fast", "slow"] * (UNTIMED + TIMED)
    assert [set(folder.rglob("*")) for folder in folders] == before

    slow = {"slow": plans["slow"]}
    assert step_times.step_times(path, planned_dataset, slow, "all", "cpu", 0) == {"slow": 2.25}
    assert len(turns) == 2 * (UNTIMED + TIMED)  # not measured again
    path.write_text(json.dumps({"schema": 2, "seconds": {"fast": 5.0, "slow": 9.0}}))
    times = step_times.step_times(path, planned_dataset, plans, "all", "cpu", 0)
    assert times == {"fast": 5.0, "slow": 9.0, "third": 5.0}


def test_workers_load_while_a_step_is_taken(
    planned_dataset: Dataset, turns: list[str], tmp_path: Path
) -> None:
    plans = {"fast": plans_of(planned_dataset, "fast")}
    times = step_times.step_times(tmp_path / "times.json", planned_dataset, plans, "all", "cpu", 2)
    assert times == {"fast": 1.0}


def test_known_times_are_kept_and_set_the_scale() -> None:
    known = {"a": 1.0, "b": 2.0, "c": 3.0}
    measured = {"a": 2.0, "b": 4.0, "c": 3.3, "new": 8.0}
    assert merged(known, measured) == {**known, "new": 4.0}
    assert merged({}, {"a": 0.5}) == {"a": 0.5}


@pytest.mark.parametrize("seconds", [0, -1.0, "1", None, True])
def test_damaged_files_are_refused(tmp_path: Path, seconds: Any) -> None:
    path = tmp_path / STEP_TIMES_FILE
    path.write_text(json.dumps({"schema": 2, "seconds": {"a": seconds}}))
    with pytest.raises(SwinUMambaError, match="seconds"):
        step_times.read_step_times(path)


@pytest.mark.slow
def test_a_process_of_its_own_measures_real_steps(planned_dataset: Dataset, tmp_path: Path) -> None:
    plans = {"real": plans_of(planned_dataset, "real")}
    times = step_times.step_times(tmp_path / STEP_TIMES_FILE, planned_dataset, plans, "all", "cpu", 0)
    assert 0 < times["real"] < 60
