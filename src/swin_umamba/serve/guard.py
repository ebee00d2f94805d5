"""Protection against requests of other sites, and the headers of every answer.

Any web site can make a browser send requests to this machine. Three checks make that harmless: ``Host`` must
be a name of this server, which stops DNS rebinding; requests that the browser marks as cross-site are
refused; and the headers of every answer forbid other sites to read or frame it, and browsers to store it.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swin_umamba.errors import SwinUMambaError
from swin_umamba.serve.problems import (
    ForeignHost,
    ForeignRequest,
    RequestError,
    headers_of,
    status_of,
    unexpected,
)
from swin_umamba.serve.schema import ErrorAnswer, ErrorDetail

logger = logging.getLogger(__name__)

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
_OWN_SITE = ("same-origin", "none")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address (without a port) is this machine's own loopback."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def error_response(
    error: SwinUMambaError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as the API describes it, with its own status and headers unless others are given."""
    content = ErrorAnswer(error=ErrorDetail.model_validate(error.parts())).model_dump(by_alias=True)
    return JSONResponse(content, status or status_of(error), headers or headers_of(error))


class Guard:
    """Refuses requests of foreign names and sites, and gives every answer its headers.

    Parameters
    ----------
    app
        Application that gets the permitted requests. Its exceptions are logged without their text and
        answered with 500.
    host
        Name or address that the server listens on. Loopback is always permitted.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await error_response(refusal)(scope, receive, send_with_headers)
            return
        try:
            await self.app(scope, receive, send_with_headers)
        except RequestError as error:
            await error_response(error)(scope, receive, send_with_headers)
        except Exception as error:
            # The text of an error can contain data of the image.
            logger.error("a request failed with %s (--debug shows where)", type(error).__name__)
            logger.debug("request", exc_info=True)
            if not started:
                await error_response(unexpected(error))(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> SwinUMambaError | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or not self._is_own(match["name"].strip("[]").lower()):
            return ForeignHost(
                "the address of this request is not the server's",
                hint="use the address that swin-umamba serve has printed, or start it with --host",
            )
        # A link on another site may open a page, but its images and frames may request nothing.
        opens = headers.get("sec-fetch-dest", "document") == "document"
        if (scope["path"].startswith(("/api/", "/login")) or not opens) and _is_foreign(headers, hosts[0]):
            return ForeignRequest("the request comes from another site", hint="use the server's own page")
        return None

    def _is_own(self, name: str) -> bool:
        if name == self.host or is_loopback(name):
            return True
        given = _address(self.host)
        if given is None or not given.is_unspecified:
            return False
        # The server listens on every address. A name can be rebound to another address, an address cannot.
        return _address(name) is not None or name == socket.gethostname().lower()


def _is_foreign(headers: Headers, host: str) -> bool:
    """Return whether the browser reports a cross-site request; other programs report nothing."""
    if headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return True
    origin = headers.get("origin")
    return origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
