"""A device that must not be asked for numbers, on a machine without one."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ANSWERS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")


class NoNumbers(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host waits for the device"
        return func(*args, **(kwargs or {}))


class NoAnswers(TorchFunctionMode):
    """A device that the host must not ask for numbers: on a GPU, it would wait for all that is queued."""

    def __enter__(self) -> NoAnswers:
        self.numbers = NoNumbers()
        self.numbers.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.numbers.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert getattr(func, "__name__", "") not in ANSWERS, "the host waits for the device"
        return func(*args, **(kwargs or {}))
