"""Steps 1 to 5: the environment, the compiler, and the numbers of both scans."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import torch

from gpu import checks
from gpu.runner import Context, NotRunError, Step, run_step
from ops.scan_inputs import image_inputs, sequence_inputs
from swin_umamba.ops.backend import backend_status
from swin_umamba.ops.ss2d_scan import ss2d_scan

# Channels, height and width at an image of 512 x 512.
STAGES = ((192, 128, 128), (384, 64, 64), (768, 32, 32), (1536, 16, 16))
OLDEST_CAPABILITY = (7, 5)
GIGABYTE = 1e9
CACHE_NAME = ".triton_cache"
COLD_SECONDS, WARM_SECONDS = 90.0, 3.0
REPEATS = 20
PROJECTION_GIGABYTES = 60
SUMS_TOLERANCE = 1e-3  # sums over millions of pixels; a wrong offset is off by the sums themselves


def environment(context: Context) -> None:
    """Step 1: card, memory, shared memory, cache, launcher."""
    facts = context.environment
    capability = tuple(int(part) for part in facts["capability"].split("."))
    context.must(
        "compute capability", capability >= OLDEST_CAPABILITY, facts["capability"], "", "7.5 or newer"
    )
    free = facts["free_gb"] if context.rehearse else context.free_gigabytes
    others = max(0.0, facts["memory_gb"] - free - 1.0)
    note = f"other processes hold {others:.1f} GB" if others > 1 else "4 GB are needed"
    context.must("free memory", free >= 4, round(free, 1), "GB", note)
    if Path("/dev/shm").is_dir():
        shared = shutil.disk_usage("/dev/shm").free / GIGABYTE
        ok = shared >= 1 or context.rehearse
        context.must("free in /dev/shm", ok, round(shared, 1), "GB", "batches of loader processes need 1 GB")
    with tempfile.TemporaryDirectory(dir=context.folder):
        context.must("folder of the results can be written", True)
    status = backend_status("triton")
    context.must("Triton can launch kernels", status.available, None, "", status.reason)
    context.fact("bfloat16", bool(facts["bfloat16"]), "", "" if facts["bfloat16"] else "steps leave it out")
    context.fact("clocks and limits", facts.get("nvidia_smi", "unknown"))


def halves(context: Context) -> list[torch.dtype]:
    """Return the half precisions that the card has."""
    both = [torch.float16, torch.bfloat16]
    return both if context.environment["bfloat16"] else both[:1]


def compile_all(context: Context) -> None:
    """Step 2: every kernel for the four stages, forward, training and prediction, into an empty cache."""
    cache = context.folder / CACHE_NAME
    shutil.rmtree(cache, ignore_errors=True)
    cold, files = _seconds_to_compile(context)
    context.must(
        "cold compilation", context.rehearse or cold < COLD_SECONDS, round(cold, 1), "s", "below 90 s"
    )
    context.must("kernels are cached", context.rehearse or files > 0, files, "files")
    warm, _ = _seconds_to_compile(context)
    ok = context.rehearse or warm < WARM_SECONDS
    context.must("second process", ok, round(warm, 1), "s", "below 3 s, or the cache is not kept")


def _seconds_to_compile(context: Context) -> tuple[float, int]:
    """Compile, or load from the cache, in a process of its own; return its seconds and the files cached."""
    result = run_step(Step("compile", _compile, context.seconds_left), context, context.seconds_left - 1)
    if result.status != "passed":
        raise RuntimeError(f"the kernels do not compile: {result.status} {result.reason}")
    cache = context.folder / CACHE_NAME
    value = result.findings[-1].value
    assert isinstance(value, float)
    return value, sum(path.is_file() for path in cache.rglob("*")) if cache.exists() else 0


def _compile(context: Context) -> None:
    use_cache(context)
    torch.zeros(1, device=context.device)  # the context of CUDA is not part of compilation
    start = time.monotonic()
    for d_inner, _, _ in ((6, 0, 0),) if context.rehearse else STAGES:
        for d_state in (1,) if context.rehearse else (16,):
            for dtype in (torch.float32,) if context.rehearse else (torch.float32, *halves(context)):
                inputs = checks.image_case(
                    3, 5, batch=1, d_inner=d_inner, d_state=d_state, dt_rank=max(1, d_inner // 32)
                )
                given = checks.on_device(inputs, context.device, dtype)
                with torch.no_grad():
                    ss2d_scan(**given, backend="triton")
                checks.outputs_and_gradients(given, torch.ones_like(given["x"]))
    if not context.rehearse:
        torch.cuda.synchronize()
    context.fact("seconds", time.monotonic() - start)


def use_cache(context: Context) -> None:
    """Let Triton find what step 2 compiled; before the first kernel."""
    os.environ["TRITON_CACHE_DIR"] = str(context.folder / CACHE_NAME)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # see checks.nan_in_fresh_memory


def scans(context: Context) -> None:
    """Step 3: outputs and all gradients of both scans, uninitialised memory being NaN."""
    use_cache(context)
    cut = 2 if context.rehearse else 1
    for dtype in (torch.float32, *halves(context)):
        for name, inputs in checks.ragged_cases(dtype, tiny=context.rehearse):
            errors = checks.scan_errors(inputs, dtype, context.device)
            worst = checks.times_tolerance(errors, checks.half_types(inputs, dtype), cut)
            note = f"worst: {max(errors, key=lambda key: errors[key])} {max(errors.values()):.1e}"
            context.must(f"{name}, {_name(dtype)}", worst < 1, float(worst), "of the tolerance", note)
    for batch in (1,) if context.rehearse else (1, 8):
        for d_state in (1,) if context.rehearse else (1, 16):
            size = {"height": 4, "width": 5} if context.rehearse else {"height": 128, "width": 128}
            wide = {"d_inner": 6, "dt_rank": 2} if context.rehearse else {"d_inner": 192, "dt_rank": 6}
            if not context.rehearse and batch == 8 and context.free_gigabytes < 30:
                context.fact(f"128x128, batch {batch}", None, "", "left out: float64 needs 30 GB")
                continue
            inputs = image_inputs(**size, **wide, d_state=d_state, batch=batch)
            worst = checks.large_scan_times_plain(inputs, context.device)
            name = f"image {size['height']}x{size['width']}, batch {batch}, d_state {d_state}"
            context.must(name, worst < 1, float(worst), "of 4 times plain PyTorch's error")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def large_offsets(context: Context) -> None:
    """Step 4: more elements than 32 bits number, within an image and in a batch; strided; a second card."""
    use_cache(context)
    device = context.device
    context.must("strided tensors", _strided_is_equal(device), None, "", "equal bits as contiguous ones")
    if not context.rehearse and torch.cuda.device_count() > 1:
        other = checks.scan_errors(checks.image_case(5, 7), torch.float32, torch.device("cuda:1"))
        worst = checks.times_tolerance(other, {})
        context.must("a card that is not the current one", worst < 1, worst, "of the tolerance")
    if not context.rehearse and context.free_gigabytes < 40:
        raise NotRunError(f"large tensors need 40 GB, {context.free_gigabytes:.0f} are free")
    dtype = torch.float32 if context.rehearse else torch.float16
    side, parts = (4, 2) if context.rehearse else (1024, 4)
    channels = 64 if context.rehearse else 2048 + 64  # beyond 2^31 elements in an image
    equal = _channels_in_parts_agree(side, channels, parts, dtype, device)
    context.must("an image beyond 2^31 elements", equal, None, "", "equal to its channels in parts")
    if not context.rehearse:
        torch.cuda.empty_cache()
    batch = 3 if context.rehearse else 33
    equal = _images_alone_agree(side, 64, batch, dtype, device)
    context.must("a batch beyond 2^31 elements", equal, None, "", "its first and last image alone")
    if not context.rehearse:
        torch.cuda.empty_cache()
        if context.free_gigabytes < PROJECTION_GIGABYTES:
            context.fact("x_dbl beyond 2^31 elements", None, "", f"left out, needs {PROJECTION_GIGABYTES} GB")
            return
    side, states = (2, 2) if context.rehearse else (4096, 16)  # 4 * 33 numbers for each pixel
    error = states_in_halves_error(side, 4, states, dtype, device)
    context.must(
        "x_dbl beyond 2^31 elements, with all gradients", error < 1, error, "of the tolerance",
        "equal to the sum of the scans with half of the states each",
    )  # fmt: skip


def _strided_is_equal(device: torch.device) -> bool:
    given = checks.on_device(checks.image_case(3, 5, batch=1, d_inner=6, d_state=1, dt_rank=2), device)
    given = {name: tensor.detach() for name, tensor in given.items()}
    x, x_dbl = given["x"], given["x_dbl"]
    strided = given | {"x": x.mT.contiguous().mT, "x_dbl": x_dbl.transpose(1, 2).contiguous().transpose(1, 2)}
    y, expected = (ss2d_scan(**each, backend="triton") for each in (strided, given))
    return torch.equal(y, expected)


def _near(value: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether two scans agree up to one rounding: fewer channels or images may get longer chunks."""
    rounding = 2 * checks.ROUNDING.get(value.dtype, 0.0)
    tolerance = rounding + 2 * checks.FLOAT32_TOLERANCE
    return checks.largest_error(value.float(), expected.float()) < tolerance


