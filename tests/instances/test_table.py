"""The table of objects against scikit-image's regionprops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.instances import table as module
from swin_umamba.instances.table import objects_of

FLAT = [
    *("case", "object", "class", "area_px", "area_um2", "centroid_y", "centroid_x"),
    *("box_y_min", "box_y_max", "box_x_min", "box_x_max"),
    *("equivalent_diameter_px", "equivalent_diameter_um", "eccentricity", "solidity", "touches_border"),
    *("mean_foreground_probability", "mean_0", "std_0", "mean_1", "std_1", "schema"),
]


def ellipses(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Ellipses and dots anywhere, also cut by borders and by one another (so in pieces), with gaps."""
    instances = np.zeros(shape, np.int64)
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    for _ in range(count):
        centre = [rng.uniform(-1, size) for size in shape]
        radii = [rng.uniform(0.6, max(size / 4, 0.7)) for size in shape]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        instances[inside] = rng.integers(1, 40)
    return instances


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.booleans())
@settings(max_examples=40)
def test_the_table_is_that_of_regionprops(seed: int, axes: int, sized: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(4, 40 if axes == 2 else 14, axes))
    instances = ellipses(rng, shape, 12)
    image = rng.normal(1e4, 3, (2, *shape))
    spacing = tuple(rng.uniform(1e-4, 1e-3, axes)) if sized else None
    table = objects_of(instances, image=image, spacing=spacing, solidity=axes == 2)
    expected = regionprops(instances, np.moveaxis(image, 0, -1), spacing=spacing or (1,) * axes)
    assert table.number.tolist() == [each.label for each in expected]
    scale = np.array(spacing or (1,) * axes)
    for row, each in enumerate(expected):
        assert table.pixels[row] == each.image.sum()
        assert (*table.box[row, 0], *table.box[row, 1]) == each.bbox
        np.testing.assert_allclose(table.centroid[row] * scale, each.centroid, rtol=1e-12)
        np.testing.assert_allclose(table.mean[row], each.intensity_mean, rtol=1e-12)
        deviation = each.image_intensity[each.image].std(axis=0)
        np.testing.assert_allclose(table.std[row], deviation, rtol=1e-9, atol=1e-9)
        if sized:
            np.testing.assert_allclose(table.size_um[row], each.area * 1000.0**axes, rtol=1e-12)
            diameter = table.columns()["equivalent_diameter_um"][row]
            np.testing.assert_allclose(diameter, each.equivalent_diameter_area * 1000, rtol=1e-12)
        if axes == 2:
            assert table.eccentricity[row] == pytest.approx(each.eccentricity, abs=1e-6)
            assert table.solidity[row] == pytest.approx(each.solidity, rel=1e-14)
    assert np.isnan(table.size_um).all() != (sized and len(table) > 0)


def test_slabs_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    instances = ellipses(rng, (45, 31), 20)
    arguments = {"image": rng.integers(0, 2**16, (3, 45, 31)), "probability": rng.random((45, 31))}
    whole = list(objects_of(instances, classes=instances % 3, **arguments).rows())
    monkeypatch.setattr(module, "SLAB", 100)
    slabs = list(objects_of(instances, classes=instances % 3, **arguments).rows())
    for row, expected in zip(slabs, whole, strict=True):
        assert row[:3] == expected[:3]
        np.testing.assert_allclose(row[3:], expected[3:], rtol=1e-13)


def test_columns_and_values_of_a_small_map() -> None:
    instances = np.array([[0, 5, 5, 0], [0, 5, 5, 0], [0, 0, 0, 0], [9, 0, 0, 0]], np.uint32)
    image = np.stack([np.full((4, 4), 65535, np.uint16), np.arange(16, dtype=np.uint16).reshape(4, 4)])
    table = objects_of(
        instances,
        case="a",
        classes=np.where(instances == 5, 2, 1),
        class_names={2: "tumour"},
        image=image,
        probability=np.full((4, 4), 0.25, np.float32),
        spacing=(0.0005, 0.00025),
        solidity=True,
    )
    assert list(table.columns()) == FLAT
    rows = [dict(zip(FLAT, row, strict=True)) for row in table.rows()]
    assert [type(value) for value in rows[0].values() if not isinstance(value, str)].count(int) == 8
    place = [0.5, 1.5, 0, 2, 1, 3]
    shape = [rows[0][name] for name in FLAT[11:14]]
    expected = ["a", 5, "tumour", 4, 0.5, *place, *shape, 1.0, 1, 0.25, 65535.0, 0.0, 3.5, math.sqrt(4.25), 1]
    assert list(rows[0].values()) == expected
    assert rows[0]["equivalent_diameter_px"] == pytest.approx(math.sqrt(16 / math.pi))
    assert rows[0]["eccentricity"] == pytest.approx(math.sqrt(0.75))  # twice as high as wide
    assert rows[1]["class"] == "1"
    assert rows[1]["eccentricity"] == rows[1]["std_1"] == 0


