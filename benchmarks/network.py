"""Time our networks beside stock nnU-Net's plain 2D network, in one process.

    python benchmarks/network.py                      # 1x320x320, training and inference
    python benchmarks/network.py --size 3x512x512
    python benchmarks/network.py --profile            # where the time goes, operator by operator
    python benchmarks/network.py --threads 1 --cpu-seconds   # beside other work
    python benchmarks/network.py --device cuda        # 1x320x320, 3x384x640 and 3x512x512, float32
    python benchmarks/network.py --device cuda --precision float16 --batch 8

A correctness gate comes first: if the fast scan and the reference disagree, nothing is timed. Then the
networks take turns (A B C, A B C, ...), so that a machine whose speed drifts drifts for all of them, and
medians are printed, with the median of the ratios to nnU-Net's network of the same turn. The floor is the
time that the network's multiply-accumulates would take at the rate of a large matrix product measured in the
same run.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from operator import truediv

from swin_umamba.torch_settings import apply_settings

apply_settings()  # before torch, as in every process of the command line

import torch
from torch import nn

from operator_groups import print_parts
from swin_umamba import create_model
from swin_umamba.compare.complexity import count_macs
from swin_umamba.errors import SwinUMambaError
from swin_umamba.ops.backend import resolve_device
from swin_umamba.ops.fused_optimizer import fused_on
from swin_umamba.ops.linear import linear
from swin_umamba.ops.precision import PRECISIONS, autocast, check_precision, rounding_of_float32

NUM_CLASSES = 14
SECOND_GENERATION = "vmamba_tiny_s1l8"
PLAIN = "nnU-Net plain 2D"
CPU_SIZES = ["1x320x320"]
CUDA_SIZES = ["1x320x320", "3x384x640", "3x512x512"]  # the patches of the paper's three data sets, about
clock = time.perf_counter
GATE_TOLERANCE = 1e-4  # relative to the largest logit, float32 against float64


@dataclass(frozen=True)
class Timing:
    """Median seconds of one network in one mode, and the median ratio to nnU-Net's in the same turn."""

    network: str
    mode: str
    size: str
    batch: int
    seconds: float
    times_plain: float
    images_per_second: float
    giga_macs: float
    floor_seconds: float
    peak_megabytes: float | None

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
    # Convolutions of a GPU would keep ten bits only; they are not what is checked here.
    with rounding_of_float32(device, "float32"):
        for name, backbone in (
            ("swin_umamba", "vmamba_tiny"),
            ("swin_umamba_d", "vmamba_tiny"),
            ("swin_umamba_d", SECOND_GENERATION),
            ("swin_umamba_dd", SECOND_GENERATION),
        ):
            torch.manual_seed(0)
            small = partial(
                create_model, name, in_channels=1, num_classes=3, backbone=backbone, depths=(1, 1, 1, 1)
            )
            fast, exact = small().eval().to(device), small(backend="reference")
            exact.load_state_dict(fast.state_dict())
            exact.eval().double()
            image = torch.randn(1, 1, 64, 64)
            with torch.no_grad():
                expected = exact(image.double())
                error = (fast(image.to(device)).cpu().double() - expected).abs().max() / expected.abs().max()
            if not error < GATE_TOLERANCE:
                sys.exit(
                    f"{name}, {backbone}: relative error {error:.1e} against the reference; nothing was timed"
                )
            print(f"correctness gate: {name}, {backbone} within {error:.1e} of the float64 reference")


def device_name(device: torch.device) -> str:
    """Return what the figures belong to."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def synchronised_seconds(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def gemm_macs_per_second(device: torch.device, size: int = 1536, repeats: int = 7) -> float:
    """Return the multiply-accumulates per second of a large float32 matrix product, by the faster library."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    products = (partial(torch.mm, a, b), partial(linear, a, b))
    fastest = min(synchronised_seconds(product, device) for _ in range(repeats) for product in products)
    return size**3 / fastest


def giga_macs(network: nn.Module, image: torch.Tensor, *, training: bool) -> float:
    """Multiply-accumulates by the paper's count, with the scan; of a training step three times as many."""
    counted = copy.deepcopy(network).to("meta")  # counting chooses another backend
    return (3 if training else 1) * count_macs(counted, image.to("meta")) / 1e9


def training_step(
    network: nn.Module, image: torch.Tensor, optimizer: torch.optim.Optimizer, precision: str = "float32"
) -> None:
    """One step: forward, a loss, backward, AdamW."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(image.device, precision):
        loss = network(image).float().square().mean()
    loss.backward()
    optimizer.step()


def inference_step(network: nn.Module, image: torch.Tensor, precision: str = "float32") -> None:
    """One prediction."""
    with torch.inference_mode(), autocast(image.device, precision):
        network(image)


def peak_megabytes(step: Callable[[], object], device: torch.device) -> float | None:
    """Most memory that PyTorch held on the device during a step; None elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) / 1e6


