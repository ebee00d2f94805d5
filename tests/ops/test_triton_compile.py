"""The Triton kernels compile to machine code: what the interpreter, which knows only numpy, cannot tell.

Triton carries its own assembler, so no GPU is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")
TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2])
MOST_SHARED_BYTES = 48 * 1024  # what every GPU gives without asking
CAPABILITIES = {75, 80, 90, 100}


class Bounds(NamedTuple):
    """The most that a kernel may take, whatever the GPU and the launch.

    Counts are for 16 exponentials of a warp in the inner loop, such as 512 state steps or activations; a
    kernel without exponentials has none.
    """

    registers: int
    spilled_bytes: int = 0
    instructions: int = 0
    shuffles: int = 0
    barriers: float = 0


# Up to 128 registers a multiprocessor keeps 16 warps, up to 168 still 12, beyond only 8. Only for capability
# 10.0 the gradients spill, outside of the loops over the states. A barrier of the chain orders reads and
# writes of 32 chunks.
BOUNDS = {
    "ss2d_chunks_kernel": Bounds(128, instructions=130),
    "ss2d_chunks_kernel with parts": Bounds(168, instructions=130),
    "ss2d_outputs_kernel": Bounds(144, instructions=155),
    "ss2d_gradients_kernel": Bounds(255, 24, instructions=640, shuffles=80, barriers=2),
    "ss2d_chunks_kernel of projected dt": Bounds(123, instructions=119),
    "ss2d_chunks_kernel of projected dt with parts": Bounds(168, instructions=118),
    "ss2d_outputs_kernel of projected dt": Bounds(128, instructions=140),
    "ss2d_gradients_kernel of projected dt": Bounds(255, 24, instructions=617, shuffles=80, barriers=2),
    "selective_chunks_kernel": Bounds(128, instructions=145),
    "selective_chunks_kernel with parts": Bounds(168, instructions=145),
    "selective_outputs_kernel": Bounds(128, instructions=170),
    "selective_gradients_kernel": Bounds(255, instructions=650, shuffles=80, barriers=2),
    "chain_kernel": Bounds(168, instructions=580, barriers=0.5),
    "depthwise_kernel": Bounds(128, instructions=520),
    # Its taps come in reverse order, and threads exchange them once.
    "depthwise_kernel with adjoint": Bounds(128, shuffles=18),
    "depthwise_gradients_kernel": Bounds(168, instructions=950),
    # Sums over the channels of a pixel, by one warp or by eight.
    "gated_norm_kernel": Bounds(80, instructions=460, shuffles=32, barriers=12),
    "gated_norm_gradients_kernel": Bounds(128, instructions=840, shuffles=64, barriers=28),
}
KERNELS = {name.split()[0] for name in BOUNDS}
QUICK = "ss2d_chunks_kernel of projected dt with parts"


def run_compilation(tmp_path: Path, *options: str) -> Any:
    tests = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = [str(tests), *filter(None, [environment.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, tests / "ops/triton_compilation.py", *options],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check_bounds(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        most, loop = BOUNDS[row["name"]], row["loop"]
        assert row["spilled_bytes"] <= most.spilled_bytes, row
        if TRITON < (3, 7):  # lays scans out over threads
            continue
        assert row["registers"] <= most.registers, row
        assert bool(loop) == bool(most.instructions), row
        for name in ("shuffles", "barriers", "instructions") if loop else ():
            assert loop[name] <= getattr(most, name), row
        # Nothing is exchanged between threads but in sums over channels.
        assert most.shuffles or row["shuffles"] == row["shared_bytes"] == 0, row


def check_usable(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["shared_bytes"] <= MOST_SHARED_BYTES, row
        assert row["atomics"] == 0, row


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_compilation(tmp_path_factory.mktemp("cache"), "--keys", "--kernels", QUICK)


def test_a_kernel_compiles(quick: Any) -> None:
    assert [row["name"] for row in quick["rows"]] == [QUICK]
    check_usable(quick["rows"])
    check_bounds(quick["rows"])


def test_another_size_of_image_compiles_nothing(quick: Any) -> None:
    multiples_of_16, odd = quick["keys"]
    assert {name for keys in odd.values() for name, _ in keys} == KERNELS
    assert multiples_of_16 == odd


def test_all_ranks_that_a_product_projects_share_their_kernels(quick: Any) -> None:
    """Nine for an image: four kinds of chunks, outputs, gradients by rows and by columns, two of the chain.

    Three stages add the seven of one of them to those of the first.
    """
    first, *others = [quick["keys"][0][channels] for channels in ("192", "384", "768", "1536")]
    assert len(first) == 9
    assert others[0] == others[1] == others[2]
    assert len({tuple(variant) for variants in (first, *others) for variant in variants}) == 16


@pytest.mark.slow
def test_kernels_compile_within_bounds_on_every_gpu(tmp_path: Path) -> None:
    rows = run_compilation(tmp_path, "--gpus")["rows"]
    assert {row["name"] for row in rows} == set(BOUNDS)
    assert {row["capability"] for row in rows} == CAPABILITIES
    check_usable(rows)
    check_bounds(rows)


@pytest.mark.slow
def test_kernels_compile_for_all_dtypes_states_and_sizes(tmp_path: Path) -> None:
    rows = run_compilation(tmp_path, "--unusual")["rows"]
    assert {row["name"].split()[0] for row in rows} == KERNELS
    check_usable(rows)
