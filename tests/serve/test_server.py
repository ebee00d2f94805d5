"""A real server: bodies that lie or crawl, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from forked import Forked
from serve.serving import END, PART, PATIENCE, PICTURE, Gate, Listening, eventually
from swin_umamba.cli.main import main
from swin_umamba.errors import UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.limits import MIB, Limits
from swin_umamba.serve.server import LOOKS_WITHOUT_READING, _ImpatientProtocol, address_of, open_socket
from swin_umamba.serve.service import Service

LIMITS = Limits(upload_bytes=MIB, silence_seconds=PATIENCE, slowest_upload=10_000)
IMPATIENT = replace(LIMITS, silence_seconds=0.4)


@pytest.fixture
def listening(
    start: Callable[..., Service], predictor: Predictor, listen: Callable[[Service], Listening]
) -> Listening:
    return listen(start(predictor, LIMITS))


@pytest.fixture
def impatient(
    start: Callable[..., Service], predictor: Predictor, listen: Callable[[Service], Listening]
) -> Listening:
    """One that gives silent clients up at once; only for those, as any client may be halted for a while."""
    return listen(start(predictor, IMPATIENT))


def test_a_declared_size_is_refused_before_the_body(listening: Listening) -> None:
    answer = listening.send(f"Content-Length: {10 * MIB}", [b""])
    assert answer.startswith(b"HTTP/1.1 413")
    assert listening.is_empty()


def test_an_undeclared_size_is_refused_while_it_comes(listening: Listening) -> None:
    block = b"10000\r\n" + bytes(2**16) + b"\r\n"
    first = b"%x\r\n%b\r\n" % (len(PART), PART)
    answer = listening.send("Transfer-Encoding: chunked", [first, *[block] * 40], pause=0.02)
    assert answer.startswith(b"HTTP/1.1 413")
    assert eventually(listening.is_empty)


def test_a_body_that_is_longer_than_it_says(listening: Listening) -> None:
    body = PART + PICTURE + END
    answer = listening.send(f"Content-Length: {len(body) - 20}", [body])
    assert answer.startswith(b"HTTP/1.1 400")
    assert eventually(listening.is_empty)


def test_a_body_that_stops_is_given_up(impatient: Listening) -> None:
    answer = impatient.send("Content-Length: 5000", [PART])
    assert answer.startswith(b"HTTP/1.1 408")
    assert eventually(impatient.is_empty)


def test_a_body_that_crawls_is_given_up(impatient: Listening) -> None:
    endless = itertools.chain([PART], itertools.repeat(b"x"))
    answer = impatient.send("Content-Length: 500000", endless, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert eventually(impatient.is_empty)


def test_crawling_uploads_do_not_keep_others_waiting(
    start: Callable[..., Service], predictor: Predictor, listen: Callable[[Service], Listening]
) -> None:
    # Nobody would wait until the others are given up.
    listening = listen(start(predictor, replace(LIMITS, silence_seconds=10 * PATIENCE)))
    crawlers = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(30)]
    for crawler in crawlers:
        crawler.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + PART
        )
    assert listening.predict() == 200
    for crawler in crawlers:
        crawler.close()
    assert eventually(listening.is_empty)


def test_who_hangs_up_is_forgotten(listening: Listening, gate: Gate) -> None:
    connection = listening.connect()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/api/predict", PART + PICTURE + END, headers)
    assert eventually(lambda: len(gate.started) == 1)
    connection.close()
    assert eventually(listening.is_empty)  # though nobody has let the prediction through
    gate.open.set()
    assert listening.predict() == 200


def test_half_an_upload_is_deleted(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", listening.port)) as client:
        client.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + PART
        )
        assert eventually(lambda: not listening.is_empty())
    assert eventually(listening.is_empty)
    assert caplog.text == ""  # that somebody leaves is not a fault


@pytest.mark.parametrize("head", [b"", b"GET /api/health HTTP/1.1\r\nHost: 127."])
def test_connections_that_ask_for_nothing_are_closed(
    head: bytes, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin_umamba.serve.server.SECONDS_TO_ASK", 0.3)
    with socket.create_connection(("127.0.0.1", listening.port), timeout=PATIENCE) as client:
        client.sendall(head)
        assert client.recv(100) == b""


def ask_for_pages(listening: Listening, number: int) -> socket.socket:
    """Ask for more pages than the system's buffers hold; return the connection, to be read or not."""
    client = socket.create_connection(("127.0.0.1", listening.port), timeout=PATIENCE)
    client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * number)
    return client


def connection_that(is_so: Callable[[_ImpatientProtocol], bool], listening: Listening) -> _ImpatientProtocol:
    """Wait until the server has a connection that is so, and return it."""
    found: list[_ImpatientProtocol] = []

    def is_there() -> bool:
        found[:] = filter(is_so, list(listening.server.server_state.connections))  # type: ignore[arg-type]
        return bool(found)

    assert eventually(is_there)
    return found[0]


def holds_an_answer(connection: _ImpatientProtocol) -> bool:
    return connection.transport.get_write_buffer_size() > 0


