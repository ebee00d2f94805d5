"""Networks without memory: built on the device "meta" from plans that may ask for anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from swin_umamba.errors import CheckpointError
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.trained.model_plans import ModelPlans

LAYERS_OF_NO_PARAMETERS = 1000
"""Memory for activations and containers of a small network."""
_FILLS = frozenset({"uniform_", "normal_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_", "copy_"})


@contextmanager
def without_memory() -> Iterator[None]:
    """Make tensors on the device "meta" in the block, and leave out what initialises them.

    PyTorch would decompose that, with a compiler that takes a second to import.
    """
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Does not fill a tensor that has no memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in _FILLS or getattr(func, "__module__", None) == "torch.nn.init":
            filled = args[0] if args else kwargs.get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        return func(*args, **kwargs)


def is_ours(network: nn.Module) -> bool:
    """Return whether network and encoder are ours: all they hold is in their state dict."""
    encoder = getattr(network, "vssm_encoder", None)
    return isinstance(network, SegmentationNetwork) and type(encoder).__module__.startswith("swin_umamba.")


@contextmanager
def no_more_layers_than(parameters: Mapping[str, Tensor], where: Path) -> Iterator[None]:
    """Refuse plans of millions of layers, each of which takes memory even if its parameters do not."""
    most = LAYERS_OF_NO_PARAMETERS + 4 * len(parameters)
    left = iter(range(most))
    thread = get_ident()

    def count(module: nn.Module, name: str, child: nn.Module | None) -> None:
        if get_ident() == thread and next(left, None) is None:
            raise CheckpointError(
                f"the plans describe a network of more than {most} layers for {len(parameters)} weights",
                where=where,
                hint="check that plans.json and the checkpoint come from the same training",
            )

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def filled(outline: nn.Module, parameters: Mapping[str, Tensor]) -> nn.Module:
    """Return the network of an outline on the CPU, with a copy of the parameters that fit it."""
    own = outline.state_dict()
    copies = {
        key: torch.empty(each.shape, dtype=own[key].dtype, device="cpu").copy_(each)
        for key, each in parameters.items()
    }
    outline.load_state_dict(copies, assign=True)
    return outline


def memory_of_a_patch(outline: nn.Module, plans: ModelPlans) -> int:
    """Return the bytes of the largest array that a network makes of one patch, without making it.

    Of a network of ours it is that of the largest at the patch's own size, which is known without a run.
    """
    image = torch.empty((1, len(plans.channel_names), *plans.patch_size), device="meta")
    if isinstance(outline, SegmentationNetwork):
        outline.check_input(image)
        return outline.memory_at_full_size(*image.shape[-2:])
    seen = _LargestOutput()  # type: ignore[no-untyped-call]
    with torch.no_grad(), seen:
        logits = outline.eval()(image)
    if logits.shape != (1, plans.num_classes, *plans.patch_size):
        raise ValueError(f"it makes {tuple(logits.shape)} of a patch of {plans.patch_size}")
    return seen.size


class _LargestOutput(TorchDispatchMode):
    """Sees the size of the largest array that any operator returns, in bytes."""

    size: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, list | tuple) else (result,):
            if isinstance(each, Tensor):
                self.size = max(self.size, each.numel() * each.element_size())
        return result
