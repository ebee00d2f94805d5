"""Who may speak to the server, and what every answer says of itself."""

from __future__ import annotations

import logging
import socket

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.client_files import png
from serve.serving import client_of
from swin_umamba.serve.guard import is_loopback
from swin_umamba.serve.service import Service


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.0.0.1", 200),
        ("127.8.9.1:1", 200),
        ("localhost:9999", 200),  # another port: a tunnel
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:8000", 421),
        ("192.168.1.5:8000", 421),
        ("evil.example@127.0.0.1", 421),
        ("127.0.0.1:8000@evil.example", 421),
        ("127.0.0.1/", 421),
        ("127.0.0.1:x", 421),
        ("[::1", 421),
        ("", 421),
        ("localhost, evil.example", 421),
    ],
)
def test_hosts(host: str, status: int, client: TestClient) -> None:
    for path in ("/", "/api/model", "/openapi.json"):
        assert client.get(path, headers={"host": host}).status_code == status


def test_the_given_host_is_own(service: Service) -> None:
    client = client_of(service, host="segment.hospital.example")
    assert client.get("/", headers={"host": "Segment.hospital.example:8000"}).status_code == 200
    assert client.get("/", headers={"host": "localhost"}).status_code == 200
    assert client.get("/", headers={"host": "other.example"}).status_code == 421


def test_every_address_of_the_machine(service: Service) -> None:
    client = client_of(service, host="0.0.0.0")
    assert client.get("/", headers={"host": "192.168.1.5:8000"}).status_code == 200
    assert client.get("/", headers={"host": socket.gethostname()}).status_code == 200
    # A name can be pointed here by anybody, an address cannot.
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "permitted"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://[::1"}, False),  # no address at all
        ({"origin": "//127.0.0.1:8000"}, False),
        ({"origin": "HTTPS://127.0.0.1:8000"}, True),  # a proxy before it
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_other_sites(headers: dict[str, str], permitted: bool, service: Service, client: TestClient) -> None:
    picture = {"file": ("a.png", png(np.zeros((20, 20), np.uint8)))}
    answers = [
        client.post("/api/predict", files=picture, headers=headers),
        client.post("/api/jobs", files=picture, headers=headers),
        client.delete("/api/jobs/unknown", headers=headers),
        client.get("/api/model", headers=headers),
    ]
    expected = [200, 202, 404, 200] if permitted else [403] * 4
    assert [answer.status_code for answer in answers] == expected
    if not permitted:
        assert answers[0].json()["error"]["what"] == "the request comes from another site"
        assert list(service.storage.path.iterdir()) == []


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
