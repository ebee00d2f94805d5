"""Compile the Triton kernels for GPUs that need not be there, and print what each takes of one, as JSON.

    python tests/ops/triton_compilation.py                   # float32, 16 states, compute capability 9.0
    python tests/ops/triton_compilation.py --first-of KERNEL # the first launch of a kernel, or of several
    python tests/ops/triton_compilation.py --all             # also half precision, 1 and 64 states, 8.0, 10.0

Not in the process of the other tests: there the kernels are functions for Triton's interpreter.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from swin_umamba.ops.triton.chain import chain_kernel
from swin_umamba.ops.triton.launch import CHUNK, warps_of
from swin_umamba.ops.triton.selective_chunks import selective_chunks_kernel
from swin_umamba.ops.triton.selective_gradients import selective_gradients_kernel
from swin_umamba.ops.triton.selective_outputs import selective_outputs_kernel
from swin_umamba.ops.triton.ss2d_chunks import ss2d_chunks_kernel
from swin_umamba.ops.triton.ss2d_gradients import ss2d_gradients_kernel
from swin_umamba.ops.triton.ss2d_outputs import ss2d_outputs_kernel

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
INTEGERS = ("height", "width", "d_inner", "chunks", "length", "dim", "groups", "blocks")
# The activations, whose dtype follows the network's; parameters and workspaces are float32.
ACTIVATIONS = ("x", "x_dbl", "y", "grad_y", "grad_x", "tile", "u", "delta", "B", "C", "matrix", "sequence")


def variants(d_state: int, channels: int) -> Iterator[tuple[Any, dict[str, Any], int]]:
    """Each kernel with the constants of each of its launches, and its number of warps."""
    size = {"D_STATE": d_state, "CHUNK": CHUNK, "CHANNELS": channels}
    warps = warps_of(channels)
    for adjoint in (False, True):
        image = size | {"DT_RANK": 6, "WIDE": False}
        yield ss2d_chunks_kernel, image | {"ADJOINT": adjoint}, warps
        yield ss2d_outputs_kernel, image | {"BY_COLUMNS": int(adjoint)}, warps
        yield ss2d_gradients_kernel, image | {"BY_COLUMNS": int(adjoint)}, warps
        options = {"HAS_BIAS": True, "SOFTPLUS": True}
        yield selective_chunks_kernel, size | options | {"ADJOINT": adjoint}, warps
        chain = {"D_STATE": d_state, "DIRECTIONS": 4, "CHUNKS": 32, "CHANNELS": 32, "ADJOINT": int(adjoint)}
        ends = {"HAS_FIRST": adjoint, "HAS_LAST": not adjoint}
        absent = {"last": None} if adjoint else {"first": None}
        yield chain_kernel, chain | ends | absent, 1
    for options in (
        {"HAS_BIAS": True, "SOFTPLUS": True, "HAS_D": True},
        {"HAS_BIAS": False, "SOFTPLUS": False, "HAS_D": False},
    ):
        yield selective_outputs_kernel, size | options, warps
        yield selective_gradients_kernel, size | options, warps
    wide = size | {"DT_RANK": 6, "WIDE": True, "BY_COLUMNS": 1}
    yield ss2d_gradients_kernel, wide, warps
    yield from of_one_chunk(d_state)


def of_one_chunk(d_state: int) -> Iterator[tuple[Any, dict[str, Any], int]]:
    """The launches for one pixel or step: Triton turns integers that are 1 into constants."""
    size = {"D_STATE": d_state, "CHUNK": CHUNK, "CHANNELS": 32, "chunks": 1}
    image = size | {"DT_RANK": 1, "WIDE": False, "height": 1, "width": 1, "d_inner": 1}
    yield ss2d_chunks_kernel, image | {"ADJOINT": True}, 1
    yield ss2d_outputs_kernel, image | {"BY_COLUMNS": 1}, 1
    yield ss2d_gradients_kernel, image | {"BY_COLUMNS": 1}, 1
    sequence = size | {"length": 1, "dim": 1, "groups": 1, "blocks": 1, "HAS_BIAS": True, "SOFTPLUS": True}
    yield selective_chunks_kernel, sequence | {"ADJOINT": False}, 1
    yield selective_outputs_kernel, sequence | {"HAS_D": True}, 1
    yield selective_gradients_kernel, sequence | {"HAS_D": True}, 1
    chain = {"D_STATE": d_state, "DIRECTIONS": 1, "CHUNKS": 32, "CHANNELS": 32, "chunks": 1, "d_inner": 1}
    ends = {"ADJOINT": 0, "HAS_FIRST": False, "HAS_LAST": False, "first": None, "last": None}
    yield chain_kernel, chain | ends, 1


def signature_of(kernel: Any, constants: dict[str, Any], dtype: str) -> dict[str, str]:
    """Types of the arguments."""
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in INTEGERS:
            types[name] = "i32"
        else:
            types[name] = f"*{dtype}" if name in ACTIVATIONS else "*fp32"
    return types


def compiled(
    kernel: Any, constants: dict[str, Any], warps: int, dtype: str, capability: int
) -> dict[str, Any]:
    """Compile one variant and read its resources from the machine code."""
    signature = signature_of(kernel, constants, dtype)
    # Tensors from PyTorch's allocator, and channel counts that are multiples of 16, as at run time.
    aligned = [
        i
        for i, name in enumerate(kernel.arg_names)
        if signature[name][0] == "*" or (name in ("d_inner", "dim") and name not in constants)
    ]
    source = ASTSource(
        kernel,
        signature,
        {(kernel.arg_names.index(name),): value for name, value in constants.items()},
        {(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    return {
        "kernel": kernel.__name__,
        "constants": {name: value for name, value in constants.items() if value is not None},
        "dtype": dtype,
        "capability": capability,
        "warps": warps,
        "registers": int(found[1]),
        "spilled_bytes": int(found[2]),
        "shared_bytes": result.metadata.shared,
        "shuffles": result.asm["ptx"].count("shfl.sync"),
        "atomics": len(re.findall(r"\b(?:atom|red)\.(?:global|shared)", result.asm["ptx"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the Triton kernels without a GPU.")
    parser.add_argument("--all", action="store_true", help="other dtypes, sizes and GPUs")
    parser.add_argument("--first-of", nargs="+", help="the first launch of these kernels only")
    options = parser.parse_args()
    cases = [("fp32", 16, 64, 90)]
    if options.all:
        cases = [("fp32", 1, 32, 90), ("fp32", 64, 128, 90), ("bf16", 16, 128, 90), ("fp16", 16, 64, 90)]
        cases += [("fp32", 16, 64, 80), ("fp32", 16, 64, 100)]
    launches = [
        (kernel, constants, warps, dtype, capability)
        for dtype, d_state, channels, capability in cases
        for kernel, constants, warps in variants(d_state, channels)
    ]
    if options.first_of:
        first = {launch[0].__name__: launch for launch in reversed(launches)}
        launches = [first[name] for name in options.first_of]
    json.dump([compiled(*launch) for launch in launches], sys.stdout)


if __name__ == "__main__":
    main()
