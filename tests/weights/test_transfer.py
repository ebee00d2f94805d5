"""One file over HTTP: what arrives, what is kept, what is refused."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from swin_umamba.errors import CheckpointError, OutputError
from swin_umamba.weights.transfer import transfer
from weights.file_server import FileServer

CONTENT = b"\x80" + bytes(range(256)) * 2000
SIZE = len(CONTENT)
HINT = "fetch it by hand"


@pytest.fixture
def partial(server: FileServer, tmp_path: Path) -> Path:
    server.content = CONTENT
    return tmp_path / "partial"


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("behaviour", ["good", "moved", "no_range"])
def test_the_file_arrives(server: FileServer, partial: Path, behaviour: str, size: int | None) -> None:
    transfer(server.address(behaviour), partial, size=size, hint=HINT)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [SIZE, None])
def test_only_the_rest_is_asked_for(server: FileServer, partial: Path, size: int | None) -> None:
    partial.write_bytes(CONTENT[:1000])
    transfer(server.address("moved"), partial, size=size, hint=HINT)
    assert partial.read_bytes() == CONTENT
    assert server.requests == [("moved", "bytes=1000-"), ("good", "bytes=1000-")]


def test_a_server_that_ignores_the_range(server: FileServer, partial: Path) -> None:
    partial.write_bytes(CONTENT[:1000])
    transfer(server.address("no_range"), partial, size=SIZE, hint=HINT)
    assert partial.read_bytes() == CONTENT
    assert server.requests == [("no_range", "bytes=1000-")]


def test_a_server_that_sends_another_part(server: FileServer, partial: Path) -> None:
    partial.write_bytes(CONTENT[:1000])
    with pytest.raises(CheckpointError, match="another part"):
        transfer(server.address("wrong_part"), partial, size=SIZE, hint=HINT)
    assert partial.read_bytes() == CONTENT[:1000]


def test_nothing_is_asked_for_if_all_is_there(server: FileServer, partial: Path) -> None:
    partial.write_bytes(CONTENT)
    transfer(server.address("good"), partial, size=SIZE, hint=HINT)
    assert server.requests == []


@pytest.mark.parametrize(
    ("there", "size", "ranges"),
    [
        (SIZE, None, [f"bytes={SIZE}-", None]),
        (SIZE + 5, None, [f"bytes={SIZE + 5}-", None]),
        (SIZE + 5, SIZE, [None]),
    ],
)
def test_too_long_a_beginning_is_thrown_away(
    server: FileServer, partial: Path, there: int, size: int | None, ranges: list[str | None]
) -> None:
    partial.write_bytes(b"x" * there)
    transfer(server.address("good"), partial, size=size, hint=HINT)
    assert server.requests == [("good", wanted) for wanted in ranges]
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["short", "cut"])
def test_a_short_body_is_an_error_and_is_kept(server: FileServer, partial: Path, behaviour: str) -> None:
    with pytest.raises(CheckpointError, match=r"the download failed.* bytes are kept") as caught:
        transfer(server.address(behaviour), partial, size=SIZE, hint=HINT)
    assert HINT in str(caught.value.hint)
    kept = partial.read_bytes()
    assert 0 < len(kept) <= SIZE // 2
    assert CONTENT.startswith(kept)
    transfer(server.address("good"), partial, size=SIZE, hint=HINT)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("page", "the server sent a web page"),
        ("empty", "an empty file"),
        ("missing", "answers 404 Not Found"),
        ("broken", "answers 500 Internal Server Error"),
        ("loop", "redirects more than 5 times"),
        ("outside", "only https"),
    ],
)
@pytest.mark.parametrize("size", [SIZE, None])
def test_what_is_no_file_is_refused(
    server: FileServer, partial: Path, behaviour: str, message: str, size: int | None
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        transfer(server.address(behaviour), partial, size=size, hint=HINT)
    assert "http" in str(caught.value.where)
    assert caught.value.hint == HINT
    assert not partial.exists()


@pytest.mark.parametrize(("behaviour", "size"), [("good", SIZE - 1), ("good", SIZE + 1), ("endless", SIZE)])
def test_another_size_than_the_known_one(
    server: FileServer, partial: Path, behaviour: str, size: int
) -> None:
    with pytest.raises(CheckpointError, match=rf"bytes, {size:,} expected"):
        transfer(server.address(behaviour), partial, size=size, hint=HINT)
    assert not partial.exists()


def test_a_server_that_is_not_there(server: FileServer, partial: Path) -> None:
    with pytest.raises(CheckpointError, match="refused") as caught:
        transfer("http://127.0.0.1:9/file", partial, size=None, hint=HINT)
    assert "HTTPS_PROXY" in str(caught.value.hint)


def test_a_proxy_is_used(server: FileServer, partial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(CheckpointError, match="refused"):
        transfer("https://weights.invalid/file", partial, size=None, hint=HINT)


def test_a_full_disk_keeps_what_fitted(server: FileServer, partial: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # stands for a full disk
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            transfer(server.address("good"), partial, size=SIZE, hint=HINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "SWIN_UMAMBA_CACHE" in str(caught.value.hint)
    assert partial.read_bytes() == CONTENT[:200_000]
    transfer(server.address("good"), partial, size=SIZE, hint=HINT)
    assert partial.read_bytes() == CONTENT
    assert server.requests[-1] == ("good", "bytes=200000-")
