"""What is drawn: sizes, classes that unite labels, and a bound on ragged outlines."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.data.image import Image
from swin_umamba.inference.predictor import Predictor
from swin_umamba.report.layers import fill_path
from swin_umamba.report.orientation import View
from swin_umamba.serve import slices
from swin_umamba.serve.classes import class_shares, shown_classes
from swin_umamba.serve.schema import ModelClass
from swin_umamba.serve.segment import Quality, Result
from swin_umamba.serve.slices import slice_picture
from trained.model_folder import make_model_folder

CLASSES = (
    ModelClass(name="whole", value=1, members=[1, 2], colour="#e69f00"),
    ModelClass(name="core", value=2, members=[2], colour="#56b4e9"),
)


def result_of(folder: Path, labels: np.ndarray, quality: Quality | None = None) -> Result:
    """Return a result with a black picture behind ``labels`` (z, y, x)."""
    np.save(folder / "labels.npy", labels)
    np.save(folder / "view_0.npy", np.zeros((*labels.shape, 1), np.uint8))
    np.save(folder / "uncertainty.npy", np.full(labels.shape, 255, np.uint8))
    return Result(
        folder=folder,
        labels_file=folder / "none",
        stem="none",
        shape=labels.shape,
        spacing=None,
        turned=View(tuple(range(labels.ndim)), (False,) * labels.ndim, (1.0,) * labels.ndim, None),
        views=("grey",),
        shares=(),
        start=0,
        seconds=1.0,
        quality=quality,
    )


def test_regions_unite_labels(tmp_path: Path) -> None:
    labels = np.array([[[0, 1, 1], [0, 2, 1]]], np.uint8)
    picture = slice_picture(result_of(tmp_path, labels), CLASSES, 0, 0)
    assert [(layer.value, layer.fill) for layer in picture.layers] == [
        (1, "M1 0h2v1h-2zM1 1h2v1h-2z"),
        (2, "M1 1h1v1h-1z"),
    ]
    shares = class_shares(labels, CLASSES, Image.without_geometry(labels, tmp_path))
    assert [(share.voxels, share.millilitres) for share in shares] == [(4, None), (1, None)]
    assert shares[1].percent == pytest.approx(100 / 6)


def test_region_models_name_their_regions(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [1]}
    folder = make_model_folder(tmp_path, labels=labels, regions_class_order=(2, 1))
    shown = shown_classes(Predictor.from_folder(folder, device="cpu"))
    assert [(each.name, each.value, each.members) for each in shown] == [
        ("whole", 2, [1, 2]),
        ("core", 1, [1]),
    ]
    assert shown[0].colour == "#56b4e9"


def test_large_slices_are_scaled_down_with_nearest_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "LONGEST_SIDE", 64)
    labels = np.zeros((1, 128, 32), np.uint8)
    labels[0, :64] = 2
    picture = slice_picture(result_of(tmp_path, labels), CLASSES, 0, 0)
    assert (picture.width, picture.height) == (16, 64)
    expected = np.zeros((64, 16), bool)
    expected[:32] = True
    assert picture.layers[1].fill == fill_path(expected)
    shown = PillowImage.open(io.BytesIO(base64.b64decode(picture.picture.partition(",")[2])))
    assert shown.size == (16, 64)


def test_slices_of_many_classes_are_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "LONGEST_SIDE", 64)
    many = (
        ModelClass(name="a", value=44, members=[44], colour="#000000"),
        ModelClass(name="b", value=300, members=[300], colour="#ffffff"),
    )  # 300 = 256 + 44
    labels = np.full((1, 128, 128), 300, np.uint16)
    picture = slice_picture(result_of(tmp_path, labels), many, 0, 0)
    assert [layer.value for layer in picture.layers] == [300]
    assert picture.layers[0].fill == fill_path(np.ones((64, 64), bool))


def test_ragged_labels_are_shown_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (1, 256, 256)).astype(np.uint8)
    whole = slice_picture(result_of(tmp_path, labels), CLASSES, 0, 0)
    assert whole.width == 256
    monkeypatch.setattr(slices, "MAX_PATH_CHARACTERS", 500_000)
    smaller = slice_picture(result_of(tmp_path, labels), CLASSES, 0, 0)
    assert 64 < smaller.width < 256
    assert sum(len(each.fill) + len(each.outline) for each in smaller.layers) <= 500_000
    monkeypatch.setattr(slices, "MAX_PATH_CHARACTERS", 1)
    assert 64 <= slice_picture(result_of(tmp_path, labels), CLASSES, 0, 0).width < 128  # and not for ever


def test_uncertainty_is_a_layer(tmp_path: Path) -> None:
    quality = Quality(0.9, {}, calibrated=True, quality_calibrated=True)
    picture = slice_picture(result_of(tmp_path, np.zeros((1, 4, 5), np.uint8), quality), CLASSES, 0, 0)
    assert picture.uncertainty is not None
    shown = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(picture.uncertainty.partition(",")[2]))))
    assert shown.shape == (4, 5, 4)
    assert shown[0, 0].tolist() == [250, 240, 60, 230]


def test_a_volume_in_millilitres(tmp_path: Path) -> None:
    labels = np.full((2, 3, 4), 2, np.uint8)
    image = SimpleNamespace(has_spacing=True, pixel_size=10.0)
    share = class_shares(labels, CLASSES, image)[1]  # type: ignore[arg-type]
    assert (share.voxels, share.percent) == (24, 100)
    assert share.millilitres == pytest.approx(0.24)
