"""The reader handed to nnU-Net: its values where it reads well, ours elsewhere, never damaged ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image as PILImage

from swin_umamba.data import image_io
from swin_umamba.errors import DataError
from swin_umamba.nnunet.checked_reader import CheckedPlans, CheckedReader, checked, stock_reader

AFFINE = np.array([[-0.8, 0, 0, 10], [0, 1.4, 0, -20], [0, 0, 5.0, 30], [0, 0, 0, 1]])


def save(path: Path, seed: int = 0) -> Path:
    """Write a small image of small whole numbers in the format of the suffix."""
    values = np.random.default_rng(seed).integers(0, 200, (5, 6, 7), np.uint8)
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), AFFINE), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        PILImage.fromarray(values[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("stock", "suffix"),
    [
        (SimpleITKIO, ".nii.gz"),
        (NibabelIO, ".nii.gz"),
        (NibabelIOWithReorient, ".nii.gz"),
        (Tiff3DIO, ".tif"),
        (NaturalImage2DIO, ".png"),
    ],
)
def test_intact_files_read_as_nnunet_reads_them(
    tmp_path: Path, stock: type[BaseReaderWriter], suffix: str
) -> None:
    files = [str(save(tmp_path / f"a_000{channel}{suffix}", channel)) for channel in range(2)]
    ours, theirs = CheckedReader(stock).read_images(files), stock().read_images(files)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[0].dtype == np.float32
    assert ours[1].keys() == theirs[1].keys()
    assert ours[1]["spacing"] == theirs[1]["spacing"]
    labels = CheckedReader(stock).read_seg(files[0])[0]
    np.testing.assert_array_equal(labels, stock().read_seg(files[0])[0])


def test_labels_of_a_palette_are_its_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = PILImage.fromarray(indices).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "a.png")
    labels, _ = CheckedReader(NaturalImage2DIO).read_seg(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(labels, indices[None, None])


def test_an_opaque_alpha_channel_is_no_channel(tmp_path: Path) -> None:
    rgba = np.full((6, 7, 4), 255, np.uint8)
    rgba[..., :3] = np.random.default_rng(0).integers(0, 256, (6, 7, 3))
    PILImage.fromarray(rgba).save(tmp_path / "a.png")
    data, _ = CheckedReader(NaturalImage2DIO).read_images([str(tmp_path / "a.png")])
    np.testing.assert_array_equal(data[:, 0], rgba[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize("stock", [SimpleITKIO, NibabelIO, NibabelIOWithReorient])
def test_nonfinite_voxels(tmp_path: Path, stock: type[BaseReaderWriter]) -> None:
    values = np.ones((5, 6, 7), np.float32)
    values[1, 2, 3], values[2, 3, 4] = np.nan, np.inf
    path = str(tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    with pytest.raises(DataError, match="2 of 210 voxels"):
        CheckedReader(stock).read_images([path])
    data, _ = CheckedReader(stock, "zero").read_images([path])
    assert np.isfinite(data).all()
    assert (data == 0).sum() == 2
    assert data.sum() == 208


def test_another_shape_than_nnunet_sees_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(save(tmp_path / "a.png"))
    cut = image_io.read_case([path]).with_data(np.zeros((1, 6, 5), np.uint8))
    monkeypatch.setattr("swin_umamba.nnunet.checked_reader.read_case", lambda files, nonfinite: cut)
    with pytest.raises(
        DataError, match=r"\(1, 6, 5\), but nnU-Net's reader NaturalImage2DIO sees \(1, 6, 7\)"
    ):
        CheckedReader(NaturalImage2DIO).read_images([path])


def test_results_are_written_as_nnunet_writes_them(tmp_path: Path) -> None:
    path = str(save(tmp_path / "a.nii.gz"))
    reader = CheckedReader(SimpleITKIO)
    labels, properties = reader.read_seg(path)
    reader.write_seg(labels[0], str(tmp_path / "b.nii.gz"), properties)
    image_io.check_same_grid(image_io.read_labels(path), image_io.read_labels(tmp_path / "b.nii.gz"))


def test_worker_processes_get_the_same_reader() -> None:
    plans = CheckedPlans({"image_reader_writer": "NibabelIO"}, "zero")
    for make in (plans.image_reader_writer_class, checked(NibabelIO, "zero")):
        reader = pickle.loads(pickle.dumps(make))()
        assert (type(reader), type(reader.stock), reader.nonfinite) == (CheckedReader, NibabelIO, "zero")
    copy = pickle.loads(pickle.dumps(plans))
    assert copy.image_reader_writer_class().nonfinite == "zero"


def test_another_spacing_than_nnunet_takes_is_refused(tmp_path: Path) -> None:
    """SimpleITK converts the unit of a header, and nibabel does not."""
    image = nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), AFFINE)
    image.header.set_xyzt_units("micron")
    path = str(tmp_path / "a.nii.gz")
    nibabel.save(image, path)
    assert CheckedReader(SimpleITKIO).read_images([path])[1]["spacing"] == pytest.approx(
        (0.005, 0.0014, 0.0008)
    )
    for stock in (NibabelIO, NibabelIOWithReorient):
        with pytest.raises(
            DataError, match=r"spacing is .*0\.005.* mm, but nnU-Net's reader Nib.* takes .*5"
        ):
            CheckedReader(stock).read_images([path])


def test_volumes_of_tiff_files_have_the_spacing_of_the_file_beside_them(tmp_path: Path) -> None:
    path = str(save(tmp_path / "a_0000.tif"))
    assert CheckedReader(Tiff3DIO).read_images([path])[1]["spacing"] == (1, 1, 1)
    (tmp_path / "a.json").write_text('{"spacing": [3, 0.5, 0.5]}')
    assert CheckedReader(Tiff3DIO).read_images([path])[1]["spacing"] == [3, 0.5, 0.5]
    tifffile.imwrite(
        tmp_path / "b_0000.ome.tif",
        np.ones((5, 6, 7), np.uint8),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0},
    )
    with pytest.raises(DataError, match=r"0\.002 x 0\.00025 x 0\.00025 mm, but .* Tiff3DIO takes 1 x 1 x 1"):
        CheckedReader(Tiff3DIO).read_images([str(tmp_path / "b_0000.ome.tif")])


def test_pictures_are_counted_in_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((6, 7), np.uint8), resolution=(4, 4), metadata={"unit": "um"}, imagej=True)
    assert image_io.read_image(path).spacing == pytest.approx((0.00025, 0.00025))
    assert CheckedReader(NaturalImage2DIO).read_images([str(path)])[1]["spacing"] == (999, 1, 1)


TURNED = PILImage.Exif()
TURNED[274] = 3


@pytest.mark.parametrize(
    "kind", ["turned.png", "turned.tif", "white is 0.tif", "16 bits.png", "calibrated.tif"]
)
def test_pictures_that_nnunet_sees_otherwise_are_refused(tmp_path: Path, kind: str) -> None:
    path, grey = tmp_path / f"a{Path(kind).suffix}", np.arange(42, dtype=np.uint8).reshape(6, 7)
    stock: type[BaseReaderWriter] = NaturalImage2DIO
    if kind == "turned.png":
        PILImage.fromarray(grey).save(path, exif=TURNED)
    elif kind == "turned.tif":
        tifffile.imwrite(path, grey, extratags=[(274, 3, 1, 3, True)])
    elif kind == "white is 0.tif":
        tifffile.imwrite(path, grey, photometric="miniswhite")
    elif kind == "16 bits.png":
        path.write_bytes(imagecodecs.png_encode(np.stack([257 * grey.astype(np.uint16) + 3] * 3, -1)))
    else:
        calibration = {"axes": "ZYX", "cf": 0, "c0": -1000, "c1": 2}
        tifffile.imwrite(path, np.stack([grey] * 3), imagej=True, metadata=calibration)
        stock = Tiff3DIO
    image_io.read_image(path)
    with pytest.raises(DataError, match=r"pixels are not what nnU-Net's reader \w+ reads") as caught:
        CheckedReader(stock).read_images([str(path)])
    assert "convert" in str(caught.value.hint)
    if kind.startswith("turned"):
        with pytest.raises(DataError, match="pixels are not what"):
            CheckedReader(stock).read_seg(str(path))


def test_what_nnunet_cannot_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6), np.int16), AFFINE), path)
    with pytest.raises(DataError, match="NibabelIO cannot read it: only 3d images"):
        CheckedReader(NibabelIO).read_images([str(path)])
    with pytest.raises(DataError, match=r"no reader for this file, .*'\.jpg'") as caught:
        stock_reader({"file_ending": ".jpg"}, tmp_path / "a.jpg")
    assert "convert" in str(caught.value.hint)


def test_the_reader_is_that_which_can_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SimpleITK reads no NIfTI-2, so nnU-Net takes nibabel; what it prints of that is not shown."""
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti2Image(np.ones((5, 6, 7), np.int16), AFFINE), path)
    assert stock_reader({"file_ending": ".nii.gz"}, path) is NibabelIO
    assert "Traceback" not in capfd.readouterr().err
