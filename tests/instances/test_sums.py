"""Sums over objects add up over blocks, exactly for integers."""

from __future__ import annotations

from dataclasses import fields
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_umamba.errors import GeometryError, UsageError
from swin_umamba.instances.sums import sums_of


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.integers(1, 4))
@settings(max_examples=30)
def test_blocks_add_up_to_the_whole(seed: int, axes: int, pieces: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 12, axes))
    instances = rng.integers(0, 6, shape) * rng.integers(1, 2**30)  # with gaps
    classes, image = rng.integers(0, 4, shape), rng.integers(0, 2**16, (2, *shape)).astype(np.uint16)
    cuts = [np.unique([0, size, *rng.integers(0, size + 1, pieces)]) for size in shape]
    blocks = [
        tuple(slice(edges[at], edges[at + 1]) for edges, at in zip(cuts, place, strict=True))
        for place in np.ndindex(*(len(edges) - 1 for edges in cuts))
    ]
    rng.shuffle(blocks)
    parts = [
        sums_of(
            instances[tuple(block)],
            [each.start for each in block],
            channels=image[(slice(None), *block)],
            classes=classes[tuple(block)],
        )
        for block in blocks
    ]
    found, expected = reduce(add, parts), sums_of(instances, channels=image, classes=classes)
    for field in fields(expected):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(expected, field.name), err_msg=field.name
        )


def test_sums_of_two_objects() -> None:
    sums = sums_of(
        np.array([[7, 0, 2], [7, 7, 0]]),
        (100, 50),
        channels=[np.array([[1, 9, 5], [2, 4, 9]])],
        classes=np.array([[1, 1, 2], [0, 1, 1]]),
    )
    assert sums.numbers.tolist() == [2, 7]
    assert sums.pixels.tolist() == [1, 3]
    assert sums.low.tolist() == [[100, 100], [52, 50]]
    assert sums.high.tolist() == [[101, 102], [53, 52]]
    assert sums.first.tolist() == [[0, 2], [0, 1]]
    assert sums.second.tolist() == [[[0, 2], [0, 1]], [[0, 1], [0, 1]]]
    assert sums.intensity.tolist() == [[5, 7]]
    assert sums.square.tolist() == [[25, 21]]
    assert sums.class_pixels.tolist() == [[0, 1], [0, 2], [1, 0]]


def test_bad_input_is_refused() -> None:
    instances = np.ones((3, 4), int)
    with pytest.raises(GeometryError, match=r"shape \(3, 4\) does not fit .* \(4, 3\)"):
        sums_of(instances, channels=[np.ones((4, 3))])
    with pytest.raises(GeometryError):
        sums_of(instances, classes=np.ones((3, 4, 1), int))
    with pytest.raises(UsageError, match="2 or 3 axes"):
        sums_of(np.ones(5, int))
    with pytest.raises(UsageError, match="whole numbers"):
        sums_of(np.ones((3, 4)))
    with pytest.raises(UsageError, match="whole numbers"):
        sums_of(-instances)
    with pytest.raises(UsageError, match="one image"):
        sums_of(instances) + sums_of(instances[None])
