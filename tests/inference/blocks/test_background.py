"""An image with far more background than the training images is normalized otherwise, which is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin_umamba.inference.predictor import Predictor
from swin_umamba.nnunet.plans_table import BACKGROUND_SHARE


@pytest.mark.parametrize(
    ("share", "basis", "said"),
    [
        (0.0, "image", "83 % are background, in training 0 % were.*--statistics tissue, which leaves"),
        (0.7, "image", None),
        (0.7, "tissue", "0 % are background, in training 70 % were.*--statistics image, of which 83% are"),
        (0.1, "tissue", None),
        (None, "image", None),
        (0.0, "field", None),
    ],
)
def test_a_difference_is_said(
    share: float | None,
    basis: str,
    said: str | None,
    make_model: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = make_model(channels=("red", "green", "blue"), patch_size=(32, 32))
    if share is not None:
        plans = json.loads((folder / "plans.json").read_text())
        (folder / "plans.json").write_text(json.dumps({**plans, BACKGROUND_SHARE: share}))
    image = np.full((1024, 1064, 3), 240, np.uint8)
    image[:200, :200] = 120
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, photometric="rgb", tile=(256, 256))
    predictor = Predictor.from_folder(folder, device="cpu", mirroring=False, step_size=1.0)
    with caplog.at_level("WARNING"):
        (result,) = predictor.predict_folder(path, tmp_path / "out", roi="0:8,0:8", statistics=basis)
    assert result.error is None
    warned = [record.getMessage() for record in caplog.records if "background" in record.getMessage()]
    assert len(warned) == (said is not None)
    if said is not None:
        (message,) = warned
        first, *more = said.split(".*")
        assert all(part in message for part in (first, *more)), message
