"""The Triton kernels compile to machine code: what the interpreter, which knows only numpy, cannot tell.

Triton carries its own assembler, so no GPU is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")
TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2])

# For compute capability 9.0. Those of the image kernel are all outside of its loops over the states: it keeps
# six tiles through them.
MOST_SPILLED_BYTES = {"ss2d_gradients_kernel": 160, "chain_kernel": 16}
QUICK = ["chain_kernel"]
MOST_SHARED_BYTES = 48 * 1024  # what every GPU gives without asking


def compile_kernels(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("triton_compilation.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, script, *options],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check_resources(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["shared_bytes"] <= MOST_SHARED_BYTES, row
        assert row["atomics"] == 0, row
        assert row["spilled_bytes"] <= MOST_SPILLED_BYTES.get(row["kernel"], 0), row
        # Scans run in the registers of one thread: nothing is exchanged but in sums over channels. Triton 3.6
        # lays them out over threads all the same.
        assert "gradients" in row["kernel"] or row["shuffles"] == 0 or TRITON < (3, 7), row


def usual(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without huge images and those of one pixel, which need not be fast."""
    return [row for row in rows if not row["constants"].get("WIDE") and "chunks" not in row["constants"]]


def test_kernels_compile(tmp_path: Path) -> None:
    rows = compile_kernels(tmp_path, "--first-of", *QUICK)
    assert [row["kernel"] for row in rows] == QUICK
    check_resources(usual(rows))


@pytest.mark.slow
def test_kernels_compile_within_the_registers(tmp_path: Path) -> None:
    rows = compile_kernels(tmp_path)
    assert len({row["kernel"] for row in rows}) == 7
    check_resources(usual(rows))


@pytest.mark.slow
def test_kernels_compile_for_all_dtypes_states_and_gpus(tmp_path: Path) -> None:
    rows = compile_kernels(tmp_path, "--all")
    assert {row["dtype"] for row in rows} == {"fp32", "bf16", "fp16"}
    assert {row["capability"] for row in rows} == {80, 90, 100}
    check_resources([row for row in usual(rows) if row["capability"] == 90])
    for row in rows:
        assert row["shared_bytes"] <= MOST_SHARED_BYTES, row
        assert row["atomics"] == 0, row
