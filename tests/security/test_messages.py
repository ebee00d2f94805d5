"""Names that commands print cannot command the terminal, nor look like others."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import swin_umamba.cli
from swin_umamba.cli.main import main
from swin_umamba.cli.output import say
from swin_umamba.errors import DataError
from swin_umamba.log import PrintableFormatter
from swin_umamba.report.page import render_page
from swin_umamba.report.svg import text

HOSTILE = {
    "escape": "a\x1b[2Jb",
    "title": "a\x1b]0;root\x07b",
    "eight bit": "a\x9b2Jb",
    "carriage return": "a\rb",
    "backspace": "a\bb",
    "override": "a\u202egnp.exe",
    "isolate": "a\u2066b",
    "zero width": "a\u200bb",
    "byte order mark": "a\ufeffb",
    "tag": "a\U000e0041b",
    "surrogate": "a\udc80b",
}


names = pytest.mark.parametrize("name", HOSTILE.values(), ids=list(HOSTILE))


@names
def test_what_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"case {name}")
    out = capsys.readouterr().out
    assert out.startswith("case a\N{REPLACEMENT CHARACTER}")
    assert out.rstrip("\n").isprintable()


@names
def test_errors_and_logs(name: str) -> None:
    assert all(line.isprintable() for line in str(DataError(name, where=name, hint=name)).splitlines())
    record = logging.LogRecord("n", logging.INFO, "", 0, "reading %s", (name,), None)
    assert PrintableFormatter("%(message)s").format(record).isprintable()


@names
def test_pages_and_charts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("<style>p {}</style><p>{{ word }}</p>")
    monkeypatch.setattr("swin_umamba.report.page.files", lambda package: tmp_path)
    assert render_page("any", "page.html", word=name).isprintable()
    assert text(0, 0, name).isprintable()


def test_a_line_break_in_a_name_begins_no_line_of_its_own() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "reading %s", ("a\nerror: b",), None)
    assert PrintableFormatter("%(message)s").format(record) == "reading a\n  error: b"
    assert str(DataError("bad", where="a\nerror: b")) == "bad\n  where: a\N{REPLACEMENT CHARACTER}error: b"


def test_every_command_prints_through_one_function() -> None:
    folder = Path(swin_umamba.cli.__file__).parent
    # The values that env prints are quoted for the shell, and must be what they are.
    for path in set(folder.glob("*.py")) - {folder / "output.py", folder / "env.py"}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "print" not in names, path.name


def test_commands_with_planted_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "liver\x1b]0;owned\x07\u202e"
    references, predictions = tmp_path / "references", tmp_path / "predictions"
    labels = np.zeros((24, 24), np.uint8)
    labels[4:12, 4:12] = 1
    for folder in (references, predictions):
        folder.mkdir()
        PillowImage.fromarray(labels).save(folder / f"case{hostile}.png")
    description = {"labels": {"background": 0, hostile: 1}, "channel_names": {"0": hostile}}
    description |= {"numTraining": 1, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    torch.save({"model": {f"a{hostile}": torch.zeros(2)}}, tmp_path / f"w{hostile}.pth")
    declared = ("--dataset-json", str(tmp_path / "dataset.json"))
    case = str(references / f"case{hostile}.png")
    for code, *command in (
        (0, "evaluate", str(predictions), str(references), *declared),
        (0, "evaluate", str(predictions), str(references), "-o", str(tmp_path / "metrics")),
        (0, "statistics", case, *declared),
        (0, "statistics", case),
        (0, "preview", case, "-o", str(tmp_path / "preview.png")),
        (0, "report", str(tmp_path / "metrics"), "-o", str(tmp_path / "report.html")),
        (0, "weights", "inspect", str(tmp_path / f"w{hostile}.pth")),
        (2, "weights", "import", str(tmp_path / f"w{hostile}.pth")),
        (1, "predict", "-m", str(tmp_path / hostile), "-i", case, "-o", str(tmp_path)),
        (2, "plan", str(tmp_path / hostile)),
    ):
        assert main(command) == code
        out, err = capsys.readouterr()
        assert all(line.isprintable() for line in (out + err).split("\n")), command
        assert out + err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not {"\x1b", "\x07", "\u202e"} & set(page)
