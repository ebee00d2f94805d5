"""What is taken for an image: arrays, files and read images, grey for colours, alpha, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError
from swin_umamba.inference.inputs import as_volume

COLOURS = ("R", "G", "B")
GREY = ("image",)


def picture(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("names", [COLOURS, ("red", "Green", "BLUE"), ("rgb_to_0_1",) * 3])
@pytest.mark.parametrize("axes", ["yx", "cyx", "yxc", "czyx"])
def test_grey_is_three_equal_channels_of_colour(names: tuple[str, ...], axes: str) -> None:
    grey = picture(5, 6)
    array = {"yx": grey, "cyx": grey[None], "yxc": grey[..., None], "czyx": grey[None, None]}[axes]
    volume = as_volume(array, None, names)
    np.testing.assert_array_equal(volume.data, np.stack([grey[None]] * 3))
    assert volume.flat == (axes != "czyx")


@pytest.mark.parametrize("names", [("T1", "T2", "FLAIR"), ("R", "G", "NIR"), ("a", "b")])
def test_grey_is_not_enough_for_channels_that_are_no_colours(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=f"1 channel, but the model takes {len(names)}"):
        as_volume(picture(5, 6), None, names)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "RGB", "RGBA", "P"])
def test_a_picture_file_of_any_kind_is_what_the_colour_model_takes(tmp_path: Path, mode: str) -> None:
    colours = picture(5, 6, 3)
    if mode == "I;16":
        saved = PillowImage.fromarray(picture(5, 6, dtype=np.uint16))
    else:
        saved = PillowImage.fromarray(colours).convert(mode)
    saved.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    wanted = read.data if len(read.data) == 3 else np.repeat(read.data, 3, axis=0)
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), [tmp_path / "a.png"], read):
        volume = as_volume(given, None, COLOURS)
        np.testing.assert_array_equal(volume.data[:, 0], wanted)
        assert volume.source is not None
        assert volume.spacing is None, "a picture does not say how large a pixel is"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("names", "values"), [(COLOURS, 4), (COLOURS, 2), (GREY, 2)])
def test_an_opaque_alpha_channel_of_an_array_is_dropped(
    names: tuple[str, ...], values: int, dtype: type
) -> None:
    array = picture(5, 6, values, dtype=dtype)
    array[..., -1] = np.iinfo(dtype).max
    wanted = np.broadcast_to(np.moveaxis(array[..., :-1], -1, 0), (len(names), 5, 6))
    np.testing.assert_array_equal(as_volume(array, None, names).data[:, 0], wanted)
    array[2, 3, -1] -= 1
    with pytest.raises(DataError, match=r"1 pixels are transparent|could be a volume|5 channels"):
        as_volume(array, None, names)


@pytest.mark.parametrize(
    ("names", "shape"), [(("a", "b", "c"), (5, 6, 4)), (GREY, (5, 6, 4)), (COLOURS, (4, 5, 6))]
)
def test_a_fourth_channel_of_anything_else_is_refused(names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="channels"):
        as_volume(np.full(shape, 255, np.uint8), None, names)


@pytest.mark.parametrize(
    "image",
    [
        PillowImage.new("RGB", (6, 5)),
        torch.zeros(3, 5, 6),
        [np.zeros((5, 6))] * 3,
        (np.zeros((5, 6)), "a.png"),
        [[0, 1], [2, 3]],
        5,
        None,
        b"a.png",
    ],
)
def test_anything_else_is_a_type_error_that_says_what_is_accepted(image: Any) -> None:
    with pytest.raises(TypeError, match=r"path, a list of paths .* NumPy array .* numpy\.asarray"):
        as_volume(image, None, COLOURS)


def test_masked_pixels_have_no_value() -> None:
    array = np.ma.masked_less(picture(5, 6), 100)
    with pytest.raises(DataError, match="masked"):
        as_volume(array, None, GREY)
    plain = np.ma.masked_array(picture(5, 6))
    np.testing.assert_array_equal(as_volume(plain, None, GREY).data[0, 0], picture(5, 6))
