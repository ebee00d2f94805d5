"""Folders of classes: layouts, splits, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from swin_umamba.errors import DataError
from swin_umamba.pretraining.images import ImageDataset, LabelledImages, batches, collate, find_images


def find(folder: Path, fraction: float = 0.25, seed: int = 0) -> LabelledImages:
    return find_images(folder, validation_fraction=fraction, seed=seed)


def test_given_folders_are_taken_as_they_are(textures: Path) -> None:
    images = find(textures)
    assert images.classes == ("checks", "columns", "rows")
    assert (len(images.training), len(images.validation)) == (72, 30)
    assert images.training[0] == (textures / "train" / "checks" / "000.png", 0)
    assert images.validation[-1] == (textures / "val" / "rows" / "009.png", 2)


@pytest.mark.parametrize("single_tree", [True, False])
def test_a_part_of_each_class_is_held_out(textures: Path, tmp_path: Path, single_tree: bool) -> None:
    shutil.copytree(textures / "train", tmp_path / "data" / ("" if single_tree else "train"))
    images = find(tmp_path / "data")
    assert [sum(label == each for _, label in images.validation) for each in range(3)] == [6, 6, 6]
    assert len(images.training) == 54
    assert not {path for path, _ in images.training} & {path for path, _ in images.validation}
    assert find(tmp_path / "data") == images
    assert find(tmp_path / "data", seed=1) != images
    assert len(find(tmp_path / "data", fraction=0.001).validation) == 3


def test_class_folders_are_searched_to_any_depth(textures: Path, tmp_path: Path) -> None:
    shutil.copytree(textures / "train", tmp_path / "data")
    deeper = tmp_path / "data" / "rows" / "more" / "still"
    shutil.copytree(textures / "val" / "rows", deeper)
    (deeper / "notes.txt").write_text("no picture")
    (deeper / ".hidden.png").write_text("no picture")
    images = find(tmp_path / "data")
    assert sum(label == 2 for _, label in images.training + images.validation) == 34


def test_folders_that_cannot_be_meant_are_refused(textures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(DataError, match="no such folder"):
        find(data)
    (data / "rows").mkdir(parents=True)
    with pytest.raises(DataError, match="1 class folders"):
        find(data)
    (data / "columns").mkdir()
    with pytest.raises(DataError, match="no images: columns, rows"):
        find(data)
    for name in ("rows", "columns"):
        shutil.copy(textures / "train" / name / "000.png", data / name)
    with pytest.raises(DataError, match="single image"):
        find(data)
    shutil.copytree(textures, tmp_path / "both")
    (tmp_path / "both" / "val" / "rows").rename(tmp_path / "both" / "val" / "dots")
    with pytest.raises(DataError, match="no training image has: dots"):
        find(tmp_path / "both")


def dataset(textures: Path, *, augmented: bool = True) -> ImageDataset:
    return ImageDataset(
        find(textures).training,
        in_channels=1,
        image_size=32,
        augmented=augmented,
        smallest_crop=0.3,
        colour_jitter=0.3,
        seed=4,
    )


def test_augmentation_depends_on_epoch_and_index_alone(textures: Path) -> None:
    images = dataset(textures)
    first, label = images[70]
    assert (first.shape, label) == ((1, 32, 32), 2)
    torch.manual_seed(99)
    assert torch.equal(images[70][0], first)
    images.epoch = 1
    assert not torch.equal(images[70][0], first)
    plain = dataset(textures, augmented=False)
    before = plain[70][0]
    plain.epoch = 1
    assert torch.equal(plain[70][0], before)


def test_an_unreadable_image_is_raised_where_it_is_used(textures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    images = dataset(textures)
    images.samples = (*images.samples[:2], (broken, 0))
    loader = DataLoader(images, batch_size=2, collate_fn=collate)
    source = batches(loader)
    pixels, labels = next(source)
    assert pixels.shape == (2, 1, 32, 32)
    assert labels.tolist() == [0, 0]
    with pytest.raises(DataError) as caught:
        next(source)
    assert caught.value.where == str(broken)