def test_a_connection_in_use_stays_open(
    listening: Listening, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = _ImpatientProtocol._close_if_silent

    def counted(self: _ImpatientProtocol, *last: Any) -> None:
        looks.append(last)
        look(self, *last)

    monkeypatch.setattr(_ImpatientProtocol, "_close_if_silent", counted)
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(listening.predict()))
    asking.start()
    assert eventually(lambda: len(gate.started) == 1)
    monkeypatch.setattr("swin_umamba.serve.server.SECONDS_TO_ASK", 0.01)  # from now on: it has asked
    connection = connection_that(lambda each: each.cycle is not None, listening)
    connection.loop.call_soon_threadsafe(connection._watch)
    assert eventually(lambda: len(looks) > 2 * LOOKS_WITHOUT_READING)
    assert answers == []
    gate.open.set()
    asking.join(PATIENCE)
    assert answers == [200]


def test_who_does_not_read_is_cut_off(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    with ask_for_pages(listening, 500):
        connection = connection_that(holds_an_answer, listening)
        monkeypatch.setattr("swin_umamba.serve.server.SECONDS_TO_ASK", 0.05)
        connection.loop.call_soon_threadsafe(connection._watch)
        assert eventually(lambda: not listening.server.server_state.connections)


def test_who_reads_slowly_gets_everything(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks after each MiB that was read, however long that has taken."""
    monkeypatch.setattr("swin_umamba.serve.server.SECONDS_TO_ASK", 10 * PATIENCE)
    received, looks = bytearray(), 0
    before: tuple[object, int] = (None, 0)
    with ask_for_pages(listening, 300) as client:
        connection = connection_that(holds_an_answer, listening)

        def look(done: threading.Event) -> None:
            nonlocal before
            connection._close_if_silent(*before)
            before = connection.cycle, connection.transport.get_write_buffer_size()
            done.set()

        while received.count(b"</html>") < 300:
            received += (piece := client.recv(2**17))
            assert piece
            if len(received) > (looks + 1) * MIB:
                connection.loop.call_soon_threadsafe(look, done := threading.Event())
                assert done.wait(PATIENCE)
                looks += 1
    assert looks > LOOKS_WITHOUT_READING


def test_a_port_that_is_taken() -> None:
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        with pytest.raises(UsageError, match="the port is taken"):
            open_socket("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 99999), ("127.0.0.1", -1), ("no.such.host.invalid", 0), ("a\0b", 0)]
)
def test_addresses_that_do_not_exist(host: str, port: int) -> None:
    with pytest.raises(UsageError, match="cannot listen there"):
        open_socket(host, port)


def test_other_hosts_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with open_socket("127.0.0.1", 0), caplog.at_level("WARNING"):
        assert caplog.text == ""
        open_socket("0.0.0.0", 0).close()
    assert "nothing is encrypted" in caplog.text


def test_a_signal_does_not_wait_for_predictions(listening: Listening, gate: Gate) -> None:
    listening.server.config.timeout_graceful_shutdown = int(PATIENCE)  # this process may be halted, too
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(listening.predict()))
    waiting.start()
    assert eventually(lambda: len(gate.started) == 1)
    listening.server.handle_exit(signal.SIGTERM, None)
    waiting.join(PATIENCE)
    assert answers == [503]
    assert eventually(listening.is_empty)


def _main(arguments: list[str]) -> int:
    """Run as in a terminal, wherever the tests themselves run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(arguments)


def _main_in_background(arguments: list[str]) -> int:
    """Run as a shell starts a command that is followed by ``&``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return main(arguments)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "number", "code"),
    [(_main, signal.SIGTERM, 143), (_main, signal.SIGINT, 130), (_main_in_background, signal.SIGINT, 130)],
)
def test_a_signal_ends_it_and_deletes_everything(
    function: Callable[[list[str]], int],
    number: signal.Signals,
    code: int,
    predictor: Predictor,
    tmp_path: Path,
) -> None:
    (tmp_path / "tmp").mkdir()
    arguments = ["serve", "-m", str(predictor.model.path), "--port", "0", "--json", "--device", "cpu"]
    process = Forked(function, arguments, environment={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    try:
        address = urlsplit(json.loads(process.first_line())["address"])
        assert address.port is not None
        listening = Listening(None, None, address.port)  # type: ignore[arg-type]
        assert listening.predict() == 401
        (token,) = parse_qs(address.query)["token"]
        listening.headers["authorization"] = f"Bearer {token}"
        assert listening.predict() == 200
        connection = listening.connect()
        headers = {"content-type": "multipart/form-data; boundary=b", **listening.headers}
        connection.request("POST", "/api/jobs", PART + PICTURE + END, headers)
        assert json.load(connection.getresponse())["id"]
        (folder,) = (tmp_path / "tmp").iterdir()
        assert list(folder.iterdir())
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == code
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "Traceback" not in errors
    assert "all uploads and results are deleted" in errors
    assert "/api/jobs" not in output + errors
    assert (output + errors).count(token) == 1  # as part of the address
    assert "error" not in errors  # this is how a server ends
