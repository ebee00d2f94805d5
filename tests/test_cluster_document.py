"""The scripts of ``docs/cluster.md``: bash reads them, and the commands have their options."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from swin_umamba.cli.main import build_parser

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("script", BLOCKS, ids=range(len(BLOCKS)))
def test_bash_reads_each_script(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", BLOCKS, ids=range(len(BLOCKS)))
def test_the_commands_have_these_options(script: str) -> None:
    found = 0
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for start in ("swin-umamba", "swin_umamba"):
            if start in words:
                given = words[words.index(start) + 1 :]
                given = ["0" if word == "$SLURM_ARRAY_TASK_ID" else word for word in given]
                parsed = build_parser().parse_args([word for word in given if word not in ("$CONTINUE", "&")])
                assert parsed.command in ("train", "predict")
                found += 1
    assert found, script
