from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import npe2
import numpy as np
import pytest

import swin_umamba
from conformance.dicom_files import Slice, write_series
from stand_in_layer import StandInLayer
from swin_umamba.data.formats import FORMATS
from swin_umamba.data.image_io import Image, image_suffixes, read_image, write_image
from swin_umamba.errors import DataError, UsageError
from swin_umamba.napari.image_files import get_reader, read_layers, write_labels
from swin_umamba.napari.layers import GRID_KEY, layer_image

SHAPE = (3, 4, 5)
# Rows are the world directions (right, front, up) of the axes (z, y, x) of a file.
AXIAL = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
TURNED = ((0.0, 0.0, 1.0), (0.6, 0.8, 0.0), (0.8, -0.6, 0.0))  # about the long axis, and mirrored
SAGITTAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))


def volume(path: Path, direction: tuple[tuple[float, ...], ...] = AXIAL) -> Image:
    data = np.arange(60, dtype=np.int16).reshape(1, *SHAPE)
    image = replace(
        Image.without_geometry(data, path),
        spacing=(3.0, 2.0, 0.5),
        origin=(10.0, -20.0, 30.0),
        direction=direction,
        has_spacing=True,
        has_orientation=True,
    )
    write_image(path, image)
    return image


def only_layer(path: Path) -> tuple[np.ndarray, dict[str, Any], str]:
    reader = get_reader(str(path))
    assert reader is not None
    (layer,) = reader(str(path))
    return layer


def world(options: dict[str, Any], index: tuple[int, ...]) -> np.ndarray:
    """Return where napari puts an index."""
    inside = options["scale"] * np.array(index) + options["translate"]
    return options["affine"][:-1, :-1] @ inside + options["affine"][:-1, -1]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd"])
@pytest.mark.parametrize("direction", [AXIAL, TURNED])
def test_a_volume_lies_where_its_file_says(
    tmp_path: Path, suffix: str, direction: tuple[tuple[float, ...], ...]
) -> None:
    image = volume(tmp_path / f"case{suffix}", direction)
    data, options, kind = only_layer(tmp_path / f"case{suffix}")
    assert kind == "image"
    np.testing.assert_array_equal(data, image.data[0])
    assert options["name"] == "case"
    assert options["units"] == ("mm", "mm", "mm")
    np.testing.assert_allclose(options["scale"], image.spacing, rtol=1e-6)
    right, front, up = image.origin + np.array([2.0, 3.0, 4.0]) * image.spacing @ np.array(direction)
    np.testing.assert_allclose(world(options, (2, 3, 4)), [up, -front, -right], atol=1e-4)


def test_a_sagittal_volume_is_shown_along_its_own_axes(tmp_path: Path) -> None:
    volume(tmp_path / "one.mha", SAGITTAL)
    with pytest.warns(UserWarning, match=r"one\.mha is not axial"):
        _, options, _ = only_layer(tmp_path / "one.mha")
    np.testing.assert_array_equal(options["affine"], np.eye(4))
    # To the left, to the feet, to the front: the directions of the file's axes, mirrored as ITK has them.
    np.testing.assert_allclose(options["translate"], [10, -30, 20])
    np.testing.assert_allclose(world(options, (1, 0, 0)) - world(options, (0, 0, 0)), [3, 0, 0])


def test_a_picture_has_colours_and_no_size(tmp_path: Path) -> None:
    picture = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_image(tmp_path / "a.png", Image.without_geometry(picture, tmp_path / "a.png"))
    data, options, kind = only_layer(tmp_path / "a.png")
    np.testing.assert_array_equal(data, picture.transpose(1, 2, 0))
    assert kind == "image"
    assert options["rgb"] is True
    assert "units" not in options
    np.testing.assert_array_equal(options["scale"], [1, 1])


def test_channels_are_the_first_axis(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    voxels = np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii")
    data, options, _ = only_layer(tmp_path / "a.nii")
    np.testing.assert_array_equal(data, voxels.T)
    assert options["axis_labels"] == ("c", "z", "y", "x")
    assert options["units"] == ("pixel", "mm", "mm", "mm")
    np.testing.assert_allclose(world(options, (1, 1, 1, 1)), [1, 3, -2, -0.5], atol=1e-6)


def test_a_segmentation_becomes_labels_with_names(tmp_path: Path) -> None:
    image = volume(tmp_path / "image.nrrd")
    labels = np.zeros((1, *SHAPE), np.uint8)
    labels[0, 1, 2] = 3
    write_image(tmp_path / "a.seg.nrrd", replace(image, data=labels, label_names={3: "liver"}))
    data, options, kind = only_layer(tmp_path / "a.seg.nrrd")
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels[0])
    assert options["features"]["index"] == [0, 3]
    assert set(options["colormap"]) == {None, 0, 3}


