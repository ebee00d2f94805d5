from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smooth_pictures import picture
from stand_in_layer import StandInLayer
from swin_umamba.errors import DataError
from swin_umamba.inference import stages
from swin_umamba.inference.predictor import Predictor
from swin_umamba.napari.segment import describe, label_colours, segment
from swin_umamba.report.palette import class_colour

MakeModel = Callable[..., Path]


def load(folder: Path) -> Predictor:
    return Predictor.from_folder(folder, device="cpu", mirroring=False)


def test_labels_are_those_of_the_predictor(make_model: MakeModel) -> None:
    predictor, data = load(make_model()), picture(40, 50)
    result = segment(predictor, [StandInLayer(data, name="cells", translate=(3, 4))], model_name="Tiny")
    expected = predictor.predict(data).labels
    np.testing.assert_array_equal(result.labels.data, expected)
    assert len(np.unique(expected)) > 1
    assert result.labels.options["name"] == "cells: Tiny"
    np.testing.assert_array_equal(result.labels.options["translate"], [3, 4])
    assert result.labels.options["features"] == {
        "index": [0, 1, 2],
        "class": ["background", "small", "large"],
    }
    assert result.labels.options["metadata"] == {
        "swin_umamba": {"model": "Tiny", "classes": {0: "background", 1: "small", 2: "large"}}
    }
    assert result.uncertainty is None
    assert result.size == 2000
    assert [found.name for found in result.classes.values()] == ["small", "large"]
    assert [found.pixels for found in result.classes.values()] == [(expected == n).sum() for n in (1, 2)]
    assert [found.colour for found in result.classes.values()] == [class_colour(1), class_colour(2)]


def test_colours_are_those_of_the_house() -> None:
    colours = label_colours([0, 1, 9])
    assert set(colours) == {None, 0, 1, 9}
    assert colours[None] == colours[0] == (0, 0, 0, 0)
    for value in (1, 9):
        assert tuple(round(255 * part) for part in colours[value]) == (*class_colour(value), 255)


def test_several_layers_are_several_channels(make_model: MakeModel) -> None:
    predictor, data = load(make_model(channels=("T1", "T2"))), picture(2, 40, 50)
    layers = [StandInLayer(data[0], name="a"), StandInLayer(data[1], name="b")]
    expected = predictor.predict(data).labels
    np.testing.assert_array_equal(segment(predictor, layers, model_name="M").labels.data, expected)
    swapped = segment(predictor, layers[::-1], model_name="M").labels.data
    assert (swapped != expected).any()
    chosen = segment(predictor, [StandInLayer(data.swapaxes(0, 1))], model_name="M", channel_axis=1)
    assert chosen.labels.data.shape == (40, 2, 50)
    np.testing.assert_array_equal(chosen.labels.data[:, 1], expected)


@pytest.mark.parametrize("file_ending", [".nii.gz", ".png"])
def test_a_volume_is_resampled_by_its_scale_unless_the_model_counts_pixels(
    make_model: MakeModel, file_ending: str
) -> None:
    predictor, volume = load(make_model(file_ending=file_ending)), picture(3, 40, 50)
    layer = StandInLayer(volume, scale=(4, 0.5, 2))
    result = segment(predictor, [layer], model_name="M")
    resampled = predictor.predict(volume[None], spacing=(4, 0.5, 2)).labels
    own = predictor.predict(volume[None]).labels
    assert (resampled != own).any() == (file_ending != ".png")
    if file_ending == ".png":
        assert result.spacing is None
        np.testing.assert_array_equal(result.labels.data, own)
    else:
        assert result.spacing == (4, 0.5, 2)
        np.testing.assert_array_equal(result.labels.data, resampled)
    unscaled = segment(predictor, [layer], model_name="M", use_scale=False)
    assert unscaled.spacing is None
    np.testing.assert_array_equal(unscaled.labels.data, own)


def test_pixels_in_other_units_than_the_model_are_refused(make_model: MakeModel) -> None:
    predictor = load(make_model(file_ending=".nii.gz"))
    layer = StandInLayer(picture(40, 50), scale=(0.7, 0.7), units=("micrometer", "micrometer"))
    with pytest.raises(DataError, match=r"0\.0007 × 0\.0007 mm, .* 1 × 1 mm") as caught:
        segment(predictor, [layer], model_name="M")
    assert "units" in str(caught.value.hint)
    assert segment(predictor, [layer], model_name="M", use_scale=False).spacing is None


def test_progress_reaches_the_end_and_can_end_the_prediction(make_model: MakeModel) -> None:
    predictor, layer = load(make_model()), StandInLayer(picture(1, 200, 200))
    parts: list[float] = []
    segment(predictor, [layer], model_name="M", on_progress=parts.append)
    assert parts == sorted(parts)
    assert parts[-1] == 1

    def stop(part: float) -> None:
        raise KeyError(part)

    with pytest.raises(KeyError):
        segment(predictor, [layer], model_name="M", on_progress=stop)


