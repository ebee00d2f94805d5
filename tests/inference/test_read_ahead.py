"""Reading ahead: the images in order, one beside the present one, no error but at its turn."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.image_io import Image, read_case
from swin_umamba.errors import DataError
from swin_umamba.inference import read_ahead
from swin_umamba.inference.read_ahead import reading_ahead


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[Path, ...]]:
    """Return the files of four cases, the second of two channels and the third damaged."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in ("a", "b_0000", "b_0001", "c", "d")]
    for path in paths:
        PillowImage.fromarray(generator.integers(0, 255, (5, 6), np.uint8)).save(path)
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    return [(paths[0],), (paths[1], paths[2]), (paths[3],), (paths[4],)]


class Recorded:
    """Reads like ``read_case``, and keeps what was read in which thread."""

    def __init__(self) -> None:
        self.read: list[tuple[str, bool]] = []
        self.next = threading.Event()

    def __call__(self, files: tuple[Path, ...], **options: Any) -> Image:
        self.read.append((files[0].name, threading.current_thread() is threading.main_thread()))
        self.next.set()
        return read_case(files, **options)

    def wait(self) -> None:
        assert self.next.wait(30)
        self.next.clear()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()
    monkeypatch.setattr(read_ahead, "read_case", found)
    return found


def test_the_following_case_is_read_meanwhile_and_no_other(
    cases: list[tuple[Path, ...]], recorded: Recorded
) -> None:
    with reading_ahead(cases, "refuse", None) as reader:
        first = reader.image_of(cases[0])
        assert np.array_equal(first.data, read_case(cases[0]).data)
        while len(recorded.read) < 2:
            recorded.wait()
        assert recorded.read == [("a.png", True), ("b_0000.png", False)]
        assert reader.image_of(cases[1]).num_channels == 2
        with pytest.raises(DataError, match=r"c\.png"):
            reader.image_of(cases[2])
        assert np.array_equal(reader.image_of(cases[3]).data, read_case(cases[3]).data)
    assert recorded.read.count(("b_0000.png", True)) == 0


def test_cases_that_others_take_are_not_waited_for(cases: list[tuple[Path, ...]], recorded: Recorded) -> None:
    with reading_ahead(cases, "refuse", None) as reader:
        for number in (0, 3, 1):
            assert np.array_equal(reader.image_of(cases[number]).data, read_case(cases[number]).data)


def test_large_cases_and_folders_are_read_at_their_turn(
    cases: list[tuple[Path, ...]], recorded: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(read_ahead, "LARGEST_AHEAD", cases[1][0].stat().st_size)  # of two files
    with reading_ahead([cases[0], cases[1], cases[3]], "refuse", None) as reader:
        for files in (cases[0], cases[1]):
            reader.image_of(files)
        assert recorded.read[:2] == [("a.png", True), ("b_0000.png", True)]
    assert not read_ahead._is_small((tmp_path,))
    assert not read_ahead._is_small((tmp_path / "none.png",))


def test_what_failed_ahead_is_tried_again(
    cases: list[tuple[Path, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_here(files: tuple[Path, ...], **options: Any) -> Image:
        if threading.current_thread() is not threading.main_thread():
            raise DataError("the image does not fit into memory")
        return read_case(files, **options)

    monkeypatch.setattr(read_ahead, "read_case", only_here)
    with reading_ahead(cases[:2], "refuse", None) as reader:
        reader.image_of(cases[0])
        assert reader.image_of(cases[1]).num_channels == 2
