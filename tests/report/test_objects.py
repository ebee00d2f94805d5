"""One colour an object, and another one for its neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from swin_umamba.evaluation.object_errors import ERRORS
from swin_umamba.report.objects import COLOURS, OPACITY, REACH, coloured, told_apart
from swin_umamba.report.palette import ERROR_COLOURS, class_colour
from work import calls_of


def check(instances: np.ndarray, reach: int) -> np.ndarray:
    """Check one value an object, and by looking around each pixel that neighbours have others."""
    values = told_apart(instances)
    assert values.shape == instances.shape
    assert np.array_equal(values > 0, instances > 0)
    for number in np.unique(instances[instances > 0]).tolist():
        assert len(np.unique(values[instances == number])) == 1
    for place in np.argwhere(instances > 0).tolist():
        around = tuple(slice(max(at - reach, 0), at + reach + 1) for at in place)
        same = values[around] == values[tuple(place)]
        assert set(np.unique(instances[around][same]).tolist()) == {int(instances[tuple(place)])}
    return values


@pytest.mark.parametrize("seed", range(6))
def test_neighbours_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = ((17, 13), (5, 6, 7))[seed % 2]
    instances = rng.choice([0, 0, 3, 5, 9, 70_000, 2**40], shape)
    values = check(instances, REACH if seed % 2 == 0 else 1)
    assert np.array_equal(values, told_apart(instances.copy()))


def test_rows_of_touching_objects_and_a_hub() -> None:
    """Where numbers along a column differ by the number of colours, and where more meet than there are."""
    rows = np.kron(np.arange(1, 6 * COLOURS + 1).reshape(6, COLOURS), np.ones((3, 3), int))
    assert check(rows, REACH).max() == COLOURS
    hub = np.zeros((7, 4 * COLOURS), int)
    hub[1, 0::2] = np.arange(1, 2 * COLOURS + 1)
    hub[3] = 99
    assert check(hub, REACH).max() == COLOURS + 1


def test_colours_and_opacity() -> None:
    values = np.zeros((9, 9), int)
    values[1:8, 1:8] = 2
    picture = coloured(values)
    assert (picture.shape, picture.dtype) == ((9, 9, 4), np.uint8)
    assert picture[4, 4].tolist() == [*class_colour(2), round(255 * OPACITY)]
    assert picture[2, 2].tolist() == [*class_colour(2), 255]
    assert not picture[0].any()
    assert coloured(values, [(1, 2, 3), (4, 5, 6)])[1, 1].tolist() == [4, 5, 6, 255]


@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (2, 0, 3)])
def test_no_object(shape: tuple[int, ...]) -> None:
    assert not told_apart(np.zeros(shape, np.uint8)).any()


def test_every_kind_of_error_has_a_colour() -> None:
    assert tuple(ERROR_COLOURS) == ERRORS
    assert len(set(ERROR_COLOURS.values())) == len(ERRORS)


def test_ten_thousand_objects() -> None:
    instances = np.kron(np.arange(1, 10_001).reshape(100, 100), np.ones((8, 8), np.int32))
    told_apart(instances[:8])  # the first call imports
    values = np.zeros_like(instances)
    # 13 an object, and not one a pair.
    assert calls_of(lambda: np.copyto(values, told_apart(instances))) < 40 * 10_000
    assert values.max() <= 20
    assert (values[:, 7] != values[:, 8]).all()
    assert (values[7] != values[8]).all()
