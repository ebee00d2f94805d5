"""Cells in the challenge's layout, and the slow steps of a recipe as fakes that leave the same files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.cell_challenge import write_cell_challenge
from swin_umamba.data.image_io import read_image, write_labels
from swin_umamba.nnunet.environment import Dataset


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """The cell challenge as it is downloaded."""
    source = tmp_path / "NeurIPS22-CellSeg"
    write_cell_challenge(source)
    return source


class Fakes:
    """Counts calls, and can stop like a killed process: in the middle, with half of the files written."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stop_in: str | None = None
        self.continued: list[bool] = []
        self.training_options: dict[str, Any] = {}

    def called(self, name: str) -> bool:
        """Note a call; True if it is to stop half-way."""
        self.calls.append(name)
        stops = name == self.stop_in
        if stops:
            self.stop_in = None
        return stops

    def plan(self, dataset: Dataset, *, patch_size: tuple[int, int], batch_size: int, workers: Any) -> None:
        stops = self.called("plan")
        folder = dataset.preprocessed_folder
        folder.mkdir(parents=True, exist_ok=True)
        configuration = {"patch_size": list(patch_size), "batch_size": batch_size, "data_identifier": "cases"}
        (folder / "SwinUMambaPlans.json").write_text(json.dumps({"configurations": {"2d": configuration}}))
        (folder / "dataset.json").write_text("{}")
        if stops:
            raise KeyboardInterrupt
        (folder / "cases").mkdir()

    def train(self, dataset: Dataset, *, continue_training: bool, **options: Any) -> None:
        stops = self.called("train")
        self.continued.append(continue_training)
        self.training_options = options
        folder = (
            dataset.folders.results / dataset.name / f"{options['trainer']}__SwinUMambaPlans__2d/fold_all"
        )
        folder.mkdir(parents=True, exist_ok=True)
        if stops:
            (folder / "checkpoint_latest.pth").write_text("half")
            raise KeyboardInterrupt
        (folder / "checkpoint_final.pth").write_text("all")

    def predict_folder(self, images: Path, output: Path) -> list[SimpleNamespace]:
        stops = self.called("predict")
        results = []
        for path in sorted(images.iterdir()):
            image = read_image(path)
            labels = np.zeros(image.spatial_shape, np.uint8)
            labels[10:26, 10:26] = 1
            write_labels(output / f"{path.name.removesuffix('_0000.png')}.png", labels, like=image)
            results.append(SimpleNamespace(case=path.name, error=None))
            if stops:
                raise KeyboardInterrupt
        return results


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Put the fakes in the place of planning, training and predicting; count the other steps."""
    from swin_umamba.experiments import run as recipes_run
    from swin_umamba.experiments import steps
    from swin_umamba.nnunet.planning import plan as plan_step
    from swin_umamba.nnunet.training import train as train_step

    fakes = Fakes()
    monkeypatch.setattr(plan_step, "plan", fakes.plan)
    monkeypatch.setattr(train_step, "train", fakes.train)
    predictor = SimpleNamespace(
        Predictor=SimpleNamespace(
            from_folder=lambda *args, **options: SimpleNamespace(
                predict_folder=fakes.predict_folder, options=options
            )
        )
    )
    monkeypatch.setitem(__import__("sys").modules, "swin_umamba.inference.predictor", predictor)

    def counted(step: Any) -> Any:
        def do(experiment: steps.Experiment) -> None:
            if step.name in ("convert", "evaluate") and fakes.called(step.name):
                raise KeyboardInterrupt
            step.do(experiment)

        return steps.Step(step.name, step.describe, step.is_done, do)

    monkeypatch.setattr(recipes_run, "STEPS", tuple(counted(step) for step in steps.STEPS))
    return fakes


@pytest.fixture
def lines() -> list[str]:
    """What a run announces."""
    return []


@pytest.fixture
def announce(lines: list[str]) -> Callable[[str], None]:
    """Collect it."""
    return lines.append
