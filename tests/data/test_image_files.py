"""Which files of a folder are images, and how they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.dicom_files import write_series
from conformance.dicom_kinds import stack
from swin_umamba.data.image_io import image_stem, image_suffix, list_images
from swin_umamba.errors import DataError


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a 1.nii.gz", "ü.tif", ".hidden.png", "notes.txt", "a 10.nii", "._a.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a 1.nii.gz", "a 10.nii", "b.PNG", "ü.tif"]
    assert list_images(tmp_path / "b.PNG") == [tmp_path / "b.PNG"]


def test_list_images_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="no such"):
        list_images(tmp_path / "absent")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="format"):
        list_images(tmp_path / "notes.txt")


def test_suffix_and_stem() -> None:
    assert image_suffix("x/case.1.NII.GZ") == ".nii.gz"
    assert image_stem("x/case.1.NII.GZ") == "case.1"
    with pytest.raises(DataError, match="format"):
        image_suffix("case.mnc")


def test_folders_of_dicom_files_are_images(tmp_path: Path) -> None:
    write_series(tmp_path / "patients" / "one", stack())
    write_series(tmp_path / "patients" / "two" / "DICOM" / "S1", stack())
    (tmp_path / "patients" / "notes").mkdir()
    (tmp_path / "patients" / "notes" / "a.png").touch()
    (tmp_path / "patients" / "three.nii.gz").touch()
    names = [path.name for path in list_images(tmp_path / "patients")]
    assert names == ["one", "three.nii.gz", "two"]
    assert list_images(tmp_path / "patients" / "one") == [tmp_path / "patients" / "one"]
    assert image_stem(tmp_path / "patients" / "one") == "one"
    assert image_stem(tmp_path / "patients" / "one" / "004.dcm") == "004"
