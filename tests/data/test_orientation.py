"""How pictures are turned: by EXIF, in whatever form, and by nothing else."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from conformance import jpeg_files, png_files
from conformance.exif import as_seen, exif
from conformance.picture import refusal
from swin_umamba.data.image_io import read_image, read_labels

GREY = np.arange(6).reshape(2, 3, 1)
XMP = b"<x:xmpmeta><rdf:Description tiff:Orientation%s/></x:xmpmeta>"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("name", [b"", b"Exif\0\0"])
def test_an_orientation_of_any_type_of_number_turns_the_picture(
    tmp_path: Path, order: str, kind: int, name: bytes
) -> None:
    for orientation in range(1, 9):
        data = exif(orientation, order, kind=kind)
        content = png_files.png_file(GREY, 8, png_files.GREY, after=[(b"eXIf", name + data)])
        (tmp_path / "a.png").write_bytes(content)
        expected = as_seen(GREY.transpose(2, 0, 1), orientation)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, expected)
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data, expected)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_orientations_without_a_meaning_turn_nothing(
    tmp_path: Path, orientation: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg_files.small_jpeg(0xE1, b"Exif\0\0" + exif(orientation)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, jpeg_files.SMALL)
    assert bool(orientation) == ("EXIF names no orientation" in caplog.text)


def test_exif_data_cut_off_anywhere_turn_the_picture_or_not_but_end_in_no_error(tmp_path: Path) -> None:
    whole = exif(3)
    for length in range(len(whole) + 1):
        content = png_files.png_file(GREY, 8, png_files.GREY, before=[(b"eXIf", whole[:length])])
        (tmp_path / "a.png").write_bytes(content)
        found = read_image(tmp_path / "a.png").data[0]
        # The orientation is the third of the entries, its number two bytes at the ninth.
        orientation = 3 if length >= 8 + 2 + 2 * 12 + 8 + 2 else 1
        np.testing.assert_array_equal(found, as_seen(GREY[..., 0], orientation), err_msg=str(length))


@pytest.mark.parametrize("way", [b'="6"', b" = '6'", b">6</tiff:Orientation"])
def test_a_picture_that_only_xmp_turns_is_refused(tmp_path: Path, way: bytes) -> None:
    packet = XMP % way
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)
    for each in (text, packed):
        content = png_files.png_file(GREY, 8, png_files.GREY, before=[(b"iTXt", each)])
        assert "turned (orientation 6)" in refusal(tmp_path / "a.png", content)
    in_jpeg = b"http://ns.adobe.com/xap/1.0/\0" + packet
    assert "turned (orientation 6)" in refusal(tmp_path / "a.jpg", jpeg_files.small_jpeg(0xE1, in_jpeg))


def test_exif_counts_before_xmp(tmp_path: Path) -> None:
    chunks = [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % b'="6"'), (b"eXIf", exif(3))]
    (tmp_path / "a.png").write_bytes(png_files.png_file(GREY, 8, png_files.GREY, before=chunks))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data[0], GREY[::-1, ::-1, 0])


@pytest.mark.parametrize("packed", [False, True])
def test_the_notes_of_imagemagick_count_only_against_reading(tmp_path: Path, packed: bool) -> None:
    for orientation, refused in ((1, False), (8, True)):
        digits = (b"Exif\0\0" + exif(orientation)).hex().encode()
        text = b"\nexif\n%8d\n%s\n%s\n" % (len(digits) // 2, digits[:72], digits[72:])
        body = (b"\0" + zlib.compress(text)) if packed else text
        chunk = (b"zTXt" if packed else b"tEXt", b"Raw profile type exif\0" + body)
        content = png_files.png_file(GREY, 8, png_files.GREY, before=[chunk])
        if refused:
            assert "notes of ImageMagick" in refusal(tmp_path / "a.png", content)
        else:
            (tmp_path / "a.png").write_bytes(content)
            np.testing.assert_array_equal(read_image(tmp_path / "a.png").data[0], GREY[..., 0])
