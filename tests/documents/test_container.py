"""The Dockerfile: by hadolint's rules, with nothing of the clone but what it copies, and its health check."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType

import pytest

from script_modules import ROOT, script

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


@pytest.fixture(scope="module")
def health() -> ModuleType:
    return script("health", "packaging/container")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_not_root_and_copies_what_is_sent_to_it() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)
    assert "0" not in user
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert sent[0] == "*"
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    ]
    assert {each[1:] for each in sent if each.startswith("!")} == set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_its_versions_are_the_pinned_ones() -> None:
    pins = dict(
        re.findall(r"^([\w.-]+)==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    )
    assert dict(re.findall(r'"(torch\w*)==([\d.]+)\.\*"', DOCKERFILE)) == {
        name: pins[name] for name in ("torch", "torchvision")
    }


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ("python swin-umamba serve -m /model", 8000),
        ("docker-init -- python swin-umamba serve --port 80 -m /model", 80),
        ("python swin-umamba serve --port=81", 81),
        ("python swin-umamba predict -m MODEL", None),
        ("", None),
    ],
)
def test_the_port_is_that_of_the_command(health: ModuleType, command: str, port: int | None) -> None:
    assert health.port_of(command.split()) == port


@pytest.fixture
def server() -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield listening.server_port
    listening.shutdown()
    listening.server_close()


def test_a_server_that_does_not_answer_is_not_well(
    health: ModuleType, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SECONDS", 300)  # the server of this test may be halted
    assert health.is_well(["serve", "--port", str(server)])
    assert not health.is_well(["serve", "--port", "9"])  # nobody listens on the port "discard"
    assert health.is_well(["predict"])
