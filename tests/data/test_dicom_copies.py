"""Files that a disc or folder holds twice: copies count once, and what differs is refused."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from conformance.dicom_files import Stored, enhanced, file_bytes, write_series
from conformance.dicom_kinds import VOLUME, stack
from conformance.dicom_segmentations import write_segmentation_file
from data.test_dicom_segmentation import LABELS, NAMES, masks
from swin_umamba.data.dicom import find_segmentation, read_grid
from swin_umamba.data.dicom.studies import find_series
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import Pseudonyms, in_use


@pytest.mark.parametrize("kind", ["slices", "enhanced"])
def test_a_series_that_is_there_twice_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    if kind == "slices":
        write_series(tmp_path / "disc", stack())
    else:
        (tmp_path / "disc").mkdir()
        (tmp_path / "disc" / "a.dcm").write_bytes(file_bytes(enhanced(stack(), Stored())))
    files = len(list((tmp_path / "disc").iterdir()))
    shutil.copytree(tmp_path / "disc", tmp_path / "disc" / "again")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_image(tmp_path / "disc").data[0], VOLUME)
    assert [each.getMessage() for each in caplog.records] == [
        f"{tmp_path / 'disc'}: left out {files} file(s) that are copies of others"
    ]
    caplog.clear()
    assert len(read_grid(tmp_path / "disc").planes) == len(VOLUME)
    assert not caplog.records  # once for an image, whose pixels are read, too
    (found,) = find_series(tmp_path / "disc").series
    assert (found.num_images, len(found.files)) == (len(VOLUME), files)
    assert found.why_no_volume() is None
    assert [each.getMessage() for each in caplog.records] == [
        f"{tmp_path / 'disc'}: left out {files} file(s) that are copies of others"
    ]


def test_what_wrote_a_copy_does_not_count(tmp_path: Path) -> None:
    """An archive writes the same instance with another preamble, and its name before the data."""
    first, second, *_ = write_series(tmp_path, stack())
    (tmp_path / "copy.dcm").write_bytes(b"\1" * 128 + first.read_bytes()[128:])
    content = second.read_bytes()
    name, length = b"\2\0\x13\0SH\x08\0ARCHIVE ", int.from_bytes(content[140:144], "little")
    meta = (length + len(name)).to_bytes(4, "little") + content[144 : 144 + length] + name
    (tmp_path / "longer.dcm").write_bytes(content[:140] + meta + content[144 + length :])
    np.testing.assert_array_equal(read_image(tmp_path).data[0], VOLUME)


def test_series_that_are_there_twice_are_listed_with_each_image_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a", stack())
    write_series(tmp_path / "b", stack()[:2], series="1.2.3.10")
    shutil.copytree(tmp_path / "a", tmp_path / "again")
    with pytest.raises(DataError, match=r"(?s)2 DICOM series.*CT, 5 images.*CT, 2 images"):
        read_image(tmp_path)


def test_different_files_of_one_instance_are_named(tmp_path: Path) -> None:
    first = write_series(tmp_path / "a", stack())[0]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    (tmp_path / "b" / first.name).write_bytes(content)
    what = f"two different files have the same SOPInstanceUID: {Path('a', first.name)} and "
    with pytest.raises(DataError) as caught:
        read_image(tmp_path)
    assert caught.value.what == what + str(Path("b", first.name))
    (found,) = find_series(tmp_path).series
    assert found.problem is not None
    assert found.problem.what == caught.value.what
    with in_use(Pseudonyms(b"k" * 32)), pytest.raises(DataError, match="SOPInstanceUID: file_") as caught:
        read_image(tmp_path)
    assert first.name not in str(caught.value)


def test_a_segmentation_that_is_there_twice_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_segmentation_file(tmp_path / "a.dcm", masks(), NAMES)
    shutil.copy(path, tmp_path / "b.dcm")
    assert find_segmentation(tmp_path) == path
    assert "left out 1 file(s)" in caplog.text
    write_segmentation_file(tmp_path / "c.dcm", masks(LABELS % 5), NAMES)
    with pytest.raises(DataError, match=r"2 DICOM segmentations: a\.dcm, c\.dcm"):
        find_segmentation(tmp_path)
