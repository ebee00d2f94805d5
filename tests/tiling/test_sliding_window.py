from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from swin_umamba.confidence.members import MemberDecisions
from swin_umamba.tiling import patches, sliding_window
from swin_umamba.tiling.bands import BandSums
from swin_umamba.tiling.patches import brought_to
from swin_umamba.tiling.sliding_window import SlidingWindow
from swin_umamba.tiling.views import mean_in_order, mirrored_logits

CPU = torch.device("cpu")
# Between two sums of about ten float32 terms in another order.
FLOAT32_TOLERANCE = 1e-5
# Stock nnU-Net sums in float16, whose 11 bits are 5e-4 of a logit of 1, and loses nearly all of them in the
# corners of an image, where a single weight below the smallest normal number counts.
FLOAT16_TOLERANCE = 4e-3
FLOAT16_PART_OF_PIXELS = 0.99


class Convolution(nn.Module):
    """Logits that depend on neighbours, so that tile borders and orientation matter."""

    def __init__(self, dims: int, in_channels: int = 2, num_classes: int = 3) -> None:
        super().__init__()
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.layer = layer(in_channels, num_classes, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)) * 2


def stock_logits(
    network: nn.Module, image: Tensor, patch_size: tuple[int, ...], mirror_axes: tuple[int, ...] | None
) -> Tensor:
    """Return what stock nnU-Net predicts."""
    stock = nnUNetPredictor(device=CPU, allow_tqdm=False, use_mirroring=mirror_axes is not None)
    stock.network = network
    stock.configuration_manager = SimpleNamespace(patch_size=patch_size)
    stock.label_manager = SimpleNamespace(num_segmentation_heads=3)
    stock.allowed_mirroring_axes = mirror_axes
    return stock.predict_sliding_window_return_logits(image)


shapes = pytest.mark.parametrize(
    ("shape", "patch_size"),
    [
        ((1, 64, 64), (32, 32)),
        ((3, 45, 70), (32, 48)),
        ((1, 20, 90), (32, 32)),
        ((2, 17, 11), (32, 32)),
        ((20, 33, 16), (16, 16, 16)),
        ((5, 30, 12), (8, 24, 16)),
    ],
)


@shapes
@pytest.mark.parametrize("mirror", [False, True])
def test_equals_stock_nnunet_in_float32(
    shape: tuple[int, ...], patch_size: tuple[int, ...], mirror: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "half", torch.float32)
    monkeypatch.setattr(
        predict_from_raw_data, "compute_gaussian", partial(compute_gaussian, dtype=torch.float32)
    )
    network = Convolution(len(patch_size)).eval()
    image = torch.randn(2, *shape)
    axes = tuple(range(len(patch_size))) if mirror else ()
    ours = SlidingWindow(patch_size, num_classes=3, mirror_axes=axes).logits(network, image)
    stock = stock_logits(network, image, patch_size, axes or None)
    assert ours.dtype == stock.dtype == torch.float32
    torch.testing.assert_close(ours, stock, atol=FLOAT32_TOLERANCE, rtol=FLOAT32_TOLERANCE)


def test_is_near_stock_nnunet_as_it_is() -> None:
    network = Convolution(2).eval()
    image = torch.randn(2, 3, 45, 70)
    ours = SlidingWindow((32, 48), num_classes=3).logits(network, image)
    stock = stock_logits(network, image, (32, 48), None)
    assert stock.dtype == torch.float16
    near = torch.isclose(ours, stock.float(), atol=FLOAT16_TOLERANCE, rtol=FLOAT16_TOLERANCE)
    assert near.float().mean() > FLOAT16_PART_OF_PIXELS


