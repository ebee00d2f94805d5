"""Talking to a server in this process."""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import uvicorn
from starlette.testclient import TestClient

from serve.client_files import png
from swin_umamba.data.image import Image
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.api import create_app
from swin_umamba.serve.server import make_server, open_socket
from swin_umamba.serve.service import Service

BASE = "http://127.0.0.1:8000"
PICTURE = png(np.zeros((20, 20), np.uint8))
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
END = b"\r\n--b--\r\n"
PATIENCE = 300.0
"""Seconds after which what hangs is given up: far more than anything takes, however busy the machine is."""


def client_of(service: Service, host: str = "127.0.0.1", token: str | None = None) -> TestClient:
    return TestClient(create_app(service, host=host, token=token), base_url=BASE)


def finished(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    """Wait for a job to end; return its last status."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job = client.get(f"/api/jobs/{job['id']}").json()
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until something holds; return whether it does in the end."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class Gate:
    """Stands in for ``Predictor.predict``: each prediction waits until it is let through."""

    def __init__(self, predictor: Predictor) -> None:
        self.started: list[float] = []
        self.open = threading.Event()
        self._predict = predictor.predict

    def __call__(self, image: Image, *, on_progress: Callable[[float], None], **options: Any) -> Any:
        self.started.append(float(image.data.flat[0]))
        while not self.open.wait(0.01):
            on_progress(0.25)
        return self._predict(image, on_progress=on_progress, **options)


class Listening:
    """A server that runs in a thread."""

    def __init__(self, service: Service, server: uvicorn.Server, port: int) -> None:
        self.service = service
        self.server = server
        self.port = port
        self.headers: dict[str, str] = {}

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def predict(self, body: bytes = PART + PICTURE + END) -> int:
        connection = self.connect()
        headers = {"content-type": "multipart/form-data; boundary=b", **self.headers}
        connection.request("POST", "/api/predict", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def send(self, length: str, pieces: Iterable[bytes], pause: float = 0.0) -> bytes:
        """Send an upload of a declared length piece by piece; return the first bytes of the answer.

        There may be endless pieces, of which those are sent that come before the answer.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
            client.sendall(
                b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n" + length.encode() + b"\r\n\r\n"
            )
            for piece in pieces:
                if select.select([client], [], [], pause)[0]:
                    break  # it has answered
                with suppress(ConnectionError):  # or does so now, and closes
                    client.sendall(piece)
            return client.recv(4096)

    def is_empty(self) -> bool:
        return list(self.service.storage.path.iterdir()) == []


@contextmanager
def listening_at(service: Service, token: str | None = None) -> Iterator[Listening]:
    """Let a service listen at a free port while the block lasts."""
    with open_socket("127.0.0.1", 0) as listener:
        server = make_server(service, "127.0.0.1", token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Listening(service, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
    assert not thread.is_alive()
