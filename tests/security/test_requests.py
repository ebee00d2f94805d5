"""Requests to the server: of whoever does not know the token, of other sites, and of greedy clients."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.client_files import nifti_bomb, png, png_bomb
from serve.forms import FORM, chunked, form, nothing_is_left, refused
from serve.serving import PATIENCE, Gate, client_of, eventually, listening_at
from serve.token_clients import BEARER, FILES, TOKEN, browser_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve import access
from swin_umamba.serve.limits import FORM_OVERHEAD, MIB, Limits
from swin_umamba.serve.service import Service

pytestmark = pytest.mark.usefixtures("quick")

REQUESTS = [
    ("GET", "/api/model"),
    ("POST", "/api/jobs"),
    ("POST", "/api/predict"),
    ("GET", "/api/jobs/unknown"),
    ("DELETE", "/api/jobs/unknown"),
    ("GET", "/api/jobs/unknown/labels"),
    ("GET", "/api/jobs/unknown/slices/0"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("PUT", "/"),
    ("GET", "//"),
    ("GET", "/api/health/"),
    ("GET", "/api/health/../model"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_nothing_is_answered_without_the_token(method: str, path: str, guarded: TestClient) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Bearer"},
        {"cookie": f"swin-umamba={TOKEN}"},
        {"cookie": "a=b; \\"},
    ):
        answer = guarded.request(method, path, headers=headers)
        assert answer.status_code == 401
        if path.startswith("/api/"):
            assert answer.json()["error"]["what"] in (
                "the server wants its token",
                "this is not the server's token",
            )
            assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"token", b"token=" + b"x" * 10_000, b"\xff\xfe=\x00", b"token=%ZZ", b"&" * 4000]
)
def test_hostile_forms(body: bytes, guarded: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert guarded.post("/login", content=body, headers=headers).status_code == 401


def test_another_sites_page_cannot_log_in(guarded: TestClient) -> None:
    answer = guarded.post("/login", data={"token": TOKEN}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_wrong_tokens_are_answered_late(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(access, "asyncio", SimpleNamespace(sleep=sleep, TimeoutError=asyncio.TimeoutError))
    monkeypatch.setattr(access, "SECONDS_FOR_A_FAILURE", 0.2)
    for request in (
        lambda: guarded.get("/api/model", headers={"authorization": "Bearer wrong"}),
        lambda: guarded.get("/", params={"token": "wrong"}),
        lambda: guarded.post("/login", data={"token": "wrong"}),
    ):
        waited.clear()
        assert request().status_code == 401
        assert waited == [0.2]


def test_the_right_token_does_not_wait_for_wrong_ones(
    guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    is_over = threading.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        while not is_over.is_set():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(access, "asyncio", SimpleNamespace(sleep=sleep))
    wrong = {"authorization": "Bearer wrong"}
    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(guarded.get, "/api/model", headers=wrong) for _ in range(8)]
        assert eventually(lambda: len(waits) == 8)
        right = pool.submit(guarded.get, "/api/model", headers=BEARER)
        try:
            assert right.result(PATIENCE).status_code == 200
            assert not any(each.done() for each in waiting)
        finally:
            is_over.set()
        assert {each.result().status_code for each in waiting} == {401}


def test_a_form_that_never_ends_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "SECONDS_FOR_A_FORM", 0.2)
    with (
        listening_at(service, token=TOKEN) as listening,
        socket.create_connection(("127.0.0.1", listening.port), timeout=PATIENCE) as client,
    ):
        client.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n\r\nt")
        assert client.recv(4096).startswith(b"HTTP/1.1 408")


def test_pictures_of_another_site_try_no_token(guarded: TestClient) -> None:
    picture = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}
    assert guarded.get("/", params={"token": TOKEN}, headers=picture).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    assert guarded.get("/", params={"token": TOKEN}, headers=link).status_code == 200


def test_one_client_takes_half_the_places(
    start: Callable[..., Service], predictor: Predictor, gate: Gate
) -> None:
    client = client_of(start(predictor, Limits(queue=4)), token=TOKEN)
    one, other = browser_of(client), browser_of(client)
    answers = [client.post("/api/jobs", files=FILES, headers=one).status_code for _ in range(3)]
    assert answers == [202, 202, 503]
    assert client.post("/api/jobs", files=FILES, headers=other).status_code == 202
    assert client.post("/api/jobs", files=FILES, headers=BEARER).status_code == 202
    gate.open.set()


def test_nobody_elses_results_make_place(start: Callable[..., Service], predictor: Predictor) -> None:
    service = start(predictor, Limits(kept=2))
    client = client_of(service, token=TOKEN)
    one, other = browser_of(client), browser_of(client)

    def segment(headers: dict[str, str]) -> str:
        job = client.post("/api/jobs", files=FILES, headers=headers).json()["id"]
        service.queue.get(job).finished.result(PATIENCE)
        assert client.get(f"/api/jobs/{job}", headers=headers).json()["state"] == "done"
        return f"/api/jobs/{job}"

    kept = [segment(one) for _ in range(2)]
    many = [segment(other) for _ in range(4)]
    assert [client.get(each, headers=one).status_code for each in kept] == [200, 200]
    assert [client.get(each, headers=other).status_code for each in many] == [404, 404, 200, 200]


def test_results_of_too_many_people(start: Callable[..., Service], predictor: Predictor) -> None:
    client = client_of(start(predictor, Limits(clients=1)), token=TOKEN)
    one, other = browser_of(client), browser_of(client)
    job = client.post("/api/jobs", files=FILES, headers=one).json()["id"]
    assert client.post("/api/jobs", files=FILES, headers=one).status_code == 202
    assert client.post("/api/jobs", files=FILES, headers=other).status_code == 503
    assert eventually(lambda: client.get(f"/api/jobs/{job}", headers=one).json()["state"] == "done")


def test_one_client_takes_half_the_room(start: Callable[..., Service], predictor: Predictor) -> None:
    service = start(predictor, Limits(upload_bytes=1000, uploads_at_once=4))
    first, second = service.storage.new("one"), service.storage.new("one")
    service.storage.reserve(first, 1200)
    service.storage.reserve(second, 800)
    with pytest.raises(Exception, match="your other uploads use all of your space"):
        service.storage.reserve(second, 1)
    other = service.storage.new("other")
    service.storage.reserve(other, 2000)
    service.storage.remove(first)
    service.storage.reserve(second, 1200)
    for folder in (second, other):
        service.storage.remove(folder)


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


@pytest.mark.parametrize(
    "name", ["../../escaped.png", "/absolute.png", "a\0b.png", "é" * 300 + ".png", "%2e%2e%2fx.png", "..png"]
)
def test_hostile_names_work_and_stay_inside(
    name: str, service: Service, client: TestClient, picture: np.ndarray, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if service.storage.path not in path.parents}
    body = form((f'name="file"; filename="{name}"', png(picture)))
    answer = client.post("/api/predict", content=body, headers=FORM)
    assert answer.status_code == 200, answer.text
    assert "\n" not in answer.headers["content-disposition"]
    after = {path for path in tmp_path.rglob("*") if service.storage.path not in path.parents}
    assert after == before
    assert eventually(lambda: nothing_is_left(service))


@pytest.mark.parametrize(
    ("name", "make", "claim"),
    [
        ("a.png", lambda: png_bomb(4000), "the picture has 16000000 pixels"),
        ("a.nii.gz", lambda: nifti_bomb(200), "the header describes 8000000 voxels"),
    ],
)
def test_bombs_are_refused_before_they_are_unpacked(
    name: str, make: Callable[[], bytes], claim: str, start: Callable[..., Service], predictor: Predictor
) -> None:
    client = client_of(start(predictor, Limits(voxels=10**6)))
    content = make()
    assert len(content) < 50_000
    answer = client.post("/api/predict", files={"file": (name, content)})
    refused(answer, 422, f"{claim}; the limit is 1000000")


def test_large_uploads(start: Callable[..., Service], predictor: Predictor) -> None:
    service = start(predictor, Limits(upload_bytes=MIB))
    client = client_of(service)
    declared = client.post("/api/jobs", files={"file": ("a.png", bytes(2 * MIB))})
    assert "--max-upload" in refused(declared, 413, "larger than 1 MiB")["hint"]
    refused(client.post("/api/jobs", content=chunked(2 * MIB), headers=FORM), 413, "larger than 1 MiB")
    lying = {**FORM, "content-length": "10"}
    refused(client.post("/api/jobs", content=chunked(2 * MIB), headers=lying), 413, "larger than 1 MiB")
    for nonsense in ("-5", "1e3", "9" * 400, "٣"):
        headers = {**FORM, "content-length": nonsense.encode()}
        refused(client.post("/api/jobs", content=chunked(2 * MIB), headers=headers), 413, "larger")
    assert nothing_is_left(service)
    fits = client.post("/api/jobs", content=chunked(MIB - FORM_OVERHEAD), headers=FORM)
    assert fits.status_code == 202


def test_tokens_are_compared_in_constant_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length, by the function that is made for it, and by nothing else."""
    compared: list[tuple[bytes, bytes]] = []

    def never(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    client = client_of(service, token=TOKEN)
    monkeypatch.setattr(access.secrets, "compare_digest", never)
    for given in (TOKEN, "w", TOKEN[:-1]):
        compared.clear()
        for request in (
            lambda given=given: client.get("/api/model", headers={"authorization": f"Bearer {given}"}),
            lambda given=given: client.get("/", params={"token": given}),
            lambda given=given: client.post("/login", data={"token": given}),
        ):
            assert request().status_code == 401  # even the right one: nothing else lets it in
        digests = tuple(hashlib.sha256(text.encode()).digest() for text in (given, TOKEN))
        assert compared == [digests] * 3