def test_equals_the_definition_in_float64() -> None:
    network = Convolution(2).eval()
    image = torch.randn(2, 1, 50, 40)
    sums, weight_sums = torch.zeros(3, 50, 40, dtype=torch.float64), torch.zeros(50, 40, dtype=torch.float64)
    y, x = np.mgrid[:32, :32]
    weights = torch.from_numpy(np.exp(-((y - 16) ** 2 + (x - 16) ** 2) / (2 * 4.0**2)))
    with torch.no_grad():
        for top, left in itertools.product((0, 9, 18), (0, 8)):
            tile = (slice(top, top + 32), slice(left, left + 32))
            sums[(slice(None), *tile)] += (
                network(image[:, 0][(slice(None), *tile)][None])[0].double() * weights
            )
            weight_sums[tile] += weights
    ours = SlidingWindow((32, 32), num_classes=3).logits(network, image)
    torch.testing.assert_close(ours[:, 0].double(), sums / weight_sums, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tiles_per_batch", [2, 4, 100])
def test_batches_of_tiles_change_nothing(tiles_per_batch: int) -> None:
    network = Convolution(2).eval()
    image = torch.randn(2, 3, 50, 70)
    one = SlidingWindow((32, 32), num_classes=3, mirror_axes=(0, 1))
    many = SlidingWindow((32, 32), num_classes=3, mirror_axes=(0, 1), tiles_per_batch=tiles_per_batch)
    torch.testing.assert_close(one.logits(network, image), many.logits(network, image), atol=1e-6, rtol=1e-6)


def test_is_deterministic() -> None:
    network = Convolution(2).eval()
    image = torch.randn(2, 2, 50, 70)
    window = SlidingWindow((32, 32), num_classes=3, mirror_axes=(0, 1), tiles_per_batch=3)
    assert torch.equal(window.logits(network, image), window.logits(network, image))


def test_large_logits_keep_their_differences() -> None:
    """In float16 two classes with logits 3000 and 3000.5 are the same."""

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([3000.0, 3000.5])[None, :, None, None].expand(len(x), 2, *x.shape[2:])

    logits = SlidingWindow((16, 16), num_classes=2).logits(Constant(), torch.zeros(1, 1, 40, 40))
    torch.testing.assert_close(logits[1] - logits[0], torch.full((1, 40, 40), 0.5), atol=2e-3, rtol=0)


def test_mirroring_makes_an_asymmetric_network_symmetric() -> None:
    network = Convolution(2).eval()
    patch = torch.randn(1, 2, 24, 24)
    with torch.no_grad():
        straight = mean_in_order(mirrored_logits(network, patch, (0, 1)))
        mirrored = mean_in_order(mirrored_logits(network, patch.flip(2, 3), (0, 1))).flip(2, 3)
        alone = mean_in_order(mirrored_logits(network, patch, ()))
        assert torch.equal(alone, network(patch))
    torch.testing.assert_close(straight, mirrored)
    assert not torch.allclose(straight, alone, atol=1e-2)


@shapes
@pytest.mark.parametrize("tiles_per_batch", [1, 3])
def test_members_are_what_each_mirrored_image_gives(
    shape: tuple[int, ...], patch_size: tuple[int, ...], tiles_per_batch: int
) -> None:
    """A network that mirrors its own input is the same as mirroring its tiles."""

    class Mirrored(nn.Module):
        def __init__(self, inner: nn.Module, axes: tuple[int, ...]) -> None:
            super().__init__()
            self.inner, self.axes = inner, axes

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.flip(self.axes)).flip(self.axes)

    network = Convolution(len(patch_size)).eval()
    image = torch.randn(2, *shape)
    window = SlidingWindow(patch_size, num_classes=3, mirror_axes=(0, 1), tiles_per_batch=tiles_per_batch)
    members = MemberDecisions(independent=False)
    logits = window.logits(network, image, members=members)
    assert torch.equal(logits, window.logits(network, image))  # nothing else changes
    found = members.stacked()
    assert found.shape == (4, 1, *shape)
    for member, axes in enumerate(((), (2,), (3,), (2, 3))):
        alone = SlidingWindow(patch_size, num_classes=3).logits(Mirrored(network, axes), image)
        assert (found[member, 0] == alone.argmax(0)).float().mean() > 0.9999  # ties, by rounding


