"""The final validation, its predictions and its summary, against nnU-Net's own."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from PIL import Image as PILImage
from torch import Tensor, nn

from swin_umamba.distributed.processes import Processes
from swin_umamba.errors import TrainingError
from swin_umamba.nnunet.checked_reader import CheckedReader
from swin_umamba.nnunet.training import validation
from swin_umamba.nnunet.training.validation import FoldValidation, summarize

TOLERANCE = 1e-5  # of logits, where nnU-Net sums them in float32, too

ALONE = Processes(0, 1, torch.device("cpu"))
KEYS = [f"case{number}" for number in range(3)]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Three references and predictions; class 2 is missing in the third pair, class 3 everywhere."""
    random = np.random.default_rng(1)
    for folder in ("gt_segmentations", "validation"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            label = random.integers(0, 3 if number < 2 else 2, (20, 30)).astype(np.uint8)
            PILImage.fromarray(label).save(tmp_path / folder / f"case{number}.png")
    return tmp_path


def summary_of(root: Path, regions: list[Any], ignore_label: int | None = None) -> dict[str, Any]:
    """Write the summary of the three cases."""
    return summarize(
        root / "validation",
        root / "gt_segmentations",
        KEYS,
        reader=CheckedReader(NaturalImage2DIO),
        ending=".png",
        regions=regions,
        ignore_label=ignore_label,
    )


def test_summary(predictions: Path) -> None:
    summary = summary_of(predictions, [1, 2])
    dice = []
    for key in KEYS:
        reference, prediction = (
            np.array(PILImage.open(predictions / folder / f"{key}.png")) == 2
            for folder in ("gt_segmentations", "validation")
        )
        if (reference | prediction).any():
            dice.append(2 * (reference & prediction).sum() / (reference.sum() + prediction.sum()))
    assert len(dice) == 2
    assert summary["mean"][2]["Dice"] == pytest.approx(np.mean(dice))
    written = json.loads((predictions / "validation" / "summary.json").read_text())
    assert written["mean"]["2"]["Dice"] == pytest.approx(np.mean(dice))
    assert written["foreground_mean"]["Dice"] == pytest.approx(
        (written["mean"]["1"]["Dice"] + written["mean"]["2"]["Dice"]) / 2
    )


@pytest.mark.slow
@pytest.mark.parametrize(("regions", "ignore_label"), [([1, 2, 3], None), ([1], 2), ([(1, 2), 2], None)])
def test_summary_equals_that_of_nnunet(
    predictions: Path, regions: list[Any], ignore_label: int | None
) -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder

    summary_of(predictions, regions, ignore_label)
    ours = (predictions / "validation" / "summary.json").read_text()
    shutil.move(predictions / "validation" / "summary.json", predictions / "ours.json")
    compute_metrics_on_folder(
        str(predictions / "gt_segmentations"),
        str(predictions / "validation"),
        str(predictions / "stock.json"),
        NaturalImage2DIO(),
        ".png",
        regions,
        ignore_label,
        num_processes=1,
    )
    stock = (predictions / "stock.json").read_text()
    assert without_nan(json.loads(ours)) == without_nan(json.loads(stock))


def without_nan(value: Any) -> Any:
    """Replace NaN, which is not equal to itself."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


class Pixelwise(nn.Module):
    """A network of one convolution, after a product by which autocast shows."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)
        self.scale = scale
        self.seen: set[torch.dtype] = set()

    def forward(self, image: Tensor) -> Tensor:
        rows = image[0, 0]
        self.seen.add((rows @ rows.mT).dtype)
        logits: Tensor = self.scale * self.convolution(image).float()
        return logits


def fold_of(folder: Path, precision: str = "float32") -> FoldValidation:
    """A fold of two cases whose predictions are written as they are."""
    images = {key: np.random.default_rng(seed).normal(size=(1, 1, 40, 50)) for seed, key in enumerate("ab")}
    labels = SimpleNamespace(num_segmentation_heads=2)
    return FoldValidation(
        plans=SimpleNamespace(get_label_manager=lambda description: labels),  # type: ignore[arg-type]
        configuration=SimpleNamespace(patch_size=(32, 32)),  # type: ignore[arg-type]
        dataset_json={},
        mirror_axes=(0, 1),
        device=torch.device("cpu"),
        precision=precision,
        open_cases=lambda keys: SimpleNamespace(load_case=lambda key: (images[key], None, None, {})),
        references=folder,
        folder=folder / "validation",
    )


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The logits of each case that is exported."""
    logits: dict[str, Tensor] = {}

    def export(given: Tensor, *rest: Any, **_: Any) -> None:
        logits[Path(rest[4]).name] = given

    monkeypatch.setattr(validation, "export_prediction_from_logits", export)
    return logits


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_fold_is_predicted_in_the_precision_of_the_training(
    precision: str, dtype: torch.dtype, tmp_path: Path, written: dict[str, Tensor]
) -> None:
    network = Pixelwise().eval()
    fold_of(tmp_path, precision).predict(network, ["a", "b"], ALONE)
    assert network.seen == {dtype}
    assert {key: (logits.dtype, tuple(logits.shape)) for key, logits in written.items()} == dict.fromkeys(
        "ab", (torch.float32, (2, 1, 40, 50))
    )


def test_logits_beyond_half_precision_survive(tmp_path: Path, written: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    network = Pixelwise().eval()
    fold_of(tmp_path).predict(network, ["a"], ALONE)
    small = written["a"]
    network.scale = 1e6
    fold_of(tmp_path).predict(network, ["a"], ALONE)
    assert written["a"].abs().max() > torch.finfo(torch.float16).max
    torch.testing.assert_close(written["a"] / 1e6, small, rtol=1e-5, atol=1e-6)


def test_a_fold_is_predicted_as_by_nnunet(
    tmp_path: Path, written: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the sums, which nnU-Net rounds to float16 unless it is kept from it."""
    monkeypatch.setattr(torch, "half", torch.float32)
    gaussian = partial(compute_gaussian, dtype=torch.float32)
    monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", gaussian)
    torch.manual_seed(0)
    network = Pixelwise().eval()
    fold = fold_of(tmp_path)
    fold.predict(network, ["a", "b"], ALONE)
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    stock.network = network
    stock.configuration_manager = fold.configuration
    stock.label_manager = SimpleNamespace(num_segmentation_heads=2)
    stock.allowed_mirroring_axes = (0, 1)
    for key, logits in written.items():
        image = torch.from_numpy(fold.open_cases([]).load_case(key)[0].astype(np.float32))
        expected = stock.predict_sliding_window_return_logits(image).float()
        torch.testing.assert_close(logits, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda image: torch.full((len(image), 2, 32, 32), torch.nan), "of the network for a is not finite"),
        (lambda image: torch.empty(2**45), "not enough memory for the validation of a, 1 x 1 x 40 x 50"),
    ],
)
def test_what_goes_wrong_with_a_case_is_named(
    network: Any, said: str, tmp_path: Path, written: dict[str, Tensor]
) -> None:
    module = nn.Identity()
    module.forward = network  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=said):
        fold_of(tmp_path).predict(module, ["a"], ALONE)
    assert not written
