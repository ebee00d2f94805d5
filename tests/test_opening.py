"""Pipes are not opened, and links of others not followed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from swin_umamba.opening import final_place, open_regular, open_to_read

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX links and pipes")


@posix
def test_links_are_followed_to_their_end(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(tmp_path / "folder/c")
    (folder / "c").symlink_to("../end.txt")
    assert os.path.realpath(final_place(tmp_path / "a")) == str(tmp_path / "end.txt")
    assert final_place(tmp_path / "end.txt") == tmp_path / "end.txt"
    (tmp_path / "end.txt").symlink_to("a")
    with pytest.raises(OSError) as caught:
        final_place(tmp_path / "a")
    assert caught.value.errno == errno.ELOOP


@posix
def test_a_link_is_opened_for_reading_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_to_read(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError):
        open_regular(tmp_path / "link", os.O_RDWR)
