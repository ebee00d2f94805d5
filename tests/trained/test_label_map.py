from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from swin_umamba.trained import label_map
from swin_umamba.trained.label_map import EVERYWHERE
from swin_umamba.trained.model import load_trained_model
from swin_umamba.trained.model_plans import ModelPlans
from trained.model_folder import make_model

__all__ = ["make_model"]

MakeModel = Callable[..., Path]
LABELS: dict[str, dict[str, Any]] = {
    "classes": {},
    "regions": {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": (1, 2)},
    "more than a byte": {"labels": {"background": 0, **{f"{number}": number for number in range(1, 300)}}},
}
# The image, what is left after cropping, and what the network sees.
IMAGES = {
    "whole": ((1, 23, 17), ((0, 1), (0, 23), (0, 17)), (1, 23, 17)),
    "cropped": ((3, 19, 33), ((1, 3), (4, 19), (0, 30)), (2, 15, 30)),
    "resampled": ((2, 20, 12), ((0, 2), (3, 18), (1, 12)), (2, 21, 9)),
    "one pixel": ((1, 3, 2), ((0, 1), (1, 2), (1, 2)), (1, 1, 1)),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("at_once", [1, label_map.NUMBERS_AT_ONCE])
@pytest.mark.parametrize("backward", [(0, 1, 2), (1, 2, 0)])
def test_equals_nnunet(
    make_model: MakeModel,
    labels: str,
    image: str,
    at_once: int,
    backward: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit, though in the place of the logits and part by part."""
    monkeypatch.setattr(label_map, "NUMBERS_AT_ONCE", at_once)
    folder = make_model(**LABELS[labels])
    stored = json.loads((folder / "plans.json").read_text())
    stored |= {"transpose_backward": backward, "transpose_forward": [int(i) for i in np.argsort(backward)]}
    (folder / "plans.json").write_text(json.dumps(stored))
    plans = ModelPlans(load_trained_model(folder))
    stock = PlansManager(plans.model.plans)
    before, box, seen = IMAGES[image]
    properties = {
        "spacing": [3.0, 1.0, 1.0],
        "shape_before_cropping": before,
        "bbox_used_for_cropping": [list(each) for each in box],
        "shape_after_cropping_and_before_resampling": tuple(last - first for first, last in box),
    }
    logits = torch.randn(plans.num_classes, *seen, generator=torch.Generator().manual_seed(1)) * 4
    for wanted in (False, True):
        expected = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits.clone(),
            stock,
            stock.get_configuration("2d"),
            stock.get_label_manager(plans.model.dataset_json),
            properties,
            return_probabilities=wanted,
            num_threads_torch=torch.get_num_threads(),
        )
        found, probabilities = plans.to_labels(logits.clone(), properties, wanted)
        expected_labels, expected_probabilities = expected if wanted else (expected, None)
        assert found.dtype == expected_labels.dtype
        assert np.array_equal(found, expected_labels)
        assert (probabilities is None) == (not wanted)
        if wanted:
            assert np.array_equal(probabilities, expected_probabilities)


def test_parts_make_up_the_whole(make_model: MakeModel) -> None:
    plans = ModelPlans(load_trained_model(make_model()))
    properties = {"shape_before_cropping": (2, 9, 5), "bbox_used_for_cropping": [[0, 2], [1, 8], [0, 5]]}
    logits = torch.randn(3, 2, 7, 5)
    whole, parts = plans.label_map(properties), plans.label_map(properties)
    whole.put_logits(EVERYWHERE, logits)
    for place in ((slice(0, 1), slice(0, 3)), (slice(0, 1), slice(3, 7)), (slice(1, 2), slice(None))):
        parts.put_logits(place, logits[:, place[0], place[1]])
    assert np.array_equal(whole.finished(), parts.finished())
    assert np.array_equal(whole.finished()[:, 1:8], logits.numpy().argmax(0))
    assert not whole.finished()[:, [0, 8]].any()
