"""The compiled four-direction scan against the float64 reference, element by element."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from ops.scan_inputs import detached, image_inputs, relative_error, threads
from swin_umamba.ops.native import ss2d_scan
from swin_umamba.ops.native.ss2d_scan import ss2d_scan_backward, ss2d_scan_forward, ss2d_scan_states_shape
from swin_umamba.ops.reference import ss2d_scan_reference

# float32 against float64, in units of the largest number of each tensor.
OUTPUT_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 3e-6

# batch, height, width, d_inner, d_state, dt_rank: full and ragged channel blocks, chunks of 32 steps, edges.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 1, 31, 16, 1, 1),
    (1, 32, 1, 17, 16, 6),
    (1, 3, 11, 33, 5, 3),
    (3, 4, 8, 15, 64, 2),
    (1, 5, 13, 48, 16, 24),
    (1, 8, 16, 80, 2, 48),
    (1, 3, 43, 20, 4, 64),
    (2, 1, 33, 96, 1, 6),
    (1, 7, 9, 112, 1, 24),
    (1, 20, 1, 33, 1, 17),
]


def expected_results(inputs: list[Tensor], grad_y: Tensor) -> tuple[Tensor, list[Tensor]]:
    leaves = [tensor.double().requires_grad_() for tensor in inputs]
    y = ss2d_scan_reference(*leaves)
    return y.detach(), list(torch.autograd.grad(y, leaves, grad_y.double()))


def run(inputs: list[Tensor], grad_y: Tensor) -> list[Tensor]:
    y, states = ss2d_scan_forward(*inputs)
    return [y, *ss2d_scan_backward(grad_y, states, *inputs)]


def make(batch: int, height: int, width: int, d_inner: int, d_state: int, dt_rank: int) -> list[Tensor]:
    return detached(
        image_inputs(
            height, width, batch=batch, d_inner=d_inner, d_state=d_state, dt_rank=dt_rank, dtype=torch.float32
        )
    )


def assert_close(inputs: list[Tensor]) -> None:
    grad_y = torch.randn_like(inputs[0])
    y, *gradients = run(inputs, grad_y)
    expected_y, expected_gradients = expected_results(inputs, grad_y)
    assert relative_error(y, expected_y) < OUTPUT_TOLERANCE
    names = ("x", "x_dbl", "dt_projs_weight", "dt_projs_bias", "A", "D")
    for name, gradient, expected in zip(names, gradients, expected_gradients, strict=True):
        assert relative_error(gradient, expected) < GRADIENT_TOLERANCE, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_output_and_gradients_agree_with_the_reference(shape: tuple[int, ...]) -> None:
    assert_close(make(*shape))


@pytest.mark.parametrize("d_state", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 63, 64, 65, 127, 129])
def test_every_length_around_a_chunk(length: int, d_state: int) -> None:
    assert_close(make(1, 1, length, 18, d_state, 2))


@pytest.mark.usefixtures("nan_in_fresh_memory")
def test_saved_states_have_their_shape_and_can_be_left_out() -> None:
    inputs = make(2, 5, 9, 33, 3, 2)
    y, states = ss2d_scan_forward(*inputs)
    assert states.shape == ss2d_scan_states_shape(2, 5, 9, 33, 3)
    assert states.isfinite().all()
    without, empty = ss2d_scan_forward(*inputs, save_states=False)
    assert torch.equal(without, y)
    assert empty.numel() == 0


@pytest.mark.parametrize("rate", [1e-6, 1.0, 16.0, 256.0, 1e4])
def test_hard_decays_of_a_single_state(rate: float) -> None:
    inputs = make(1, 16, 24, 32, 1, 2)
    inputs[3] = torch.linspace(-30, 50, 4 * 32).view(4, 32)
    inputs[4] = torch.full((4, 32, 1), -rate)
    assert_close(inputs)


def test_hard_decays_stay_finite_and_exact() -> None:
    inputs = make(1, 16, 24, 32, 8, 2)
    inputs[3] = torch.linspace(-30, 50, 4 * 32).view(4, 32)
    inputs[4] = -torch.tensor([1e-6, 1.0, 4.0, 16.0, 64.0, 256.0, 1e3, 1e4]).expand(4, 32, 8).contiguous()
    assert_close(inputs)


@pytest.mark.parametrize("d_state", [1, 2])
def test_positive_rates_grow_as_they_should(d_state: int) -> None:
    inputs = make(1, 2, 9, 16, d_state, 1)
    inputs[4] = -inputs[4] / 10
    assert_close(inputs)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5, 2, 1), (1, 0, 4, 5, 2, 1), (2, 3, 4, 0, 2, 1)], ids=str)
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    inputs = make(*shape)
    results = run(inputs, torch.randn_like(inputs[0]))
    for result, tensor in zip(results, [inputs[0], *inputs], strict=True):
        assert result.shape == tensor.shape
        assert not result.any()


POISONS = {"nan": float("nan"), "inf": float("inf"), "minus inf": -float("inf")}


@pytest.mark.parametrize("d_state", [1, 3])
@pytest.mark.parametrize(("argument", "poison"), list(itertools.product(range(6), POISONS)))
def test_poison_spreads_exactly_as_in_the_reference(argument: int, poison: str, d_state: int) -> None:
    inputs = make(1, 5, 8, 18, d_state, 2)
    inputs[argument].view(-1)[inputs[argument].numel() // 2] = POISONS[poison]
    y, _ = ss2d_scan_forward(*inputs)
    expected = ss2d_scan_reference(*inputs)
    if poison == "nan":
        assert torch.equal(y.isnan(), expected.isnan())
    # Infinities may cancel to NaN in one and not in the other; neither may look like a number.
    assert torch.equal(y.isfinite(), expected.isfinite())


@pytest.mark.parametrize("d_state", [1, 2])
def test_nan_with_low_bits_in_the_rates_is_not_lost(d_state: int) -> None:
    inputs = make(1, 2, 4, 16, d_state, 1)
    bits = inputs[4].view(torch.int32)
    bits[1, 3, 0] = 0x7FC00001
    grad_y = torch.ones_like(inputs[0])
    y, grad_x, *_ = run(inputs, grad_y)
    assert y[..., 3].isnan().all()
    assert grad_x[..., 3].isnan().any()
    assert y[..., :3].isfinite().all()


@pytest.mark.parametrize("d_state", [1, 3])
def test_nan_with_low_bits_in_the_bias_reaches_every_gradient_of_its_channel(d_state: int) -> None:
    inputs = make(1, 3, 4, 16, d_state, 1)
    inputs[3].view(torch.int32)[:, 3] = 0x7FC00001
    y, grad_x, *_ = run(inputs, torch.ones_like(inputs[0]))
    assert y[..., 3].isnan().all()
    assert grad_x[..., 3].isnan().all()
    assert grad_x[..., :3].isfinite().all()


@pytest.mark.parametrize(
    "shape", [(1, 9, 11, 80, 3, 2), (3, 4, 8, 40, 16, 6), (2, 9, 11, 208, 1, 6)], ids=str
)
def test_thread_count_does_not_change_a_bit(shape: tuple[int, ...]) -> None:
    inputs = make(*shape)
    grad_y = torch.randn_like(inputs[0])
    results = []
    for number in (1, 2, 3):
        with threads(number):
            results.append(run(inputs, grad_y))
    for result in results[1:]:
        for value, expected in zip(result, results[0], strict=True):
            assert torch.equal(value, expected)


@pytest.mark.parametrize("d_state", [1, 3])
def test_directions_together_or_one_by_one_give_the_same(
    d_state: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make(2, 5, 9, 192, d_state, 2)
    grad_y = torch.randn_like(inputs[0])
    monkeypatch.setattr(ss2d_scan, "_PARTIALS_OF_ALL", 2**30)
    monkeypatch.setattr(ss2d_scan, "_PARTIAL_ACTIVATIONS", 100.0)
    together = run(inputs, grad_y)
    monkeypatch.setattr(ss2d_scan, "_PARTIALS_OF_ALL", 0)
    for value, expected in zip(run(inputs, grad_y), together, strict=True):
        assert torch.equal(value, expected)


def test_memory_stays_within_six_activations() -> None:
    # At the first stage of a 512x512 image: what the forward keeps and the backward allocates at once.
    from swin_umamba.ops.native.ss2d_partials import sum_rows
    from swin_umamba.ops.native.ss2d_scan import _backward_groups

    height = width = 128
    d_inner, d_state, dt_rank = 192, 16, 6
    columns = dt_rank + 2 * d_state
    activation = height * width * d_inner
    states = torch.Size(ss2d_scan_states_shape(1, height, width, d_inner, d_state)).numel()
    _, groups = _backward_groups(d_inner, dt_rank, d_state)
    partial = groups * height * width * sum_rows(dt_rank, d_state)
    grad_x_dbl = height * width * 4 * columns
    assert states + 2 * activation + partial + grad_x_dbl <= 6 * activation
