"""Step 11: measure how the kernels are launched best on this card, and write it down.

One setting after the other, each candidate first held against float64: what computes anything else is never
taken, however fast. A candidate replaces the number so far only if it is clearly faster over all stages. The
file is written after each setting, so that nothing is lost when the time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from gpu import block_kernels, checks
from gpu.choice import best_enough, enough_for, mean_ratio, smallest_as_good, threshold, winner
from gpu.limits import TURNS
from gpu.networks import NETWORKS, network
from gpu.numbers import STAGES, use_cache
from gpu.runner import Context
from gpu.speed import both_call, forward_call, scan_inputs
from gpu.timing import time_call
from ops.scan_inputs import sequence_inputs
from swin_umamba.ops.launch_settings import (
    DEFAULT,
    LaunchSettings,
    forced_settings,
    settings_path,
    write_settings,
)
from swin_umamba.ops.precision import autocast

FILE_NAME = "launch_settings.json"
REGISTERS = (96, 128, 160, None)
# In this order: what decides how many warps there are comes before what they take. The flag says whether the
# setting concerns the forward alone.
QUESTIONS: tuple[tuple[str, tuple[int | None, ...], bool], ...] = (
    ("loop_warps", (1, 2, 4), True),
    ("chunk_registers", REGISTERS, True),
    ("output_registers", REGISTERS, True),
    ("part_registers", REGISTERS, False),
    ("gradient_registers", REGISTERS, False),
)
CHUNK_STEPS = (16, 32, 64, 128, 256)
ENOUGH = (96, 192, 384, 768, 1536, 3072, 6144, 12288)
TILES = (1, 2, 4, 8, 16)
ALWAYS, NEVER = 1, 2**16  # ranks of dt
LAST_SECONDS = 60.0  # so much must be left to begin another candidate

Shape = tuple[int, int, int, int]  # channels, height, width, batch
_IMAGE: Shape = (260, 17, 23, 2)  # more channels than four warps hold, and chunks of any length


def tune(context: Context) -> None:
    """Step 11: one setting after the other, and the file of the winners."""
    use_cache(context)
    tuning = Tuning(context)
    tuning.must_be_right(DEFAULT, "the settings so far")
    for name, candidates, forward in QUESTIONS:
        tuning.ask(name, candidates, forward)
    tuning.ask_for_steps()
    tuning.ask_for_product()
    tuning.ask_for_kernels()
    tuning.ask_for_tiles()
    for mode, forward in (("forward", True), ("forward+backward", False)):
        ratio = mean_ratio(tuning.seconds(tuning.best, forward), tuning.seconds(DEFAULT, forward))
        context.speed(f"tuned, {mode}: of the time before", ratio, "")


class Tuning:
    """The settings so far, and how each next one is found."""

    def __init__(self, context: Context) -> None:
        self.context, self.best = context, DEFAULT
        batches = (1,) if context.rehearse else (1, 8)
        stages = ((2, 1, 2),) if context.rehearse else STAGES
        self.shapes: list[Shape] = [(*stage, batch) for batch in batches for stage in stages]

    def must_be_right(self, settings: LaunchSettings, name: str) -> bool:
        """Hold both scans with these settings against float64; report what is wrong."""
        with forced_settings(settings):
            for kind, inputs in _cases(tiny=self.context.rehearse):
                errors = checks.scan_errors(inputs, torch.float32, self.context.device)
                if (worst := checks.times_tolerance(errors, {})) >= 1:
                    self.context.must(f"{kind}, {name}", False, worst, "of the tolerance", "never taken")
                    return False
        return True

    def seconds(self, settings: LaunchSettings, forward: bool) -> list[float]:
        """Return the times of a scan for all shapes."""
        return [self.scan_seconds(settings, shape, forward) for shape in self.shapes]

    def ask(self, name: str, candidates: Sequence[int | None], forward: bool) -> None:
        """Find one setting among its candidates, the one so far first."""
        so_far = getattr(self.best, name)
        before = self.seconds(self.best, forward)
        ratios: dict[object, float] = {so_far: 1.0}
        others = [candidate for candidate in candidates if candidate != so_far]
        for candidate in others[:1] if self.context.rehearse else others:
            settings = replace(self.best, **{name: candidate})
            if self._no_time(name) or not self.must_be_right(settings, f"{name} {candidate}"):
                continue
            ratios[candidate] = mean_ratio(self.seconds(settings, forward), before)
            self.context.speed(f"{name} {candidate}: of the time with {so_far}", ratios[candidate], "")
        self._take(name, winner(ratios, so_far))

    def ask_for_steps(self) -> None:
        """Find how many warps are enough, from the times of chunks of several lengths."""
        if self._no_time("enough_warps"):
            return
        lengths = CHUNK_STEPS[:2] if self.context.rehearse else CHUNK_STEPS
        of_cases = self.work(_IMAGE)
        right = [
            steps
            for steps in lengths
            if self.must_be_right(
                replace(self.best, enough_warps=enough_for(of_cases, steps)), f"chunks of {steps} steps"
            )
        ]
        measured: list[tuple[int, dict[int, float]]] = []
        for shape in self.shapes:
            work, times = self.work(shape), dict[int, float]()
            for steps in right:
                if work < steps:
                    continue
                settings = replace(self.best, enough_warps=enough_for(work, steps))
                times[steps] = self.scan_seconds(settings, shape, forward=True)
                self.context.speed(f"{_named(shape)}, chunks of {steps} steps", 1e3 * times[steps], "ms")
            if times:
                measured.append((work, times))
        from swin_umamba.ops.triton.launch import chunk_steps

        def rule(work: int, enough: int) -> int:
            return chunk_steps(work, 1, enough)

        self._take("enough_warps", best_enough(measured, ENOUGH, self.best.enough_warps, rule))

    def ask_for_product(self) -> None:
        """Find the rank of dt from which on a matrix product projects it faster than the kernels."""
        from ss2d import dt_rank_of

        both = [replace(self.best, product_rank=rank) for rank in (ALWAYS, NEVER)]
        if self._no_time("product_rank") or not all(
            self.must_be_right(settings, f"product from rank {settings.product_rank} on") for settings in both
        ):
            return
        faster: dict[int, bool] = {}
        for channels in dict.fromkeys(shape[0] for shape in self.shapes):
            shapes = [shape for shape in self.shapes if shape[0] == channels]
            product, kernels = (
                [self.scan_seconds(settings, shape, forward=False) for shape in shapes] for settings in both
            )
            rank, ratio = dt_rank_of(channels), mean_ratio(product, kernels)
            faster[rank] = ratio < 1
            self.context.speed(f"dt of rank {rank} by a product: of the time in the kernels", ratio, "")
        self._take("product_rank", threshold(faster, NEVER))

    def ask_for_kernels(self) -> None:
        """Find which kernels beside the scan are faster than what they replace."""
        for candidate in block_kernels.CANDIDATES:
            name = candidate.setting
            if self._no_time(name) or not block_kernels.must_be_right(candidate, self.context):
                continue
            ratio = mean_ratio(*block_kernels.measure(candidate, self.context, self.shapes))
            self.context.speed(f"{name}: of the time of PyTorch", ratio, "")
            self._take(name, winner({False: 1.0, True: ratio}, False))

    def ask_for_tiles(self) -> None:
        """Find how many pixels of tiles a batch of a prediction should have."""
        if self._no_time("tiles_times"):
            return
        context = self.context
        side = 32 if context.rehearse else 512
        model = network(next(reversed(NETWORKS)), tiny=context.rehearse, backend=context.backend)
        model = model.eval().to(context.device)
        half = "float32" if context.rehearse else "float16"
        per_pixel: dict[int, float] = {}
        for times in TILES[:2] if context.rehearse else TILES:
            try:
                image = torch.randn(times, 1, side, side, device=context.device)
                seconds = self.time(_prediction(model, image, half))
            except torch.cuda.OutOfMemoryError:
                context.fact(f"{times} tiles of 512 x 512", None, "", "out of memory")
                break
            per_pixel[times] = seconds / image.numel()
            context.speed(f"{times} tiles of 512 x 512", 1e-6 / per_pixel[times], "megapixels/s")
        if per_pixel:
            self._take("tiles_times", smallest_as_good(per_pixel))

    def _take(self, name: str, value: Any) -> None:
        self.best = replace(self.best, **{name: value})
        context, facts = self.context, self.context.environment
        context.fact(f"taken: {name}", str(value), "", f"before: {getattr(DEFAULT, name)}")
        places = [context.folder / FILE_NAME]
        if not context.rehearse:
            places.append(settings_path(facts["card"]))
        for place in places:
            versions = {"triton": str(facts.get("triton", "")), "code": str(facts.get("code", ""))}
            write_settings(place, self.best, card=facts["card"], **versions)

    def _no_time(self, name: str) -> bool:
        if self.context.seconds_left > LAST_SECONDS:
            return False
        self.context.fact(f"{name}: left as it is", None, "", "no time left")
        return True

    def scan_seconds(self, settings: LaunchSettings, shape: Shape, forward: bool) -> float:
        """Return the time of a scan, with its backward or without."""
        *size, batch = shape
        d_state = 1 if self.context.rehearse else 16
        inputs = scan_inputs(*size, d_state, batch, self.context.device)
        with forced_settings(settings):
            return self.time((forward_call if forward else both_call)(inputs))

    def time(self, call: Callable[[], object]) -> float:
        """Return the time of a call."""
        call()
        return time_call(call, self.context.device, 1 if self.context.rehearse else TURNS).best

    def work(self, shape: Shape) -> int:
        """Return the warps for each chunk, times the length of a path."""
        from swin_umamba.ops.triton.launch import TimeLoop

        channels, height, width, batch = shape
        loop = TimeLoop.of(channels, 1 if self.context.rehearse else 16, self.best)
        return loop.warps_at_once(batch, channels) * height * width


def _cases(*, tiny: bool) -> Iterator[tuple[str, checks.Inputs]]:
    """Yield sizes at which every setting makes a difference."""
    if tiny:
        yield "image", checks.image_case(1, 2, batch=1, d_inner=2, d_state=1, dt_rank=1)
        return
    channels, height, width, batch = _IMAGE
    yield "image", checks.image_case(height, width, batch=batch, d_inner=channels, dt_rank=6)
    yield "image of a larger rank", checks.image_case(5, 7, d_inner=192, dt_rank=24)
    yield "sequence", sequence_inputs(400, dim=260, d_state=16)


def _prediction(model: torch.nn.Module, image: torch.Tensor, precision: str) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode(), autocast(image.device, precision):
            return model(image)

    return call


def _named(shape: Shape) -> str:
    channels, height, width, batch = shape
    return f"scan {channels}x{height}x{width}, batch {batch}"