class FullGPU(Convolution):
    """Fails at some calls as on a full GPU."""

    def __init__(self, *failing: int) -> None:
        super().__init__(2)
        self.failing, self.batches, self.alive = failing, [], 0
        self.sums: list[weakref.ref[BandSums]] = []
        self.failed_at = 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(self.batches) - 1 in self.failing:
            self.failed_at = len(self.sums)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.alive = max(self.alive, sum(each() is not None for each in self.sums[: self.failed_at]))
        return super().forward(x)


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FullGPU]:
    networks: list[FullGPU] = []

    class Known(BandSums):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            networks[-1].sums.append(weakref.ref(self))

    monkeypatch.setattr(sliding_window, "BandSums", Known)

    def make(*failing: int) -> FullGPU:
        networks.append(FullGPU(*failing))
        return networks[-1].eval()

    return make


@pytest.mark.parametrize("with_members", [False, True])
def test_a_full_gpu_gets_less_to_do(full_gpu: Callable[..., FullGPU], with_members: bool) -> None:
    """First smaller batches, then the sums on the CPU; what the failed attempts took is free by then."""
    image = torch.randn(2, 1, 120, 40)
    network, parts = full_gpu(1, 3, 4), []
    members = MemberDecisions(independent=False) if with_members else None
    window = SlidingWindow((32, 32), num_classes=3, tiles_per_batch=4)
    found = window.logits(network, image, members=members, on_progress=parts.append)
    assert network.batches == [4, 4, 2, 2, 1, *[1] * 14]
    assert network.alive == 0
    assert parts == sorted(parts)
    assert parts[-1] == 1
    network.failing = ()
    one = SlidingWindow((32, 32), num_classes=3)
    expected = MemberDecisions(independent=False)
    torch.testing.assert_close(found, one.logits(network, image, members=expected), atol=1e-6, rtol=1e-6)
    if members is not None:
        assert (members.stacked() == expected.stacked()).float().mean() > 0.9999


