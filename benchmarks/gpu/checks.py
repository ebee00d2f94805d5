"""Checks of numbers on a device against float64, shared by ``gpu_check.py`` and ``pytest -m gpu``.

Each returns what it measured and judges nothing, so that both can hold it against the same tolerances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ops.scan_inputs import errors_against_reference, image_inputs, sequence_inputs
from swin_umamba.ops.selective_scan import selective_scan
from swin_umamba.ops.ss2d_scan import ss2d_scan

FLOAT32_TOLERANCE = 2e-6  # of the largest number of each tensor
# The rounding of a result itself, on top; Triton's interpreter cuts bfloat16 off where a GPU rounds.
ROUNDING = {torch.float16: 2**-11, torch.bfloat16: 2**-8}
HALF_OF_IMAGE = ("x", "x_dbl")
HALF_OF_SEQUENCE = ("u", "delta", "B", "C", "z")
# Long sums: so many times the error that plain PyTorch makes in float32 on the same numbers.
TIMES_PLAIN = 4.0

Inputs = dict[str, Tensor]


def image_case(
    height: int, width: int, *, batch: int = 2, d_inner: int = 40, d_state: int = 16, dt_rank: int = 3
) -> Inputs:
    """Return inputs of `ss2d_scan`, in float64 and on the CPU."""
    return image_inputs(height, width, batch=batch, d_inner=d_inner, d_state=d_state, dt_rank=dt_rank)


def ragged_cases(dtype: torch.dtype, *, tiny: bool) -> Iterator[tuple[str, Inputs]]:
    """Yield both scans at sizes that fill neither chunks nor blocks of channels.

    Few in half precision: each dtype and number of states compiles all kernels once more.
    """
    if tiny:
        yield "image 1x2", image_inputs(1, 2, batch=1, d_state=1)
        yield "sequence of 3", sequence_inputs(3, batch=1, d_state=1)
        return
    for d_state in (16, 1) if dtype == torch.float32 else (16,):
        sizes = ((1, 1), (5, 7), (1, 37), (37, 1), (17, 23)) if dtype == torch.float32 else ((5, 7),)
        for height, width in sizes:
            for d_inner, dt_rank in ((33, 12), (192, 6)):  # from 12 on a product projects dt
                name = f"image {height}x{width}, {d_inner} channels, {d_state} states"
                yield name, image_case(height, width, d_inner=d_inner, d_state=d_state, dt_rank=dt_rank)
        for length in (1, 35, 400) if dtype == torch.float32 else (35,):
            yield f"sequence of {length}, {d_state} states", sequence_inputs(length, dim=260, d_state=d_state)


def half_types(inputs: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Return the activations, which autocast hands over in half precision; parameters stay float32."""
    names = HALF_OF_IMAGE if "x" in inputs else HALF_OF_SEQUENCE
    return {} if dtype == torch.float32 else dict.fromkeys(names, dtype)


def times_tolerance(errors: Mapping[str, float], dtypes: Mapping[str, torch.dtype], cut: int = 1) -> float:
    """Return the largest error in units of its tolerance: below 1 is right.

    ``cut`` is 2 where the device cuts halves off instead of rounding them.
    """
    rounding = max((ROUNDING[dtype] for dtype in dtypes.values()), default=0.0)
    rounded = {"output", *(f"gradient of {name}" for name in dtypes)}
    return max(
        error / (FLOAT32_TOLERANCE + (cut * rounding if name in rounded else 0.0))
        for name, error in errors.items()
    )


def scan_errors(
    inputs: Inputs, dtype: torch.dtype, device: torch.device, backend: str | None = "triton"
) -> dict[str, float]:
    """Return relative errors of outputs and all gradients, uninitialised memory being NaN."""
    with nan_in_fresh_memory():
        return errors_against_reference(backend, inputs, device=device, dtypes=half_types(inputs, dtype))


