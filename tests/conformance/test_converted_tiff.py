"""What is stored of any TIFF file is seen by nnU-Net's own readers as it was meant, its spacing included."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from conformance.combinations import covering_combinations
from conformance.test_tiff import TABLES
from conformance.tiff_files import Made
from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image_io import Image, read_case, read_image, read_labels, write_image, write_labels

MOST = 15


@pytest.fixture(scope="module")
def corpus() -> list[Made]:
    """Return TIFF files that are read, with numbers that nnU-Net's float32 holds exactly or nearly."""
    made = []
    for name, (features, exists, make) in TABLES.items():
        few = (
            {**features, "bits in a byte": ("usual",), "bytes": ("big-endian",)}
            if name == "TIFF"
            else features
        )
        at_least = 150 if name == "TIFF pages" else 0
        made += [make(each) for each in covering_combinations({**features, **few}, exists, at_least=at_least)]
    random.Random(0).shuffle(made)
    read = [each for each in made if each.image is not None]
    return [each for each in read if np.abs(each.image.astype(float)).max() < 2**24]


def write(folder: Path, name: str, made: Made) -> Path:
    path = folder / f"{name}_0000.tif"
    path.write_bytes(made.content)
    for beside, content in made.beside.items():
        (folder / beside.replace("a", name, 1)).write_text(content)
    return path


def test_volumes_that_are_stored_as_tiff_are_seen_by_nnunet_as_by_us(
    tmp_path: Path, corpus: list[Made]
) -> None:
    """Images channel by channel, and label maps, with the spacing where nnU-Net looks for it."""
    seen = known = 0
    for number, made in enumerate([each for each in corpus if each.image.ndim == 4][:MOST]):
        folder = tmp_path / str(number)
        folder.mkdir()
        image = read_image(write(folder, "a", made))
        paths = [folder / f"case_{channel:04d}.tif" for channel in range(image.num_channels)]
        for path, channel in zip(paths, image.data, strict=True):
            write_image(path, image.with_data(channel[None]))
        labels = np.random.default_rng(number).integers(0, 5, image.spatial_shape)
        write_labels(folder / "labels" / "case.tif", labels, like=image)
        theirs, properties = Tiff3DIO().read_images([str(path) for path in paths])
        np.testing.assert_array_equal(theirs, image.data.astype(np.float32))
        np.testing.assert_array_equal(read_case(paths).data.astype(np.float32), theirs)
        their_labels, label_properties = Tiff3DIO().read_seg(str(folder / "labels" / "case.tif"))
        np.testing.assert_array_equal(their_labels[0], labels)
        assert list(properties["spacing"]) == list(label_properties["spacing"]) == list(image.spacing)
        assert (
            read_case(paths).spacing == read_labels(folder / "labels" / "case.tif").spacing == image.spacing
        )
        seen, known = seen + 1, known + image.has_spacing
    assert seen == MOST
    assert known >= 5


KINDS: dict[str, tuple[str, bool, Callable[[Made, np.ndarray], bool]]] = {
    "pictures of 8 bits": (
        ".png",
        False,
        lambda made, image: image.ndim == 3 and image.dtype == np.uint8 and not made.spacing,
    ),
    "pictures of all kinds": (".tif", False, lambda made, image: image.ndim == 3 and not made.spacing),
    "pictures with sizes of pixels": (
        ".nii.gz",
        True,
        lambda made, image: image.ndim == 3 and bool(made.spacing),
    ),
    "volumes": (".nii.gz", False, lambda made, image: image.ndim == 4 and not made.spacing),
    "volumes with sizes of voxels": (
        ".nii.gz",
        True,
        lambda made, image: image.ndim == 4 and bool(made.spacing),
    ),
}


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("pictures of 8 bits", 3),
        *((kind, 1) for kind in KINDS),
        ("pictures with sizes of pixels", 2),
        ("volumes with sizes of voxels", 2),
    ],
)
def test_stock_nnunet_sees_converted_tiff_files_as_they_were_meant(
    tmp_path: Path, kind: str, channels: int, corpus: list[Made]
) -> None:
    ending, sized, belongs = KINDS[kind]
    expected: dict[str, tuple[Image, np.ndarray]] = {}
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for made in corpus:
        if len(expected) == MOST or len(made.image) != channels or not belongs(made, made.image):
            continue
        case = f"case{len(expected):03d}"
        image = read_image(write(tmp_path / "images", case, made))
        expected[case] = image, np.arange(image.data[0].size).reshape(image.spatial_shape) % 2
        write_labels(tmp_path / "masks" / f"{case}.tif", expected[case][1], like=image)
    folder = tmp_path / "Dataset801_Any"
    assert convert_folder(tmp_path / "images", tmp_path / "masks", folder).num_training == len(expected) >= 4
    description = json.loads((folder / "dataset.json").read_text())
    assert (description["file_ending"], len(description["channel_names"])) == (ending, channels)
    for case, (image, mask) in expected.items():
        paths = sorted(map(str, (folder / "imagesTr").glob(f"{case}_*")))
        reader = determine_reader_writer_from_dataset_json(description, paths[0], verbose=False)()
        wanted = image.data.astype(np.float32)
        theirs, properties = reader.read_images(paths)
        np.testing.assert_array_equal(theirs if image.data.ndim == 4 else theirs[:, 0], wanted, err_msg=case)
        ours = read_case(paths)
        np.testing.assert_array_equal(ours.data.astype(np.float32), wanted, err_msg=case)
        spacing = image.spacing if sized else (1,) * (image.data.ndim - 1)
        np.testing.assert_allclose(properties["spacing"][-len(spacing) :], spacing, rtol=1e-6)
        np.testing.assert_allclose(ours.spacing, spacing, rtol=1e-6)
        labels = str(folder / "labelsTr" / f"{case}{ending}")
        np.testing.assert_array_equal(reader.read_seg(labels)[0][0].reshape(mask.shape), mask, err_msg=case)
        np.testing.assert_array_equal(read_labels(labels).data[0], mask, err_msg=case)
