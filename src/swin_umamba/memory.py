"""Tell a lack of memory from other errors: PyTorch raises a plain ``RuntimeError`` for it on the CPU."""

from __future__ import annotations

import re
from pathlib import Path

from swin_umamba.errors import SwinUMambaError

_WORDS = re.compile(
    r"can't allocate memory|out of memory|not enough memory|unable to allocate|ALLOC_FAILED", re.I
)
_SIZES = re.compile(r"allocate(?: more than)? ([\d.]+) ?(bytes|[KMGT]i?B)", re.I)
_GIBIBYTE = 2**30


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error from Python, NumPy or PyTorch reports a lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


def out_of_memory(
    error: BaseException,
    *,
    sizes: str,
    where: str | Path | None,
    hint: str,
    kind: type[SwinUMambaError] = SwinUMambaError,
) -> SwinUMambaError:
    """Return the error for a lack of memory, with the amount requested if known.

    Parameters
    ----------
    error
        The original error.
    sizes
        Description of the data being processed and their size.
    where, hint
        Place and hint, as for every error.
    kind
        Class of the error.
    """
    match = _SIZES.search(str(error))
    asked = ""
    if match is not None:
        number, unit = match.groups()
        amount = f"{float(number) / _GIBIBYTE:.2f} GiB" if unit.lower() == "bytes" else f"{number} {unit}"
        asked = f", {amount} more were asked for"
    return kind(f"there is not enough memory for {sizes}{asked}", where=where, hint=hint)