def test_a_folder_of_dicom_files_is_a_volume(tmp_path: Path) -> None:
    slices = [Slice(np.full((4, 5), number), position=(0, 0, 2 * number)) for number in range(3)]
    write_series(tmp_path / "scan", slices)
    data, options, _ = only_layer(tmp_path / "scan")
    np.testing.assert_array_equal(data[:, 0, 0], [0, 1, 2])
    assert options["name"] == "scan"
    assert options["scale"][0] == pytest.approx(2)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(tmp_path / "a.png"), str(tmp_path / "b.png")]) is None
    (tmp_path / "a.nii").write_bytes(b"no image")
    with pytest.raises(DataError):
        read_layers(str(tmp_path / "a.nii"))


@pytest.mark.filterwarnings("ignore:one.nii.gz is not axial")
@pytest.mark.parametrize("direction", [AXIAL, TURNED, SAGITTAL])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".seg.nrrd"])
def test_labels_are_written_on_the_grid_of_their_image(
    tmp_path: Path, direction: tuple[tuple[float, ...], ...], suffix: str
) -> None:
    volume(tmp_path / "one.nii.gz", direction)
    data, options, _ = only_layer(tmp_path / "one.nii.gz")
    layer = StandInLayer(data, **options)
    image = layer_image([layer], ["CT"])
    labels = (image.data[0] % 3).astype(np.uint8)
    attributes = {**image.geometry, "metadata": image.metadata}
    path = tmp_path / f"labels{suffix}"
    assert write_labels(str(path), labels, attributes) == [str(path)]
    written, source = read_image(path), read_image(tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(written.data[0], labels)
    np.testing.assert_allclose(written.spacing, source.spacing, rtol=1e-6)
    np.testing.assert_allclose(written.origin, source.origin, atol=1e-5)
    np.testing.assert_allclose(written.direction, source.direction, atol=1e-6)

    with pytest.raises(UsageError, match="does not say on which image"):
        write_labels(str(path), labels, {**attributes, "metadata": {}})
    with pytest.raises(UsageError, match="its scale is not that of the image"):
        write_labels(str(path), labels, {**attributes, "scale": np.ones(3)})
    with pytest.raises(DataError, match="do not fit the image"):
        write_labels(str(path), labels[1:], attributes)


def test_labels_of_a_layer_with_channels_know_their_grid(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((5, 4, 3, 2), np.int16), np.diag([0.5, 2, 3, 1])), tmp_path / "a.nii"
    )
    data, options, _ = only_layer(tmp_path / "a.nii")
    units = tuple({"mm": "millimeter"}.get(unit, unit) for unit in options["units"])
    image = layer_image([StandInLayer(data, **{**options, "units": units})], ["T1", "T2"])
    assert image.spacing == (3, 2, 0.5)
    attributes = {**image.geometry, "metadata": image.metadata}
    write_labels(str(tmp_path / "b.nii"), np.ones(SHAPE, np.uint8), attributes)
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "b.nii").affine, nibabel.load(tmp_path / "a.nii").affine
    )
    assert GRID_KEY in image.metadata


def test_the_manifest_offers_every_format(tmp_path: Path) -> None:
    file = Path(swin_umamba.__file__).parent / "napari" / "napari.yaml"
    manifest = npe2.PluginManifest.from_file(file)
    (reader,), (writer,) = manifest.contributions.readers or (), manifest.contributions.writers or ()
    assert reader.filename_patterns == [f"*{suffix}" for suffix in image_suffixes()]
    written = [
        suffix
        for each in FORMATS
        if each.holds_labels and each.encode is not None
        for suffix in each.suffixes
    ]
    assert writer.filename_extensions == written
    manager = npe2.PluginManager()
    manager.register(manifest)
    manager.activate(manifest.name)
    volume(tmp_path / "a.b.NII.GZ")
    write_series(tmp_path / "scan", [Slice(np.ones((4, 5)))])
    for path in (tmp_path / "a.b.NII.GZ", tmp_path / "scan"):
        (found,) = manager.iter_compatible_readers([str(path)])
        read = found.exec(kwargs={"path": [str(path)], "stack": False, "_registry": manager.commands})
        assert read is not None
        assert len(read([str(path)], stack=False)) == 1
    found_writer, _ = manager.get_writer("labels.nii.gz", ["labels"])
    assert found_writer is not None
    assert found_writer.command == "swin-umamba.write_labels"
