"""The token: who gets in with it, who does not, and what one client may take."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serve.serving import PICTURE, Gate, client_of, eventually, finished, listening_at
from swin_umamba.errors import UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve import access
from swin_umamba.serve.access import new_token, read_token
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.page import entrance_html, entrance_policy, login_html
from swin_umamba.serve.service import Service

TOKEN = "correct-horse-battery-staple"
BEARER = {"authorization": f"Bearer {TOKEN}"}
FILES = {"file": ("a.png", PICTURE)}
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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_health_is_open_to_all(guarded: TestClient) -> None:
    assert guarded.get("/api/health").json() == {"schema": 2, "status": "ok"}


def test_a_program_sends_it_with_each_request(guarded: TestClient) -> None:
    assert guarded.get("/api/model", headers=BEARER).status_code == 200
    assert guarded.get("/api/model", headers={"authorization": f"bearer  {TOKEN}"}).status_code == 200
    assert guarded.post("/api/predict", files=FILES, headers=BEARER).status_code == 200
    assert guarded.get("/api/model").status_code == 401  # no cookie came with it


def test_the_printed_address_logs_a_browser_in(guarded: TestClient) -> None:
    answer = guarded.get("/", params={"token": TOKEN})
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0; url=/"' in answer.text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert "max-age" not in cookie.lower()  # it ends with the browser
    assert "Segment an image" in guarded.get("/").text
    assert finished(guarded, guarded.post("/api/jobs", files=FILES).json())["state"] == "done"


def test_a_person_types_it(guarded: TestClient) -> None:
    page = guarded.get("/")
    assert page.status_code == 401
    assert "<script" not in page.text
    assert '<form method="post" action="/login">' in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    wrong = guarded.post("/login", data={"token": "wrong"})
    assert wrong.status_code == 401
    assert "That is not the token." in wrong.text
    assert "set-cookie" not in wrong.headers
    right = guarded.post("/login", data={"token": f" {TOKEN} "}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert guarded.get("/api/model").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"token", b"token=" + b"x" * 10_000, b"\xff\xfe=\x00", b"token=%ZZ", b"&" * 4000]
)
def test_hostile_forms(body: bytes, guarded: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert guarded.post("/login", content=body, headers=headers).status_code == 401


def test_another_sites_page_cannot_log_in(guarded: TestClient) -> None:
    answer = guarded.post("/login", data={"token": TOKEN}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_sessions_end_with_the_server_and_are_bounded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_SESSIONS", 2)
    first, other = client_of(service, token=TOKEN), client_of(service, token=TOKEN)
    browsers = [browser_of(first) for _ in range(3)]
    assert [first.get("/api/model", headers=each).status_code for each in browsers] == [401, 200, 200]
    assert other.get("/api/model", headers=browsers[2]).status_code == 401  # another server on this host


def test_who_logs_in_again_is_the_same_client() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(scope["state"]["client"])
        await PlainTextResponse("")(scope, receive, send)

    browser = TestClient(access.Access(app, TOKEN))
    for _ in range(3):
        browser.get("/", params={"token": TOKEN})
        before = dict(browser.cookies)
        browser.post("/login", data={"token": TOKEN}, follow_redirects=False)
        assert dict(browser.cookies) != before
        browser.get("/api/model")
    assert len(set(told)) == 1
    browser.cookies.clear()
    browser.get("/", params={"token": TOKEN})
    browser.get("/api/model")
    assert told[-1] != told[0]


def test_wrong_tokens_are_answered_late(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "SECONDS_FOR_A_FAILURE", 0.2)
    for request in (
        lambda: guarded.get("/api/model", headers={"authorization": "Bearer wrong"}),
        lambda: guarded.get("/", params={"token": "wrong"}),
        lambda: guarded.post("/login", data={"token": "wrong"}),
    ):
        start = time.monotonic()
        assert request().status_code == 401
        assert time.monotonic() - start >= 0.2


def test_the_right_token_does_not_wait_for_wrong_ones(
    guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SECONDS_FOR_A_FAILURE", 3.0)
    wrong = {"authorization": "Bearer wrong"}
    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(guarded.get, "/api/model", headers=wrong) for _ in range(8)]
        start = time.monotonic()
        assert guarded.get("/api/model", headers=BEARER).status_code == 200
        assert time.monotonic() - start < 2
        assert {each.result().status_code for each in waiting} == {401}


def test_a_form_that_never_ends_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "SECONDS_FOR_A_FORM", 0.2)
    with (
        listening_at(service, token=TOKEN) as listening,
        socket.create_connection(("127.0.0.1", listening.port), timeout=10) as client,
    ):
        client.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n\r\nt")
        assert client.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "other", ['a={"x":1}', "a=x y", "csrftoken", "path=/x", "a=b; c", 'a="', "swin-umamba-0=1"]
)
def test_cookies_of_other_servers_come_along(other: str, guarded: TestClient) -> None:
    own = browser_of(guarded)["cookie"]
    for cookie in (f"{other}; {own}", f"{own}; {other}"):
        assert guarded.get("/api/model", headers={"cookie": cookie}).status_code == 200


def test_pictures_of_another_site_try_no_token(guarded: TestClient) -> None:
    picture = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}
    assert guarded.get("/", params={"token": TOKEN}, headers=picture).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    assert guarded.get("/", params={"token": TOKEN}, headers=link).status_code == 200


def test_browsers_may_send_the_form(guarded: TestClient) -> None:
    """Under no-referrer they would send it from the origin "null"."""
    assert guarded.get("/").headers["referrer-policy"] == "same-origin"


def test_the_two_pages_have_no_script_and_their_style() -> None:
    for html in (login_html(), login_html(wrong=True), entrance_html()):
        assert "<script" not in html
        assert re.search("style-src 'sha256-[^']+'", entrance_policy(html))


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for text in (new_token(), "0123456789abcdef\n", "0123456789abcdef\r\n"):
        path.write_text(text, newline="")
        path.chmod(0o600)
        assert read_token(path) == text.strip()
    for bad in ("", "short", "two words of text", "0123456789abcdef\nsecond", "0123456789abcdé", "x" * 1025):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(UsageError, match="the file is not a line of 16 to 1024 visible ASCII characters"):
            read_token(path)
    with pytest.raises(UsageError, match="cannot read the token"):
        read_token(tmp_path / "nothing")


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_token_that_others_can_read_or_change(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(new_token())
    path.chmod(mode)
    with pytest.raises(UsageError, match="other users can read the file") as info:
        read_token(path)
    assert info.value.hint == f"chmod 600 {path}"


# ---- what one client may take


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
    client = client_of(start(predictor, Limits(kept=2)), token=TOKEN)
    one, other = browser_of(client), browser_of(client)

    def segment(headers: dict[str, str]) -> str:
        job = client.post("/api/jobs", files=FILES, headers=headers).json()["id"]
        assert eventually(
            lambda: client.get(f"/api/jobs/{job}", headers=headers).json().get("state") == "done"
        )
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
    with pytest.raises(Exception, match="your other uploads take all your space"):
        service.storage.reserve(second, 1)
    other = service.storage.new("other")
    service.storage.reserve(other, 2000)
    service.storage.remove(first)
    service.storage.reserve(second, 1200)
    for folder in (second, other):
        service.storage.remove(folder)


def test_a_prediction_that_takes_too_long(
    start: Callable[..., Service], predictor: Predictor, gate: Gate
) -> None:
    client = client_of(start(predictor, Limits(job_seconds=0.05)))
    job = finished(client, client.post("/api/jobs", files=FILES).json())
    assert job["state"] == "failed"
    assert job["error"]["what"].startswith("the prediction took longer than")
    assert "--job-minutes" in job["error"]["hint"]
