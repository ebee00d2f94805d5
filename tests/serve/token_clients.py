"""Clients of a server that wants a token."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from serve.serving import PICTURE, client_of
from swin_umamba.serve import access
from swin_umamba.serve.service import Service

TOKEN = "correct-horse-battery-staple"
BEARER = {"authorization": f"Bearer {TOKEN}"}
FILES = {"file": ("a.png", PICTURE)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong tokens are not answered late."""
    monkeypatch.setattr(access, "SECONDS_FOR_A_FAILURE", 0.0)


@pytest.fixture
def guarded(service: Service) -> TestClient:
    return client_of(service, token=TOKEN)


def browser_of(client: TestClient) -> dict[str, str]:
    """Log a browser in; return the headers that it sends from then on."""
    client.cookies.clear()
    client.get("/", params={"token": TOKEN})
    cookies = dict(client.cookies)
    client.cookies.clear()
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
