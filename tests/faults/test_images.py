"""Rows 1 to 5: damaged images, at the reader, in planning and in prediction."""

from __future__ import annotations

import re
from pathlib import Path

import blosc2
import numpy as np
import pytest

from faults.fault_files import DATASET_NAME, Command, cut, files_below, flip_bit, save_volume, write_dataset
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError
from trained.model_folder import make_model_folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A ``.nii.gz`` of random voxels."""
    voxels = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    return save_volume(tmp_path / "volume.nii.gz", voxels)


def put_nan(path: Path) -> None:
    """Make one voxel NaN and one infinite."""
    voxels = read_image(path).data[0].copy()
    voxels[1, 2, 3], voxels[2, 3, 4] = np.nan, -np.inf
    save_volume(path, voxels)


FAULTS = [
    pytest.param(lambda path: cut(path, 2 / 3), "the compressed data is damaged", id="row-01-cut-gzip"),
    pytest.param(lambda path: flip_bit(path, 1 / 2), "damaged|more data", id="row-02-bit"),
    pytest.param(
        put_nan, r"2 of 4320 voxels are NaN or infinite, the first at index \(0, 1, 2, 3\)", id="row-03-nan"
    ),
]


def test_row_01_gzip_cut_at_two_thirds(volume: Path) -> None:
    cut(volume, 2 / 3)
    for read in (read_image, read_labels):
        with pytest.raises(DataError, match="damaged") as caught:
            read(volume)
        assert caught.value.where == str(volume)


def test_row_02_one_flipped_bit_in_gzip(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 5, 4)
    path = save_volume(tmp_path / "a.nii.gz", voxels)
    content = path.read_bytes()
    expected = read_image(path).data
    refused = 0
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_image(path).data, expected)  # gzip's own time stamp and name
        except DataError:
            refused += 1
    # Only gzip's header (time, flags, system, file name) may change without a consequence for the voxels.
    assert refused >= 8 * (len(content) - 24) / 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_03_nonfinite_voxels(tmp_path: Path, bad: float) -> None:
    array = np.ones((6, 5, 4), np.float32)
    array[3, 2, 1] = array[5, 4, 3] = bad
    path = save_volume(tmp_path / "a.nii.gz", array)
    with pytest.raises(DataError, match=r"2 of 120 voxels .* first at index \(0, 3, 2, 1\)"):
        read_image(path)
    repaired = read_image(path, nonfinite="zero").data[0]
    assert repaired[3, 2, 1] == repaired[5, 4, 3] == 0
    assert repaired.sum() == 118
    with pytest.raises(DataError, match="voxels hold"):
        read_labels(path)


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_rows_01_to_03_in_planning(tmp_path: Path, command: Command, damage, message: str) -> None:
    folder = write_dataset(tmp_path)
    spoilt = folder / "imagesTr" / "c_0000.nii.gz"
    damage(spoilt)
    before = files_below(tmp_path)
    done = command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1)
    assert done.code == 1
    assert re.search(message, done.err)
    assert str(spoilt) in done.err
    assert "1 problem(s)" in done.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_rows_01_to_03_in_prediction(tmp_path: Path, command: Command, damage, message: str) -> None:
    images, model = tmp_path / "images", make_model_folder(tmp_path / "models", file_ending=".nii.gz")
    for case in "abc":
        save_volume(images / f"{case}_0000.nii.gz", np.random.default_rng(0).normal(size=(3, 40, 36)))
    damage(images / "b_0000.nii.gz")
    done = command("predict", "-m", model, "-i", images, "-o", tmp_path / "out", "--device", "cpu")
    assert done.code == 1
    assert re.search(f"case b: .*({message})", done.err)
    assert str(images / "b_0000.nii.gz") in done.err
    assert set(files_below(tmp_path / "out")) == {"a.nii.gz", "c.nii.gz", "predictions.jsonl"}


def test_row_03_zero_if_asked_for(tmp_path: Path, command: Command) -> None:
    folder = write_dataset(tmp_path)
    spoilt = folder / "imagesTr" / "c_0000.nii.gz"
    put_nan(spoilt)
    assert command("plan", DATASET_NAME, "--root", tmp_path, "--workers", 1, "--nonfinite", "zero").code == 0
    preprocessed = tmp_path / "nnUNet_preprocessed" / DATASET_NAME / "SwinUMambaPlans_2d" / "c.b2nd"
    data = blosc2.open(str(preprocessed))[:]
    zeroed = read_image(spoilt, nonfinite="zero").data
    np.testing.assert_allclose(data, (zeroed - zeroed.mean()) / zeroed.std(), atol=1e-3)

    model = make_model_folder(tmp_path / "models", file_ending=".nii.gz")
    options = ("predict", "-m", model, "-i", spoilt, "--device", "cpu")
    assert command(*options, "-o", tmp_path / "nan.nii.gz", "--nonfinite", "zero").code == 0
    save_volume(spoilt, zeroed[0])
    assert command(*options, "-o", tmp_path / "zero.nii.gz").code == 0
    labels = [read_labels(tmp_path / name).data for name in ("nan.nii.gz", "zero.nii.gz")]
    np.testing.assert_array_equal(*labels)
