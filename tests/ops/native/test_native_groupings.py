"""Every way in which channels are grouped into work items and blocks, against the reference.

A work item takes its tiles from one block of 16 channels to the next. What goes wrong with that depends on
how many items there are, how many blocks they hold, and whether the last block is full.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from ops.scan_inputs import errors_against_reference, image_inputs, sequence_inputs
from swin_umamba.ops.native.selective_scan import _backward_items
from swin_umamba.ops.native.ss2d_scan import _backward_groups
from swin_umamba.ops.native.state_vector import STATES
from swin_umamba.ops.native.vector import LANES

TOLERANCE = 5e-6  # float32 against float64, in units of the largest number of each tensor
SEVERAL = 3  # more are as good as three
LENGTH = 35  # a whole chunk and a part of one

Grouping = tuple[int, int, int]


def sequence_grouping(channels: int, d_state: int) -> Grouping:
    """Items of a group, and the blocks of the first and of the last of them."""
    items = [last - first for _, _, first, last in _backward_items(channels, 1, d_state)]
    return len(items), -(-items[0] // LANES), -(-items[-1] // LANES)


def image_grouping(channels: int, d_state: int) -> Grouping:
    """As `sequence_grouping`, for one image and a rank of dt of one."""
    per_item, items = _backward_groups(channels, 1, d_state)
    return items, per_item, -(-channels // LANES) - per_item * (items - 1)


def smallest_of_each(
    grouping_of: Callable[[int, int], Grouping], kind_of: Callable[[int], object]
) -> list[tuple[int, int]]:
    """Channels and d_state: each grouping, with a full and a partial block, with each kind of d_state."""
    smallest: dict[tuple[object, ...], tuple[int, int]] = {}
    for channels, d_state in itertools.product(range(1, 145), range(1, 21)):
        grouping = tuple(min(number, SEVERAL) for number in grouping_of(channels, d_state))
        key = (grouping, channels % LANES == 0, kind_of(d_state))
        if key not in smallest or channels * d_state < smallest[key][0] * smallest[key][1]:
            smallest[key] = (channels, d_state)
    assert len({grouping for grouping, *_ in smallest}) >= 12
    return list(smallest.values())


# States are worked through in vectors of several, one by one, or both. The operators share that code, but a
# single state has kernels of its own in images.
SEQUENCES = smallest_of_each(sequence_grouping, lambda d_state: (d_state < STATES, d_state % STATES == 0))
IMAGES = smallest_of_each(image_grouping, lambda d_state: d_state == 1)


@pytest.mark.parametrize(("channels", "d_state"), SEQUENCES)
@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_sequences(channels: int, d_state: int) -> None:
    inputs = sequence_inputs(LENGTH, batch=1, dim=channels, d_state=d_state, groups=1)
    errors = errors_against_reference("native", inputs)
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize(("channels", "d_state"), IMAGES)
@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_images(channels: int, d_state: int) -> None:
    inputs = image_inputs(5, LENGTH // 5, batch=1, d_inner=channels, d_state=d_state, dt_rank=1)
    errors = errors_against_reference("native", inputs)
    assert max(errors.values()) < TOLERANCE, errors