def large_scan_times_plain(inputs: Inputs, device: torch.device) -> float:
    """Return the error of the kernels at a large size in units of what plain PyTorch errs, at least 2e-6.

    Both are held against plain PyTorch in float64, for the reference would take minutes.
    """
    worst = 0.0
    truth = {"exact_backend": "chunked", "exact_device": device}
    seed = torch.initial_seed()
    errors = []
    for backend in ("triton", "chunked"):
        torch.manual_seed(seed)  # equal cotangents
        errors.append(errors_against_reference(backend, inputs, device=device, **truth))
    for name, error in errors[0].items():
        worst = max(worst, error / max(FLOAT32_TOLERANCE, TIMES_PLAIN * errors[1][name]))
    return worst


@contextmanager
def nan_in_fresh_memory() -> Iterator[None]:
    """Fill uninitialised tensors with NaN, so that what is never written shows.

    On CUDA this forbids matrix products without ``CUBLAS_WORKSPACE_CONFIG``, which whoever starts the process
    must have set before the first one.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(8).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def on_device(inputs: Inputs, device: torch.device, dtype: torch.dtype = torch.float32) -> Inputs:
    """Return the inputs as leaves on a device."""
    types = half_types(inputs, dtype)
    return {
        name: tensor.detach().to(device, types.get(name, torch.float32)).requires_grad_()
        for name, tensor in inputs.items()
    }


def outputs_and_gradients(inputs: Inputs, cotangent: Tensor, backend: str = "triton") -> list[Tensor]:
    """Return the output of the scan that the inputs belong to, and every gradient."""
    scan = ss2d_scan if "x" in inputs else selective_scan
    y = scan(**inputs, backend=backend)
    return [y.detach(), *torch.autograd.grad(y, list(inputs.values()), cotangent)]


def different_repeats(inputs: Inputs, device: torch.device, repeats: int) -> int:
    """Return how many repeats of a scan differ in any bit while other work runs beside it."""
    given = on_device(inputs, device)
    cotangent = torch.randn_like(given["x" if "x" in given else "u"])
    first = outputs_and_gradients(given, cotangent)
    different = 0
    with other_work(device) as more:
        for _ in range(repeats):
            more()
            again = outputs_and_gradients(given, cotangent)
            different += not all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    return different


@contextmanager
def other_work(device: torch.device) -> Iterator[Callable[[], None]]:
    """Hand out a function that queues work on a second stream; wait for it at the end."""
    if device.type != "cuda":
        yield lambda: None
        return
    stream = torch.cuda.Stream(device)
    matrix = torch.randn(2048, 2048, device=device)
    stream.wait_stream(torch.cuda.current_stream(device))

    def more() -> None:
        with torch.cuda.stream(stream):
            for _ in range(4):
                torch.tanh(matrix @ matrix)

    yield more
    torch.cuda.synchronize(device)


@contextmanager
def deterministic_convolutions() -> Iterator[None]:
    """Keep cuDNN from algorithms that add up in the order in which threads arrive."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def logits_and_gradient(
    network: nn.Module, image: Tensor, weight: Tensor, half: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits and the gradient of all parameters as one vector, both in float64 on the CPU."""
    device = image.device.type
    with torch.autocast(device, dtype=half) if half is not None else nullcontext():
        logits = network(image)
    loss = (logits.to(weight.dtype) * weight).sum()
    # Whatever a network keeps but does not use has no gradient.
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    used = [gradient.double().cpu().flatten() for gradient in gradients if gradient is not None]
    return logits.detach().double().cpu(), torch.cat(used)


def largest_error(value: Tensor, truth: Tensor) -> float:
    """Return the largest deviation in units of the largest number; infinite if any number is not finite."""
    if not value.isfinite().all():
        return float("inf")
    return float((value - truth).abs().max() / truth.abs().max())


def length_error(value: Tensor, truth: Tensor) -> float:
    """Return the length of the deviation in units of the length of the vector; infinite as above."""
    return float((value - truth).norm() / truth.norm()) if value.isfinite().all() else float("inf")
