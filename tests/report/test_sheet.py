"""The comparison sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageFont

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.report import sheet
from swin_umamba.report.palette import class_colour
from swin_umamba.report.sheet import SheetCase, comparison_sheet


def case(name: str = "case", size: tuple[int, ...] = (40, 60)) -> SheetCase:
    truth, prediction = np.zeros((2, *size), np.uint8)
    truth[..., 5:20, 5:30] = 1
    prediction[..., 20:35, 20:50] = 2
    return SheetCase(
        name, np.full((1, *size), 9, np.int16), truth, prediction, {"liver": 0.5, "spleen": None}
    )


def pixels(path: Path) -> np.ndarray:
    with PillowImage.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def holds(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def column(picture: np.ndarray, number: int) -> np.ndarray:
    start = sheet.GAP + number * (sheet.PANEL + sheet.GAP)
    return picture[sheet.HEADER + sheet.CAPTION : -sheet.CAPTION - sheet.GAP, start : start + sheet.PANEL]


@pytest.mark.parametrize("size", [(40, 60), (3, 40, 60), (700, 900)])
def test_columns_show_image_truth_and_prediction(tmp_path: Path, size: tuple[int, ...]) -> None:
    path = comparison_sheet(
        [case(size=size)], tmp_path / "new" / "a.png", classes={"background": 0, "liver": 1}
    )
    picture = pixels(path)
    shown = [
        (holds(column(picture, number), class_colour(1)), holds(column(picture, number), class_colour(2)))
        for number in range(3)
    ]
    assert shown == [(False, False), (True, False), (False, True)]
    assert picture.shape[1] == 4 * sheet.GAP + 3 * sheet.PANEL


def test_without_predictions_there_are_two_columns(tmp_path: Path) -> None:
    volume = case(size=(3, 40, 60))
    bare = SheetCase("bare", volume.image, volume.truth)
    picture = pixels(comparison_sheet([bare], tmp_path / "a.png", classes={"liver": 1}))
    assert picture.shape[1] == 3 * sheet.GAP + 2 * sheet.PANEL
    assert holds(column(picture, 1), class_colour(1))
    mixed = pixels(comparison_sheet([bare, case()], tmp_path / "b.png", classes={"liver": 1}))
    assert mixed.shape[1] == 4 * sheet.GAP + 3 * sheet.PANEL


def test_rows_and_legend_add_up(tmp_path: Path) -> None:
    one = pixels(comparison_sheet([case()], tmp_path / "1.png", classes={"liver": 1}))
    two = pixels(comparison_sheet([case(), case("second")], tmp_path / "2.png", classes={"liver": 1}))
    assert two.shape[0] - one.shape[0] == sheet.CAPTION + round(sheet.PANEL * 40 / 60) + sheet.GAP
    many = {f"organ number {label}": label for label in range(1, 30)}
    legend = pixels(comparison_sheet([case()], tmp_path / "3.png", classes=many))
    assert legend.shape[0] > one.shape[0] + 2 * sheet.CAPTION
    assert all(
        holds(legend[one.shape[0] - sheet.CAPTION - sheet.GAP :], class_colour(n)) for n in range(1, 30)
    )


def test_captions_are_drawn_and_shortened(tmp_path: Path) -> None:
    long = pixels(comparison_sheet([case("x" * 500)], tmp_path / "long.png", classes={"liver": 1}))
    caption = long[sheet.HEADER : sheet.HEADER + sheet.CAPTION]
    assert (caption < 128).any()
    assert (caption[:, -sheet.GAP // 2 :] == 255).all()
    font = ImageFont.load_default(sheet.FONT_SIZE)
    assert sheet._shortened("abc", font, 500) == "abc"
    assert sheet._shortened("x" * 500, font, 100).endswith("x...")
    assert sheet._caption(case("a")) == "a    Dice: liver 0.500, spleen -"


def test_same_input_same_bytes(tmp_path: Path) -> None:
    paths = [comparison_sheet([case()], tmp_path / name, classes={"liver": 1}) for name in ("1.png", "2.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one case"):
        comparison_sheet([], tmp_path / "a.png", classes={})
    wrong = SheetCase("odd", np.zeros((1, 4, 4)), np.zeros((4, 4), int), np.zeros((4, 1), int), {})
    with pytest.raises(GeometryError, match="do not match") as caught:
        comparison_sheet([wrong], tmp_path / "a.png", classes={})
    assert caught.value.where == "odd"
    assert not list(tmp_path.iterdir())
