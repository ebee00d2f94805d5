"""Files of annotation programs: no file that they name is read, and none takes memory without bound."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.datasets.folder import convert_folder
from swin_umamba.data.image_io import Image
from swin_umamba.data.object_masks import imagej
from swin_umamba.data.object_masks.reading import read_objects
from swin_umamba.errors import DataError, SwinUMambaError

SHAPE = (512, 512)
IMAGE = Image.without_geometry(np.zeros((1, *SHAPE), np.uint8), Path("image.png"))


def roi(corners: np.ndarray) -> bytes:
    header = bytearray(64)
    header[:8] = b"Iout" + (228).to_bytes(2, "big") + bytes([0, 0])
    header[16:18] = len(corners).to_bytes(2, "big")
    return bytes(header) + corners.T.astype(">i2").tobytes()


def labelme(points: list[Any], **more: Any) -> str:
    return json.dumps({"shapes": [{"label": "a", "points": points}], **more})


def test_names_in_annotations_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.png"
    PillowImage.fromarray(np.full((8, 8), 99, np.uint8)).save(secret)
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    PillowImage.fromarray(np.zeros((8, 8), np.uint8)).save(images / "a.png")
    square = [[1, 1], [5, 1], [5, 5], [1, 5]]
    (masks / "a.json").write_text(labelme(square, imagePath=str(secret), imageData=None))
    secret.chmod(0)
    opened: list[str] = []
    really_open = os.open

    def recorded_open(path: Any, *arguments: Any, **more: Any) -> int:
        opened.append(str(path))
        return really_open(path, *arguments, **more)

    monkeypatch.setattr(os, "open", recorded_open)
    folder = tmp_path / "Dataset801_A"
    convert_folder(images, masks, folder, instances=True)
    coco = tmp_path / "coco.json"
    names = ["../secret.png", str(secret), "a.png"]
    entries = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    rings = {"segmentation": [[1, 1, 5, 1, 5, 5]]}
    annotations = [{"id": number, "image_id": number, **rings} for number in range(3)]
    coco.write_text(json.dumps({"images": entries, "annotations": annotations}))
    result = convert_folder(images, coco, tmp_path / "Dataset802_B", instances=True)
    assert result.num_training == 1
    assert opened
    assert not [path for path in opened if "secret" in path]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", labelme([[0, 0], [1e308, 1], [2, 1e308]])),
        ("a.json", labelme([[0, 0], [float(2**40), 1], [2, 2]])),
        ("a.json", '{"shapes": [{"label": "a", "points": [[NaN, 1], [1, 2], [3, 4]]}]}'),
        ("a.json", '{"shapes": ' + "[" * 100_000),
        ("a.geojson", '{"type": "FeatureCollection", "features": ' + '[{"features": ' * 50_000),
        ("a.geojson", json.dumps([{"geometry": {"type": "MultiPolygon", "coordinates": [[[[[1]]]]]}}])),
        ("a.geojson", json.dumps([{"geometry": {"type": "Polygon", "coordinates": [{"x": 1}]}}])),
    ],
)
def test_hostile_outlines(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SwinUMambaError, match=name):
        read_objects(tmp_path / name, IMAGE)


def test_edges_without_end(tmp_path: Path) -> None:
    """Each of the edges crosses all lines of the image: no table of all crossings is made."""
    count = 300_000
    zigzag = np.stack([np.linspace(0, 512, count), np.arange(count) % 2 * 512.0], axis=1)
    (tmp_path / "a.geojson").write_text(
        json.dumps([{"geometry": {"type": "Polygon", "coordinates": [zigzag.tolist()]}}])
    )
    with pytest.raises(DataError, match="too many edges"):
        read_objects(tmp_path / "a.geojson", IMAGE)


def test_archives_that_cover_the_image_again_and_again(tmp_path: Path) -> None:
    content = roi(np.array([[0, 0], [512, 0], [512, 512], [0, 512]]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(1100):
            archive.writestr(f"{number}.roi", content)
    with pytest.raises(DataError, match="many times over"):
        read_objects(tmp_path / "a.zip", IMAGE)


def test_archives_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../a.roi", bytes(2**22))  # 4 kB packed; its name is shown and is no path
    monkeypatch.setattr(imagej, "MOST_BYTES", 2**20)
    with pytest.raises(DataError, match="too large when unpacked"):
        read_objects(tmp_path / "a.zip", IMAGE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
    monkeypatch.setattr(imagej, "MOST_ROIS", 0)
    with pytest.raises(DataError, match="holds 1 ROIs"):
        read_objects(tmp_path / "a.zip", IMAGE)
