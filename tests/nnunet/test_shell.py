"""What ``swin-umamba env`` prints, and that nnU-Net's own search then finds the trainers."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from swin_umamba.nnunet import shell
from swin_umamba.nnunet.shell import TORCHVISION_SHIM, TRAINER_SHIM, Variable

AWKWARD = [Variable("FIRST", "it's a $HOME path", "why\nand how"), Variable("SECOND", "plain")]


def test_sh_reads_back_what_was_meant() -> None:
    script = 'eval "$(cat)"; printf "%s|%s" "$FIRST" "$SECOND"'
    done = subprocess.run(
        ["sh", "-c", script], input=shell.as_sh(AWKWARD), capture_output=True, text=True, check=True
    )
    assert done.stdout == "it's a $HOME path|plain"
    assert done.stderr == ""


def test_powershell_syntax() -> None:
    assert shell.as_powershell(AWKWARD).splitlines() == [
        "# why",
        "# and how",
        "$env:FIRST = 'it''s a $HOME path'",
        "$env:SECOND = 'plain'",
    ]


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_every_quotation_mark_that_powershell_knows_is_doubled(quote: str) -> None:
    text = shell.as_powershell([shell.Variable("A", f"x{quote}; calc; {quote}")])
    assert text == f"$env:A = 'x{quote}{quote}; calc; {quote}{quote}'\n"


def test_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shell, "torchvision_is_broken", lambda: True)
    monkeypatch.setenv("nnUNet_extTrainer", f"/mine{os.pathsep}{TRAINER_SHIM}")
    monkeypatch.setenv("PYTHONPATH", "/other")
    for name in ("GOMP_SPINCOUNT", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    values = {variable.name: variable.value for variable in shell.shell_variables(tmp_path)}
    assert values == {
        "nnUNet_raw": str(tmp_path / "nnUNet_raw"),
        "nnUNet_preprocessed": str(tmp_path / "nnUNet_preprocessed"),
        "nnUNet_results": str(tmp_path / "nnUNet_results"),
        "nnUNet_extTrainer": f"{TRAINER_SHIM}{os.pathsep}/mine",
        "PYTHONPATH": f"{TORCHVISION_SHIM}{os.pathsep}/other",
    }
    monkeypatch.setattr(shell, "torchvision_is_broken", lambda: False)
    assert [variable.name for variable in shell.shell_variables()] == ["nnUNet_extTrainer"]


def test_an_intact_torchvision_is_told_from_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Noted as it is now, so that no fake of this test is put back at its end.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "torchvision.py"
    for content, broken in (
        ("raise RuntimeError('operator torchvision::nms does not exist')", True),
        ("raise RuntimeError('another reason')", False),
        ("import a_module_that_does_not_exist", False),
        ("", False),
    ):
        module.write_text(content)
        sys.modules.pop("torchvision", None)
        # A changed source of equal size and age would be taken from the cache.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        assert shell.torchvision_is_broken() is broken


def test_another_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['OTHER_RAN'] = 'yes'\n")
    path = os.pathsep.join([str(TORCHVISION_SHIM), str(tmp_path)])
    code = "import os, sys; print(os.environ['OTHER_RAN'], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["yes", "False"], "starting Python must not import torch"


@pytest.mark.slow
def test_the_stock_search_finds_the_trainers() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "swin_umamba", "env"], capture_output=True, text=True, check=True
    ).stdout
    code = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "for name in ('nnUNetTrainerSwinUMamba', 'nnUNetTrainerSwinUMambaDScratch', 'nnUNetTrainer'):\n"
        "    print('FOUND', find(name).__module__, find(name).__name__)\n"
    )
    command = f"eval {shlex.quote(printed)}\n{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert found == [
        ["swin_umamba.nnunet.trainers", "nnUNetTrainerSwinUMamba"],
        ["swin_umamba.nnunet.trainers", "nnUNetTrainerSwinUMambaDScratch"],
        ["nnunetv2.training.nnUNetTrainer.nnUNetTrainer", "nnUNetTrainer"],
    ]
