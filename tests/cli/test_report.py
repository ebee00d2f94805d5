"""``swin-umamba report``: the file, what is printed and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from cli.command_line import parsed
from swin_umamba.cli import report
from swin_umamba.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One prediction with its image and its truth, which are apart."""
    for name in ("predictions", "truth", "pictures"):
        (tmp_path / name).mkdir()
        PillowImage.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name / "a.png")
    return tmp_path


def run(*given: str | Path) -> int:
    return report.run(parsed(report, *given))


def test_the_file_and_what_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "report.html"
    given = (folder, "-o", page, "--references", folder / "truth", "--images", folder / "pictures")
    assert run(*given, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == page.stat().st_size
    assert result["cases_shown"] == ["a"]
    assert result["failures"] == {}
    assert any(each.startswith("training facts") for each in result["missing"])
    assert "Dice of each case" in page.read_text(encoding="utf-8")
    assert run(*given, "--overwrite") == 0
    assert "not in it: training facts" in capsys.readouterr().out


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    (folder / "report.html").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        run(folder, "-o", folder / "report.html")
    assert (folder / "report.html").read_text() == "mine"
