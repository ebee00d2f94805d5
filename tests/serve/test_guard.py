"""Who may speak to the server, and what every answer says of itself."""

from __future__ import annotations

import logging
import socket

import pytest
from starlette.testclient import TestClient

from serve.serving import client_of
from swin_umamba.serve.guard import is_loopback
from swin_umamba.serve.service import Service


@pytest.mark.parametrize(
    ("host", "own", "other"),
    [
        ("segment.hospital.example", ("Segment.hospital.example:8000", "localhost"), "other.example"),
        # A name can be pointed here by anybody, an address cannot.
        ("0.0.0.0", ("192.168.1.5:8000", socket.gethostname()), "evil.example"),
    ],
)
def test_which_hosts_are_own(service: Service, host: str, own: tuple[str, ...], other: str) -> None:
    client = client_of(service, host=host)
    for each in own:
        assert client.get("/", headers={"host": each}).status_code == 200
    assert client.get("/", headers={"host": other}).status_code == 421


def test_a_link_on_another_site_may_open_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/model", "/api/jobs/unknown", "/nothing", "/openapi.json"])
def test_headers_of_every_answer(path: str, client: TestClient) -> None:
    for headers in ({}, {"host": "evil.example"}):
        answer = client.get(path, headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in answer.headers


def test_a_fault_of_our_own_tells_nothing(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise RuntimeError("secret of an image")

    monkeypatch.setattr(service, "model_info", fault)
    with caplog.at_level(logging.INFO):
        answer = client.get("/api/model")
    assert answer.status_code == 500
    assert answer.headers["cache-control"] == "no-store"
    assert "secret" not in answer.text
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text


def test_loopback() -> None:
    assert all(is_loopback(each) for each in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"))
    assert not any(is_loopback(each) for each in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", ""))
