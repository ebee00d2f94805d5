"""A whole comparison of two tiny networks, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.baselines.umamba import UMambaBot
from swin_umamba.compare.budget import Budget
from swin_umamba.compare.comparison import Settings, compare
from swin_umamba.compare.job import TrainingJob, run_job
from swin_umamba.compare.networks import NETWORKS, ComparedNetwork
from swin_umamba.compare.recipe import NNUNET, SWIN_UMAMBA, Recipe
from swin_umamba.compare.results import RunResult
from swin_umamba.data.datasets.synthetic import make_nuclei
from swin_umamba.errors import UsageError
from swin_umamba.nnunet.architecture import PlannedSwinUMambaD, architecture_entry
from swin_umamba.nnunet.planning import plan as plan_step

SETTINGS = Settings(
    Budget(iterations=2), Recipe(), patch_size=(64, 64), batch_size=2, tolerance=1.0, device="cpu"
)


def umamba_entry(patch_size: Any, spacing: Any) -> dict[str, Any]:
    return {
        "network_class_name": f"{UMambaBot.__module__}.UMambaBot",
        "arch_kwargs": {"strides": [[1, 1], [2, 2], [4, 4]], "features_per_stage": [4, 4, 8]},
        "_kw_requires_import": [],
    }


def swin_umamba_entry(patch_size: Any, spacing: Any) -> dict[str, Any]:
    kwargs = {"depths": [1, 1, 1, 1], "features_per_stage": [8, 16, 24, 32], "d_state": 2}
    return architecture_entry(PlannedSwinUMambaD, kwargs)


OURS = ComparedNetwork("ours", "Ours", swin_umamba_entry, SWIN_UMAMBA)
OTHER = ComparedNetwork("other", "Other", umamba_entry, NNUNET, note="its width is a choice")


@pytest.fixture
def plain_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without drawings and processes."""
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, output_folder: None)
    monkeypatch.setattr(plan_step, "DEFAULT_WORKERS", 1)


def refuse(job: TrainingJob) -> RunResult:
    raise AssertionError(f"{job.network}, seed {job.seed}, was to be trained")


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_trains_tests_and_resumes(tmp_path: Path) -> None:
    data = make_nuclei(tmp_path / "raw" / "Dataset905_Tiny", num_training=4, num_test=2, size=64, seed=0)
    output = tmp_path / "output"
    go = partial(compare, data, [OURS, OTHER], output=output, settings=SETTINGS)
    table = go(seeds=[0], run=run_job)

    assert [row.name for row in table.rows] == ["ours", "other"]
    for row in table.rows:
        assert row.steps == 2
        assert 0 <= row.scores["dice"] <= 1
        assert row.memory_bytes is None or row.memory_bytes > 1e6
    assert table.rows[1].differences["dice"] is not None
    written = json.loads((output / "comparison.json").read_text())
    assert written == {"schema": 2, **json.loads(json.dumps(table.to_dict()))}
    markdown = (output / "comparison.md").read_text()
    assert "Patch 64 x 64, batch 2, 2 iterations each, seeds 0" in markdown
    assert "trained on all training cases, tested on the test set" in markdown
    assert "- other: its width is a choice." in markdown
    assert len((output / "comparison.csv").read_text().splitlines()) == 3
    predictions = output / "runs" / "other" / "seed_0" / "predictions"
    assert len(list(predictions.glob("*.png"))) == 2

    assert go(seeds=[0], run=refuse).to_dict() == table.to_dict()
    trained = []

    def note(job: TrainingJob) -> RunResult:
        trained.append((job.network, job.seed))
        return RunResult(job.network, job.seed, *_canned(output, job.network))

    both = go(seeds=[0, 1], run=note, baseline="other")
    assert trained == [("ours", 1), ("other", 1)]
    assert both.rows[0].seeds == (0, 1)
    assert both.rows[1].differences == {}
    with pytest.raises(UsageError, match=r"budget was .*'iterations': 2.* and is .*'iterations': 3"):
        compare(data, [OURS], [0], output, Settings(Budget(iterations=3), Recipe()), run=refuse)


def _canned(output: Path, network: str) -> tuple[Any, Any]:
    stored = RunResult.read(output / "runs" / network / "seed_0" / "result.json")
    return stored.cost, stored.scores


@pytest.mark.parametrize(
    ("networks", "seeds", "baseline", "message"),
    [
        ([], [0], None, "at least one"),
        ([OURS, OURS], [0], None, "each only once"),
        ([OURS], [], None, "at least one"),
        ([OURS], [-1], None, "0 or more"),
        ([OURS], [0], "other", "none of the networks"),
        ([NETWORKS["swin_umamba_d_pretrained"]], [0], None, "--pretrained"),
    ],
)
def test_refuses_impossible_lists(
    tmp_path: Path, networks: Any, seeds: Any, baseline: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare("nowhere", networks, seeds, tmp_path / "output", SETTINGS, baseline=baseline, run=refuse)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ({"swin_umamba_d_pretrained": "a"}, "^swin_umamba_dd_pretrained: to start from pretrained weights"),
        (
            {"swin_umamba_d_pretrained": "a", "swin_umamba_dd_pretrained": "b", "nnunet": "c"},
            "weights for nnunet, which is none",
        ),
    ],
)
def test_refuses_weights_that_are_missing_or_for_nobody(
    tmp_path: Path, pretrained: dict[str, str], message: str
) -> None:
    networks = [
        NETWORKS[name] for name in ("swin_umamba_d_pretrained", "swin_umamba_dd_pretrained", "nnunet")
    ]
    settings = replace(SETTINGS, pretrained=pretrained)
    with pytest.raises(UsageError, match=message):
        compare("nowhere", networks, [0], tmp_path / "output", settings, run=refuse)
    given = replace(settings, pretrained={"swin_umamba_d_pretrained": "a", "swin_umamba_dd_pretrained": "b"})
    assert [given.weights_of(each) for each in networks] == ["a", "b", None]
    assert [SETTINGS.weights_of(each) for each in networks] == [None, None, None]


def test_refuses_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="torchrun has started 2 processes"):
        compare("nowhere", [OURS], [0], tmp_path / "output", SETTINGS, run=refuse)
    assert not (tmp_path / "output").exists()


def test_training_on_all_cases_needs_a_test_set(tmp_path: Path) -> None:
    data = make_nuclei(tmp_path / "raw" / "Dataset905_Tiny", num_training=1, num_test=1, size=64, seed=0)
    for path in (data / "labelsTs").iterdir():
        path.unlink()
    (data / "labelsTs").rmdir()
    settings = Settings(Budget(iterations=2), Recipe(), fold="all")
    with pytest.raises(UsageError, match="no labelled test set"):
        compare(data, [OURS], [0], tmp_path / "output", settings, run=refuse)
