"""Statistics of label maps, by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_umamba.data.image_io import Image, read_labels
from swin_umamba.errors import GeometryError
from swin_umamba.evaluation.classes import LabelClasses
from swin_umamba.evaluation.statistics import IntensityStatistics, label_statistics


@pytest.fixture
def labels() -> Image:
    """Class 1: two diagonal pixels and one alone; class 3: four pixels."""
    data = np.zeros((1, 5, 6), np.uint8)
    data[0, [0, 1, 4], [0, 1, 0]] = 1
    data[0, 2:4, 3:5] = 3
    return Image.without_geometry(data, Path("labels.png"))


def test_area_components_and_intensities(labels: Image) -> None:
    values = np.stack([np.arange(30.0).reshape(5, 6), np.full((5, 6), 7.0)])
    statistics = label_statistics(labels, Image.without_geometry(values, Path("image.png")))
    first, second = statistics.classes
    assert (first.name, first.pixels, first.size, first.components) == ("1", 3, 3.0, 2)
    assert (second.values, second.pixels, second.components) == ((3,), 4, 1)
    inside = np.array([15, 16, 21, 22])
    assert second.intensities[0] == IntensityStatistics(18.5, pytest.approx(inside.std()), 15.0, 22.0)
    assert second.intensities[1] == IntensityStatistics(7.0, 0.0, 7.0, 7.0)
    assert statistics.unit == "pixels"


def test_volume_in_cubic_millimetres(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.uint8)
    data[1:3, 1:3, 1:3] = 1
    nibabel.save(nibabel.Nifti1Image(data, np.diag([0.5, 2.0, 3.0, 1.0])), tmp_path / "a.nii.gz")
    statistics = label_statistics(read_labels(tmp_path / "a.nii.gz"))
    assert statistics.unit == "mm3"
    assert statistics.classes[0].size == pytest.approx(24.0)
    assert statistics.classes[0].intensities == ()


def test_volume_of_voxels_in_micrometres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.diag([-5.0, -5.0, 20.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii.gz")
    statistics = label_statistics(read_labels(tmp_path / "a.nii.gz"))
    assert statistics.unit == "mm3"
    assert statistics.classes[0].size == pytest.approx(60 * 0.005 * 0.005 * 0.02, rel=1e-6)


def test_volume_of_skewed_voxels() -> None:
    image = Image(
        data=np.ones((1, 2, 3, 4), np.uint8),
        spacing=(5.0, 2.0, 1.0),
        origin=(0.0, 0.0, 0.0),
        direction=((0.0, 0.6, 0.8), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        path=Path("tilted"),
    )
    assert label_statistics(image).classes[0].size == pytest.approx(24 * 10 * 0.8, rel=1e-12)


def test_declared_classes_and_the_file(labels: Image, tmp_path: Path) -> None:
    classes = LabelClasses({"all": (1, 3), "=absent": (2,)})
    image = Image.without_geometry(np.ones((1, 5, 6), np.uint8), Path("image.png"))
    label_statistics(labels, image, classes).write_csv(tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["class", "label", "pixels", "area_pixels", "components", "mean", "std", "min", "max"]
    assert rows[1] == ["all", "1+3", "7", "7.0", "3", "1.0", "0.0", "1.0", "1.0"]
    assert rows[2] == ["'=absent", "2", "0", "0.0", "0", "", "", "", ""]


def test_another_grid(labels: Image) -> None:
    with pytest.raises(GeometryError, match="grids"):
        label_statistics(labels, Image.without_geometry(np.ones((1, 5, 5)), Path("image.png")))
