from __future__ import annotations

import numpy as np
import pytest

from stand_in_layer import StandInLayer
from swin_umamba.errors import DataError, GeometryError, UsageError
from swin_umamba.napari.layers import layer_image, layer_spacing

GREY = ["grey"]
TWO = ["T1", "T2"]
RGB = ["R", "G", "B"]


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_a_grey_layer_is_one_channel(shape: tuple[int, ...]) -> None:
    data = numbers(*shape)
    image = layer_image([StandInLayer(data)], GREY)
    np.testing.assert_array_equal(image.data, data[None])
    assert image.spacing is None
    assert image.name == "picture"


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
@pytest.mark.parametrize("colours", [3, 4])
def test_colours_become_channels_and_alpha_is_left_out(shape: tuple[int, ...], colours: int) -> None:
    data = numbers(*shape, colours)
    image = layer_image([StandInLayer(data, rgb=True)], RGB)
    np.testing.assert_array_equal(image.data, np.stack([data[..., n] for n in range(3)]))
    assert image.geometry["scale"].shape == (len(shape),)
    np.testing.assert_array_equal(image.on_layer(data[..., 0]), data[..., 0])


def test_a_model_of_four_channels_takes_alpha() -> None:
    data = numbers(5, 6, 4)
    image = layer_image([StandInLayer(data, rgb=True)], ["R", "G", "B", "A"])
    np.testing.assert_array_equal(image.data, np.moveaxis(data, -1, 0))


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_a_model_of_colours_takes_grey_layers(shape: tuple[int, ...]) -> None:
    data = numbers(*shape)
    image = layer_image([StandInLayer(data)], RGB)
    np.testing.assert_array_equal(image.data, np.stack([data] * 3))
    assert image.repeats is None
    with pytest.raises(DataError):
        layer_image([StandInLayer(data)], ["T1", "T2", "FLAIR"])


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 4, 5, 6)])
def test_channels_on_the_first_axis_leave_the_geometry(shape: tuple[int, ...]) -> None:
    data, rest = numbers(*shape), len(shape) - 1
    turn = np.eye(len(shape))
    turn[-2:, -2:] = [[0.6, -0.8], [0.8, 0.6]]
    shear = np.zeros(len(shape) * rest // 2)
    shear[-1] = 0.25
    affine = np.eye(len(shape) + 1)
    affine[-2, -1] = 7
    layer = StandInLayer(
        data,
        scale=[9, *range(2, 2 + rest)],
        translate=[8, *range(rest)],
        rotate=turn,
        shear=shear,
        affine=affine,
        units=("pixel", *["millimeter"] * rest),
        axis_labels=("c", *"zyx"[-rest:]),
    )
    image = layer_image([layer], TWO)
    np.testing.assert_array_equal(image.data, data)
    assert image.spacing == tuple(range(2, 2 + rest))
    np.testing.assert_array_equal(image.geometry["scale"], range(2, 2 + rest))
    np.testing.assert_array_equal(image.geometry["translate"], range(rest))
    np.testing.assert_array_equal(image.geometry["rotate"], turn[1:, 1:])
    np.testing.assert_array_equal(image.geometry["shear"], [0] * (len(image.geometry["shear"]) - 1) + [0.25])
    assert len(image.geometry["shear"]) == rest * (rest - 1) // 2
    np.testing.assert_array_equal(image.geometry["affine"], affine[1:, 1:])
    assert image.geometry["axis_labels"] == tuple("zyx"[-rest:])
    assert [unit.name for unit in image.geometry["units"]] == ["millimeter"] * rest


@pytest.mark.parametrize("axis", [1, 3])
def test_labels_are_repeated_along_a_later_channel_axis(axis: int) -> None:
    volume = numbers(2, 4, 5, 6)
    layer = StandInLayer(np.moveaxis(volume, 0, axis), scale=np.arange(1, 5))
    image = layer_image([layer], TWO)
    np.testing.assert_array_equal(image.data, volume)
    np.testing.assert_array_equal(image.geometry["scale"], [1, 2, 3, 4])
    on_layer = image.on_layer(volume[0])
    assert on_layer.shape == layer.data.shape
    np.testing.assert_array_equal(np.moveaxis(on_layer, axis, 0), np.stack([volume[0], volume[0]]))


def test_the_channel_axis_is_named_or_chosen_where_the_shape_is_unclear() -> None:
    data = numbers(2, 2, 5, 6)
    with pytest.raises(UsageError, match="axis 0 or 1") as caught:
        layer_image([StandInLayer(data)], TWO)
    assert caught.value.where == "picture"
    assert caught.value.hint == "choose the channel axis"
    chosen = layer_image([StandInLayer(data)], TWO, channel_axis=1)
    np.testing.assert_array_equal(chosen.data, data.swapaxes(0, 1))
    named = layer_image([StandInLayer(data, axis_labels=("z", "Channel", "y", "x"))], TWO)
    np.testing.assert_array_equal(named.data, data.swapaxes(0, 1))
    with pytest.raises(UsageError, match="no axis 4"):
        layer_image([StandInLayer(data)], TWO, channel_axis=4)


def test_one_layer_for_each_channel() -> None:
    first, second = numbers(5, 6), numbers(5, 6) + 50
    image = layer_image([StandInLayer(first, name="a"), StandInLayer(second, name="b")], TWO)
    np.testing.assert_array_equal(image.data, [first, second])
    assert image.name == "a"


@pytest.mark.parametrize(
    "other",
    [
        StandInLayer(numbers(5, 7), name="b"),
        StandInLayer(numbers(5, 6), name="b", scale=(1, 2)),
        StandInLayer(numbers(5, 6), name="b", translate=(0, 1)),
        StandInLayer(numbers(5, 6), name="b", units=("pixel", "millimeter")),
        StandInLayer(numbers(1, 5, 6), name="b"),
    ],
)
def test_layers_of_one_image_share_a_grid(other: StandInLayer) -> None:
    with pytest.raises(GeometryError, match="'a' and 'b'"):
        layer_image([StandInLayer(numbers(5, 6), name="a"), other], TWO)


def test_the_finest_level_of_a_multiscale_layer_is_taken() -> None:
    fine = numbers(8, 10)
    image = layer_image([StandInLayer([fine, fine[::2, ::2]], multiscale=True)], GREY)
    np.testing.assert_array_equal(image.data, fine[None])


class Lazy:
    """An array that is computed when NumPy asks for it."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.ndim, self._array, self.computed = array.shape, array.ndim, array, 0

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        self.computed += 1
        return self._array


def test_a_lazy_array_is_computed_once_and_only_if_it_fits() -> None:
    lazy = Lazy(numbers(5, 6))
    np.testing.assert_array_equal(layer_image([StandInLayer(lazy)], GREY).data, numbers(5, 6)[None])
    assert lazy.computed == 1
    series = Lazy(numbers(7, 4, 5, 6))
    with pytest.raises(DataError):
        layer_image([StandInLayer(series)], GREY)
    assert series.computed == 0


@pytest.mark.parametrize(
    ("layer", "channels", "message"),
    [
        (StandInLayer(numbers(7, 4, 5, 6)), GREY, "has 4 dimensions besides its channels"),
        (StandInLayer(numbers(6)), GREY, "has 1 dimensions besides its channels"),
        (StandInLayer(numbers(7, 5, 6), axis_labels=("t", "y", "x")), GREY, "is a time series"),
        (StandInLayer(numbers(7, 5, 6), units=("second", "pixel", "pixel")), GREY, "is a time series"),
        (StandInLayer(numbers(7, 4, 5, 6, 3), rgb=True), RGB, "has 4 dimensions besides its channels"),
    ],
)
def test_time_series_and_further_dimensions_are_refused(
    layer: StandInLayer, channels: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        layer_image([layer], channels)
    assert "viewer.add_image(layer.data[STEP])" in str(caught.value)


def test_a_leading_axis_of_one_is_the_only_channel() -> None:
    data = numbers(1, 4, 5, 6)
    image = layer_image([StandInLayer(data)], GREY)
    np.testing.assert_array_equal(image.data, data)
    assert image.geometry["scale"].shape == (3,)


@pytest.mark.parametrize(
    ("layers", "channels", "message", "hint"),
    [
        ([StandInLayer(numbers(5, 6, 3), rgb=True)], GREY, "3 channels, but the model takes 1", "Split RGB"),
        (
            [StandInLayer(numbers(5, 6, 3), rgb=True)],
            TWO,
            "3 channels, but the model takes 2: T1, T2",
            "another",
        ),
        (
            [StandInLayer(numbers(5, 6))],
            TWO,
            "1 channel, but the model takes 2",
            "one layer for each channel",
        ),
        ([StandInLayer(numbers(4, 5, 6))], TWO, "no axis of the layer holds", "one layer for each channel"),
        ([StandInLayer(numbers(5, 6))] * 2, RGB, "2 layers are chosen", "one layer for each channel"),
        (
            [StandInLayer(numbers(5, 6, 3), rgb=True)] * 2,
            TWO,
            "3 channels, but the model takes 1: T1",
            "Split",
        ),
    ],
)
def test_wrong_channels_are_refused(
    layers: list[StandInLayer], channels: list[str], message: str, hint: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        layer_image(layers, channels)
    assert hint in str(caught.value.hint)


def test_a_chosen_axis_must_be_as_long_as_the_model_has_channels() -> None:
    with pytest.raises(DataError, match="5 channels, but the model takes 2"):
        layer_image([StandInLayer(numbers(2, 5, 6))], TWO, channel_axis=1)


def test_channels_that_are_rotated_into_space_are_refused() -> None:
    turn = np.eye(3)
    turn[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    with pytest.raises(DataError, match="between its channels and space"):
        layer_image([StandInLayer(numbers(2, 5, 6), rotate=turn)], TWO)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"scale": (0.7, 0.3)}, (0.7, 0.3)),
        ({"scale": (-0.7, 0.3)}, (0.7, 0.3)),
        ({"scale": (0.7, 0.3), "units": ("micrometer", "micrometer")}, (0.0007, 0.0003)),
        ({"units": ("millimeter", "millimeter")}, (1, 1)),
        ({"scale": (2, 3), "units": ("millimeter", "pixel")}, None),
        ({"affine": [[0, 2, 5], [3, 0, 6], [0, 0, 1]]}, (3, 2)),
        ({"rotate": [[0.6, -0.8], [0.8, 0.6]], "scale": (0.7, 0.3)}, (0.7, 0.3)),
    ],
)
def test_spacing_of_a_layer(options: dict, expected: tuple[float, ...] | None) -> None:
    spacing = layer_spacing(StandInLayer(numbers(5, 6), **options), [0, 1])
    if expected is None:
        assert spacing is None
    else:
        assert spacing == pytest.approx(expected, rel=1e-12)
