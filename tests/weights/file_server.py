"""A server on this machine that hands out one file, well or badly."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>"


class FileServer:
    """Serves ``content`` under the address of a behaviour, such as ``address("good")``.

    Behaviours: good, no_range (always the whole file), short (claims all, sends half), changed (one other
    byte), page (a web page), empty, missing, broken, loop (redirects to itself), moved (redirects to good),
    outside (redirects to http elsewhere), endless (no length, too much), cut (no length, half), wrong_part
    (another range), half (waits for ``release`` after half of the file).
    """

    def __init__(self) -> None:
        self.content = b""
        self.requests: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def address(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{behaviour}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        behaviour, wanted = self.path.strip("/"), self.headers.get("Range")
        self.owner.requests.append((behaviour, wanted))
        content = self.owner.content
        if behaviour == "changed":
            content = content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
        redirects = {"loop": "/loop", "moved": "/good", "outside": "http://example.org/file"}
        if behaviour in redirects:
            self._head(302, {"Location": redirects[behaviour], "Content-Length": "0"})
        elif behaviour in ("missing", "broken"):
            self._head(404 if behaviour == "missing" else 500, {"Content-Length": "0"})
        elif behaviour in ("page", "empty"):
            body = PAGE if behaviour == "page" else b""
            self._head(200, {"Content-Type": "text/html", "Content-Length": str(len(body))})
            self.wfile.write(body)
        elif behaviour in ("endless", "cut"):
            self._head(200, {})
            self.wfile.write(content * 3 if behaviour == "endless" else content[: len(content) // 2])
        else:
            self._file(behaviour, content, wanted)

    def _file(self, behaviour: str, content: bytes, wanted: str | None) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
        if behaviour == "no_range" or not wanted:
            self._head(200, {"Content-Length": str(len(content))})
            start = 0
        elif start >= len(content):
            self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        else:
            claimed = 0 if behaviour == "wrong_part" else start
            span = f"bytes {claimed}-{len(content) - 1}/{len(content)}"
            self._head(206, {"Content-Range": span, "Content-Length": str(len(content) - start)})
        half = len(content) // 2
        if behaviour == "half" and start < half:
            self.wfile.write(content[start:half])
            self.wfile.flush()
            self.owner.release.wait(600)
            start = half
        end = half if behaviour == "short" else len(content)
        self.wfile.write(content[start:end])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server on this machine, asked without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "SWIN_UMAMBA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with FileServer() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder for weights in it."""
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"
