"""DICOM series: values, geometry, slice order, and series that are no volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from swin_umamba.data.dicom import is_dicom_folder
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

SERIES = "1.2.826.0.1.3680043.2.1125.1"
ORIENTATION = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # a sagittal series


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    step: float = 3.0,
    series: str = SERIES,
    orientation: tuple[float, ...] = ORIENTATION,
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Path]:
    """Write each slice of ``volume`` (z, y, x) as a file, last slice first by name."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    paths = []
    for number, pixels in enumerate(volume):
        image = sitk.GetImageFromArray(pixels[None].astype(np.int16))
        image.SetSpacing((0.5, 0.75, step))
        position = np.array((10.0, 20.0, 30.0)) + number * step * normal + number * np.array(shift)
        for key, value in (
            ("0008|0060", "MR"),
            ("0020|000e", series),
            ("0020|0032", "\\".join(f"{each:.6g}" for each in position)),
            ("0020|0037", "\\".join(f"{each:.6g}" for each in orientation)),
            ("0020|0013", str(number)),
        ):
            image.SetMetaData(key, value)
        path = folder / f"{series[-1]}_{99 - number}.dcm"
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    return paths


@pytest.fixture
def volume() -> np.ndarray:
    return np.arange(4 * 5 * 6).reshape(4, 5, 6) * 7 - 100


def test_values_and_geometry(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "scan", volume)
    (tmp_path / "scan" / "notes.txt").write_text("no slice")
    image = read_image(tmp_path / "scan")
    assert np.array_equal(image.data[0], volume)
    assert image.spacing == pytest.approx((3.0, 0.75, 0.5))
    # DICOM points x to the left and y to the back, NIfTI to the right and to the front.
    assert image.origin == pytest.approx((-10.0, -20.0, 30.0))
    assert np.allclose(image.direction, ((1, 0, 0), (0, 0, -1), (0, -1, 0)))
    assert image.path == tmp_path / "scan"
    assert is_dicom_folder(tmp_path / "scan")
    assert not is_dicom_folder(tmp_path)


def test_the_same_as_nifti_of_simpleitk(tmp_path: Path, volume: np.ndarray) -> None:
    paths = write_series(tmp_path / "scan", volume)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    sitk.WriteImage(reader.Execute(), str(tmp_path / "scan.nii.gz"))
    ours, theirs = read_image(tmp_path / "scan"), read_image(tmp_path / "scan.nii.gz")
    assert np.array_equal(ours.data, theirs.data)
    assert ours.spacing == pytest.approx(theirs.spacing)
    assert ours.origin == pytest.approx(theirs.origin)
    assert np.allclose(ours.direction, theirs.direction, atol=1e-6)


def test_one_slice_is_a_picture(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "scan", volume[:1])
    image = read_image(tmp_path / "scan")
    assert image.data.shape == (1, 5, 6)
    assert image.spacing == pytest.approx((0.75, 0.5))


def test_labels(tmp_path: Path) -> None:
    write_series(tmp_path / "mask", np.eye(4, dtype=int)[None].repeat(2, axis=0))
    assert read_labels(tmp_path / "mask").data[0, 1].tolist() == np.eye(4, dtype=int).tolist()
    write_series(tmp_path / "scan", -np.eye(4, dtype=int)[None])
    with pytest.raises(DataError, match="whole numbers from 0"):
        read_labels(tmp_path / "scan")


def test_a_missing_slice(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path, volume)[2].unlink()
    with pytest.raises(DataError, match=r"not evenly spaced: (6|3) mm after 1_9\d\.dcm, mostly"):
        read_image(tmp_path)


def test_doubled_slices_and_several_series(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "time", volume, step=1e-4)
    with pytest.raises(DataError, match="3 slices lie at the place of another one"):
        read_image(tmp_path / "time")
    write_series(tmp_path / "two", volume)
    write_series(tmp_path / "two", volume, series=SERIES + ".2")
    with pytest.raises(DataError, match="2 series"):
        read_image(tmp_path / "two")


def test_other_sizes_and_sheared_slices(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "sizes", volume)
    write_series(tmp_path / "sizes", volume[:1, :, :4])
    with pytest.raises(DataError, match="several sizes"):
        read_image(tmp_path / "sizes")
    write_series(tmp_path / "tilted", volume, shift=(0.0, 0.5, 0.0))
    with pytest.raises(DataError, match=r"shifted against each other by 0\.5 mm"):
        read_image(tmp_path / "tilted")


def test_damaged_files(tmp_path: Path, volume: np.ndarray) -> None:
    path = write_series(tmp_path / "cut", volume)[1]
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError):
        read_image(tmp_path / "cut")
    path.write_bytes(content[:140])
    with pytest.raises(DataError):
        read_image(tmp_path / "cut")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="nor a folder of DICOM files"):
        read_image(tmp_path / "none")
