"""Folders of DICOM files: nothing outside is read, and nothing waits for ever."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conformance.dicom_files import Slice, file_bytes
from conformance.dicom_files import write_series as write_slices
from conformance.dicom_kinds import DIRECTORY, VOLUME, stack
from swin_umamba.data.dicom import files, read_dicom
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError


def test_links_and_pipes(tmp_path: Path) -> None:
    paths = write_slices(tmp_path / "scan", stack())
    os.mkfifo(tmp_path / "scan" / "pipe.dcm")  # opening it would never end
    (tmp_path / "scan" / "round").symlink_to(tmp_path / "scan")
    (tmp_path / "scan" / "again.dcm").symlink_to(paths[1])
    assert np.array_equal(read_dicom(tmp_path / "scan").data[0], VOLUME)
    (tmp_path / "linked").symlink_to(tmp_path / "scan")  # the user's own, and not of the folder
    assert read_dicom(tmp_path / "linked").data.shape == (1, 5, 6, 7)
    (tmp_path / "scan" / "etc").symlink_to("/etc")
    with pytest.raises(DataError, match="leads out of the folder"):
        read_dicom(tmp_path / "scan")
    with pytest.raises(DataError, match="not a regular file"):
        files.open_regular(tmp_path / "scan" / "pipe.dcm")
    with pytest.raises(OSError, match=r"symbolic links|ELOOP"):
        files.open_regular(tmp_path / "scan" / "again.dcm")


def test_a_file_that_is_only_named_dicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slices(tmp_path, stack())
    (tmp_path / "empty.dcm").write_bytes(b"")
    with pytest.raises(DataError, match="named like a DICOM file and does not begin like one"):
        read_dicom(tmp_path)
    monkeypatch.setattr(files, "MAX_FILES", 4)
    with pytest.raises(DataError, match="more than 4 files"):
        read_dicom(tmp_path)


@pytest.mark.parametrize(
    "place", ["..\\PRIVATE\\001.dcm", "../PRIVATE/001.dcm", "{}/PRIVATE/001.dcm", "INNER\\001.dcm"]
)
def test_a_dicomdir_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Its records name images outside of the folder, or what is no image; they change nothing."""
    write_slices(tmp_path / "PRIVATE", [Slice(VOLUME[0] + 1000)])
    write_slices(tmp_path / "disc" / "DICOM", stack())
    record = {0x00041430: ("CS", "IMAGE"), 0x00041500: ("CS", place.format(tmp_path))}
    listing = {0x00080016: ("UI", DIRECTORY), 0x00041220: ("SQ", [record])}
    (tmp_path / "disc" / "DICOMDIR").write_bytes(file_bytes(listing))
    opened = []
    original = os.open
    monkeypatch.setattr(os, "open", lambda path, *how: opened.append(Path(path)) or original(path, *how))
    assert np.array_equal(read_dicom(tmp_path / "disc").data[0], VOLUME)
    assert opened
    assert all(path.is_relative_to(tmp_path / "disc") for path in opened)
    for alone in (tmp_path / "disc" / "DICOMDIR", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "empty" / "DICOMDIR").write_bytes(file_bytes(listing))
        with pytest.raises(DataError):
            read_image(alone)
    assert all("PRIVATE" not in path.parts for path in opened)
