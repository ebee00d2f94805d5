"""``swin-umamba reproduce`` and the scripts with the published names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cell_challenge import write_cell_challenge
from schemas import check_contract
from swin_umamba.cli import reproduce
from swin_umamba.cli.main import main
from swin_umamba.data.datasets import DATASETS
from swin_umamba.evaluation.protocols import PROTOCOLS
from swin_umamba.nnunet.trainers import TRAINERS
from swin_umamba.paper import EXPERIMENTS

SCRIPTS = Path(__file__).parents[2] / "scripts"
SCRIPT_OF = {
    "train_AbdomenMR.sh": "100 epochs of 250 steps",
    "train_Endoscopy.sh": "250 epochs of 250 steps",
    "train_Microscopy.sh": "350 epochs of 250 steps",
}
SCRATCH = "nnUNetTrainerSwinUMambaDScratch"


def test_the_names_are_those_of_recipes_protocols_and_trainers() -> None:
    assert set(EXPERIMENTS) <= set(PROTOCOLS)
    assert set(EXPERIMENTS) <= set(DATASETS)
    assert set(reproduce.EXPERIMENT_TRAINER_NAMES) <= set(TRAINERS)
    for recipe in EXPERIMENTS.values():
        assert set(recipe.published_results) == set(reproduce.EXPERIMENT_TRAINER_NAMES) - {"nnUNetTrainer"}


def test_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", "abdomen-mr", "--data", "nowhere", "--trainer", SCRATCH, "--dry-run"]
    output = tmp_path / "run"
    assert main([*arguments, "-o", str(output), "--validation-as-test"]) == 0
    printed = capsys.readouterr().out
    assert "plan: check and preprocess; patch 320 x 320, batch 30" in printed
    assert "PAPER" not in printed
    assert main([*arguments, "-o", str(output), "--budget", "50", "--json"]) == 0
    assert "NOT THE EXPERIMENT OF THE PAPER" in json.loads(capsys.readouterr().out)["steps"][0]
    assert not output.exists()


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", "endoscopy", "--data", str(tmp_path), "-o", str(tmp_path / "run")]
    assert main([*arguments, "--trainer", "nnUNetTrainerSwin"]) == 2
    assert "invalid choice" in capsys.readouterr().err
    assert main([*arguments, "--trainer", SCRATCH, "--validation-as-test"]) == 2
    assert "does not know validation_as_test" in capsys.readouterr().err
    assert main([*arguments, "--trainer", SCRATCH, "--budget", "1000000"]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="the scripts are for bash")
@pytest.mark.parametrize("script", sorted(SCRIPT_OF))
def test_the_scripts_print_the_steps(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["bash", "-n", SCRIPTS / script], check=True)
    assert os.access(SCRIPTS / script, os.X_OK)
    command = tmp_path / "bin" / "swin-umamba"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")  # what it is asked to do, one word a line
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    asked = subprocess.run(
        ["bash", SCRIPTS / script, SCRATCH, "--data", "the data", "--dry-run"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert asked[-3:] == ["--data", "the data", "--dry-run"]
    monkeypatch.chdir(tmp_path)
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert SCRIPT_OF[script] in printed
    assert SCRATCH in printed
    without = subprocess.run(["bash", SCRIPTS / script], env=environment, capture_output=True, text=True)
    assert without.returncode != 0
    assert "MODEL_NAME" in without.stderr


@pytest.mark.slow
def test_a_real_run_that_is_killed_and_goes_on(tmp_path: Path) -> None:
    write_cell_challenge(tmp_path / "cells")
    command = [
        *(sys.executable, "-m", "swin_umamba", "reproduce", "microscopy", "--trainer", SCRATCH),
        *("--data", "cells", "-o", "run", "--budget", "2", "--patch-size", "64", "64", "--batch-size", "2"),
        *("--seed", "0", "--workers", "0", "--device", "cpu", "--json"),
    ]
    # However late the kill comes, the step is not done by then.
    (tmp_path / "hold.py").write_text(
        "import time\n"
        "from swin_umamba.inference.predictor import Predictor\n"
        "Predictor.predict_folder = lambda *_, **__: time.sleep(3600)\n"
    )
    held = os.environ | {"SWIN_UMAMBA_EXTENSIONS": str(tmp_path / "hold.py")}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=held)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[4/5] predict"):
            process.kill()
            break
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [f"[{n}/5]" in done.stderr for n in range(1, 6)] == [True] * 5
    assert done.stderr.count("done before") == 3
    report = json.loads(done.stdout)
    check_contract("experiment-report", report)
    assert report["test_cases"] == 2
    assert 0 <= report["results"]["f1"]["corrected"] <= 1
    assert report["results"]["f1"]["paper"] == 0.5186
    folder = tmp_path / "run" / SCRATCH
    assert (folder / "report.md").read_text().startswith(f"# microscopy: {SCRATCH}")
    predictions = Path(report["files"]["predictions"])
    assert sorted(path.name for path in predictions.glob("*.png")) == ["cell_00001.png", "cell_00002.png"]