def test_columns_of_a_volume() -> None:
    instances = np.zeros((3, 4, 5), np.int32)
    instances[1, 1:3, 1:4] = 1
    columns = objects_of(instances, spacing=(0.002, 0.001, 0.001)).columns()
    assert list(columns)[3:14] == [
        *("volume_voxels", "volume_um3", "centroid_z", "centroid_y", "centroid_x"),
        *("box_z_min", "box_z_max", "box_y_min", "box_y_max", "box_x_min", "box_x_max"),
    ]
    assert columns["volume_voxels"].tolist() == [6]
    assert columns["volume_um3"] == pytest.approx(12)
    assert math.isnan(columns["eccentricity"][0])
    assert columns["touches_border"].tolist() == [0]


def test_moments_keep_their_digits_far_from_the_corner() -> None:
    instances = np.zeros((2, 60_000), np.uint8)
    instances[:, 59_990:59_993] = 1
    table = objects_of(instances)
    assert table.centroid.tolist() == [[0.5, 59_991.0]]
    assert table.eccentricity[0] == pytest.approx(math.sqrt(1 - 0.25 / (2 / 3)), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_equal_intensities_have_no_deviation(dtype: type) -> None:
    image = np.full((1, 64, 64), 50_000.1).astype(dtype)
    table = objects_of(np.ones((64, 64), int), image=image)
    assert table.mean[0, 0] == image[0, 0, 0]
    assert table.std[0, 0] == 0


def test_intensities_that_are_no_numbers_stay_with_their_object() -> None:
    image = np.array([[[1.0, math.nan, 2.0, math.inf]]])
    table = objects_of(np.array([[1, 1, 2, 3]]), image=image)
    assert np.isnan(table.mean[:, 0]).tolist() == [True, False, True]
    assert np.isnan(table.std[:, 0]).tolist() == [True, False, True]


def test_an_object_has_the_class_of_most_of_its_pixels() -> None:
    instances = np.array([[1, 1, 1, 2, 2, 3, 3, 3]])
    classes = np.array([[0, 0, 3, 2, 1, 0, 0, 0]])
    assert objects_of(instances, classes=classes).label.tolist() == [3, 1, 0]
    assert objects_of(instances, classes=np.array([4, 5, 6])).class_name == ("4", "5", "6")
    assert objects_of(instances).label.tolist() == [1, 1, 1]
    with pytest.raises(UsageError, match="2 classes for 3 objects"):
        objects_of(instances, classes=np.array([1, 2]))


@pytest.mark.parametrize("shape", [(5, 7), (0, 7), (2, 3, 4)])
def test_a_map_without_objects_has_an_empty_table(shape: tuple[int, ...]) -> None:
    table = objects_of(
        np.zeros(shape, int), image=np.zeros((2, *shape)), probability=np.zeros(shape), solidity=True
    )
    assert len(table) == 0
    assert list(table.rows()) == []
    assert len(table.columns()) == (22 if len(shape) == 2 else 25)


def test_bad_input_is_refused() -> None:
    instances = np.ones((4, 4), int)
    for spacing in [(1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, 1.0, 1.0)]:
        with pytest.raises(UsageError, match="pixel size"):
            objects_of(instances, spacing=spacing)
    with pytest.raises(GeometryError):
        objects_of(instances, probability=np.ones((5, 4)))
    with pytest.raises(GeometryError):
        objects_of(instances, image=np.ones((4, 4)))
