"""Compile the Triton kernels for GPUs that need not be there, and print what each takes of one, as JSON.

    python tests/ops/triton_compilation.py                   # float32, 16 states, compute capability 9.0
    python tests/ops/triton_compilation.py --kernels NAME    # the first launch of one name, or of several
    python tests/ops/triton_compilation.py --gpus            # for all GPUs
    python tests/ops/triton_compilation.py --unusual         # other dtypes, sizes and numbers of states
    python tests/ops/triton_compilation.py --keys            # list all variants of all stages, too

The scans are called as for a GPU, but each launch is only noted and then compiled as it was meant to be: the
arguments that Triton makes constants, the warps and the registers are those of the launch.

Not in the process of the other tests: there the kernels are functions for Triton's interpreter.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ops.machine_code import resources
from swin_umamba.ops.triton import launch
from swin_umamba.ops.triton.depthwise_silu import depthwise_silu_backward, depthwise_silu_forward
from swin_umamba.ops.triton.gated_norm import gated_norm_backward, gated_norm_forward
from swin_umamba.ops.triton.selective_scan import selective_scan_backward, selective_scan_forward
from swin_umamba.ops.triton.ss2d_scan import ss2d_scan_backward, ss2d_scan_forward

CAPABILITIES = (75, 80, 100, 90)
SIZE = (6, 11)  # of the images; nothing is computed
STAGES = (192, 384, 768, 1536)  # channels of the networks' stages


class _Driver:
    """Stands in for the one that asks the GPU."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@dataclass(frozen=True)
class Launch:
    """A kernel with everything that makes Triton compile it anew; ``case`` is what it was launched for."""

    kernel: Any
    key: str
    source: Any
    options: dict[str, Any]
    constants: dict[str, Any]
    case: str

    @property
    def name(self) -> str:
        """The kernel, and which of its forms."""
        has = self.constants.get
        forms = {
            " of projected dt": has("RANK") == 0,
            " with parts": has("PART"),
            # Scans take the same back in time.
            " with adjoint": has("ADJOINT") and self.kernel.__name__.startswith("depthwise"),
        }
        return self.kernel.__name__ + "".join(form for form, is_so in forms.items() if is_so)