def _parameters(channels: int, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        "dt_projs_weight": torch.randn(4, channels, 1, device=device),
        "dt_projs_bias": torch.randn(4, channels, device=device),
        "A": -torch.rand(4, channels, 1, device=device),
        "D": torch.randn(4, channels, device=device),
    }


@torch.no_grad()
def _channels_in_parts_agree(
    side: int, channels: int, parts: int, dtype: torch.dtype, device: torch.device
) -> bool:
    """Compare a scan with that of some of its channels at a time: they know nothing of each other."""
    x = torch.randn(1, side, side, channels, dtype=dtype, device=device)
    x_dbl = torch.randn(1, side, side, 4, 3, dtype=dtype, device=device)
    parameters = _parameters(channels, device)
    y = ss2d_scan(x, x_dbl, **parameters, backend="triton")
    size = channels // parts
    for start in range(0, channels, size):
        part = slice(start, start + size)
        alone = ss2d_scan(
            x[..., part],
            x_dbl,
            **{name: each[:, part] for name, each in parameters.items()},
            backend="triton",
        )
        if not _near(y[..., part], alone):
            return False
    return True


@torch.no_grad()
def _images_alone_agree(
    side: int, channels: int, batch: int, dtype: torch.dtype, device: torch.device
) -> bool:
    x = torch.randn(batch, side, side, channels, dtype=dtype, device=device)
    x_dbl = torch.randn(batch, side, side, 4, 3, dtype=dtype, device=device)
    parameters = _parameters(channels, device)
    y = ss2d_scan(x, x_dbl, **parameters, backend="triton")
    return all(
        _near(y[i : i + 1], ss2d_scan(x[i : i + 1], x_dbl[i : i + 1], **parameters, backend="triton"))
        for i in (0, batch - 1)
    )


