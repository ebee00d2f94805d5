"""Runs the application with uvicorn until a signal arrives."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from types import FrameType
from urllib.parse import urlencode

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from swin_umamba.errors import UsageError
from swin_umamba.serve.access import FIELD
from swin_umamba.serve.api import create_app
from swin_umamba.serve.guard import is_loopback
from swin_umamba.serve.service import Service

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
SECONDS_TO_FINISH_ANSWERS = 5
SECONDS_TO_ASK = 20.0
# A client that has read nothing in so many checks in a row is disconnected. The system accepts the next part
# of an answer only when a third of its own buffer is free, which takes a slow reader about a minute.
LOOKS_WITHOUT_READING = 6


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host``.

    Parameters
    ----------
    host
        Name or address. Anything except loopback gives a warning, as nothing is encrypted.
    port
        Port; 0 for any free one.

    Raises
    ------
    UsageError
        If this machine does not have the address, or the port is taken.
    """
    if not 0 <= port < 2**16:  # the system would use it modulo 2**16
        raise UsageError(
            f"cannot listen there: {port} is not a valid port", where="--port", hint="give 0 to 65535"
        )
    if not is_loopback(host):
        logger.warning(
            "listening on %s, where other machines can reach it: nothing is encrypted, not even the token",
            host,
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, ValueError) as error:  # also raised for names with invalid characters
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise UsageError(
            f"cannot listen there: {'the port is taken' if taken else error}",
            where=f"{host}, port {port}",
            hint="give another --port; 0 takes a free one" if taken else "check --host and --port",
        ) from error


def address_of(listener: socket.socket, host: str, token: str | None = None) -> str:
    """Return the address to open in a browser; a token in it logs the browser in."""
    port = listener.getsockname()[1]
    query = "" if token is None else f"?{urlencode({FIELD: token})}"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{query}"


def make_server(service: Service, host: str, token: str | None) -> uvicorn.Server:
    """Return a server; ``run(sockets=[listener])`` serves until SIGINT or SIGTERM.

    After the server has shut down, the signal is raised again; where that does nothing, because a shell has
    started the process in the background and has it ignore Ctrl-C, ``KeyboardInterrupt`` is.

    Parameters
    ----------
    service
        The running service.
    host
        Name or address of the socket, see :func:`open_socket`.
    token
        Token that requests must present; None answers all requests.
    """
    config = uvicorn.Config(
        create_app(service, host=host, token=token),
        http=_ImpatientProtocol,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,  # the address of a job gives access to it
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_FINISH_ANSWERS,
    )
    return _Server(config, service)


class _ImpatientProtocol(H11Protocol):
    """Closes connections that are idle or whose client does not read; uvicorn would wait forever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start watching a connection."""
        super().connection_made(transport)
        self._looks = 0
        self._watch()

    def _watch(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self.loop.call_later(SECONDS_TO_ASK, self._close_if_silent, self.cycle, unread)

    def _close_if_silent(self, last: object, before: int) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        unread = self.transport.get_write_buffer_size()
        self._looks = self._looks + 1 if self.cycle is last and unread and unread == before else 0
        if self._looks >= LOOKS_WITHOUT_READING:
            self.transport.abort()  # closing it would wait for the client, with the answer in memory
        elif self.cycle is last and answered and not unread:
            self.transport.close()
        elif unread or not self.transport.is_closing():
            self._watch()


class _Server(uvicorn.Server):
    """Cancels the jobs as soon as a signal arrives; requests that wait for a job would delay the shutdown."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._was_signalled = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal arrives."""
        super().run(sockets)
        if self._was_signalled:
            raise KeyboardInterrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown."""
        self._was_signalled = True
        self._service.queue.stop()
        super().handle_exit(sig, frame)
