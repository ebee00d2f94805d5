"""What ``convert`` stores of any picture is seen by nnU-Net's own reader as the picture was meant."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from conformance import png_files as files
from conformance.combinations import covering_combinations
from conformance.exif import as_seen, exif
from conformance.test_pictures import FORMATS
from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image_io import read_case, read_labels

MOST = 30
KINDS = {
    "grey and colours of 8 bits": (".png", lambda image: image.dtype == np.uint8),
    "grey of 8 and 16 bits": (".png", lambda image: len(image) == 1),
    "colours of 8 and 16 bits": (".tif", lambda image: len(image) == 3),
    "everything": (".tif", lambda _: True),
}


def mask_file(seen: np.ndarray, generator: np.random.Generator) -> bytes:
    """Return a label map (y, x) of zeros and ones as a PNG file of some kind, turned by EXIF."""
    orientation = int(generator.integers(1, 9))
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = as_seen(seen, back)[..., None]
    chunks = [(b"eXIf", exif(orientation)), (b"PLTE", bytes([0, 0, 0, 255, 0, 0]))]
    if generator.integers(2):
        return files.png_file(stored, 1, files.PALETTE, before=[*chunks, (b"tRNS", b"\0")])
    return files.png_file(stored, 8, files.GREY, before=chunks[:1])


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, bytes, np.ndarray, bool]]:
    """Return pictures that are read: suffix, content, what is seen, whether that may be rounded."""
    made = []
    for features, exists, make in FORMATS.values():
        few = {**features, "orientation": ("not said", 6, 3), "transparency": ("none",)}
        few = {name: values for name, values in few.items() if name in features}
        for combination in covering_combinations(few, exists):
            content, suffix, (image, _, _) = make(combination)
            if image is not None:
                rounded = str(combination.get("colours")).startswith("YCbCr")
                made.append((suffix, content, image, rounded))
    random.Random(0).shuffle(made)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_stock_nnunet_sees_converted_pictures_as_they_are_seen(
    tmp_path: Path, kind: str, corpus: list[tuple[str, bytes, np.ndarray, bool]]
) -> None:
    ending, belongs = KINDS[kind]
    generator = np.random.default_rng(0)
    expected: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for each in ("images", "masks"):
        (tmp_path / each).mkdir()
    for suffix, content, image, rounded in [each for each in corpus if belongs(each[2])][:MOST]:
        case = f"case{len(expected):03d}"
        path = tmp_path / "images" / f"{case}{suffix}"
        path.write_bytes(content)
        mask = generator.integers(0, 2, image.shape[1:], np.uint8)
        (tmp_path / "masks" / f"{case}.png").write_bytes(mask_file(mask, generator))
        expected[case] = read_case([path]).data if rounded else image, mask
    folder = tmp_path / "Dataset801_Any"
    assert convert_folder(tmp_path / "images", tmp_path / "masks", folder).num_training == len(expected) >= 10
    description = json.loads((folder / "dataset.json").read_text())
    assert description["file_ending"] == ending
    channels = len(description["channel_names"])
    for case, (image, mask) in expected.items():
        images = sorted(map(str, (folder / "imagesTr").glob(f"{case}_*")))
        reader = determine_reader_writer_from_dataset_json(description, images[0], verbose=False)()
        wanted = image.repeat(channels // len(image), axis=0)
        np.testing.assert_array_equal(reader.read_images(images)[0][:, 0], wanted, err_msg=case)
        np.testing.assert_array_equal(read_case(images).data, wanted, err_msg=case)
        labels = str(folder / "labelsTr" / f"{case}{ending}")
        np.testing.assert_array_equal(reader.read_seg(labels)[0][0, 0], mask, err_msg=case)
        np.testing.assert_array_equal(read_labels(labels).data[0], mask, err_msg=case)
