"""The cache of downloaded weights: what gets in, what is checked, and who waits for whom."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from payload import Payload
from swin_umamba.errors import CheckpointError, OutputError, UsageError
from swin_umamba.weights import download
from swin_umamba.weights.backbone import WeightsRecord
from swin_umamba.weights.catalog import CATALOG
from swin_umamba.weights.download import fetch_weights, locate_weights, weights_path
from weights.file_server import FileServer

NAME = "weights.pth"


def checkpoint_bytes(**content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.arange(100_000.0)}, **content}, buffer)
    return buffer.getvalue()


CONTENT = checkpoint_bytes()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def record(url: str | None, known: bool = True, content: bytes = CONTENT) -> WeightsRecord:
    return replace(
        CATALOG["vmamba_tiny_v0cls"],
        name="tiny",
        file_name=NAME,
        url=url,
        size=len(content) if known else None,
        sha256=sha256(content) if known else None,
    )


@pytest.fixture(autouse=True)
def served(server: FileServer, cache: Path) -> None:
    server.content = CONTENT


def files(cache: Path) -> set[str]:
    """What a user sees in the cache, and partial downloads."""
    return {path.name for path in cache.iterdir() if not path.name.startswith(".lock-")}


@pytest.mark.parametrize("known", [True, False])
def test_a_file_is_downloaded_once(server: FileServer, cache: Path, known: bool) -> None:
    wanted = record(server.address("good"), known)
    assert fetch_weights(wanted) == cache / NAME
    assert fetch_weights(wanted) == cache / NAME
    assert (cache / NAME).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert files(cache) == ({NAME} if known else {NAME, f"{NAME}.sha256"})
    assert (cache / NAME).stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_the_hash_of_the_first_sight_is_kept_for_sha256sum(server: FileServer, cache: Path) -> None:
    fetch_weights(record(server.address("good"), known=False))
    assert (cache / f"{NAME}.sha256").read_text() == f"{sha256(CONTENT)}  {NAME}\n"


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_in_the_cache_is_refused_and_left(
    server: FileServer, cache: Path, known: bool
) -> None:
    wanted = record(server.address("good"), known)
    other = CONTENT[:200_000] + bytes([CONTENT[200_000] ^ 1]) + CONTENT[200_001:]
    fetch_weights(wanted).write_bytes(other)
    with pytest.raises(CheckpointError, match=f"{sha256(other)}.* it is {sha256(CONTENT)}") as caught:
        fetch_weights(wanted)
    assert caught.value.where == str(cache / NAME)
    assert (cache / NAME).read_bytes() == other
    # Downloaded again, it is the old hash that counts.
    (cache / NAME).unlink()
    assert fetch_weights(wanted).read_bytes() == CONTENT
    (cache / NAME).unlink()
    server.content = other
    with pytest.raises(CheckpointError, match=f"is {sha256(other)}, expected {sha256(CONTENT)}"):
        fetch_weights(wanted)
    assert NAME not in files(cache)


def test_a_damaged_kept_hash_is_named(server: FileServer, cache: Path) -> None:
    wanted = record(server.address("good"), known=False)
    fetch_weights(wanted)
    (cache / f"{NAME}.sha256").write_text("")
    with pytest.raises(CheckpointError, match=rf"{NAME}\.sha256"):
        fetch_weights(wanted)


@pytest.mark.parametrize("known", [True, False])
def test_a_payload_is_refused_and_does_not_run(
    server: FileServer, cache: Path, tmp_path: Path, known: bool
) -> None:
    server.content = checkpoint_bytes(x=Payload(os.system, f"touch {tmp_path}/canary"))
    wanted = record(server.address("good"), known, server.content)
    with pytest.raises(
        CheckpointError, match=r"system.*nothing of it ran; the download was removed"
    ) as caught:
        fetch_weights(wanted)
    assert caught.value.where == server.address("good")
    assert files(cache) == set()
    assert not (tmp_path / "canary").exists()


def test_a_payload_placed_by_hand_is_refused_too(cache: Path, tmp_path: Path) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(checkpoint_bytes(x=Payload(os.system, f"touch {tmp_path}/canary")))
    with pytest.raises(CheckpointError, match="system"):
        fetch_weights(record(None, known=False))
    assert files(cache) == {NAME}, "no hash of it is kept"
    assert not (tmp_path / "canary").exists()


def test_without_a_hash_a_download_starts_over(server: FileServer, cache: Path) -> None:
    wanted = record(server.address("good"), known=False)
    cache.mkdir(parents=True)
    (cache / f".partial-{NAME}").write_bytes(CONTENT[:1000])
    assert fetch_weights(wanted).read_bytes() == CONTENT
    assert server.requests == [("good", None)]


def test_a_wrong_beginning_is_found_by_the_hash_and_removed(server: FileServer, cache: Path) -> None:
    wanted = record(server.address("good"))
    cache.mkdir(parents=True)
    (cache / f".partial-{NAME}").write_bytes(b"x" * len(CONTENT))
    with pytest.raises(CheckpointError, match="it was removed"):
        fetch_weights(wanted)
    assert fetch_weights(wanted).read_bytes() == CONTENT


@pytest.mark.parametrize("value", ["1", "true"])
def test_offline(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", value)
    wanted = record(server.address("good"))
    with pytest.raises(CheckpointError, match="SWIN_UMAMBA_OFFLINE forbids") as caught:
        fetch_weights(wanted)
    assert wanted.url in str(caught.value.hint)
    assert str(cache / NAME) in str(caught.value.hint)
    assert server.requests == []
    assert not cache.exists()
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT)
    assert fetch_weights(wanted) == cache / NAME


@pytest.mark.parametrize("value", ["0", ""])
def test_not_offline(server: FileServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_OFFLINE", value)
    assert fetch_weights(record(server.address("good"))).is_file()


def test_without_an_address(cache: Path) -> None:
    with pytest.raises(CheckpointError, match="no address") as caught:
        fetch_weights(record(None))
    assert str(cache / NAME) in str(caught.value.hint)


def test_a_cache_that_cannot_be(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cache cannot be written") as caught:
        fetch_weights(record(server.address("good")))
    assert "SWIN_UMAMBA_CACHE" in str(caught.value.hint)


def test_a_hash_that_cannot_be_kept_is_a_warning(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT)

    def refuse(*_: object) -> None:
        raise OutputError("read-only")

    monkeypatch.setattr(download, "write_text", refuse)
    assert fetch_weights(record(None, known=False)) == cache / NAME
    assert "could not be kept" in caplog.text


def test_many_threads_download_once(server: FileServer, cache: Path) -> None:
    wanted = record(server.address("good"))
    threads = [threading.Thread(target=fetch_weights, args=(wanted,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert files(cache) == {NAME}


def test_a_path_or_a_name(server: FileServer, cache: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    known = record(server.address("good"))
    monkeypatch.setattr(download, "CATALOG", {"tiny": known})
    assert locate_weights("tiny") == cache / NAME
    assert weights_path(known).is_file()
    Path("tiny").write_bytes(b"mine")
    assert locate_weights("tiny") == Path("tiny"), "a file goes before a name"
    assert locate_weights(tmp_path / "other.pth") == tmp_path / "other.pth"
    assert locate_weights("~/a.pth") == Path.home() / "a.pth"
    with pytest.raises(UsageError, match="'tinny'") as caught:
        locate_weights("tinny")
    assert "did you mean tiny" in str(caught.value.hint)
