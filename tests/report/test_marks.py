"""Scale bars and letters in pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.report.marks import draw_marks, scale_bar


@pytest.mark.parametrize(
    ("width", "length", "text"),
    [
        (100.0, 20.0, "20 mm"),
        (400.0, 100.0, "100 mm"),
        (10.0, 2.0, "2 mm"),
        (1.0, 0.2, "200 \N{MICRO SIGN}m"),
        (0.05, 0.01, "10 \N{MICRO SIGN}m"),
    ],
)
def test_a_bar_has_a_round_length(width: float, length: float, text: str) -> None:
    assert scale_bar(width) == (pytest.approx(length), text)
    assert length <= 0.3 * width < 2.6 * length


def drawn(edges: str, mm_per_pixel: float | None, note: str = "") -> np.ndarray:
    picture = PillowImage.new("RGB", (300, 200))
    draw_marks(picture, tuple(edges), mm_per_pixel, note=note)
    return np.asarray(picture).max(axis=2) > 128


def test_letters_are_at_the_edges_and_the_bar_is_as_long_as_it_says() -> None:
    assert not drawn("", None).any()
    letters = drawn("RLAP", None)
    for place in (np.s_[80:120, :30], np.s_[80:120, -30:], np.s_[:30, 130:170], np.s_[-30:, 130:170]):
        assert letters[place].any()
        letters[place] = False
    assert not letters.any()
    bar = drawn("", 0.5)
    assert int(bar[-14].sum()) == 20 / 0.5 + 1  # the widest bar of 150 mm is one of 20 mm
    assert drawn("", None, "no orientation")[-30:, :150].any()
