"""JPEG: the first picture, segments, and kinds that are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conformance.exif import as_seen, exif
from conformance.jpeg_files import SMALL, jpeg_file, mpo, small_jpeg
from conformance.picture import refusal
from swin_umamba.data.image_io import read_image

PLAIN = small_jpeg()


@pytest.mark.parametrize("turned", [1, 6])
def test_the_first_picture_of_a_jpeg_with_two(tmp_path: Path, turned: int) -> None:
    first = small_jpeg(0xE1, b"Exif\0\0" + exif(turned))
    (tmp_path / "a.jpg").write_bytes(mpo(first, jpeg_file([np.zeros((4, 4), int)], 32, 32)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, as_seen(SMALL, turned))


def test_a_preview_within_the_metadata_is_not_the_picture(tmp_path: Path) -> None:
    preview = jpeg_file([np.zeros((1, 1), int)], 8, 8)
    (tmp_path / "a.jpg").write_bytes(small_jpeg(0xE1, b"Exif\0\0" + exif(1) + preview))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, SMALL)


def test_fill_bytes_and_bytes_of_no_segment_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jpg").write_bytes(PLAIN[:2] + b"\xff" * 5 + PLAIN[2:-2] + b"\xff" * 3 + PLAIN[-2:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, SMALL)
    assert not caplog.text
    (tmp_path / "a.jpg").write_bytes(PLAIN[:2] + b"junk" + PLAIN[2:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, SMALL)
    assert "skipped 4 bytes" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (PLAIN[:-2], "before its end marker"),
        (PLAIN[:-20] + bytes(20), "before its end marker"),
        (PLAIN[:2] + PLAIN, "a second picture begins"),
        (PLAIN[:2] + b"\xff\xd9", "no pixels"),
        (small_jpeg(height=0), "not supported"),
        (small_jpeg(width=0), "no pixels"),
    ],
)
def test_jpeg_files_that_are_not_read(tmp_path: Path, content: bytes, why: str) -> None:
    assert why in refusal(tmp_path / "a.jpg", content)


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path: Path) -> None:
    scan = PLAIN[PLAIN.index(b"\xff\xda") : -2]
    assert "102 scans" in refusal(tmp_path / "a.jpg", PLAIN[:-2] + scan * 101 + PLAIN[-2:])
