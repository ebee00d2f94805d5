"""Values and colours of masks become classes; what cannot be classes is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from swin_umamba.data.datasets.folder_classes import ClassSurvey, ClassTable, read_mask
from swin_umamba.errors import DataError, UsageError

RED, GREEN = (255, 0, 0), (0, 255, 0)


def grey(folder: Path, name: str, *values: int) -> Path:
    PillowImage.fromarray(np.array([values], np.uint8)).save(folder / name)
    return folder / name


def coloured(folder: Path, name: str, *values: tuple[int, int, int]) -> Path:
    PillowImage.fromarray(np.array([values], np.uint8)).save(folder / name)
    return folder / name


def table_of(*paths: Path, classes: tuple[str, ...] = (), background: tuple[str, ...] = ()) -> ClassTable:
    survey = ClassSurvey()
    for path in paths:
        survey.add(read_mask(path, None))
    return survey.table(classes, background)


def applied(table: ClassTable, path: Path) -> list[int]:
    return table.apply(read_mask(path, None)).ravel().tolist()


def test_grey_values(tmp_path: Path) -> None:
    binary = grey(tmp_path, "a.png", 0, 255, 0)
    assert table_of(binary).labels == {"background": 0, "foreground": 1}
    assert applied(table_of(binary), binary) == [0, 1, 0]
    several = grey(tmp_path, "b.png", 0, 30, 10)
    table = table_of(several)
    assert table.labels == {"background": 0, "value_10": 1, "value_30": 2}
    assert applied(table, several) == [0, 2, 1]


def test_colours_and_greys_saved_as_colours(tmp_path: Path) -> None:
    first = coloured(tmp_path, "a.png", RED, (0, 0, 0), GREEN)
    table = table_of(first, grey(tmp_path, "b.png", 0, 0))
    assert table.labels == {"background": 0, "colour_00ff00": 1, "colour_ff0000": 2}
    assert applied(table, first) == [2, 0, 1]
    assert applied(table, tmp_path / "b.png") == [0, 0]
    saved_as_colour = coloured(tmp_path, "c.png", (0, 0, 0), (255, 255, 255))
    table = table_of(saved_as_colour)
    assert table.labels == {"background": 0, "foreground": 1}
    assert applied(table, saved_as_colour) == [0, 1]


def test_palette_pictures_have_indices(tmp_path: Path) -> None:
    picture = PillowImage.fromarray(np.array([[0, 2, 1]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 9, 9, 9, 200, 10, 10])
    picture.save(tmp_path / "p.png")
    assert applied(table_of(tmp_path / "p.png"), tmp_path / "p.png") == [0, 2, 1]


def test_named_classes_unions_background_and_ignore(tmp_path: Path) -> None:
    path = grey(tmp_path, "a.png", 9, 1, 2, 3, 255)
    table = table_of(path, classes=("ignore=255", "vessel=2,3", "liver=1"), background=("9",))
    assert table.labels == {"background": 0, "vessel": 1, "liver": 2, "ignore": 3}
    assert applied(table, path) == [0, 2, 1, 1, 3]
    colour = coloured(tmp_path, "b.png", RED, GREEN)
    table = table_of(colour, classes=("polyp=#ff0000",), background=("#00FF00",))
    assert applied(table, colour) == [1, 0]


def test_a_threshold_makes_one_class_of_soft_masks(tmp_path: Path) -> None:
    PillowImage.fromarray(np.array([[3, 130, 250, 120]], np.uint8)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", 128).codes.tolist() == [[0, 1, 1, 0]]
    soft = np.zeros((8, 16), np.uint8)
    soft[:, 8:] = 255
    PillowImage.fromarray(soft).save(tmp_path / "b.jpg")
    assert np.array_equal(read_mask(tmp_path / "b.jpg", 128).codes, soft > 0)
    with pytest.raises(DataError, match="JPEG changes"):
        read_mask(tmp_path / "b.jpg", None)


def test_too_many_values_and_no_background(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hold 100 and perhaps more") as caught:
        table_of(grey(tmp_path, "a.png", *range(100)))
    assert "--threshold" in str(caught.value)
    with pytest.raises(DataError, match="no mask holds the background 0; there is 1, 2"):
        table_of(grey(tmp_path, "b.png", 1, 2))
    with pytest.raises(DataError, match="nothing but background"):
        table_of(grey(tmp_path, "c.png", 0, 0))
    with pytest.raises(DataError, match="values without a class: 7"):
        table_of(grey(tmp_path, "d.png", 0, 1, 7), classes=("a=1",))


def test_values_that_are_no_classes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.0, 0.5]], np.float32))
    with pytest.raises(DataError, match="whole numbers"):
        read_mask(tmp_path / "a.tif", None)
    tifffile.imwrite(tmp_path / "b.tif", np.array([[0, -1]], np.int16))
    with pytest.raises(DataError, match="whole numbers"):
        read_mask(tmp_path / "b.tif", None)


@pytest.mark.parametrize("words", [("liver",), ("=1",), ("a=x",), ("a=1", "b=1"), ("a=0",), ("a=#ff0000",)])
def test_classes_that_cannot_be_read(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        table_of(grey(tmp_path, "a.png", 0, 1), classes=words)


def test_a_mask_with_a_value_that_the_table_does_not_know(tmp_path: Path) -> None:
    table = table_of(grey(tmp_path, "a.png", 0, 1))
    with pytest.raises(DataError, match="values without a class: 2"):
        applied(table, grey(tmp_path, "b.png", 0, 2))