def test_mirrored_images_in_one_batch_change_nothing(full_gpu: Callable[..., FullGPU]) -> None:
    """A full GPU takes them one by one again before anything goes to the CPU."""
    image = torch.randn(2, 1, 40, 40)
    apart = SlidingWindow((32, 32), num_classes=3, mirror_axes=(0, 1), tiles_per_batch=3)
    together = replace(apart, views_together=True)
    network = full_gpu()
    found, parts = [], []
    for window in (apart, together):
        members = MemberDecisions(independent=False)
        logits = window.logits(network, image, members=members, on_progress=parts.append)
        found.append((logits, members.stacked()))
    assert network.batches == [3] * 4 + [1] * 4 + [12, 4]
    assert parts[:8] == parts[8:]
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-6)
    assert (found[0][1] == found[1][1]).float().mean() > 0.999
    crowded = full_gpu(0, 1)
    crowded.load_state_dict(network.state_dict())
    logits = together.logits(crowded, image)
    assert crowded.batches == [12, 4] + [1] * 16
    torch.testing.assert_close(logits, found[0][0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("axes", [(), (0,), (0, 1), (0, 1, 2)])
def test_mirrored_batches_have_the_same_bits_where_pixels_are_by_themselves(axes: tuple[int, ...]) -> None:
    patches = torch.randn(2, 1, 6, 5, 7)
    network = nn.LeakyReLU(0.3)
    apart = list(mirrored_logits(network, patches, axes))
    together = list(mirrored_logits(network, patches, axes, together=True))
    assert len(apart) == len(together) == 2 ** len(axes)
    assert all(torch.equal(a, b) for a, b in zip(apart, together, strict=True))


@pytest.mark.parametrize(("free", "moved"), [(None, False), (4 * 600 - 1, False), (4 * 600, True)])
def test_a_small_image_is_moved_once(free: int | None, moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is one without memory, as a machine without a GPU has none."""
    monkeypatch.setattr(patches, "free_memory", lambda _: free)
    image = torch.zeros(1, 3, 5, 10)
    assert (brought_to(torch.device("meta"), image).device.type == "meta") == moved
    assert brought_to(CPU, image) is image


def test_only_the_band_at_hand_is_tried_again(full_gpu: Callable[..., FullGPU]) -> None:
    image = torch.randn(2, 1, 160, 32)  # nine rows of one tile, each a band
    network = full_gpu(5)
    bands = list(SlidingWindow((32, 32), num_classes=3).bands(network, image))
    assert len(bands) == len(network.batches) - 1 == 9
    network.failing = ()
    whole = SlidingWindow((32, 32), num_classes=3).logits(network, image, one_band=True)
    assert torch.equal(torch.cat([band.logits for band in bands], dim=1), whole[:, 0])


def test_a_gpu_that_stays_full_is_an_error(full_gpu: Callable[..., FullGPU]) -> None:
    network = full_gpu(*range(9))
    with pytest.raises(torch.cuda.OutOfMemoryError, match="one tile at a time and the sums on the CPU"):
        SlidingWindow((32, 32), 3, tiles_per_batch=4).logits(network, torch.randn(2, 1, 120, 40))
    assert network.batches == [4, 2, 1, 1]
    assert not any(each() for each in network.sums)


def test_tells_how_much_is_done() -> None:
    parts: list[float] = []
    window = SlidingWindow((32, 32), num_classes=3, tiles_per_batch=2)
    window.logits(Convolution(2).eval(), torch.randn(2, 3, 32, 40), on_progress=parts.append)
    assert parts == pytest.approx([2 / 6, 4 / 6, 1.0])  # two tiles in each of three slices


def test_every_mirrored_image_counts_for_how_much_is_done() -> None:
    parts: list[float] = []
    window = SlidingWindow((32, 32), num_classes=3, mirror_axes=(0, 1))
    window.logits(Convolution(2).eval(), torch.randn(2, 1, 32, 40), on_progress=parts.append)
    assert parts == pytest.approx([n / 8 for n in range(1, 9)])


def test_an_error_of_the_listener_ends_the_prediction() -> None:
    def stop(part: float) -> None:
        raise InterruptedError(f"at {part}")

    with pytest.raises(InterruptedError, match=r"at 0\.5"):
        SlidingWindow((32, 32), num_classes=3).logits(
            Convolution(2).eval(), torch.randn(2, 1, 32, 48), on_progress=stop
        )


def test_bfloat16_products_are_summed_in_float32() -> None:
    torch.manual_seed(0)
    network, image = nn.Conv2d(1, 2, 3, padding=1).eval(), torch.randn(1, 1, 40, 48)
    exact = SlidingWindow((32, 32), num_classes=2, mirror_axes=(0, 1)).logits(network, image)
    half = SlidingWindow((32, 32), num_classes=2, mirror_axes=(0, 1), precision="bfloat16").logits(
        network, image
    )
    assert half.dtype == torch.float32
    difference = (half - exact).abs().max() / exact.abs().max()
    assert 1e-5 < difference < 1e-2  # bfloat16 has 8 bits


class Casts(TorchDispatchMode):
    """Counts casts of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        casts = torch.ops.aten._to_copy.default, torch.ops.aten.to.dtype  # the second in inference mode
        self.count += func in casts and args[0].shape == (2, 1, 3, 3)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("inference", [False, True])
def test_weights_are_cast_once_for_all_tiles_of_a_band(inference: bool) -> None:
    network = nn.Conv2d(1, 2, 3, padding=1).eval()
    window = SlidingWindow((32, 32), num_classes=2, mirror_axes=(0, 1), precision="bfloat16")
    members = MemberDecisions(independent=False)
    with torch.inference_mode(inference), Casts() as casts:
        window.logits(network, torch.randn(1, 1, 70, 100), one_band=True, members=members)
    assert casts.count == 1