def states_in_halves_error(
    side: int, channels: int, d_state: int, dtype: torch.dtype, device: torch.device
) -> float:
    """Return the largest error, in units of its tolerance, of a scan against two with half of its states.

    States know nothing of each other: outputs and gradients of what the halves share add up, and the other
    gradients lie side by side. Every tensor of a half has half as many elements.
    """
    half = d_state // 2
    x = torch.randn(1, side, side, channels, dtype=dtype, device=device)
    rows = torch.randn(1, side, side, 4, 1 + 2 * d_state, dtype=dtype, device=device)
    weight = torch.randn(4, channels, 1, device=device)
    bias = torch.randn(4, channels, device=device) - 2
    A = -torch.rand(4, channels, d_state, device=device) - 0.5
    cotangent = torch.randn(1, side, side, channels, dtype=dtype, device=device)

    def scanned(first: int, last: int) -> list[torch.Tensor]:
        B, C = rows[..., 1 + first : 1 + last], rows[..., 1 + d_state + first : 1 + d_state + last]
        x_dbl = rows if last - first == d_state else torch.cat([rows[..., :1], B, C], -1)
        D = torch.zeros(4, channels, device=device)
        given = [each.detach().requires_grad_() for each in (x, x_dbl, weight, bias, A[..., first:last], D)]
        y = ss2d_scan(*given, backend="triton")
        return [y.detach(), *torch.autograd.grad(y, given[:5], cotangent)]

    y, grad_x, grad_rows, *of_step_sizes, grad_A = scanned(0, d_state)
    rounding = checks.ROUNDING.get(dtype, 0.0)
    worst, grad_low = 0.0, None
    parts: list[list[torch.Tensor]] = []
    for first in (0, half):
        part = scanned(first, first + half)
        low, grad_B, grad_C = part[2].split((1, half, half), -1)
        for place, given in ((1 + first, grad_B), (1 + d_state + first, grad_C)):
            error = checks.largest_error(grad_rows[..., place : place + half], given)
            worst = max(worst, error / (checks.FLOAT32_TOLERANCE + 2 * rounding))
        grad_low = low.clone() if grad_low is None else grad_low + low
        parts.append([part[0], part[1], *part[3:]])
        del part, grad_B, grad_C, low, given
    sums = [a + b for a, b in zip(parts[0][:-1], parts[1][:-1], strict=True)]
    pairs = [(y, sums[0]), (grad_x, sums[1]), (grad_rows[..., :1], grad_low)]
    for value, expected in pairs:
        assert expected is not None
        worst = max(worst, checks.largest_error(value, expected) / (checks.FLOAT32_TOLERANCE + 4 * rounding))
    # These are sums over all pixels, one after another: float32 keeps fewer digits of them.
    summed = [*zip(of_step_sizes, sums[2:], strict=True)]
    summed.append((grad_A, torch.cat([parts[0][-1], parts[1][-1]], -1)))
    return max(worst, *(checks.largest_error(*pair) / SUMS_TOLERANCE for pair in summed))


def repeats(context: Context) -> None:
    """Step 5: equal bits, with other work beside; and 20 steps of a network, twice."""
    from gpu.networks import trained_twice_is_equal

    use_cache(context)
    tiny = context.rehearse
    image = image_inputs(3, 5, d_state=1) if tiny else checks.image_case(128, 128, d_inner=192, dt_rank=6)
    sequence = sequence_inputs(7, d_state=1) if tiny else sequence_inputs(4096, dim=384, d_state=16)
    for name, inputs in (("ss2d_scan", image), ("selective_scan", sequence)):
        different = checks.different_repeats(inputs, context.device, 1 if tiny else REPEATS)
        context.must(
            f"{name}, repeated", different == 0, different, "repeats differ", "equal bits, or a race"
        )
    equal = trained_twice_is_equal(context.device, steps=1 if tiny else REPEATS, tiny=tiny)
    context.must("training steps, twice", equal, None, "", "equal weights, or a non-deterministic operator")
