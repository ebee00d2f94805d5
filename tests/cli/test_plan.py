"""``swin-umamba plan``."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.cli.main import build_parser, main
from swin_umamba.nnunet.environment import Dataset, find_dataset
from swin_umamba.nnunet.planning import plan as plan_step
from swin_umamba.nnunet.planning.plan import PlanResult
from swin_umamba.trainer_names import PRETRAINED_TRAINER_NAMES, SWIN_UMAMBA_D_SCRATCH, TRAINER_NAMES

RESULT = PlanResult(Path("plans.json"), Path("cases"), 6, (64, 96), 4)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Dataset, dict[str, Any]]]:
    """Collect the calls of ``plan`` instead of planning."""
    (tmp_path / "nnUNet_raw" / "Dataset003_Cells").mkdir(parents=True)
    collected: list[tuple[Dataset, dict[str, Any]]] = []

    def plan(dataset: Dataset, **options: Any) -> PlanResult:
        collected.append((dataset, options))
        return RESULT

    monkeypatch.setattr(plan_step, "plan", plan)
    return collected


def test_what_was_given_is_passed_on(
    calls: list[tuple[Dataset, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "3", "--root", str(tmp_path)]) == 0
    assert main(["plan", "3", "--root", str(tmp_path), "--patch-size", "64", "96", "--workers", "1"]) == 0
    assert calls[0][0].name == "Dataset003_Cells"
    assert [options for _, options in calls] == [{}, {"patch_size": (64, 96), "workers": 1}]
    printed = capsys.readouterr().out
    assert "6 cases, patch 64x96, batch 4" in printed
    train = ["swin-umamba", "train", "3", "--root", str(tmp_path), "--trainer", SWIN_UMAMBA_D_SCRATCH]
    assert f"next:  {shlex.join(train)}\n" in printed


def test_what_comes_next_can_be_run_as_it_is_printed(
    calls: list[tuple[Dataset, dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / 'it\'s a "root"'
    (root / "nnUNet_raw" / "Dataset004_My cells").mkdir(parents=True)
    (root / "nnUNet_raw" / "Dataset004_My cells" / "dataset.json").touch()
    for number in (4, 5):
        monkeypatch.setattr(plan_step, "plan", lambda *_, n=number, **__: replace(RESULT, num_cases=n))
        assert main(["plan", str(root / "nnUNet_raw" / "Dataset004_My cells"), "--root", str(root)]) == 0
        line = capsys.readouterr().out.splitlines()[-1].removeprefix("next:")
        args = build_parser().parse_args(shlex.split(line)[1:])
        assert find_dataset(args.dataset, args.root).name == "Dataset004_My cells"
        assert getattr(args, "fold", [0]) == (["all"] if number < 5 else [0])
        assert args.trainer not in PRETRAINED_TRAINER_NAMES  # a newcomer has no weights
        assert args.trainer in TRAINER_NAMES


def test_json(
    calls: list[tuple[Dataset, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "3", "--root", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dataset"] == "Dataset003_Cells"
    assert printed["patch_size"] == [64, 96]
    assert len(calls) == 1


def test_an_unknown_data_set_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nnUNet_raw" / "Dataset003_Cells").mkdir(parents=True)
    assert main(["plan", "Dataset003_Cell", "--root", str(tmp_path)]) == 2
    assert "did you mean Dataset003_Cells?" in capsys.readouterr().err
