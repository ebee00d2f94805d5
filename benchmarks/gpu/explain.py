"""What an error on a GPU means, in one sentence."""

from __future__ import annotations

# In this order: the first text that is in the error decides.
SENTENCES = (
    ("out of memory", "the card has not enough free memory for this step"),
    ("No module named", "something is not installed"),
    ("driver version is insufficient", "the driver is older than this PyTorch needs: update the driver"),
    ("driver on your system is too old", "the driver is older than this PyTorch needs: update the driver"),
    ("unsupported toolchain", "the driver is older than Triton's compiler: update the driver"),
    ("PTX version", "the driver is older than Triton's compiler: update the driver"),
    ("no kernel image", "this PyTorch has no code for this card: install a build that supports it"),
    ("Failed to find C compiler", "Triton needs a C compiler: install gcc and the header files of Python"),
    ("Python.h", "Triton needs the header files of Python: install python3-dev"),
    ("cannot build its launcher", "Triton needs gcc and the header files of Python to launch kernels"),
    ("illegal memory access", "a kernel read or wrote outside its tensors: use the backend chunked"),
    ("misaligned address", "a kernel used an address that its card does not allow: use the backend chunked"),
    ("device-side assert", "a kernel met an index outside of its tensor"),
    ("out of resource", "a kernel needs more shared memory or registers than this card has"),
    ("bfloat16", "this card has no bfloat16"),
)


def sentence(error: BaseException) -> str:
    """Return one line: what it means where that is known, and always the beginning of its own text."""
    text = " ".join(str(error).split()) or type(error).__name__
    known = next((meaning for part, meaning in SENTENCES if part.lower() in text.lower()), None)
    return text[:300] if known is None else f"{known} ({type(error).__name__}: {text[:200]})"
