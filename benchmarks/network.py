"""Time both networks beside stock nnU-Net's plain 2D network, in one process.

    python benchmarks/network.py                      # 1x320x320, training and inference
    python benchmarks/network.py --size 3x512x512
    python benchmarks/network.py --profile            # where the time goes, operator by operator

A correctness gate comes first: if the fast scan and the reference disagree, nothing is timed. Then the
networks take turns (A B C, A B C, ...), so that a machine whose speed drifts drifts for all of them, and
medians and their ratios are printed. The floor is the time that the network's multiply-accumulates would
take at the rate of a large matrix product measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from swin_umamba.openmp import spin_briefly

spin_briefly()  # before torch, as in every process of the command line

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from swin_umamba import create_model

NUM_CLASSES = 14
GATE_TOLERANCE = 1e-4  # relative to the largest logit, float32 against float64


@dataclass(frozen=True)
class Timing:
    """Median seconds of one network in one mode."""

    network: str
    mode: str
    seconds: float
    images_per_second: float
    giga_macs: float
    floor_seconds: float

    @property
    def times_the_floor(self) -> float:
        """How many times longer than the multiply-accumulate floor."""
        return self.seconds / self.floor_seconds


def plain_nnunet(in_channels: int) -> nn.Module:
    """Return the 2D network that stock nnU-Net plans for images of about this size."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    stages = 7
    return PlainConvUNet(
        in_channels,
        n_stages=stages,
        features_per_stage=[32, 64, 128, 256, 512, 512, 512],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_conv_per_stage=2,
        num_classes=NUM_CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def check_correctness(device: torch.device) -> None:
    """Stop the benchmark if the automatic backend and the float64 reference disagree."""
    for name in ("swin_umamba", "swin_umamba_d"):
        torch.manual_seed(0)
        fast = create_model(name, in_channels=1, num_classes=3, depths=(1, 1, 1, 1)).eval().to(device)
        exact = create_model(name, in_channels=1, num_classes=3, depths=(1, 1, 1, 1), backend="reference")
        exact.load_state_dict(fast.state_dict())
        exact.eval().double()
        image = torch.randn(1, 1, 64, 64)
        with torch.no_grad():
            expected = exact(image.double())
            error = (fast(image.to(device)).cpu().double() - expected).abs().max() / expected.abs().max()
        if not error < GATE_TOLERANCE:
            sys.exit(f"{name}: relative error {error:.1e} against the reference; nothing was timed")
        print(f"correctness gate: {name} within {error:.1e} of the float64 reference")


def synchronised_seconds(function: Callable[[], object], device: torch.device) -> float:
    """Return the wall seconds of one call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def gemm_macs_per_second(device: torch.device, size: int = 1536, repeats: int = 7) -> float:
    """Return the multiply-accumulates per second of a large float32 matrix product."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    torch.mm(a, b)
    fastest = min(synchronised_seconds(lambda: torch.mm(a, b), device) for _ in range(repeats))
    return size**3 / fastest


def count_macs(network: nn.Module, image: torch.Tensor, *, training: bool) -> float:
    """Return the multiply-accumulates of convolutions and matrix products; the scan is not among them."""
    with FlopCounterMode(display=False) as counter:
        output = network(image)
        if training:
            output.sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2


def training_step(network: nn.Module, image: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step: forward, a loss, backward, AdamW."""
    optimizer.zero_grad(set_to_none=True)
    network(image).square().mean().backward()
    optimizer.step()


def time_networks(
    networks: dict[str, nn.Module], image: torch.Tensor, *, training: bool, repeats: int, rate: float
) -> list[Timing]:
    """Time all networks in turns and return their medians."""
    steps: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        network.train(training)
        if training:
            optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
            steps[name] = lambda n=network, o=optimizer: training_step(n, image, o)
        else:
            steps[name] = torch.inference_mode()(lambda n=network: n(image))
        steps[name]()  # warm-up: kernels compile, memory is allocated
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(repeats):
        for name, step in steps.items():
            seconds[name].append(synchronised_seconds(step, image.device))
    timings = []
    for name, network in networks.items():
        median = statistics.median(seconds[name])
        macs = count_macs(network, image, training=training)
        timings.append(
            Timing(
                network=name,
                mode="training" if training else "inference",
                seconds=median,
                images_per_second=image.shape[0] / median,
                giga_macs=macs / 1e9,
                floor_seconds=macs / rate,
            )
        )
    return timings


def print_profile(networks: dict[str, nn.Module], image: torch.Tensor) -> None:
    """Print the operators that take the most time in a training step."""
    for name, network in networks.items():
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        training_step(network, image, optimizer)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            training_step(network, image, optimizer)
        print(f"\n{name}, one training step")
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=18))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time both networks beside stock nnU-Net's plain network.")
    parser.add_argument("--size", default="1x320x320", help="channels x height x width")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    args = parser.parse_args()

    device = torch.device(args.device)
    channels, height, width = (int(part) for part in args.size.split("x"))
    check_correctness(device)
    networks = {
        "SwinUMamba": create_model("swin_umamba", in_channels=channels, num_classes=NUM_CLASSES),
        "SwinUMambaD": create_model("swin_umamba_d", in_channels=channels, num_classes=NUM_CLASSES),
        "nnU-Net plain 2D": plain_nnunet(channels),
    }
    for network in networks.values():
        network.to(device)
    image = torch.randn(args.batch, channels, height, width, device=device)
    if args.profile:
        print_profile(networks, image)
        return

    rate = gemm_macs_per_second(device)
    print(f"{torch.get_num_threads()} threads, matrix product at {rate / 1e9:.1f} GMAC/s, input {args.size}")
    timings = [
        timing
        for training in (False, True)
        for timing in time_networks(networks, image, training=training, repeats=args.repeats, rate=rate)
    ]
    print(f"{'network':18}{'mode':11}{'s':>8}{'images/s':>10}{'GMAC':>8}{'x floor':>9}{'x plain':>9}")
    for timing in timings:
        plain = next(t.seconds for t in timings if t.mode == timing.mode and t.network.startswith("nnU-Net"))
        print(
            f"{timing.network:18}{timing.mode:11}{timing.seconds:8.3f}{timing.images_per_second:10.2f}"
            f"{timing.giga_macs:8.1f}{timing.times_the_floor:9.2f}{timing.seconds / plain:9.2f}"
        )
    if args.json:
        print(json.dumps([asdict(timing) for timing in timings], indent=2))


if __name__ == "__main__":
    main()