@pytest.mark.parametrize("mirroring", [False, True])
def test_confidence_becomes_a_layer_and_an_estimate(make_model: MakeModel, mirroring: bool) -> None:
    predictor = Predictor.from_folder(make_model(), device="cpu", mirroring=mirroring)
    data = picture(40, 50)
    layer = StandInLayer(data, name="cells", translate=(3, 4))
    result = segment(predictor, [layer], model_name="Tiny", confidence=True)
    expected = predictor.predict(data, confidence=True).confidence
    assert expected is not None
    assert result.uncertainty is not None
    assert result.uncertainty.options["name"] == "cells: Tiny, uncertainty"
    assert result.uncertainty.options["contrast_limits"] == (0, 1)
    np.testing.assert_array_equal(result.uncertainty.options["translate"], [3, 4])
    np.testing.assert_array_equal(result.uncertainty.data, expected.entropy)
    assert 0 < result.uncertainty.data.min() < result.uncertainty.data.max() <= 1
    assert result.quality == expected.quality
    assert (result.quality is not None) == mirroring
    qualities = [found.quality for found in result.classes.values()]
    assert qualities == [expected.class_quality["small"], expected.class_quality["large"]]


def test_a_model_describes_itself(make_model: MakeModel) -> None:
    description = describe(load(make_model(channels=("T1", "T2"), folds=(0, 1))))
    assert description.title == "nnUNetTrainer, 2d, 2 folds"
    assert description.channel_names == ["T1", "T2"]
    assert description.classes == [("small", class_colour(1)), ("large", class_colour(2))]


CELLS = {"background": 0, "interior": 1, "boundary": 2}


def blocks() -> np.ndarray:
    """A picture in which the model sees cells."""
    values = np.random.default_rng(0).integers(0, 255, (6, 8))
    return np.kron(values, np.ones((8, 8))).astype(np.uint8)


def test_objects_are_a_layer_with_their_table(make_model: MakeModel) -> None:
    predictor, data = load(make_model(labels=CELLS)), blocks()
    layer = StandInLayer(data, name="cells", translate=(3, 4))
    result = segment(predictor, [layer], model_name="Tiny", objects=True)
    expected = predictor.predict(data, instances=True)
    table = expected.objects
    assert table is not None
    assert result.objects is not None
    np.testing.assert_array_equal(result.objects.data, expected.instances)
    options = result.objects.options
    assert options["name"] == "cells: Tiny, objects"
    np.testing.assert_array_equal(options["translate"], [3, 4])
    features = options["features"]
    assert result.num_objects == len(table) > 1
    assert {len(column) for column in features.values()} == {len(table)}
    assert list(features) == ["index", *[name for name in table.columns() if name not in ("case", "schema")]]
    np.testing.assert_array_equal(features["index"], features["object"])
    np.testing.assert_array_equal(features["area_px"], np.bincount(result.objects.data.ravel())[1:])
    assert np.isnan(features["area_um2"]).all()
    assert not result.labels.options["visible"]
    without = segment(predictor, [layer], model_name="Tiny")
    assert (without.objects, without.num_objects, without.labels.options["visible"]) == (None, 0, True)
    np.testing.assert_array_equal(without.labels.data, result.labels.data)


@pytest.mark.parametrize(
    ("units", "use_scale", "factor"),
    [
        (("micrometer", "micrometer"), True, 0.25),
        (("mm", "mm"), True, 0.25e6),
        (("micrometer", "micrometer"), False, np.nan),
        (None, True, np.nan),  # a scale without a unit may be in anything
        (("micrometer", "pixel"), True, np.nan),
    ],
)
def test_objects_are_measured_where_the_layer_has_units(
    units: tuple[str, str] | None, use_scale: bool, factor: float, make_model: MakeModel
) -> None:
    predictor, data = load(make_model(labels=CELLS)), blocks()
    layer = StandInLayer(data, scale=(0.5, 0.5), units=units)
    result = segment(predictor, [layer], model_name="M", objects=True, use_scale=use_scale)
    assert result.objects is not None
    features = result.objects.options["features"]
    np.testing.assert_allclose(features["area_um2"], features["area_px"] * factor)
    assert result.spacing is None  # the model counts pixels all the same
    np.testing.assert_array_equal(result.labels.data, predictor.predict(data).labels)


def test_an_image_without_objects(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = load(make_model(labels={"background": 0, "interior": 1, "ignore": 2}))
    empty = np.zeros((9, 11), np.uint8)
    found = (empty, None, empty.astype(np.float32), None)
    monkeypatch.setattr(stages, "_on_the_grid", lambda *_: found)
    result = segment(predictor, [StandInLayer(empty)], model_name="M", objects=True)
    assert result.num_objects == 0
    assert result.objects is not None
    assert len(result.objects.options["features"]["area_px"]) == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"labels": CELLS}, (True, True)),
        ({}, (True, False)),
        (
            {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": (2, 1)},
            (False, False),
        ),
    ],
)
def test_a_model_says_whether_it_has_objects(
    options: dict[str, Any], expected: tuple[bool, bool], make_model: MakeModel
) -> None:
    description = describe(load(make_model(**options)))
    assert (description.can_find_objects, description.keeps_objects_apart) == expected


def test_labels_of_regions_have_the_regions_names(make_model: MakeModel) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    predictor, data = load(make_model(labels=labels, regions_class_order=(2, 1))), picture(40, 50)
    result = segment(predictor, [StandInLayer(data)], model_name="M")
    assert result.labels.options["features"] == {"index": [0, 1, 2], "class": ["background", "core", "whole"]}
    np.testing.assert_array_equal(result.labels.data, predictor.predict(data).labels)
