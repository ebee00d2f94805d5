"""Access to the server: only with its token.

All users of a machine can reach its ports, so listening on loopback keeps out only other machines. A person
opens the address that contains the token, or types the token into the login page, and gets a cookie; a
program sends ``Authorization: Bearer TOKEN``. ``/api/health`` needs no token.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shlex
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from swin_umamba.errors import UsageError
from swin_umamba.opening import open_to_read, others_can_read
from swin_umamba.serve.page import entrance_html, entrance_policy, login_html
from swin_umamba.serve.patience import waited_for
from swin_umamba.serve.problems import SlowRequest, Unauthorized

OPEN_PATHS = ("/api/health",)
LOGIN = "/login"
FIELD = "token"
SHORTEST_TOKEN = 16
LONGEST_TOKEN = 1024
# Maximum number of open sessions; the oldest one is ended.
MOST_SESSIONS = 256
# Delay of the answer to a wrong token. A right one is answered at once, however many wrong ones are waiting.
SECONDS_FOR_A_FAILURE = 1.0
SECONDS_FOR_A_FORM = 5.0

_HINT = "open the address that swin-umamba serve has printed, or send Authorization: Bearer TOKEN"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def read_token(path: Path) -> str:
    """Return the token in a file: one line of at least 16 visible ASCII characters.

    Raises
    ------
    UsageError
        It cannot be read, is not a token, or (on POSIX) other users can read it.
    """
    try:
        with open_to_read(path) as file:
            if others_can_read(file.fileno()):
                raise UsageError(
                    "other users can read the file of the token",
                    where=path,
                    hint=f"chmod 600 {shlex.quote(str(path))}",
                )
            text = file.read(LONGEST_TOKEN + 2)
    except OSError as error:
        raise UsageError(
            f"cannot read the token: {error.strerror}", where=str(path), hint="check --token-file"
        ) from error
    token = text.rstrip(b"\r\n")
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in token):
        raise UsageError(
            f"the file is not a line of {SHORTEST_TOKEN} to {LONGEST_TOKEN} visible ASCII characters",
            where=str(path),
            hint="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one",
        )
    return token.decode("ascii")


class Access:
    """Lets requests with the token through; ``request.state.client`` identifies the client.

    A client is a browser that has logged in, or the address that programs connect from. The share of each
    client is limited.

    Parameters
    ----------
    app
        Application that gets the permitted requests.
    token
        None to permit all of them.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self._digest = None if token is None else _digest(token)
        # Cookies are sent to every port of a host; without the port in their names, two servers would
        # overwrite each other's.
        self._cookie = f"swin-umamba-{secrets.token_hex(4)}"
        self._sessions: dict[bytes, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        await (self.app if answer is None else answer)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to a rejected request."""
        given = _field(scope["query_string"].decode("latin-1"))
        if self._digest is not None and scope["method"] == "POST" and scope["path"] == LOGIN:
            try:
                posted, _ = await waited_for(_posted(Request(scope, receive)), SECONDS_FOR_A_FORM)
            except asyncio.TimeoutError as error:
                raise SlowRequest("the form has stalled", hint="send it again") from error
            return await self._log_in(scope, posted, RedirectResponse("/", 303))
        if self._digest is not None and scope["path"] == "/" and given:
            return await self._log_in(scope, given, _page(entrance_html()))
        client = await self._client(scope)
        if client is not None:
            scope.setdefault("state", {})["client"] = client
            return None
        if scope["path"] == "/":
            return _page(login_html(), 401)
        raise Unauthorized("the server wants its token", hint=_HINT)

    async def _client(self, scope: Scope) -> str | None:
        address = "address " + (scope["client"] or ("unknown",))[0]
        if self._digest is None:
            return address
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if await self._is_right(given.strip()):
                return address
            raise Unauthorized("this is not the server's token", hint=_HINT)
        return self._sessions.get(self._session_in(scope))

    def _session_in(self, scope: Scope) -> bytes:
        """Return the digest of the session that a request names; the session may be unknown."""
        # Cookies of all other servers on this host are sent as well, in any form.
        cookies = cookie_parser("; ".join(Headers(scope=scope).getlist("cookie")))
        return _digest(cookies.get(self._cookie, ""))

    async def _log_in(self, scope: Scope, given: str, answer: Response) -> Response:
        if not await self._is_right(given):
            return _page(login_html(wrong=True), 401)
        # A browser that logs in again stays the same client and keeps its places in the queue and its space.
        client = self._sessions.pop(self._session_in(scope), None) or f"session {secrets.token_hex(8)}"
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = new_token()
        # Sessions are looked up by their digest, so that the time of a lookup reveals nothing about other
        # sessions.
        self._sessions[_digest(session)] = client
        answer.set_cookie(self._cookie, session, httponly=True, samesite="strict")
        return answer

    async def _is_right(self, given: str) -> bool:
        assert self._digest is not None
        if secrets.compare_digest(_digest(given), self._digest):
            return True
        await asyncio.sleep(SECONDS_FOR_A_FAILURE)
        return False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


async def _posted(request: Request) -> str:
    """Return the token in a posted form; an empty text if there is none."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > 4 * LONGEST_TOKEN:
                return ""
    except ClientDisconnect:
        return ""
    return _field(body.decode("latin-1"))


def _field(form: str) -> str:
    """Return the token in a form or query; an empty text if there is none."""
    return next((value.strip() for name, value in parse_qsl(form) if name == FIELD), "")


def _page(html: str, status: int = 200) -> HTMLResponse:
    # Without a referrer, browsers send forms with a null origin, as if they came from another site.
    headers = {"Content-Security-Policy": entrance_policy(html), "Referrer-Policy": "same-origin"}
    return HTMLResponse(html, status, headers)
