"""Instance maps and tables as files."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin_umamba.data.image import Image
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.instances.table import objects_of
from swin_umamba.instances.tidy import ordered
from swin_umamba.instances.write import write_instances, write_objects


def image_like(instances: np.ndarray, spacing: tuple[float, ...] | None = None) -> Image:
    image = Image.without_geometry(np.zeros((1, *instances.shape), np.uint8), Path("a.tif"))
    return image if spacing is None else replace(image, spacing=spacing, has_spacing=True)


@pytest.mark.parametrize(("largest", "dtype"), [(3, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_maps_of_pictures_are_tiff_with_the_pixel_size(tmp_path: Path, largest: int, dtype: type) -> None:
    instances = np.array([[0, 1, 1], [largest, 0, 2]])
    path = tmp_path / "a.tif"
    write_instances(path, instances, image_like(instances, (0.00025, 0.0003)))
    assert tifffile.imread(path).dtype == dtype
    found = read_labels(path)
    np.testing.assert_array_equal(found.data[0], instances)
    assert found.has_spacing
    assert found.spacing == pytest.approx((0.00025, 0.0003), rel=1e-6)


def test_no_pixel_size_is_made_up(tmp_path: Path) -> None:
    instances = np.eye(3, dtype=np.uint32)
    write_instances(tmp_path / "a.tif", instances, image_like(instances))
    assert not read_labels(tmp_path / "a.tif").has_spacing


@pytest.mark.parametrize(("largest", "dtype"), [(3, np.uint16), (70_000, np.uint32)])
def test_maps_of_volumes_are_nifti(tmp_path: Path, largest: int, dtype: type) -> None:
    instances = np.zeros((2, 3, 4), np.int64)
    instances[1, 1, 1:] = 1, 2, largest
    write_instances(tmp_path / "a.nii.gz", instances, image_like(instances, (2.0, 1.0, 0.5)))
    found = read_labels(tmp_path / "a.nii.gz")
    assert found.data.dtype == dtype
    assert found.spacing == (2.0, 1.0, 0.5)
    np.testing.assert_array_equal(found.data[0], instances)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_numbers_that_no_map_holds_are_refused(tmp_path: Path, value: int) -> None:
    instances = np.array([[value, 1]])
    with pytest.raises(DataError, match=f"{value}"):
        write_instances(tmp_path / "a.tif", instances, image_like(instances))
    assert not list(tmp_path.iterdir())


def test_the_table_names_the_numbers_of_the_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tables, maps = [], {}
    for case in ("a", "=b"):
        instances = ordered(rng.integers(0, 6, (7, 9)) * 11)
        write_instances(tmp_path / f"{case}.tif", instances, image_like(instances))
        maps[case] = read_labels(tmp_path / f"{case}.tif").data[0]
        tables.append(objects_of(instances, case=case, image=np.ones((2, 7, 9))))
    write_objects(tmp_path / "objects.csv", tables)
    with (tmp_path / "objects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(tables[0].columns())
    for row in rows:
        pixels = maps[row["case"].lstrip("'")] == int(row["object"])
        assert int(row["area_px"]) == pixels.sum()
        assert float(row["centroid_x"]) == pytest.approx(np.nonzero(pixels)[1].mean())
        assert row["area_um2"] == row["solidity"] == row["mean_foreground_probability"] == ""
        assert (row["mean_1"], row["schema"]) == ("1.0", "1")
    assert [row["object"] for row in rows] == [*"12345", *"12345"]


def test_tables_without_objects_keep_their_header(tmp_path: Path) -> None:
    table = objects_of(np.zeros((3, 3), int), case="a")
    write_objects(tmp_path / "objects.csv", [table, table])
    assert (tmp_path / "objects.csv").read_text(encoding="utf-8") == ",".join(table.columns()) + "\n"


def test_tables_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    flat, volume = objects_of(np.ones((3, 3), int)), objects_of(np.ones((1, 3, 3), int))
    for tables in ([], [flat, volume], [flat, objects_of(np.ones((3, 3), int), image=np.ones((1, 3, 3)))]):
        with pytest.raises(UsageError, match="columns in common"):
            write_objects(tmp_path / "objects.csv", tables)
    assert math.isnan(volume.solidity[0])
    assert not list(tmp_path.iterdir())