def make_steps(
    networks: dict[str, nn.Module], image: torch.Tensor, *, training: bool, precision: str = "float32"
) -> dict[str, Callable[[], object]]:
    """Return the step of each network, warmed up; they train with the optimizer of our trainers."""
    steps: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        network.train(training)
        if training:
            optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fused_on(image.device))
            steps[name] = partial(training_step, network, image, optimizer, precision)
        else:
            steps[name] = partial(inference_step, network, image, precision)
        steps[name]()  # kernels compile, memory is allocated
    return steps


def time_networks(
    networks: dict[str, nn.Module],
    image: torch.Tensor,
    *,
    training: bool,
    repeats: int,
    rate: float,
    precision: str = "float32",
) -> list[Timing]:
    """Time all networks in turns and return their medians."""
    steps = make_steps(networks, image, training=training, precision=precision)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(repeats):
        for name, step in steps.items():
            seconds[name].append(synchronised_seconds(step, image.device))
    timings = []
    for name, network in networks.items():
        median = statistics.median(seconds[name])
        memory = peak_megabytes(steps[name], image.device)
        macs = giga_macs(network, image, training=training)
        timings.append(
            Timing(
                network=name,
                mode="training" if training else "inference",
                size="x".join(str(extent) for extent in image.shape[1:]),
                batch=image.shape[0],
                seconds=median,
                times_plain=statistics.median(map(truediv, seconds[name], seconds[PLAIN])),
                images_per_second=image.shape[0] / median,
                giga_macs=macs,
                floor_seconds=1e9 * macs / rate,
                peak_megabytes=memory,
            )
        )
    return timings


def print_profile(networks: dict[str, nn.Module], image: torch.Tensor, rate: float) -> None:
    """Print where the time of inference and of a training step goes."""
    for training, mode in ((False, "inference"), (True, "training")):
        for name, step in make_steps(networks, image, training=training).items():
            print_parts(f"{name}, {mode}", step, rate, training=training)


def networks_for(channels: int, device: torch.device) -> dict[str, nn.Module]:
    """Return the networks that are compared."""
    networks = {
        "SwinUMamba": create_model("swin_umamba", in_channels=channels, num_classes=NUM_CLASSES),
        "SwinUMambaD": create_model("swin_umamba_d", in_channels=channels, num_classes=NUM_CLASSES),
        "SwinUMambaD s1l8": create_model(
            "swin_umamba_d", in_channels=channels, num_classes=NUM_CLASSES, backbone=SECOND_GENERATION
        ),
        "SwinUMambaDD": create_model("swin_umamba_dd", in_channels=channels, num_classes=NUM_CLASSES),
        PLAIN: plain_nnunet(channels),
    }
    return {name: network.to(device) for name, network in networks.items()}


def print_timings(timings: list[Timing]) -> None:
    """Print one size."""
    print(
        f"{'network':18}{'mode':11}{'s':>8}{'images/s':>10}{'GMAC':>8}{'x floor':>9}{'x plain':>9}"
        f"{'peak MB':>9}"
    )
    for timing in timings:
        memory = "n/a" if timing.peak_megabytes is None else f"{timing.peak_megabytes:.0f}"
        print(
            f"{timing.network:18}{timing.mode:11}{timing.seconds:8.3f}{timing.images_per_second:10.2f}"
            f"{timing.giga_macs:8.1f}{timing.times_the_floor:9.2f}{timing.times_plain:9.2f}{memory:>9}"
        )


def main() -> None:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description="Time our networks beside stock nnU-Net's plain network.")
    parser.add_argument("--size", action="append", help="channels x height x width; may be repeated")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; by default one for each core")
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="time the processor's seconds of all threads, which other work on the machine changes less",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    args = parser.parse_args()

    try:
        device = resolve_device(args.device)
        check_precision(args.precision, device)
    except SwinUMambaError as error:
        sys.exit(str(error))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if args.cpu_seconds:
        global clock
        clock = time.process_time
    check_correctness(device)
    rate = gemm_macs_per_second(device)
    all_timings = []
    for size in args.size or (CUDA_SIZES if device.type == "cuda" else CPU_SIZES):
        channels, height, width = (int(part) for part in size.split("x"))
        networks = networks_for(channels, device)
        image = torch.randn(args.batch, channels, height, width, device=device)
        print(
            f"\n{torch.get_num_threads()} threads, matrix product at {rate / 1e9:.1f} GMAC/s, "
            f"input {args.batch} x {size}, {args.precision} on {device_name(device)}, "
            f"{'processor' if args.cpu_seconds else 'wall'} seconds",
            flush=True,
        )
        if args.profile:
            print_profile(networks, image, rate)
            continue
        timings = [
            timing
            for training in (False, True)
            for timing in time_networks(
                networks, image, training=training, repeats=args.repeats, rate=rate, precision=args.precision
            )
        ]
        print_timings(timings)
        all_timings += timings
    if args.json:
        print(json.dumps([asdict(timing) for timing in all_timings], indent=2))


if __name__ == "__main__":
    main()
