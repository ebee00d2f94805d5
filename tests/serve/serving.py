"""Talking to a server in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.api import create_app
from swin_umamba.serve.service import Service

BASE = "http://127.0.0.1:8000"


def client_of(service: Service, host: str = "127.0.0.1") -> TestClient:
    return TestClient(create_app(service, host=host), base_url=BASE)


def finished(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    """Wait for a job to end; return its last status."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/api/jobs/{job['id']}").json()
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until something holds, for a few seconds."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class Gate:
    """Stands in for ``Predictor.predict``: each prediction waits until it is let through."""

    def __init__(self, predictor: Predictor) -> None:
        self.started: list[float] = []
        self.open = threading.Event()
        self._predict = predictor.predict

    def __call__(self, image: np.ndarray, *, on_progress: Callable[[float], None], **options: Any) -> Any:
        self.started.append(float(image.flat[0]))
        while not self.open.wait(0.01):
            on_progress(0.25)
        return self._predict(image, on_progress=on_progress, **options)
