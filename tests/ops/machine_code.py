"""What a compiled kernel takes of a GPU, read from its machine code, which needs no GPU.

Registers decide how many warps a multiprocessor keeps to hide latency; shuffles and barriers in the inner
loop are what a scan in the registers of one thread is meant to avoid.
"""

from __future__ import annotations

import collections
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton

_TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
_REGISTERS = 65536  # of a multiprocessor
# Per multiprocessor: most resident programs, most resident warps, kilobytes of shared memory.
_LIMITS = {75: (16, 32, 64), 80: (32, 64, 164), 90: (32, 64, 228), 100: (32, 64, 228)}
_STATE_STEPS = 16  # exponentials of a warp for 512 state steps


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout


def resources(result: Any, capability: int, warps: int) -> dict[str, Any]:
    """Return what ``result``, a kernel compiled by Triton, takes of a GPU.

    ``loop`` counts the instructions of the loop with most exponentials of state steps, for 512 of them.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        code = _tool("nvdisasm", "-c", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    registers, shared = int(found[1]), result.metadata.shared
    mix = collections.Counter(_operation(line) for line in _instructions(code)[0])
    return {
        "registers": registers,
        "spilled_bytes": int(found[2]),
        "shared_bytes": shared,
        "resident_warps": _resident_warps(registers, warps, shared, capability),
        "shuffles": mix["SHFL"],
        "barriers": mix["BAR"],
        "atomics": sum(mix[name] for name in ("ATOM", "ATOMG", "ATOMS", "RED")),
        "loop": _main_loop(code),
    }


def _resident_warps(registers: int, warps: int, shared: int, capability: int) -> int:
    programs, most_warps, kilobytes = _LIMITS[capability]
    of_a_warp = -(-registers // 8) * 8 * 32
    programs = min(programs, _REGISTERS // (of_a_warp * warps), most_warps // warps)
    if shared:
        programs = min(programs, kilobytes * 1024 // (shared + 1024))
    return programs * warps


def _instructions(code: str) -> tuple[list[str], dict[str, int]]:
    """Return the instructions of a disassembly, and the index of the first one after each label."""
    instructions, labels = [], {}
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(instruction[1])
    return instructions, labels


def _operation(instruction: str) -> str:
    operation = re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0]
    return operation if operation.startswith("MUFU") else operation.split(".")[0]


def _main_loop(code: str) -> dict[str, float]:
    """Count per 512 state steps in the innermost loop with most exponentials."""
    instructions, labels = _instructions(code)
    loops = []
    for end, instruction in enumerate(instructions):
        target = re.search(r"\bBRA\b.*?`\((\.L_x_\d+)\)", instruction)
        if target and labels.get(target[1], end + 1) <= end:
            loops.append((labels[target[1]], end))
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    mixes = [collections.Counter(map(_operation, instructions[begin : end + 1])) for begin, end in inner]
    mix = max(mixes, key=lambda mix: mix["MUFU.EX2"], default=collections.Counter())
    if not mix["MUFU.EX2"]:
        return {}
    share = _STATE_STEPS / mix["MUFU.EX2"]
    counts = {
        "instructions": mix.total(),
        "shuffles": mix["SHFL"],
        "barriers": mix["BAR"],
        "loads": mix["LDG"],
        "shared": mix["LDS"] + mix["STS"] + mix["LDSM"],
    }
    return {name: round(count * share, 1) for name, count in counts.items()}
