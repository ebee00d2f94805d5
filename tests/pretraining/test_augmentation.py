"""Channels, normalisation and crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swin_umamba.errors import DataError
from swin_umamba.pretraining.augmentation import LUMA, to_input, training_crop, validation_crop


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_each_channel_has_mean_0_and_deviation_1(dtype: type) -> None:
    data = np.random.default_rng(0).integers(0, 200, (3, 20, 30)).astype(dtype)
    image = to_input(data, 3, "file")
    assert image.dtype == torch.float32
    torch.testing.assert_close(image.mean(dim=(1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(image.std(dim=(1, 2), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_colour_becomes_grey_and_grey_is_repeated() -> None:
    colour = np.random.default_rng(0).integers(0, 255, (3, 8, 9)).astype(np.uint8)
    grey = np.tensordot(np.array(LUMA), colour.astype(float), 1)
    expected = (grey - grey.mean()) / grey.std()
    np.testing.assert_allclose(to_input(colour, 1, "file")[0], expected, rtol=1e-4, atol=1e-4)
    repeated = to_input(colour[:1], 3, "file")
    assert torch.equal(repeated[0], repeated[2])


def test_a_flat_image_is_zero_and_not_nan() -> None:
    assert torch.equal(to_input(np.full((1, 4, 4), 7, np.uint8), 1, "file"), torch.zeros(1, 4, 4))


@pytest.mark.parametrize(
    ("shape", "in_channels", "message"),
    [((4, 8, 8), 3, "4 channels, the network 3"), ((3, 8, 8), 2, "3 channels"), ((1, 2, 8, 8), 1, "3 dim")],
)
def test_other_images_are_refused_by_name(shape: tuple[int, ...], in_channels: int, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        to_input(np.zeros(shape, np.uint8), in_channels, "name.png")
    assert caught.value.where == "name.png"


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (37, 53)])
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_of_any_image_have_the_size_of_the_network(shape: tuple[int, int], channels: int) -> None:
    image = torch.randn(channels, *shape)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        crop = training_crop(image, 32, rng, smallest_crop=0.08, colour_jitter=0.4)
        assert crop.shape == (channels, 32, 32)
        assert crop.dtype == torch.float32
        assert torch.isfinite(crop).all()
    assert validation_crop(image, 32).shape == (channels, 32, 32)


def test_a_training_crop_is_a_part_of_the_image_scaled() -> None:
    """On a ramp every crop is a ramp, too: its slope shows the width of the part, its sign the mirroring."""
    edge = 64
    ramp = torch.arange(float(edge)).expand(1, edge, edge)
    slopes = []
    for seed in range(40):
        crop = training_crop(ramp, 32, np.random.default_rng(seed), smallest_crop=0.2, colour_jitter=0.0)
        inner = crop[0, 16, 8:24].numpy()
        slope, start = np.polyfit(np.arange(16), inner, 1)
        slopes.append(slope)
        # Bicubic interpolation ripples a little.
        np.testing.assert_allclose(inner, start + slope * np.arange(16), atol=0.1)
    widths = np.abs(slopes) * 32
    assert edge * (0.2 * 3 / 4) ** 0.5 - 2 < widths.min() < widths.max() < edge + 2
    assert {slope > 0 for slope in slopes} == {True, False}
    assert np.ptp(widths) > 10


def test_the_validation_crop_is_the_centre() -> None:
    image = torch.zeros(1, 64, 128)
    image[:, :, 32:96] = 1
    crop = validation_crop(image, 32)
    assert crop[0, :, 2:30].min() > 0.95
    assert torch.allclose(crop, crop.flip(2), atol=1e-4)


def test_jitter_changes_contrast_brightness_and_colour() -> None:
    image = torch.randn(3, 40, 40)
    plain, jittered = (
        training_crop(image, 32, np.random.default_rng(1), smallest_crop=0.5, colour_jitter=jitter)
        for jitter in (0.0, 0.4)
    )
    assert not torch.allclose(plain, jittered)
    # The same part of the image: one is a function of the other, linear in each pixel's colours.
    grey = plain.mean(dim=0).flatten()
    assert torch.corrcoef(torch.stack([grey, jittered.mean(dim=0).flatten()]))[0, 1] > 0.9999
