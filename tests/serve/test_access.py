"""The token: who gets in with it, who does not, and what one client may take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serve.serving import Gate, client_of, finished
from serve.token_clients import BEARER, FILES, TOKEN, browser_of
from swin_umamba.errors import UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve import access
from swin_umamba.serve.access import new_token, read_token
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.page import entrance_html, entrance_policy, login_html
from swin_umamba.serve.service import Service

pytestmark = pytest.mark.usefixtures("quick")


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


@pytest.mark.parametrize(
    "other", ['a={"x":1}', "a=x y", "csrftoken", "path=/x", "a=b; c", 'a="', "swin-umamba-0=1"]
)
def test_cookies_of_other_servers_come_along(other: str, guarded: TestClient) -> None:
    own = browser_of(guarded)["cookie"]
    for cookie in (f"{other}; {own}", f"{own}; {other}"):
        assert guarded.get("/api/model", headers={"cookie": cookie}).status_code == 200


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


def test_a_prediction_that_takes_too_long(
    start: Callable[..., Service], predictor: Predictor, gate: Gate
) -> None:
    client = client_of(start(predictor, Limits(job_seconds=0.05)))
    job = finished(client, client.post("/api/jobs", files=FILES).json())
    assert job["state"] == "failed"
    assert job["error"]["what"].startswith("the prediction took longer than")
    assert "--job-minutes" in job["error"]["hint"]