class Recorder:
    """Notes the launches of kernels instead of compiling and launching them."""

    def __init__(self) -> None:
        self.launches: dict[tuple[str, str], Launch] = {}
        self.case = ""
        triton.runtime.driver.set_active(_Driver())
        triton.knobs.runtime.jit_cache_hook = self._note

    def _note(self, *, key: str, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        kernel = fn.jit_function
        constants, attributes = compile["constants"], compile["configs"][0]
        options = json.loads(compile["specialization_data"])["options"]
        chosen = {name: options[name] for name in ("num_warps", "maxnreg") if options[name] is not None}
        names = {kernel.arg_names[path[0]]: value for path, value in constants.items() if value is not None}
        source = ASTSource(kernel, compile["signature"], constants, attributes)
        launch = Launch(kernel, key, source, chosen, names, self.case)
        self.launches.setdefault((kernel.__name__, key), launch)
        return True  # do not compile

    def image(
        self,
        dtype: torch.dtype = torch.float32,
        d_inner: int = 192,
        d_state: int = 16,
        size: tuple[int, int] = SIZE,
        dt_rank: int = 6,
    ) -> None:
        self.case = f"image {str(dtype)[6:]}, {d_inner} channels, {d_state} states, rank {dt_rank}"
        x = torch.zeros(1, *size, d_inner, dtype=dtype)
        x_dbl = torch.zeros(1, *size, 4, dt_rank + 2 * d_state, dtype=dtype)
        weight, bias = torch.zeros(4, d_inner, dt_rank), torch.zeros(4, d_inner)
        tensors = x, x_dbl, weight, bias, torch.zeros(4, d_inner, d_state), torch.zeros(4, d_inner)
        y, states = ss2d_scan_forward(*tensors)
        ss2d_scan_backward(torch.zeros_like(y), states, *tensors)

    def sequence(
        self,
        dtype: torch.dtype = torch.float32,
        dim: int = 192,
        d_state: int = 16,
        length: int = 70,
        options: bool = True,
    ) -> None:
        self.case = f"sequence {str(dtype)[6:]}, {dim} channels, {d_state} states, options {options}"
        u = torch.zeros(1, dim, length, dtype=dtype)
        B = torch.zeros(1, 1, d_state, length, dtype=dtype)
        D = torch.zeros(dim) if options else None
        tensors = u, u, torch.zeros(dim, d_state), B, B, D, D, options
        y, last, states = selective_scan_forward(*tensors)
        selective_scan_backward(torch.zeros_like(y), last if options else None, states, *tensors)

    def depthwise(
        self, dtype: torch.dtype = torch.float32, channels: int = 192, size: tuple[int, int] = SIZE
    ) -> None:
        """A convolution of half of the channels of a tensor, as the networks call it."""
        self.case = f"depthwise {str(dtype)[6:]}, {channels} channels"
        x, _ = torch.zeros(1, *size, 2 * channels, dtype=dtype).chunk(2, dim=-1)
        parameters = torch.zeros(channels, 1, 3, 3), torch.zeros(channels)
        y = depthwise_silu_forward(x, *parameters)
        depthwise_silu_backward(y, x, *parameters)

    def gated_norm(
        self, dtype: torch.dtype = torch.float32, channels: int = 192, size: tuple[int, int] = SIZE
    ) -> None:
        """A norm with half of the channels of a tensor as the gate, as the networks call it."""
        self.case = f"gated norm {str(dtype)[6:]}, {channels} channels"
        y, parameter = torch.zeros(1, *size, channels), torch.zeros(channels)
        _, z = torch.zeros(1, *size, 2 * channels, dtype=dtype).chunk(2, dim=-1)
        out = gated_norm_forward(y, z, parameter, parameter, 1e-5)
        gated_norm_backward(out, y, z, parameter, parameter, 1e-5)

    def wide_image(self) -> None:
        """One with offsets of 64 bits."""
        most, launch.MOST_OFFSET = launch.MOST_OFFSET, 1
        self.image()
        launch.MOST_OFFSET = most

    def list(self) -> list[Launch]:
        return list(self.launches.values())


def compiled(launch: Launch, capability: int) -> dict[str, Any]:
    """Compile one launch and read its resources from the machine code."""
    target = GPUTarget("cuda", capability, 32)
    result = triton.compile(launch.source, target=target, options=launch.options)
    return {
        "name": launch.name,
        "case": launch.case,
        "constants": launch.constants,
        "capability": capability,
        **launch.options,
        **resources(result, capability, launch.options["num_warps"]),
    }


def usual() -> Recorder:
    """The launches of the networks' first stage and of the others, and of a sequence."""
    recorder = Recorder()
    recorder.image()
    recorder.image(d_inner=384, dt_rank=12)
    recorder.sequence()
    recorder.depthwise()
    recorder.depthwise(torch.float16)
    recorder.gated_norm(torch.float16)
    recorder.gated_norm(torch.float16, channels=1536)
    return recorder


def unusual() -> Recorder:
    """All that need only compile: other options and sizes, huge images, images of one pixel."""
    recorder = Recorder()
    recorder.image(torch.float16)
    recorder.image(d_state=1)
    recorder.image(d_inner=33, d_state=3, dt_rank=1)
    recorder.image(d_state=64, dt_rank=24)
    recorder.image(torch.bfloat16, d_inner=384, dt_rank=12)
    recorder.image(d_inner=33, d_state=3, dt_rank=12)
    recorder.sequence(torch.bfloat16)
    recorder.sequence(dim=40, options=False)
    recorder.image(d_inner=1, d_state=1, size=(1, 1), dt_rank=1)
    recorder.sequence(dim=1, d_state=1, length=1)
    recorder.wide_image()
    recorder.depthwise(torch.bfloat16)
    recorder.depthwise(channels=33)
    recorder.depthwise(torch.float16, channels=1, size=(1, 1))
    recorder.gated_norm(torch.bfloat16, channels=33)
    recorder.gated_norm(channels=1, size=(1, 1))
    return recorder


def keys_of_two_sizes() -> list[dict[str, list[list[str]]]]:
    """The variants of each stage's scan and of the other kernels, for two sizes."""
    both = []
    for height, width in ((16, 32), (7, 5)):
        recorder = Recorder()
        recorder.sequence(length=height * width)
        recorder.depthwise(size=(height, width))
        recorder.gated_norm(size=(height, width))
        keys = {"others": sorted(map(list, recorder.launches))}
        for d_inner in STAGES:
            recorder = Recorder()
            recorder.image(size=(height, width), d_inner=d_inner, dt_rank=d_inner // 32)
            keys[str(d_inner)] = sorted(map(list, recorder.launches))
        both.append(keys)
    return both


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the Triton kernels without a GPU.")
    parser.add_argument("--gpus", action="store_true", help="all GPUs")
    parser.add_argument("--unusual", action="store_true", help="other dtypes, sizes and numbers of states")
    parser.add_argument("--keys", action="store_true", help="list what all stages would compile")
    parser.add_argument("--kernels", nargs="+", help="the first launch of these names only")
    options = parser.parse_args()
    keys = keys_of_two_sizes() if options.keys else []
    launches = (unusual() if options.unusual else usual()).list()
    if options.kernels:
        first = {launch.name: launch for launch in reversed(launches)}
        launches = [first[name] for name in options.kernels]
    capabilities = CAPABILITIES if options.gpus else CAPABILITIES[-1:]
    rows = [compiled(launch, capability) for launch in launches for capability in capabilities]
    json.dump({"rows": rows, "keys": keys}, sys.stdout)


if __name__ == "__main__":
    main()
