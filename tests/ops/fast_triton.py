"""Quicker ways for Triton's interpreter to compute the same.

Without pytest, as the rehearsal of ``benchmarks/gpu_check.py`` uses them, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter


def _scan_by_doubling(scan: Any, inputs: Any) -> list[Any]:
    """Combine each row with the one 1, 2, 4, ... before it: the interpreter itself walks number by number.

    The combination is the kernel's own, and associative, which is all that a scan asks for.
    """
    rows = [np.moveaxis(tensor.handle.data, scan.axis, 0).copy() for tensor in inputs]
    distance = 1
    while distance < len(rows[0]):
        later = [scan.to_tensor(row.copy(), tensor.dtype) for row, tensor in zip(rows, inputs, strict=True)]
        # Tensors have powers of two rows: the first ones get some other row, and are left alone below.
        earlier = [
            scan.to_tensor(np.roll(row, distance, axis=0), tensor.dtype)
            for row, tensor in zip(rows, inputs, strict=True)
        ]
        for row, combined in zip(rows, scan.combine_fn.fn(*earlier, *later), strict=True):
            row[distance:] = combined.handle.data[distance:]
        distance *= 2
    return [
        scan.to_tensor(np.moveaxis(row, 0, scan.axis), tensor.dtype)
        for row, tensor in zip(rows, inputs, strict=True)
    ]


def _flip(tensor: Any, axis: int) -> Any:
    """Flip at once; the interpreter adds up with exclusive-or, number by number."""
    return tl.core.tensor(
        interpreter.TensorHandle(np.flip(tensor.handle.data, axis), tensor.handle.dtype), tensor.type
    )


def _call(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a function of a kernel; the interpreter prepares Triton's language again for each call of one."""
    return function.rewrite()(*arguments, **options)


def replacements(device: str) -> list[tuple[Any, str, Any]]:
    """Object, name and value of what takes most of the time; on a GPU only what the tests interpret there."""
    always = [(interpreter.ScanOps, "generic_scan", _scan_by_doubling)]
    if device != "cpu":
        return always
    return [*always, (interpreter.InterpretedFunction, "__call__", _call), (tl, "flip", _flip)]
