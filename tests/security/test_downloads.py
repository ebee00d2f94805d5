"""Servers that send something else, or too much, or are somebody else."""

from __future__ import annotations

import hashlib
import io
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import requests

from swin_umamba.errors import CheckpointError
from swin_umamba.weights import transfer as module
from swin_umamba.weights.download import fetch_weights
from swin_umamba.weights.transfer import transfer
from weights.file_server import FileServer
from weights.served_weights import CONTENT, NAME, SHA256, files, record

pytestmark = pytest.mark.usefixtures("served")


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


@pytest.mark.parametrize("behaviour", ["good", "endless"])
def test_no_server_can_fill_the_disk(
    server: FileServer, tmp_path: Path, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    with pytest.raises(CheckpointError, match="more than any file of weights has"):
        transfer(server.address(behaviour), tmp_path / "partial", size=None, hint="fetch it by hand")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "http://127.0.0.1.example.org/a", "ftp://127.0.0.1/a", "file:///etc/passwd", ""],
)
def test_addresses_that_are_not_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(CheckpointError, match="only https"):
        transfer(url, tmp_path / "partial", size=None, hint="fetch it by hand")


@pytest.mark.parametrize(
    "target", ["http://example.org/a", "http://127.0.0.1:1/a", "//[bad", "file:///etc/hosts"]
)
def test_no_redirect_leads_out_of_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Not to this machine either, where a service may do as it is asked."""
    asked = []

    def redirecting(url: str, **options: object) -> requests.Response:
        asked.append(url)
        assert options["allow_redirects"] is False
        assert options.get("verify", True) is True
        response = requests.Response()
        response.status_code, response.headers["location"], response.raw = 302, target, io.BytesIO()
        return response

    monkeypatch.setattr(requests, "get", redirecting)
    with pytest.raises(CheckpointError):
        transfer("https://example.org/a", tmp_path / "partial", size=None, hint="fetch it by hand")
    assert asked == ["https://example.org/a"]
