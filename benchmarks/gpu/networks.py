"""Steps 6 to 9: whole networks, training, two ranks, prediction."""

from __future__ import annotations

import copy
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gpu import checks, stopped_ranks
from gpu.runner import Context, NotRunError
from swin_umamba.models.swin_umamba import SwinUMamba
from swin_umamba.models.swin_umamba_d import SwinUMambaD
from swin_umamba.ops.precision import rounding_of_float32
from swin_umamba.tiling.sliding_window import SlidingWindow

NETWORKS: dict[str, Callable[..., nn.Module]] = {"SwinUMamba": SwinUMamba, "SwinUMambaD": SwinUMambaD}
CLASSES = 3
NETWORK_TOLERANCE = 1e-4
TIMES_CPU = 4.0  # float32 on the card, in units of what float32 on the CPU errs
# bfloat16 rounds eight times as coarsely.
HALF_NETWORK_TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 8 * 2e-2}
SAME_LABELS = 0.999
RESUMED_TOLERANCE = 1e-6
TRAINING_STEPS, MOST_SKIPPED = 100, 2
FALLEN = 0.5  # of the first loss; on a CPU five steps take it to 0.2
SPARE = 100_000_000  # bytes: fragments, and the image itself


def network(name: str, *, tiny: bool, classes: int = CLASSES, **options: Any) -> nn.Module:
    """Make a network: with one block a stage, and few channels in a rehearsal."""
    torch.manual_seed(0)
    small = {"features_per_stage": (8, 8, 8, 8), "d_state": 1} if tiny else {}
    return NETWORKS[name](1, classes, depths=(1, 1, 1, 1), **small, **options)


