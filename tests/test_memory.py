from __future__ import annotations

import numpy as np
import pytest
import torch

from swin_umamba.memory import is_out_of_memory, out_of_memory


def error_of(work: object) -> Exception:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        work()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (error_of(lambda: torch.empty(2**45)), "131072.00 GiB more"),
        (error_of(lambda: np.empty(2**45)), "256. TiB more"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"),
            "20.00 MiB more",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), ""),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), ""),
        (MemoryError(), ""),
    ],
)
def test_a_lack_of_memory_is_told_with_its_size(error: Exception, amount: str) -> None:
    assert is_out_of_memory(error)
    told = out_of_memory(error, sizes="an image", where="a.png", hint="crop it")
    assert told.what.startswith("there is not enough memory for an image")
    assert amount in told.what


def test_other_errors_are_no_lack_of_memory() -> None:
    for error in (
        RuntimeError("shape '[2]' is invalid for input of size 3"),
        ValueError("out of memory"),
        OSError(),
    ):
        assert not is_out_of_memory(error)
