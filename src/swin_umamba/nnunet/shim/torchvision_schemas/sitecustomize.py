"""Lets torchvision be imported beside a torch build that it was not compiled for.

Python imports this file at its start if its folder is on PYTHONPATH. A CUDA build of torchvision cannot load
its compiled operators beside a CPU build of torch, and its import then fails with "operator torchvision::nms
does not exist" although nothing needs the operator. Declaring the two operators that it misses is enough;
calling them still fails. Where torchvision is intact, nothing is declared.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

MISSING_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class _OperatorDeclarer(importlib.abc.MetaPathFinder):
    """Declares the operators right after torchvision has failed to load its own; finds no module itself."""

    def __init__(self) -> None:
        self.library: Any = None  # the declarations live as long as this object

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name.startswith("torchvision.") and self.library is None:
            # torchvision imports ``extension`` first: from the next submodule on it is known whether its
            # operators are there. The last function of the module tells that it has run to its end.
            extension = sys.modules.get("torchvision.extension")
            finished = extension is not None and hasattr(extension, "_check_cuda_version")
            if finished and not extension._has_ops():  # type: ignore[union-attr]
                self.declare()

    def declare(self) -> None:
        import torch

        self.library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in MISSING_OPERATORS:
            self.library.define(schema)


def _run_next_sitecustomize() -> None:
    """Run the sitecustomize that this one hides, if there is another on the path."""
    here = Path(__file__).resolve().parent
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _OperatorDeclarer())
_run_next_sitecustomize()
