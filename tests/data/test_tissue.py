"""Tissue is told from glass and from darkness by one rule."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.data.tissue import CELL, background_share


def slide(background: int, dtype: type = np.uint8) -> np.ndarray:
    """Return an image of 2 x 3 cells, of which one holds tissue, and another too little of it."""
    image = np.full((3, 2 * CELL, 2 * CELL + 40), background, dtype)
    image[:, :200, :200] = 120
    image[:, CELL : CELL + 100, CELL : CELL + 100] = 120
    return image


@pytest.mark.parametrize("background", [0, 240])
def test_the_share_is_that_of_cells_without_tissue(background: int) -> None:
    assert background_share(slide(background)) == pytest.approx(5 / 6)
    assert background_share(slide(background)[:, None]) == pytest.approx(5 / 6)
    assert background_share(slide(background)[:, :400, :400]) == 0


def test_images_of_one_value_are_background() -> None:
    assert background_share(np.full((1, 30, 20), 7, np.uint16)) == 1


def test_floats_tell_no_tissue() -> None:
    assert background_share(slide(0, np.float32)) is None
