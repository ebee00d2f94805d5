"""Cropping and normalization against nnU-Net's own preprocessor, bit for bit."""

from __future__ import annotations

import inspect
import itertools
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from swin_umamba.errors import DataError
from swin_umamba.trained import preprocessing
from swin_umamba.trained.configuration import RESAMPLING, RESAMPLING_OPTIONS, Z_SCORE, Configuration
from swin_umamba.trained.model import TrainedModel
from swin_umamba.trained.preprocessing import COLOURS, CT, NOTHING, RESCALED, SCHEMES, preprocess
from swin_umamba.trained.volume import Volume
from trained.model_folder import PLAIN_UNET, make_plans

SPACINGS = {"kept": (3.0, 1.0, 1.0), "resampled": (2.0, 1.3, 0.7)}


def model_of(schemes: list[str], masked: list[bool], transpose: list[int]) -> TrainedModel:
    plans = make_plans(PLAIN_UNET, (32, 32), (1.0, 1.0), len(schemes), "2d")
    plans |= {
        "transpose_forward": transpose,
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "foreground_intensity_properties_per_channel": {
            str(number): {"mean": 3.5, "std": 0.0, "percentile_00_5": -1.0, "percentile_99_5": 200.0 + number}
            for number in range(len(schemes))
        },
    }
    plans["configurations"]["2d"] |= {"normalization_schemes": schemes, "use_mask_for_norm": masked}
    stand_in = SimpleNamespace(plans=plans, configuration="2d", dataset_json={})
    return cast(TrainedModel, stand_in)


def image_of(seed: int, channels: int, dtype: type, *, holes: bool = True) -> Volume:
    """Return random numbers inside a box of zeros, with zeros inside."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (channels, 3, 21, 17)).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        data *= dtype(0.37)
    if holes:
        data[:, :, 5:9, 6:11] = 0
    data[:, :, : seed % 3] = 0
    data[..., 17 - seed % 4 :] = 0
    if seed % 2:
        data[:, 0] = 0
    return volume_of(data)


def volume_of(data: np.ndarray) -> Volume:
    return Volume(data, None, flat=False)


def by_nnunet(volume: Volume, spacing: tuple[float, ...], model: TrainedModel) -> tuple[np.ndarray, Any]:
    manager = PlansManager(model.plans)
    data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        volume.data, None, {"spacing": list(spacing)}, manager, manager.get_configuration("2d"), {}
    )
    return data, properties


def ours(volume: Volume, spacing: tuple[float, ...], model: TrainedModel) -> tuple[np.ndarray, Any]:
    return preprocess(volume, spacing, model, Configuration(model.plans["configurations"]["2d"]))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("transpose", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_equals_nnunet(spacing: str, transpose: list[int], dtype: type) -> None:
    """All schemes beside each other; only the z-score of all pixels has other last bits."""
    schemes = [CT, Z_SCORE, RESCALED, COLOURS, NOTHING]
    model = model_of(schemes, [False, True, False, False, False], transpose)
    for seed in range(4):
        image = image_of(seed, len(schemes), dtype, holes=seed > 1)
        before = image.data.copy()
        found, properties = ours(image, SPACINGS[spacing], model)
        expected, its_properties = by_nnunet(image, SPACINGS[spacing], model)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
        assert properties == its_properties
        assert np.array_equal(image.data, before)


def test_z_scores_of_all_pixels_are_those_of_nnunet_but_for_rounding() -> None:
    model = model_of([Z_SCORE, Z_SCORE], [False, True], [0, 1, 2])
    image = image_of(2, 2, np.float32)
    found, _ = ours(image, SPACINGS["kept"], model)
    expected, _ = by_nnunet(image, SPACINGS["kept"], model)
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], expected[0], rtol=0, atol=1e-5)


def test_an_image_of_zeros_is_kept() -> None:
    model = model_of([RESCALED, Z_SCORE, Z_SCORE], [False, True, False], [0, 1, 2])
    found, properties = ours(volume_of(np.zeros((3, 2, 9, 7), np.uint8)), SPACINGS["kept"], model)
    assert properties["bbox_used_for_cropping"] == [[0, 2], [0, 9], [0, 7]]
    assert found.shape == (3, 2, 9, 7)
    assert not found.any()


@pytest.mark.parametrize("value", [-1, 256, np.nan])
def test_colours_have_to_be_colours(value: float) -> None:
    data = np.full((1, 1, 9, 7), 3, np.float32)
    data[0, 0, 4, 4] = value
    with pytest.raises(DataError, match="colours from 0 to 255"):
        ours(volume_of(data), SPACINGS["kept"], model_of([COLOURS], [False], [0, 1, 2]))


def test_a_preprocessor_of_another_name_is_nnunets(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of([CT, Z_SCORE], [False, False], [0, 1, 2])
    image = image_of(1, 2, np.int32)
    own, properties = ours(image, SPACINGS["resampled"], model)
    for name, value in (("PREPROCESSOR", "another"), ("SCHEMES", ())):
        with monkeypatch.context() as changed:
            changed.setattr(preprocessing, name, value)
            found, its_properties = ours(image, SPACINGS["resampled"], model)
        assert np.array_equal(found, own)
        assert its_properties == properties


def test_the_names_are_those_of_the_installed_nnunet() -> None:
    assert DefaultPreprocessor.__name__ == preprocessing.PREPROCESSOR
    base = default_normalization_schemes.ImageNormalization
    known = inspect.getmembers(default_normalization_schemes, inspect.isclass)
    assert {name for name, each in known if issubclass(each, base) and each is not base} == set(SCHEMES)
    assert resample_data_or_seg_to_shape.__name__ == RESAMPLING
    takes = list(inspect.signature(resample_data_or_seg_to_shape).parameters)
    assert set(takes[4:]) == set(RESAMPLING_OPTIONS)
    same = np.ones((1, 1, 3, 2), np.float32)
    options = make_plans(PLAIN_UNET, (32, 32), (1.0, 1.0), 1, "2d")["configurations"]["2d"]
    for kind, spacing in itertools.product(("data", "probabilities"), SPACINGS.values()):
        stock = resample_data_or_seg_to_shape(
            same, (1, 3, 2), spacing, (3.0, 1.0, 1.0), **options[f"resampling_fn_{kind}_kwargs"]
        )
        assert stock is same
        assert Configuration(options).resampled(kind, same, (1, 3, 2), spacing, (3.0, 1.0, 1.0)) is same
