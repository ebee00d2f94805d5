from __future__ import annotations

import argparse
import importlib.util
import time
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swin_umamba.cli import serve
from swin_umamba.errors import UsageError
from swin_umamba.inference.predictor import Predictor


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(["-m", "model", "--port", "0", *given])


class Stub:
    """Stands in for the service and the server."""

    def __init__(self, calls: dict[str, Any], folder: Path | None = None) -> None:
        self.calls = calls
        self.storage = SimpleNamespace(path=folder)

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *error: object) -> None:
        self.calls["closed"] = True

    def run(self, sockets: list[Any]) -> None:
        self.calls["port"] = sockets[0].getsockname()[1]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace what the command calls; return what it was called with."""
    from swin_umamba.serve import server, service

    calls: dict[str, Any] = {}

    def from_folder(path: Path, **options: Any) -> SimpleNamespace:
        calls.update(model=path, load=options)
        return SimpleNamespace(device="cpu")

    def make_service(predictor: object, limits: object, *, confidence: bool) -> Stub:
        calls.update(limits=limits, confidence=confidence)
        return Stub(calls, tmp_path)

    def make_server(service: object, host: str, token: str | None) -> Stub:
        calls.update(token=token)
        return Stub(calls)

    monkeypatch.setattr(Predictor, "from_folder", from_folder)
    monkeypatch.setattr(service, "Service", make_service)
    monkeypatch.setattr(server, "make_server", make_server)
    monkeypatch.setattr(webbrowser, "open", lambda address: calls.update(opened=address))
    return calls


def opened(calls: dict[str, Any]) -> str:
    """Wait for the browser, which is started beside the server."""
    deadline = time.monotonic() + 300
    while "opened" not in calls and time.monotonic() < deadline:
        time.sleep(0.01)
    return calls["opened"]


def test_defaults(calls: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.run(arguments()) == 0
    assert calls["load"] == {}
    assert calls["limits"].upload_bytes == 256 * 2**20
    assert calls["limits"].voxels == 2**27
    assert calls["limits"].idle_seconds == 1800
    assert calls["confidence"] is False
    assert "opened" not in calls
    assert calls["limits"].job_seconds == 3600
    assert calls["closed"]
    token = calls["token"]
    assert len(token) >= 43
    address = f"http://127.0.0.1:{calls['port']}/?token={token}"
    assert capsys.readouterr().out.startswith(f"serving at {address} on cpu")


def test_every_start_has_another_token(calls: dict[str, Any]) -> None:
    tokens = set()
    for _ in range(3):
        serve.run(arguments())
        tokens.add(calls["token"])
    assert len(tokens) == 3


def test_without_a_token(
    calls: dict[str, Any], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    serve.run(arguments("--no-token"))
    assert calls["token"] is None
    assert "token=" not in capsys.readouterr().out
    assert "no token is required: everybody who reaches the port" in caplog.text
    with pytest.raises(SystemExit):
        arguments("--no-token", "--token-file", "file")


def test_a_token_from_a_file_is_not_printed(
    calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    serve.run(arguments("--token-file", str(tmp_path / "token"), "--open"))
    assert calls["token"] == "0123456789abcdef"
    assert "0123456789abcdef" not in capsys.readouterr().out
    # The page asks for it: an address with a token that is used again would stay in the browser's history.
    assert opened(calls) == f"http://127.0.0.1:{calls['port']}/"


def test_options(calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--fold 1 all --checkpoint x.pth --device cuda --no-mirroring --precision bfloat16 --confidence "
        "--max-upload 5 --max-voxels 1000 --keep-minutes 2 --job-minutes 3 --open --json"
    )
    assert serve.run(arguments(*options.split())) == 0
    assert calls["load"] == {
        "folds": (1, "all"),
        "checkpoint": "x.pth",
        "device": "cuda",
        "mirroring": False,
        "precision": "bfloat16",
    }
    assert calls["limits"].upload_bytes == 5 * 2**20
    assert calls["limits"].voxels == 1000
    assert calls["limits"].idle_seconds == 120
    assert calls["limits"].job_seconds == 180
    assert calls["confidence"] is True
    address = f"http://127.0.0.1:{calls['port']}/?token={calls['token']}"
    assert capsys.readouterr().out == f'{{"schema": 2, "address": "{address}", "device": "cpu"}}\n'
    # Other users can read the arguments of the browser.
    assert opened(calls) == (tmp_path / "open.html").as_uri()
    assert f'url={address}"' in (tmp_path / "open.html").read_text()


@pytest.mark.parametrize("option", ["--max-upload", "--max-voxels", "--keep-minutes", "--job-minutes"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_limits_are_above_zero(option: str, value: str) -> None:
    with pytest.raises(SystemExit):
        arguments(option, value)


def test_without_the_extra_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    with pytest.raises(UsageError, match="not installed: uvicorn") as info:
        serve.run(arguments())
    assert info.value.hint == "pip install 'swin-umamba[serve]'"
