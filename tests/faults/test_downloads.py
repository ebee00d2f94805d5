"""Rows 18 and 19: downloads that go wrong, and two of them at once, one killed."""

from __future__ import annotations

import hashlib
import io
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faults.processes import fetch
from forked import Forked
from swin_umamba.errors import CheckpointError
from swin_umamba.weights.backbone import WeightsRecord
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.download import fetch_weights
from weights.file_server import FileServer

NAME = "weights.pth"


def checkpoint_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.arange(100_000.0)}}, buffer)
    return buffer.getvalue()


CONTENT = checkpoint_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def record(url: str, known: bool = True) -> WeightsRecord:
    return replace(
        CATALOG["vmamba_tiny_v0cls"],
        name="tiny",
        file_name=NAME,
        url=url,
        size=len(CONTENT) if known else None,
        sha256=SHA256 if known else None,
    )


@pytest.fixture(autouse=True)
def served(server: FileServer, cache: Path) -> None:
    server.content = CONTENT


def files(cache: Path) -> set[str]:
    """What a user sees in the cache, and partial downloads."""
    return {path.name for path in cache.iterdir() if not path.name.startswith(".lock-")}


def test_row_18_one_changed_byte(server: FileServer, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=f"expected {SHA256}; it was removed") as caught:
        fetch_weights(record(server.address("changed")))
    found = caught.value.what.split("its SHA-256 is ")[1][:64]
    changed = bytearray(CONTENT)
    changed[-100] ^= 1
    assert found == hashlib.sha256(changed).hexdigest()
    assert files(cache) == set()


@pytest.mark.parametrize("behaviour", ["page", "missing", "broken", "empty", "loop", "outside"])
@pytest.mark.parametrize("known", [True, False])
def test_row_18_a_page_or_error_instead_of_the_file(
    server: FileServer, cache: Path, behaviour: str, known: bool
) -> None:
    with pytest.raises(CheckpointError) as caught:
        fetch_weights(record(server.address(behaviour), known))
    assert str(cache / NAME) in str(caught.value.hint), "where to put the file by hand"
    assert files(cache) == set()


def test_row_18_a_short_body_is_gone_on_with(server: FileServer, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="bytes are kept"):
        fetch_weights(record(server.address("short")))
    assert files(cache) == {f".partial-{NAME}"}
    assert fetch_weights(record(server.address("good"))).read_bytes() == CONTENT
    assert server.requests[1][1] is not None
    assert files(cache) == {NAME}


def test_row_18_a_server_with_a_self_signed_certificate(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*request.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    address = server.address("good").replace("http", "https")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with pytest.raises(CheckpointError, match=r"not trusted.*self.signed") as caught:
        fetch_weights(record(address))
    assert "REQUESTS_CA_BUNDLE" in str(caught.value.hint)
    assert files(cache) == set()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    fetch_weights(record(address))
    assert (cache / NAME).read_bytes() == CONTENT


def waiting(processes: list[Forked]) -> list[Forked]:
    """Return which of the processes say that another one downloads."""
    return [process for process in processes if "Waiting for another process" in process.errors()]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "the other processes are not getting on"
        time.sleep(0.02)


def test_row_19_processes_at_once(server: FileServer, cache: Path, tmp_path: Path) -> None:
    """One downloads and is killed; of two that wait, one continues where it stopped, one is served."""
    processes = [Forked(fetch, record(server.address("half"))) for _ in range(3)]
    try:
        wait_for(lambda: len(waiting(processes)) == 2)
        partial = cache / f".partial-{NAME}"
        wait_for(lambda: partial.exists() and partial.stat().st_size > 0)
        assert files(cache) == {partial.name}
        (first,) = (process for process in processes if process not in waiting(processes))
        first.kill()
        kept = partial.stat().st_size
        wait_for(lambda: len(server.requests) == 2)
        assert server.requests[1] == ("half", f"bytes={kept}-")
        server.release.set()
        codes = sorted(process.wait(120) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert codes == [-signal.SIGKILL, 0, 0]
    assert len(server.requests) == 2
    assert files(cache) == {NAME}
    assert (cache / NAME).read_bytes() == CONTENT
