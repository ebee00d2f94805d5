"""Patch and batch sizes against those of the planner that made the paper's plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from json_edits import changed_json
from swin_umamba.errors import DataError, UsageError
from swin_umamba.json_files import write_json
from swin_umamba.nnunet.planning.planner import SwinUMambaPlanner

SHAPES_AND_EXPECTATIONS = [
    # median shape, training cases, channels, labels, patch size, batch size
    pytest.param((80, 320, 320), 60, 1, 14, (320, 320), 30, id="abdomen"),
    pytest.param((80, 260, 320), 60, 1, 14, (320, 320), 30, id="narrow-abdomen"),
    pytest.param((1, 384, 640), 1800, 3, 8, (384, 640), 13, id="endoscopy"),
    pytest.param((1, 512, 640), 1000, 3, 3, (512, 512), 12, id="cells"),
    pytest.param((1, 1024, 1360), 1000, 3, 3, (448, 576), 13, id="large-cells", marks=pytest.mark.slow),
    pytest.param((1, 1024, 1280), 1800, 3, 8, (512, 512), 12, id="large-endoscopy", marks=pytest.mark.slow),
    pytest.param((1, 1080, 1920), 1800, 3, 8, (384, 640), 13, id="endovis", marks=pytest.mark.slow),
    # The rule gives 40x56. The batch is 5 % of the pixels of the data set: 5000 * 40 * 56 / 20 / 64**2.
    pytest.param((1, 40, 56), 5000, 1, 2, (64, 64), 137, id="rounded-up-to-32"),
]


def plan_2d(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    num_cases: int,
    num_channels: int = 3,
    num_labels: int = 3,
    spacing: tuple[float, float, float] = (999.0, 1.0, 1.0),
    **options: Any,
) -> dict[str, Any]:
    """Return the 2D plan for a data set of which only numbers exist."""
    name = "Dataset902_Numbers"
    for folder in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{folder}", str(root / folder))
    names = [f"case{number}" for number in range(num_cases)]
    description = {
        "channel_names": {str(channel): "MR" for channel in range(num_channels)},
        "labels": {"background": 0} | {f"class{label}": label for label in range(1, num_labels)},
        "numTraining": 1,  # wrong on purpose: the number of listed cases counts
        "file_ending": ".png",
        "dataset": {case: {"images": [f"{case}_0000.png"], "label": f"{case}.png"} for case in names},
    }
    write_json(root / "raw" / name / "dataset.json", description)
    # The planner opens the first image to see which reader can.
    PILImage.fromarray(np.zeros((8, 8), np.uint8)).save(root / "raw" / name / "case0_0000.png")
    fingerprint = {
        "spacings": [list(spacing)] * 3,
        "shapes_after_crop": [list(shape)] * 3,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {},
    }
    write_json(root / "preprocessed" / name / "dataset_fingerprint.json", fingerprint)
    plans = SwinUMambaPlanner(name, **options).plan_experiment()
    assert list(plans["configurations"]) == ["2d"]
    assert plans["plans_name"] == "SwinUMambaPlans"
    return plans["configurations"]["2d"]


@pytest.mark.parametrize(
    ("shape", "num_cases", "channels", "labels", "patch", "batch"), SHAPES_AND_EXPECTATIONS
)
def test_patch_and_batch_follow_the_old_rule(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    num_cases: int,
    channels: int,
    labels: int,
    patch: tuple[int, int],
    batch: int,
) -> None:
    plan = plan_2d(tmp_path, monkeypatch, shape, num_cases, channels, labels)
    assert tuple(plan["patch_size"]) == patch
    assert plan["batch_size"] == batch
    assert plan["batch_dice"] is True


def test_a_requested_patch_gets_a_batch_and_a_topology_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_2d(tmp_path, monkeypatch, (1, 1024, 1280), 1800, patch_size=(320, 96))
    assert plan["patch_size"] == [320, 96]
    strides = np.array(plan["architecture"]["arch_kwargs"]["strides"])
    assert not np.any(np.array([320, 96]) % strides.prod(axis=0)), (
        "stock networks must be able to use the plans"
    )
    assert plan["batch_size"] > 30
    assert list(plan["median_image_size_in_voxels"]) == [1024, 1280]


def test_a_requested_batch_size_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_2d(tmp_path, monkeypatch, (1, 512, 640), 100, batch_size=3)
    assert plan["batch_size"] == 3
    assert plan["patch_size"] == [512, 512]


@pytest.mark.parametrize("shape", [(1, 512, 640), (512, 1, 640), (512, 640, 1)])
@pytest.mark.parametrize("spacing", [(5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0), (1.0, 1.0, 1.0)])
def test_flat_images_are_seen_in_their_plane(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> None:
    plan = plan_2d(tmp_path, monkeypatch, shape, 100, spacing=spacing)
    assert list(plan["median_image_size_in_voxels"]) == [512, 640]
    (path,) = (tmp_path / "preprocessed").glob("*/SwinUMambaPlans.json")
    order = json.loads(path.read_text())["transpose_forward"]
    assert order == [shape.index(1), *(axis for axis in range(3) if shape[axis] != 1)]
    assert list(plan["spacing"]) == [spacing[axis] for axis in order[1:]]


def test_volumes_that_are_lines_among_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_2d(tmp_path, monkeypatch, (40, 512, 640), 3)
    (path,) = (tmp_path / "preprocessed").glob("*/dataset_fingerprint.json")
    with changed_json(path) as fingerprint:
        fingerprint["shapes_after_crop"][1] = [40, 1, 640]
    with pytest.raises(DataError, match="one voxel thick along y") as caught:
        SwinUMambaPlanner(path.parent.name).plan_experiment()
    assert "case1 of Dataset902_Numbers" in str(caught.value)


@pytest.mark.parametrize("patch_size", [(100, 128), (0, 32), (32,)])
def test_a_patch_that_is_no_multiple_of_32_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patch_size: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        plan_2d(tmp_path, monkeypatch, (1, 512, 640), 100, patch_size=patch_size)


def test_damaged_plans_are_replaced_and_added_configurations_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_2d(tmp_path, monkeypatch, (1, 64, 64), 5)
    (path,) = (tmp_path / "preprocessed").glob("*/SwinUMambaPlans.json")
    good = path.read_text()
    for damaged in ("{", "{}", "[]", '{"configurations": 1}'):
        path.write_text(damaged)
        SwinUMambaPlanner(path.parent.name).plan_experiment()
        assert path.read_text() == good
    plans = json.loads(good)
    own = {"inherits_from": "2d", "batch_size": 3}
    path.write_text(json.dumps(plans | {"configurations": plans["configurations"] | {"own": own}}))
    SwinUMambaPlanner(path.parent.name).plan_experiment()
    assert json.loads(path.read_text())["configurations"] == plans["configurations"] | {"own": own}
