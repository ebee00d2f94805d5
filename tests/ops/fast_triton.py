"""Quicker ways for Triton's interpreter to compute the same.

Without pytest, as the rehearsal of ``benchmarks/gpu_check.py`` uses them, too.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter

_numpy_dtype, _broadcast = interpreter._get_np_dtype, TritonSemantic.broadcast_impl_value
_numpy_dtypes: dict[str, Any] = {}
_block_types: dict[tuple[str, str], Any] = {}


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


def _remembered_dtype(dtype: Any) -> Any:
    """Look up a dtype of numpy; the interpreter makes the whole table anew each time."""
    if dtype.name not in _numpy_dtypes:
        _numpy_dtypes[dtype.name] = _numpy_dtype(dtype)
    return _numpy_dtypes[dtype.name]


def _block_type(self: Any, scalar: Any) -> Any:
    """Return the type of a block of other numbers, one for all."""
    key = self.name, scalar.name
    if key not in _block_types:
        _block_types[key] = tl.block_type(scalar, self.shape)
    return _block_types[key]


@functools.cache
def _constants(*shape: int) -> tuple[Any, Any]:
    return tuple(tl.constexpr(size) for size in shape), tl.constexpr(math.prod(shape))


def _new_tensor(self: Any, handle: Any, type: Any) -> None:
    """Make a tensor, but only once the constants that tell its shape."""
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = _constants(*(type.shape if type.is_block() else ()))


def _broadcast_if_needed(semantic: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """Leave alone what has the same shape already; to be told so takes the interpreter long."""
    if left.shape == right.shape:
        return left, right
    return _broadcast(semantic, left, right)


def replacements(device: str) -> list[tuple[Any, str, Any]]:
    """Object, name and value of what takes most of the time; on a GPU only what the tests interpret there."""
    always = [(interpreter.ScanOps, "generic_scan", _scan_by_doubling)]
    if device != "cpu":
        return always
    # Numbers of a few thousand elements do not overflow: three more operations for each one tell nothing new.
    options = dataclasses.replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    return [
        *always,
        (interpreter.InterpretedFunction, "__call__", _call),
        (tl, "flip", _flip),
        (interpreter, "_get_np_dtype", _remembered_dtype),
        (tl.block_type, "with_element_ty", _block_type),
        (tl.tensor, "__init__", _new_tensor),
        (TritonSemantic, "broadcast_impl_value", _broadcast_if_needed),
        (interpreter.interpreter_builder, "options", options),
    ]
