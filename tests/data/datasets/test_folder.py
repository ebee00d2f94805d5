"""One's own folders: formats, channels, geometry, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError, UsageError

AFFINE = np.diag([-0.5, 0.7, 2.0, 1.0])


def mask(shape: tuple[int, ...] = (8, 10)) -> np.ndarray:
    result = np.zeros(shape, np.uint8)
    result[..., 2:5, 3:6] = 255
    return result


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    elif path.suffix == ".gz":
        nibabel.save(nibabel.Nifti1Image(array.T, AFFINE), path)
    else:
        PillowImage.fromarray(array).save(path)


def description(folder: Path) -> dict[str, object]:
    return json.loads((folder / "dataset.json").read_text())


def test_coloured_pictures_of_several_formats_with_a_grey_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    grey = random.integers(0, 256, (8, 10), dtype=np.uint8)
    for name in ("a.png", "b.bmp", "c.jpg"):
        save(tmp_path / "images" / name, colour)
    save(tmp_path / "images" / "d.png", grey)
    for name in "abcd":
        save(tmp_path / "masks" / f"{name}_mask.png", mask())
    folder = tmp_path / "Dataset801_Own"
    result = convert_folder(tmp_path / "images", tmp_path / "masks", folder)
    assert result.num_training == 4
    assert description(folder) == {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "foreground": 1},
        "file_ending": ".png",
        "numTraining": 4,
    }
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [
        f"{name}_0000.png" for name in "abcd"
    ]
    for name in "ab":
        stored = read_image(folder / "imagesTr" / f"{name}_0000.png").data
        assert np.array_equal(stored, colour.transpose(2, 0, 1)), name
    assert np.array_equal(read_image(folder / "imagesTr" / "d_0000.png").data, np.stack([grey] * 3))
    assert np.array_equal(read_labels(folder / "labelsTr" / "c.png").data[0], mask() // 255)
    assert "classes: background=0 in 4, foreground=1 in 4" in result.remarks
    assert "1 grey images among coloured ones: stored as RGB" in result.remarks
    assert not any("--classes" in remark for remark in result.remarks)


@pytest.mark.parametrize(
    ("dtype", "ending"), [(np.uint8, ".png"), (np.uint16, ".png"), (np.float32, ".tif"), (np.int64, ".tif")]
)
def test_grey_pictures_keep_their_values(tmp_path: Path, dtype: type, ending: str) -> None:
    image = (np.arange(80).reshape(8, 10) * 3).astype(dtype)
    save(tmp_path / "images" / "a.tif", image)
    save(tmp_path / "masks" / "a.png", mask())
    folder = tmp_path / "out"
    convert_folder(tmp_path / "images", tmp_path / "masks", folder, channels=["fluorescence"])
    assert description(folder)["file_ending"] == ending
    assert description(folder)["channel_names"] == {"0": "fluorescence"}
    assert np.array_equal(read_image(folder / "imagesTr" / f"a_0000{ending}").data[0], image)
    assert np.array_equal(read_labels(folder / "labelsTr" / f"a{ending}").data[0], mask() // 255)


def test_volumes_with_a_file_for_each_channel(tmp_path: Path) -> None:
    volume = np.arange(240).reshape(3, 8, 10).astype(np.int16)
    for channel in range(2):
        save(tmp_path / "images" / f"p_000{channel}.nii.gz", volume + channel)
    save(tmp_path / "masks" / "p.nii.gz", mask((3, 8, 10)))
    folder = tmp_path / "out"
    convert_folder(tmp_path / "images", tmp_path / "masks", folder)
    for channel in range(2):
        image = read_image(folder / "imagesTr" / f"p_000{channel}.nii.gz")
        assert np.array_equal(image.data[0], volume + channel)
        assert image.spacing == pytest.approx((2.0, 0.7, 0.5))
        assert image.direction[2] == (-1.0, 0.0, 0.0)
    assert description(folder)["channel_names"] == {"0": "channel_0", "1": "channel_1"}
    assert read_labels(folder / "labelsTr" / "p.nii.gz").spacing == pytest.approx((2.0, 0.7, 0.5))


def test_dicom_series_with_nifti_masks(tmp_path: Path) -> None:
    volume = np.arange(240).reshape(3, 8, 10).astype(np.int16)
    scan = tmp_path / "images" / "Patient 7"
    scan.mkdir(parents=True)
    for number in range(3):
        piece = sitk.GetImageFromArray(volume[number : number + 1])
        piece.SetSpacing((0.5, 0.7, 2.0))
        piece.SetMetaData("0020|000e", "1.2.3")
        piece.SetMetaData("0020|0032", f"0\\0\\{2 * number}")
        piece.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(scan / f"{number}.dcm"))
        writer.Execute(piece)
    labels = sitk.GetImageFromArray(mask((3, 8, 10)))
    labels.SetSpacing((0.5, 0.7, 2.0))
    (tmp_path / "masks").mkdir()
    sitk.WriteImage(labels, str(tmp_path / "masks" / "Patient 7_seg.nii.gz"))
    folder = tmp_path / "out"
    convert_folder(tmp_path / "images", tmp_path / "masks", folder, channels=["CT"])
    image = read_image(folder / "imagesTr" / "Patient_7_0000.nii.gz")
    assert np.array_equal(image.data[0], volume)
    assert image.spacing == pytest.approx((2.0, 0.7, 0.5))
    assert description(folder)["channel_names"] == {"0": "CT"}


def test_unpaired_files_are_reported_and_not_fatal(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / "images" / f"{name}.png", mask())
    for name in "bc":
        save(tmp_path / "masks" / f"{name}.png", mask())
    result = convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    assert result.num_training == 1
    assert {Path(each.path).name: each.reason for each in result.left_out} == {
        "a.png": "there is no mask of this name",
        "c.png": "there is no image of this name",
    }


def test_damaged_pairs_are_refused_or_skipped(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", mask())
        save(tmp_path / "masks" / f"{name}.png", mask())
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    save(tmp_path / "masks" / "c.png", mask((8, 9)))
    with pytest.raises(DataError, match="2 case") as caught:
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    assert "b.png: the file is not a PNG picture" in str(caught.value)
    assert "the image has the shape (8, 10), its mask (8, 9)" in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="2 of 3 images would be left out"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out", skip_damaged=True)
    assert not (tmp_path / "out").exists()
    result = convert_folder(
        tmp_path / "images", tmp_path / "masks", tmp_path / "out", skip_damaged=True, max_left_out=0.7
    )
    assert (result.num_training, len(result.damaged)) == (1, 2)


@pytest.mark.parametrize("paired", range(1, 6))
def test_a_data_set_of_the_smaller_part_of_the_images_is_refused(tmp_path: Path, paired: int) -> None:
    for number in range(5):
        save(tmp_path / "images" / f"{number}.png", mask())
        save(tmp_path / "masks" / f"{number if number < paired else number + 5}.png", mask())
    (tmp_path / "images" / "notes.txt").touch()  # is not an image
    given = (tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    if paired < 3:
        with pytest.raises(DataError, match=f"{5 - paired} of 5 images would be left out: .* no mask"):
            convert_folder(*given)
        assert not (tmp_path / "out").exists()
    assert convert_folder(*given, max_left_out=0.5 if paired >= 3 else 0.8).num_training == paired


def test_images_that_do_not_belong_together(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", mask())
    save(tmp_path / "masks" / "a.png", mask())
    save(tmp_path / "images" / "b.nii.gz", mask((3, 8, 10)))
    save(tmp_path / "masks" / "b.nii.gz", mask((3, 8, 10)))
    with pytest.raises(DataError, match="some images are pictures, others volumes"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    with pytest.raises(DataError, match="no such folder"):
        convert_folder(tmp_path / "nowhere", tmp_path / "masks", tmp_path / "out")


def test_masks_on_another_grid_and_a_wrong_number_of_channel_names(tmp_path: Path) -> None:
    save(tmp_path / "images" / "b.nii.gz", mask((3, 8, 10)))
    save(tmp_path / "masks" / "b.nii.gz", mask((3, 8, 10)))
    with pytest.raises(UsageError, match="2 channel names are given, the images have 1 channels"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out", channels=["a", "b"])
    nibabel.save(nibabel.Nifti1Image(mask((3, 8, 10)).T, np.eye(4)), tmp_path / "masks" / "b.nii.gz")
    with pytest.raises(DataError, match="different grids"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")


def test_sizes_of_pixels_are_kept_if_all_images_have_one(tmp_path: Path) -> None:
    """TIFF pictures of a microscope become NIfTI with it; with one that has none, all count in pixels."""
    resolution = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}
    for name in "ab":
        save(tmp_path / "masks" / f"{name}.png", mask())
        (tmp_path / "images").mkdir(exist_ok=True)
        rgb = np.stack([mask()] * 3, axis=-1)
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", rgb, photometric="rgb", **resolution)
    result = convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "sized")
    assert "sizes of pixels are kept, in NIfTI" in result.remarks
    assert description(tmp_path / "sized")["file_ending"] == ".nii.gz"
    assert description(tmp_path / "sized")["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    stored = nibabel.load(tmp_path / "sized" / "imagesTr" / "a_0002.nii.gz")
    np.testing.assert_allclose(stored.header.get_zooms()[:2], (2.5e-4, 5e-4))
    save(tmp_path / "images" / "b.png", np.stack([mask()] * 3, axis=-1))
    (tmp_path / "images" / "b.tif").unlink()
    result = convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "mixed")
    assert "1 of 2 pictures say how large a pixel is: not kept, pixels count" in result.remarks
    assert description(tmp_path / "mixed")["file_ending"] == ".png"


def test_volumes_with_and_without_size_do_not_belong_together(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / "masks" / f"{name}.tif", mask((5, 8, 10)))
        save(tmp_path / "images" / f"{name}.tif", mask((5, 8, 10)))
    result = convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "plain")
    assert "the size of a voxel is not known: it counts as 1 mm" in result.remarks
    (tmp_path / "images" / "a.json").write_text('{"spacing": [5, 2, 3]}')
    with pytest.raises(DataError, match=r"(?s)some images say how large a voxel is.*a\.tif and .*b\.tif"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    (tmp_path / "images" / "b.json").write_text('{"spacing": [5, 2, 4]}')
    convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "sized")
    zooms = nibabel.load(tmp_path / "sized" / "labelsTr" / "b.nii.gz").header.get_zooms()
    np.testing.assert_allclose(zooms, (4, 2, 5))
    (tmp_path / "masks" / "a.json").write_text('{"spacing": [5, 2, 2]}')
    with pytest.raises(DataError, match="different grids"):
        convert_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
