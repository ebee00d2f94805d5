"""Names that commands print cannot command the terminal, nor look like others."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

import swin_umamba.cli
from swin_umamba.cli.main import _PrintableFormatter
from swin_umamba.cli.output import say
from swin_umamba.errors import DataError
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
    assert all(line.isprintable() for line in str(DataError(name, where=name, cure=name)).splitlines())
    record = logging.LogRecord("n", logging.INFO, "", 0, "reading %s", (name,), None)
    assert _PrintableFormatter("%(message)s").format(record).isprintable()


@names
def test_pages_and_charts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("<style>p {}</style><p>{{ word }}</p>")
    monkeypatch.setattr("swin_umamba.report.page.files", lambda package: tmp_path)
    assert render_page("any", "page.html", word=name).isprintable()
    assert text(0, 0, name).isprintable()


def test_a_line_break_in_a_name_begins_no_line_of_its_own() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "reading %s", ("a\nerror: b",), None)
    assert _PrintableFormatter("%(message)s").format(record) == "reading a\n  error: b"
    assert str(DataError("bad", where="a\nerror: b")) == "bad\n  where: a\N{REPLACEMENT CHARACTER}error: b"


def test_every_command_prints_through_one_function() -> None:
    folder = Path(swin_umamba.cli.__file__).parent
    # The values that env prints are quoted for the shell, and must be what they are.
    for path in set(folder.glob("*.py")) - {folder / "output.py", folder / "env.py"}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "print" not in names, path.name
