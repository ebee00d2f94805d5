"""The reference against arithmetic written out by hand: it is what everything else is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ops.scan_inputs import image_inputs, relative_error, sequence_inputs
from swin_umamba.ops.reference import (
    from_sequence,
    selective_scan_reference,
    ss2d_scan_reference,
    to_sequence,
)

ROUNDING = 1e-14


def scan_by_hand(inputs: dict[str, Tensor], softplus: bool) -> tuple[Tensor, Tensor]:
    """Output and last state, one number at a time."""
    value = {name: tensor.tolist() for name, tensor in inputs.items()}
    batch, dim, length = inputs["u"].shape
    _, groups, d_state, _ = inputs["B"].shape
    output = torch.zeros(batch, dim, length, dtype=torch.float64)
    state = torch.zeros(batch, dim, d_state, dtype=torch.float64)
    for b in range(batch):
        for c in range(dim):
            g = c // (dim // groups)
            for n in range(d_state):
                h = 0.0
                for t in range(length):
                    d = value["delta"][b][c][t] + value["delta_bias"][c]
                    d = math.log1p(math.exp(d)) if softplus else d
                    h = math.exp(d * value["A"][c][n]) * h + d * value["B"][b][g][n][t] * value["u"][b][c][t]
                    output[b, c, t] += value["C"][b][g][n][t] * h
                state[b, c, n] = h
            for t in range(length):
                z = value["z"][b][c][t]
                output[b, c, t] += value["D"][c] * value["u"][b][c][t]
                output[b, c, t] *= z / (1 + math.exp(-z))
    return output, state


def test_scan_equals_the_recurrence_written_out() -> None:
    inputs = sequence_inputs(5)
    for softplus in (False, True):
        y, state = selective_scan_reference(**inputs, delta_softplus=softplus, return_last_state=True)
        expected_y, expected_state = scan_by_hand(inputs, softplus)
        assert relative_error(y, expected_y) < ROUNDING
        assert relative_error(state, expected_state) < ROUNDING


def test_one_group_may_leave_out_its_axis() -> None:
    inputs = sequence_inputs(4, groups=1)
    expected = selective_scan_reference(**inputs)
    inputs["B"], inputs["C"] = inputs["B"][:, 0], inputs["C"][:, 0]
    assert torch.equal(selective_scan_reference(**inputs), expected)


def test_directions_visit_the_pixels_in_order() -> None:
    image = torch.tensor([[0, 1, 2], [3, 4, 5]])[None, :, :, None]
    orders = [to_sequence(image, k).flatten().tolist() for k in range(4)]
    assert orders == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    for k in range(4):
        assert torch.equal(from_sequence(to_sequence(image, k), k, 2, 3), image)


def test_image_scan_is_the_sum_of_four_scans_by_hand() -> None:
    """Pixel by pixel along each path, with the projection of dt written out."""
    height, width = 2, 3
    x, x_dbl, weight, bias, A, D = image_inputs(
        height, width, batch=1, d_inner=2, d_state=2, dt_rank=1
    ).values()
    rows = [(h, w) for h in range(height) for w in range(width)]
    columns = [(h, w) for w in range(width) for h in range(height)]
    expected = torch.zeros(1, height, width, 2, dtype=torch.float64)
    for k, path in enumerate([rows, columns, rows[::-1], columns[::-1]]):
        state = torch.zeros(2, 2, dtype=torch.float64)
        for h, w in path:
            dt_low, B, C = x_dbl[0, h, w, k].detach().split([1, 2, 2])
            dt = torch.log1p(torch.exp(weight[k].detach() @ dt_low + bias[k].detach()))
            u = x[0, h, w].detach()
            state = torch.exp(dt[:, None] * A[k].detach()) * state + (dt * u)[:, None] * B
            expected[0, h, w] += state @ C + D[k].detach() * u
    assert relative_error(ss2d_scan_reference(x, x_dbl, weight, bias, A, D), expected) < ROUNDING


def test_empty_sequence_gives_an_empty_output_and_no_state() -> None:
    y, state = selective_scan_reference(**sequence_inputs(0), return_last_state=True)
    assert y.shape == (2, 6, 0)
    assert torch.equal(state, torch.zeros(2, 6, 3, dtype=torch.float64))
