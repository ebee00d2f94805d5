"""Folders of DICOM files: nothing outside is read, and nothing waits for ever."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conformance.dicom_files import write_series as write_slices
from conformance.dicom_kinds import VOLUME, stack
from swin_umamba.data.dicom import files, read_dicom
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
