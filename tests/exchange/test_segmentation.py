"""Segmentations are what was asked for, as pydicom sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

import pydicom

from exchange.made_series import ALGORITHM, Series, labels_of, segments_of
from swin_umamba.data.image_io import on_grid_of, read_image, read_labels
from swin_umamba.exchange.segmentation import write_segmentation
from swin_umamba.exchange.source import read_source

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_what_is_written_is_read_at_the_same_place(tmp_path: Path, kind: str) -> None:
    series = Series(orientation=OBLIQUE)
    folder = series.write(tmp_path / "images")
    labels = labels_of(series.shape, 3)
    write_segmentation(
        tmp_path / "a.dcm", read_source([folder]), labels, segments_of(3), ALGORITHM, kind=kind
    )
    read = on_grid_of(read_image(folder), read_labels(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(read.data[0], labels)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    assert found.PatientName == "Doe^Jane"
    assert "InstitutionName" not in found
