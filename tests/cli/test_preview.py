"""``swin-umamba preview``: the file and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from cli.command_line import parsed
from swin_umamba.cli import preview
from swin_umamba.errors import GeometryError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image, its label map and one of another size; also the working folder."""
    PillowImage.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "a.png")
    PillowImage.fromarray(np.eye(6, 8, dtype=np.uint8)).save(tmp_path / "mask.png")
    PillowImage.fromarray(np.eye(5, 8, dtype=np.uint8)).save(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*given: str) -> int:
    return preview.run(parsed(preview, *given))


def test_default_name_and_given_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.png") == 0
    assert PillowImage.open(folder / "a_preview.png").size == (512, 384)
    assert run("a.png", "mask.png", "-o", "b.png", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"schema": 2, "output": "b.png"}
    assert (folder / "b.png").read_bytes() != (folder / "a_preview.png").read_bytes()


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    (folder / "b.png").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        run("a.png", "-o", "b.png")
    assert (folder / "b.png").read_text() == "mine"
    assert run("a.png", "-o", "b.png", "--overwrite") == 0
    with pytest.raises(UsageError, match="replace an input"):
        run("a.png", "mask.png", "-o", "mask.png", "--overwrite")
    with pytest.raises(UsageError, match="PNG"):
        run("a.png", "-o", "b.jpg")


def test_wrong_mask(folder: Path) -> None:
    with pytest.raises(GeometryError, match="different grids"):
        run("a.png", "other.png", "-o", "b.png")
    assert not (folder / "b.png").exists()
