"""Fixtures: a tiny model behind the server, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.serving import Gate, Listening, client_of, listening_at
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.service import Service
from trained.model_folder import make_model_folder


@pytest.fixture(scope="session")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model of one channel and two classes."""
    return Predictor.from_folder(make_model_folder(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture(scope="session")
def predictor_of_two(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model of two channels."""
    folder = make_model_folder(tmp_path_factory.mktemp("two"), channels=("T1", "T2"), file_ending=".nii.gz")
    return Predictor.from_folder(folder, device="cpu", mirroring=False)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service, whose temporary folders lie in ``tmp_path / "tmp"``."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with ExitStack() as stack:

        def started(predictor: Predictor, limits: Limits | None = None, **options: Any) -> Service:
            return stack.enter_context(Service(predictor, limits, **options))

        yield started
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def service(start: Callable[..., Service], predictor: Predictor) -> Service:
    return start(predictor)


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)


@pytest.fixture
def gate(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(predictor)
    monkeypatch.setattr(predictor, "predict", gate)
    yield gate
    gate.open.set()


@pytest.fixture
def listen() -> Iterator[Callable[[Service], Listening]]:
    """Return a function that lets a service listen at a port."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(listening_at(service))


@pytest.fixture
def picture() -> np.ndarray:
    """A grey picture of 40 x 48 pixels with two bright squares."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 60, (40, 48), dtype=np.uint8)
    array[5:20, 6:20] += 150
    array[25:35, 30:44] += 100
    return array
