"""DICOM files and folders in every command that takes images, and label maps that lie on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from conformance.dicom_files import Slice, write_series
from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.errors import UsageError
from swin_umamba.inference.cases import find_cases, output_paths
from trained.model_folder import make_model_folder

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
VOLUME = np.random.default_rng(5).integers(0, 500, (4, 40, 36))
Run = Callable[..., tuple[int, str, str]]


def write_oblique(folder: Path, volume: np.ndarray = VOLUME, **options: Any) -> list[Path]:
    slices = [
        Slice(image, np.array((-7.25, 11.5, 3.0)) + 2.5 * index * NORMAL, OBLIQUE, (0.75, 0.5))
        for index, image in enumerate(volume)
    ]
    return write_series(folder, slices, **options)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two patients, one of them as a disc with two series."""
    write_oblique(tmp_path / "scans" / "anna")
    write_oblique(tmp_path / "scans" / "bert" / "DICOM" / "S1")
    other = [Slice(VOLUME[0], more={0x00200011: ("IS", 8)})]
    write_series(tmp_path / "scans" / "bert" / "DICOM" / "S2", other, series="1.2.3.10")
    return tmp_path / "scans"


def lies_on(mask: Path, paths: list[Path]) -> None:
    """Assert that a label map has the grid of a series, as nibabel and SimpleITK see both."""
    reader = sitk.ImageSeriesReader()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(paths[0].parent))
    reader.SetFileNames(names)
    image, labels = reader.Execute(), sitk.ReadImage(str(mask))
    assert labels.GetSize() == image.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, name)(), getattr(image, name)(), atol=1e-5)
    affine = nibabel.load(mask).affine
    last = np.array(image.GetSize()) - 1
    expected = np.array(image.TransformIndexToPhysicalPoint(last.tolist())) * (-1, -1, 1)
    np.testing.assert_allclose(affine @ (*last, 1), (*expected, 1), atol=1e-4)


def test_predict_preview_and_statistics(tmp_path: Path, scans: Path, run: Run) -> None:
    model = make_model_folder(tmp_path / "model")
    predict = ("predict", "-m", model, "-i", scans, "-o", tmp_path / "out", "--device", "cpu")
    code, output, errors = run(*predict)
    assert code == 1
    assert "1 of 2 cases written" in output
    assert "the folder holds 2 DICOM series" in errors
    assert run(*predict, "--series", "7")[0] == 0
    lies_on(tmp_path / "out" / "anna.nii.gz", sorted((scans / "anna").iterdir()))
    lies_on(tmp_path / "out" / "bert.nii.gz", sorted((scans / "bert" / "DICOM" / "S1").iterdir()))

    mask = tmp_path / "out" / "bert.nii.gz"
    assert run("preview", scans / "bert", mask, "-o", tmp_path / "a.png")[0] == 1
    assert run("preview", scans / "bert", mask, "-o", tmp_path / "a.png", "--series", "7")[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 100
    code, output, _ = run("statistics", mask, scans / "bert", "--series", "1.2.3.9", "--json")
    assert code == 0
    assert json.loads(output)

    single = scans / "anna" / "004.dcm"
    assert run("predict", "-m", model, "-i", single, "-o", tmp_path / "one.nii.gz", "--device", "cpu")[0] == 0
    assert read_labels(tmp_path / "one.nii.gz").spatial_shape == (40, 36)


def test_convert(tmp_path: Path, scans: Path, run: Run) -> None:
    for name in ("anna", "bert"):
        image = read_image(scans / name, series="7")
        write_labels(tmp_path / "masks" / f"{name}.nii.gz", (image.data[0] > 250).astype(int), like=image)
    convert = ("convert", "folder", "--images", scans, "--masks", tmp_path / "masks", "-o", tmp_path)
    code, _, errors = run(*convert, "--name", "Dataset905_Scans")
    assert code == 1
    assert "2 DICOM series" in errors
    code, output, _ = run(*convert, "--name", "Dataset905_Scans", "--series", "7")
    assert code == 0, output
    assert "2 training and 0 test cases" in output
    assert "left out" not in output
    converted = tmp_path / "nnUNet_raw" / "Dataset905_Scans" / "imagesTr"
    image = read_image(converted / "anna_0000.nii.gz")
    assert np.array_equal(image.data[0], VOLUME)
    lies_on(converted / "anna_0000.nii.gz", sorted((scans / "anna").iterdir()))


def test_a_label_map_of_a_single_slice_lies_on_it(tmp_path: Path) -> None:
    path = write_oblique(tmp_path / "scan", VOLUME[:1])[0]
    image = read_image(path)
    write_labels(tmp_path / "mask.nii.gz", (image.data[0] > 250).astype(int), like=image)
    affine = nibabel.load(tmp_path / "mask.nii.gz").affine
    x, y = 35, 39
    expected = (
        np.array((-7.25, 11.5, 3.0)) + x * 0.5 * np.array(OBLIQUE[:3]) + y * 0.75 * np.array(OBLIQUE[3:])
    )
    np.testing.assert_allclose(affine @ (x, y, 0, 1), (*expected * (-1, -1, 1), 1), atol=1e-4)
    assert np.linalg.matrix_rank(affine) == 4
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz").data, image.data > 250)


def test_folders_make_cases(tmp_path: Path) -> None:
    for channel in range(2):
        write_oblique(tmp_path / "in" / f"a_000{channel}", series=f"1.2.3.{channel}")
    write_oblique(tmp_path / "in" / "b")
    found = {case.name: [file.name for file in case.files] for case in find_cases(tmp_path / "in", 2)}
    assert found == {"a": ["a_0000", "a_0001"], "b": ["b"]}
    cases = find_cases(tmp_path / "in" / "b", 1)
    assert output_paths(cases, tmp_path / "out", ".png") == [tmp_path / "out" / "b.nii.gz"]
    with pytest.raises(UsageError, match="among the inputs"):
        output_paths(cases, tmp_path / "in" / "b", ".nii.gz")
