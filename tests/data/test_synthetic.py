"""The drawn nuclei: layout, labels, determinism and what the pictures are meant to contain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from swin_umamba.data.datasets.synthetic import make_nuclei
from swin_umamba.data.image_io import list_images, read_image, read_labels
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.errors import UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "Dataset999_DemoNuclei"
    assert make_nuclei(folder, num_training=4, num_test=3, size=96, seed=1) == folder
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(dataset: Path) -> None:
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "interior": 1, "boundary": 2}
    assert description["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert description["numTraining"] == 4
    assert description["file_ending"] == ".png"
    for split, count in (("Tr", 4), ("Ts", 3)):
        images, labels = list_images(dataset / f"images{split}"), list_images(dataset / f"labels{split}")
        assert len(images) == len(labels) == count
        for image_path, label_path in zip(images, labels, strict=True):
            assert image_path.name == f"{label_path.stem}_0000.png"
            image = read_image(image_path)
            assert image.data.shape == (3, 96, 96)
            assert image.data.dtype == np.uint8
            assert image.data.std() > 5
            assert np.unique(read_labels(label_path).data).tolist() == [0, 1, 2]


def test_instances_belong_to_the_labels_and_touch(dataset: Path) -> None:
    touching = 0
    assert len(list_images(dataset / "instancesTr")) == 4
    for path in list_images(dataset / "instancesTs"):
        instances = read_labels(path).data[0]
        labels = read_labels(dataset / "labelsTs" / path.name).data[0]
        assert instances.dtype == np.uint16
        np.testing.assert_array_equal(labels, instances_to_classes(instances))
        count = int(instances.max())
        assert np.unique(instances).tolist() == list(range(count + 1))
        assert np.bincount(instances.ravel()).min() >= 5
        touching += count - ndimage.label(instances, np.ones((3, 3)))[1]
    assert touching >= 3


def test_nuclei_differ_from_their_surroundings(dataset: Path) -> None:
    for path in list_images(dataset / "imagesTr"):
        image = read_image(path).data.astype(float)
        labels = read_labels(dataset / "labelsTr" / path.name.replace("_0000", "")).data[0]
        contrast = image[:, labels == 1].mean(axis=1) - image[:, labels == 0].mean(axis=1)
        assert np.abs(contrast).max() > 25


def test_same_seed_same_bytes_other_seed_other_pictures(dataset: Path, tmp_path: Path) -> None:
    first = content(dataset)
    again = content(make_nuclei(tmp_path / dataset.name, num_training=4, num_test=3, size=96, seed=1))
    assert again == first
    pictures = [value for name, value in first.items() if "images" in name]
    assert len(set(pictures)) == len(pictures)  # no test picture is a training picture
    other = content(make_nuclei(tmp_path / "other", num_training=4, num_test=3, size=96, seed=2))
    assert not set(pictures) & set(other.values())


def test_larger_set_begins_with_the_smaller_one(dataset: Path, tmp_path: Path) -> None:
    larger = content(make_nuclei(tmp_path / dataset.name, num_training=6, num_test=4, size=96, seed=1))
    for name, value in content(dataset).items():
        assert name == "dataset.json" or larger[name] == value


@pytest.mark.parametrize("wrong", [{"num_training": 0}, {"num_test": -1}, {"size": 16}])
def test_impossible_requests(tmp_path: Path, wrong: dict[str, int]) -> None:
    arguments = {"num_training": 1, "num_test": 1, "size": 64, **wrong}
    with pytest.raises(UsageError):
        make_nuclei(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_smallest_pictures_hold_nuclei(tmp_path: Path) -> None:
    make_nuclei(tmp_path, num_training=3, num_test=0, size=32)
    for path in list_images(tmp_path / "labelsTr"):
        assert 0.02 < (read_labels(path).data > 0).mean() < 0.75