def blobs(batch: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy pictures of discs, (batch, 1, side, side), and labels 0 to 2, (batch, side, side)."""
    places = torch.rand(batch, 2, 2, generator=generator) * side
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None, :]
    labels = torch.zeros(batch, side, side, dtype=torch.int64)
    for i in range(batch):
        for number, (row, column) in enumerate(places[i].tolist(), start=1):
            labels[i][(rows - row) ** 2 + (columns - column) ** 2 < (side / 4) ** 2] = number
    noise = torch.randn(batch, 1, side, side, generator=generator)
    return labels[:, None].float() + 0.3 * noise, labels


def whole_networks(context: Context) -> None:
    """Step 6: logits and gradients against float64 on the CPU, and half precision against float32."""
    from gpu.numbers import halves, use_cache

    use_cache(context)
    side = 32 if context.rehearse else 128
    for name in NETWORKS:
        model = network(name, tiny=context.rehearse, backend="chunked").eval()
        there = network(name, tiny=context.rehearse, backend=context.backend).eval().to(context.device)
        image = torch.randn(1, 1, side, side)
        weight = torch.randn(1, CLASSES, side, side)
        with rounding_of_float32(context.device, "float32"):
            exact = checks.logits_and_gradient(copy.deepcopy(model).double(), image.double(), weight.double())
            on_cpu = checks.logits_and_gradient(model, image, weight)
            here = [each.to(context.device) for each in (image, weight)]
            single = checks.logits_and_gradient(there, *here)
        error = checks.largest_error(single[0], exact[0])
        allowed = max(NETWORK_TOLERANCE, TIMES_CPU * checks.largest_error(on_cpu[0], exact[0]))
        context.must(f"{name}, logits in float32", error < allowed, error, "", f"below {allowed:.1e}")
        error = checks.length_error(single[1], exact[1])
        allowed = max(NETWORK_TOLERANCE, TIMES_CPU * checks.length_error(on_cpu[1], exact[1]))
        context.must(f"{name}, gradients in float32", error < allowed, error, "", f"below {allowed:.1e}")
        for dtype in halves(context):
            half = checks.logits_and_gradient(there, *here, half=dtype)
            error, allowed = checks.largest_error(half[0], single[0]), HALF_NETWORK_TOLERANCE[dtype]
            label = f"{name}, logits in {str(dtype).removeprefix('torch.')}"
            context.must(label, error < allowed, error, "", f"below {allowed:.0e}")
            same = (half[0].argmax(1) == single[0].argmax(1)).double().mean().item()
            # Untrained networks come close to ties, so this says less than the logits do.
            context.fact(f"{label}: pixels of equal label", same, "", f"{SAME_LABELS} after training")


def trained_twice_is_equal(device: torch.device, *, steps: int, tiny: bool) -> bool:
    """Return whether two equal trainings give equal weights."""
    runs = []
    with checks.deterministic_convolutions():
        for _ in range(2):
            run = Training(device, tiny=tiny, precision=torch.float32)
            run.steps(steps)
            runs.append([parameter.detach().clone() for parameter in run.model.parameters()])
    return all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


class Training:
    """A short training in a precision, float16 with a scaled loss, on pictures drawn from a seed."""

    def __init__(self, device: torch.device, *, tiny: bool, precision: torch.dtype) -> None:
        self.device, self.precision = device, precision
        self.batch, self.side = (1, 32) if tiny else (2, 64)
        backend = "triton" if device.type == "cuda" else "chunked"
        self.model = network("SwinUMambaD", tiny=tiny, backend=backend).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        scaled = device.type == "cuda" and precision == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        self.generator = torch.Generator().manual_seed(1)
        self.skipped = 0

    def steps(self, number: int) -> list[float]:
        """Train, and return the losses."""
        losses = []
        for _ in range(number):
            images, labels = blobs(self.batch, self.side, self.generator)
            half = self.precision != torch.float32
            with torch.autocast(self.device.type, dtype=self.precision if half else None, enabled=half):
                logits = self.model(images.to(self.device)).float()
            # As a list of pixels: the sum over an image adds up in any order on CUDA.
            pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
            loss = nn.functional.cross_entropy(pixels, labels.to(self.device).flatten())
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), 12)
            before = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.skipped += self.scaler.get_scale() < before
            losses.append(loss.item())
        return losses

    def state(self) -> dict[str, Any]:
        """Return everything that training goes on from."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        state: dict[str, Any] = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        state["generator"] = self.generator.get_state()
        state["torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)


def training(context: Context) -> None:
    """Step 7: the loss falls in half precision, and a resumed training repeats the uninterrupted one."""
    from gpu.numbers import use_cache

    use_cache(context)
    precision = torch.float32 if context.rehearse else torch.float16
    steps = 4 if context.rehearse else TRAINING_STEPS
    with checks.deterministic_convolutions():
        run = Training(context.device, tiny=context.rehearse, precision=precision)
        losses = run.steps(steps // 2)
        state = run.state()
        rest = run.steps(steps // 2)
        resumed = Training(context.device, tiny=context.rehearse, precision=precision)
        resumed.restore(state)
        again = resumed.steps(steps // 2)
    first, last = losses[0], sum(rest[-steps // 10 :]) / len(rest[-steps // 10 :])
    note = f"from {first:.3f} to {last:.3f}"
    falls = context.rehearse or last < FALLEN * first
    context.must("the loss falls", falls, last / first, "of the first", note)
    context.must("steps skipped", run.skipped <= MOST_SKIPPED, run.skipped, "", f"at most {MOST_SKIPPED}")
    error = max(abs(a - b) / abs(a) for a, b in zip(rest, again, strict=True))
    context.must("resumed losses", error <= RESUMED_TOLERANCE, error, "", "as in the uninterrupted training")


def two_ranks(context: Context) -> None:
    """Step 8: two processes hold equal weights and draw different noise; a training stops and resumes."""
    import torch.multiprocessing as processes

    if not torch.distributed.is_available():
        raise NotRunError("this PyTorch has no torch.distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cards = 0 if context.rehearse else context.environment["cards"]
    answers = processes.get_context("fork").SimpleQueue()
    arguments = (port, cards, context.rehearse, answers, str(context.folder))
    processes.start_processes(_rank, args=arguments, nprocs=2, start_method="fork")
    (digest, noise), (other_digest, other_noise) = answers.get(), answers.get()
    context.must("equal weights on both ranks", digest == other_digest)
    context.must("different noise on both ranks", noise != other_noise)
    context.fact("ranks", "two cards, nccl" if cards > 1 else "one device, gloo")
    stopped_ranks.stop_and_resume(context, cards)


def _rank(rank: int, port: int, cards: int, tiny: bool, answers: Any, folder: str) -> None:
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    os.environ["TRITON_CACHE_DIR"] = os.path.join(folder, ".triton_cache")
    device = torch.device("cpu") if not cards else torch.device("cuda", rank if cards > 1 else 0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    distributed.init_process_group(
        "nccl" if cards > 1 else "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    torch.manual_seed(rank)
    noise = torch.randn(1, device=device).item()
    run = Training(device, tiny=tiny, precision=torch.float32)
    # Each rank draws its own pictures; the gradients are averaged.
    run.generator.manual_seed(rank)
    run.model = DistributedDataParallel(run.model, find_unused_parameters=True)
    run.steps(1 if tiny else 20)
    digest = [float(parameter.detach().double().sum()) for parameter in run.model.parameters()]
    answers.put((digest, noise))
    distributed.barrier()
    distributed.destroy_process_group()


def prediction(context: Context) -> None:
    """Step 9: a volume whose sums do not fit into the memory that is left, as on the CPU."""
    from gpu.numbers import use_cache

    use_cache(context)
    depth, side, patch, classes = (2, 40, 32, CLASSES) if context.rehearse else (24, 256, 128, 64)
    made: dict[str, Any] = {"tiny": context.rehearse, "classes": classes}
    model = network("SwinUMambaD", **made, backend="chunked").eval()
    volume = torch.randn(1, depth, side, side)
    window = SlidingWindow((patch, patch), classes, device=torch.device("cpu"))
    with rounding_of_float32(context.device, "float32"):
        expected = window.logits(model, volume)
        model = network("SwinUMambaD", **made, backend=context.backend).eval().to(context.device)
        window = SlidingWindow((patch, patch), classes, device=context.device)
        with counted_warnings() as warnings:
            here = predict_in_little_memory(window, model, volume)
    reached = sum("the sums are on the CPU" in warning for warning in warnings)
    context.must("the second attempt was reached", reached == 1, reached, "times", "else this shows nothing")
    error = checks.largest_error(here.double(), expected.double())
    same = (here.argmax(0) == expected.argmax(0)).double().mean().item()
    context.must("logits of the volume", error < NETWORK_TOLERANCE, error, "", "below 1e-4")
    context.must(
        "labels of the volume", same > SAME_LABELS, same, "", "untrained networks come close to ties"
    )


@contextmanager
def counted_warnings() -> Iterator[list[str]]:
    """Collect what the sliding window warns of: its attempts with less memory."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, collector = logging.getLogger(SlidingWindow.__module__), Collector()
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)


class FullCard(nn.Module):
    """Stands in for a card: a network that finds no memory left while there are sums on its device."""

    def __init__(self, model: nn.Module, attempts: int) -> None:
        super().__init__()
        self.model, self.attempts = model, attempts

    def forward(self, image: Tensor) -> Any:
        """Run the network, but for the first attempts."""
        if self.attempts:
            self.attempts -= 1
            raise torch.cuda.OutOfMemoryError("a rehearsal")
        return self.model(image)


def bytes_of_sums(window: SlidingWindow, volume: Tensor) -> int:
    """Return what the sums of a whole volume take: a float32 for each class, and one for the weights."""
    return 4 * (window.num_classes + window.num_extra + 1) * volume[0].numel()


def memory_limit(enough: int, sums: int) -> int:
    """Return the memory in bytes with which the first attempt must fail and the last one must not.

    Parameters
    ----------
    enough
        Bytes reserved at most while a single tile is predicted.
    sums
        Bytes of the sums of the volume, which the first attempt holds on the card beside all that.

    Raises
    ------
    NotRunError
        If half of the sums is within what an allocator may take more or less.
    """
    if sums // 2 < SPARE:
        raise NotRunError(f"sums of {sums / 1e6:.0f} MB are too small to run out of memory by them")
    return enough + sums // 2


def predict_in_little_memory(window: SlidingWindow, model: nn.Module, volume: Tensor) -> Tensor:
    """Predict in one band while the card holds the network and a tile, but not the sums as well."""
    if window.device.type != "cuda":
        return window.logits(FullCard(model, 1), volume, one_band=True)
    device = window.device
    tile = volume[:, :1, : window.patch_size[0], : window.patch_size[1]]
    window.logits(model, tile)  # compile, and let cuDNN take its workspaces
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    window.logits(model, tile)
    enough = torch.cuda.max_memory_reserved(device)
    limit = memory_limit(enough, bytes_of_sums(window, volume))
    total = torch.cuda.mem_get_info(device)[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    try:
        return window.logits(model, volume, one_band=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
