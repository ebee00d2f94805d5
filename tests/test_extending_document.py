"""The examples of ``docs/extending.md``, run in a folder of a user's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet.planned_data import DATASET_NAME

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SHORT = "--epochs 1 --iterations 1 --validation-iterations 1 --workers 0 --device cpu --skip-validation"
ENVIRONMENT = {
    "SWIN_UMAMBA_EPOCHS": "1",
    "SWIN_UMAMBA_ITERATIONS_PER_EPOCH": "1",
    "SWIN_UMAMBA_VALIDATION_ITERATIONS": "1",
    "SWIN_UMAMBA_OVERWRITE": "1",
    "SWIN_UMAMBA_PRETRAINED": "none",
}


def sections() -> dict[str, list[tuple[str, str]]]:
    """Return the language and the text of the blocks of code below each heading."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = {
        title: re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {title: found for title, found in blocks.items() if found}


@pytest.fixture
def folder(planned_folder: Path, tmp_path: Path) -> Path:
    """A folder with images, the planned data set 901 below ``data``, and the commands on the path."""
    shutil.copytree(planned_folder, tmp_path / "data")
    shutil.copytree(tmp_path / "data" / "nnUNet_raw" / DATASET_NAME / "imagesTr", tmp_path / "images")
    (tmp_path / "bin").mkdir()
    for command, arguments in (
        ("python", ""),
        ("swin-umamba", "-m swin_umamba"),
        ("nnUNetv2_train", '-c "from nnunetv2.run.run_training import run_training_entry as m; m()"'),
        (
            "nnUNetv2_predict",
            '-c "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as m; m()"',
        ),
    ):
        (tmp_path / "bin" / command).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (tmp_path / "bin" / command).chmod(0o755)
    return tmp_path


@pytest.mark.docs
@pytest.mark.parametrize("title", sections())
def test_an_example_runs_as_the_page_has_it(folder: Path, title: str) -> None:
    script = []
    for language, text in sections()[title]:
        if language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        else:
            assert language == "sh"
            script += [re.sub(r"^(swin-umamba train .*)$", rf"\1 {SHORT}", text, flags=re.MULTILINE)]
    names = [f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")]
    data = {name: str(folder / "data" / name) for name in names}
    shims = Path(__file__).parents[1] / "src/swin_umamba/nnunet/shim/torchvision_schemas"
    path = os.pathsep.join([str(shims), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["sh", "-ec", "\n".join(script)],
        cwd=folder,
        env=os.environ
        | ENVIRONMENT
        | data
        | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
