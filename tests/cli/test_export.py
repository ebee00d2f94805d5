from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.command_line import parsed
from swin_umamba.cli import export
from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.trained import export_model as exporter

arguments = partial(parsed, export, "-m", "model", "-o")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the export; what it is called with."""
    calls: dict[str, Any] = {}

    def export_model(source: Path, output: Path, **options: Any) -> tuple[SimpleNamespace, str]:
        calls.update(source=source, output=output, **options)
        output.write_bytes(bytes(1_500_000))
        return SimpleNamespace(checkpoints=(Path("model/fold_0/checkpoint_final.pth"),)), "c0ffee"

    monkeypatch.setattr(exporter, "export_model", export_model)
    return calls


def test_defaults(calls: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "a model.safetensors"
    assert export.run(arguments(output)) == 0
    assert calls == {"source": Path("model"), "output": output}
    assert capsys.readouterr().out.splitlines() == [
        "packed model/fold_0/checkpoint_final.pth",
        f"written: {output} (1.5 MB, content sha256 c0ffee)",
        f"predict with it: swin-umamba predict -m '{output}' -i IMAGES -o LABELS",
    ]


def test_options_and_json(calls: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    output.touch()
    options = "--format safetensors --fold 0 all --checkpoint x.pth --overwrite --json"
    assert export.run(arguments(output, *options.split())) == 0
    assert (calls["folds"], calls["checkpoint"]) == ((0, "all"), "x.pth")
    assert json.loads(capsys.readouterr().out) == {
        "schema": 2,
        "output": str(output),
        "bytes": 1_500_000,
        "sha256": "c0ffee",
        "checkpoints": ["model/fold_0/checkpoint_final.pth"],
    }


def test_an_existing_file_is_kept(calls: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_text("old")
    with pytest.raises(UsageError, match=r"exists already(.|\n)*--overwrite") as caught:
        export.run(arguments(tmp_path / "m.safetensors"))
    assert caught.value.exit_code == 2  # as report, preview and weights convert
    assert (tmp_path / "m.safetensors").read_text() == "old"
    assert not calls


def test_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"m\.pth(.|\n)*name it so"):
        export.run(arguments(tmp_path / "m.pth"))
    with pytest.raises(UsageError, match="no fold 'first'"):
        export.run(arguments(tmp_path / "m.safetensors", "--fold", "first"))
    with pytest.raises(CheckpointError, match="does not exist"):
        export.run(arguments(tmp_path / "m.safetensors"))
