"""The series of a tree of studies: what headers say of them, and trees that are damaged or hostile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conformance.dicom_files import Slice, Stored, file_bytes, single
from inference.studies.trees import AXIAL, CORONAL, SAGITTAL, TREE, Written, write_directory, write_tree
from swin_umamba.data.dicom import files, read_dicom
from swin_umamba.data.dicom.series import SeriesFiles
from swin_umamba.data.dicom.studies import find_series, plane_name
from swin_umamba.errors import DataError


def turned(orientation: tuple[float, ...], degrees: float) -> list[list[float]]:
    """Return rows and columns, turned around the rows."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    angle = np.radians(degrees)
    return [row.tolist(), (column * np.cos(angle) + np.cross(row, column) * np.sin(angle)).tolist()]


@pytest.mark.parametrize(
    ("orientation", "name"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")]
)
def test_planes_and_their_limits(orientation: tuple[float, ...], name: str) -> None:
    for degrees in (0, 20, -36, 36):
        assert plane_name(turned(orientation, degrees)) == name
    for degrees in (38, 45, -45):
        assert plane_name(turned(orientation, degrees)) == "oblique"
    opposite = [[-value for value in axis] for axis in turned(orientation, 10)]
    assert plane_name(opposite) == name
    assert plane_name(None) == "unknown"


def test_a_disc(tmp_path: Path) -> None:
    tree = find_series(write_tree(tmp_path / "disc"))
    found = {each.series.uid: each for each in tree.series}
    assert list(found) == [each.uid for each in TREE]
    for each in TREE:
        one = found[each.uid]
        assert (one.series.modality, one.series.description) == (each.modality, each.description)
        assert (one.num_images, one.series.study) == (each.images, each.study)
        assert one.folder == tmp_path / "disc" / each.folder
        assert one.why_no_volume() is None
    assert [one.plane for one in tree.series] == ["axial", "sagittal", "axial", "axial", "axial"]
    assert list(tree.patients.values()) == [1, 2]
    assert list(tree.studies.values()) == [1, 2, 3]
    assert tree.others == {"not DICOM": 2, "Media Storage Directory Storage": 1, "Basic Text SR Storage": 1}
    assert tree.problems == []


def test_a_series_is_read_from_its_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = find_series(write_tree(tmp_path))
    folder, uid = tree.series[1].folder, tree.series[1].series.uid
    expected = read_dicom(folder, series=uid)
    opened = []
    original = os.open
    monkeypatch.setattr(os, "open", lambda path, *how: opened.append(Path(path)) or original(path, *how))
    image = read_dicom(folder, series=SeriesFiles(tuple(tree.series[1].files)))
    assert set(opened) == set(tree.series[1].files)
    assert np.array_equal(image.data, expected.data)
    assert image.direction == expected.direction


def test_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels are neither decoded nor read: files with a large hole instead of them take no time."""
    slice_ = Slice(np.zeros((4, 4), int))
    elements = single(slice_, Stored()) | {0x00280010: ("US", 30000), 0x00280011: ("US", 30000)}
    content = file_bytes(elements | {0x7FE00010: ("OW", b"")})
    size = 2 * 30000 * 30000
    (tmp_path / "a").write_bytes(content[:-4] + size.to_bytes(4, "little"))
    os.truncate(tmp_path / "a", len(content) + size)
    read = []
    original = files.os.fdopen

    def fdopen(*given: object) -> object:
        file = original(*given)  # type: ignore[call-overload]
        read.append(file)
        return file

    monkeypatch.setattr(files.os, "fdopen", fdopen)
    tree = find_series(tmp_path)
    assert tree.series[0].planes[0].storage.rows == 30000
    assert len(read) == 2  # to see whether it is DICOM, and its header


def test_why_images_form_no_volume(tmp_path: Path) -> None:
    Written("mixed", "1.2.3.1", images=2).write(tmp_path)
    Written("mixed", "1.2.3.1", number=2, patient="P2").write(tmp_path)
    for echo in (10, 20):
        Written(f"echo {echo}", "1.2.3.2", number=echo, more={0x00180081: ("DS", echo)}).write(tmp_path)
    echoes, mixed = find_series(tmp_path).series
    assert "several patients" in str(mixed.why_no_volume())
    assert "more than one volume" in str(echoes.why_no_volume())
    assert echoes.why_no_volume(["EchoTime=20"]) is None
    assert "no image of the series" in str(echoes.why_no_volume(["EchoTime=30"]))


def test_damaged_files_stay_with_their_series(tmp_path: Path) -> None:
    paths = Written("a", "1.2.3.1").write(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-100])  # pixels are missing
    (tmp_path / "a" / "part").write_bytes(paths[2].read_bytes()[:200])
    os.truncate(tmp_path / "a" / "part", 200)
    tree = find_series(tmp_path)
    (series,) = tree.series
    assert series.num_images == 4
    assert series.problem is not None
    assert "pixels are missing" in str(series.problem)
    assert len(tree.problems) == 1
    assert str(tree.root / "a" / "part") in str(tree.problems[0])


def test_hostile_trees(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "disc", TREE[:1])
    (tmp_path / "secret").write_text("x")
    (root / "round").symlink_to(root)
    (root / "PA0" / "self").symlink_to("self")
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "gone").symlink_to(root / "nothing")
    (root / "locked.dcm").write_bytes(b"0\x80\x06\x09" + bytes(range(200)))  # an encrypted envelope
    os.mkfifo(root / "pipe.dcm")
    listed = [
        *("..\\..\\etc\\passwd", "/etc/passwd", "C:\\x", "PA0\\..\\..\\secret"),
        *("PA0\\ST0\\SE0\\IM01000", "pa0\\st0\\se0\\im01001", "PA0\\LOST"),
    ]
    write_directory(root, listed)
    tree = find_series(root)
    assert [each.series.uid for each in tree.series] == ["1.2.3.1"]
    told = {
        Path(str(error.where)).name: error.what for error in tree.problems if "DICOMDIR" not in error.what
    }
    assert set(told) == {"self", "one", "two", "out", "gone", "locked.dcm"}
    assert "leads out of the folder" in told["out"]
    assert all("leads nowhere" in told[name] for name in ("self", "one", "two", "gone"))
    assert "does not begin like one" in told["locked.dcm"]
    assert [error.what for error in tree.problems if "DICOMDIR" in error.what] == [
        "4 of 7 references of the DICOMDIR lead out of its folder",
        "1 of 7 files that the DICOMDIR lists are not there",
    ]


def test_what_is_no_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_series(tmp_path / "none")
    assert find_series(tmp_path).series == []
    write_tree(tmp_path, TREE[:1])
    monkeypatch.setattr(files, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        find_series(tmp_path)


@pytest.mark.slow
def test_ten_thousand_files(tmp_path: Path) -> None:
    series = [
        Written(f"P{number // 5}/S{number}", f"1.2.3.{number}", number=number, images=250)
        for number in range(40)
    ]
    write_tree(tmp_path, series)
    tree = find_series(tmp_path)
    assert len(tree.series) == 40
    assert sum(each.num_images for each in tree.series) == 10_000
    assert tree.problems == []
