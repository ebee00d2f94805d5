"""Functions whose result is a constant of a graph that ``torch.compile`` makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant_of_graph(function: Function) -> Function:
    """Have Dynamo call a function while it traces, and take the result as a constant.

    It sets the mark of ``torch.compiler.assume_constant_result``, which would import the whole compiler to do
    so: a second for everybody who compiles nothing.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
