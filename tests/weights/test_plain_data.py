"""What a checkpoint holds is plain before anything looks at it, whatever the file sets on its objects."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_umamba.errors import CheckpointError
from swin_umamba.weights import plain_data as module
from swin_umamba.weights.plain_data import plain_data

HERE = Path("a.pth")


def test_values_and_memory_stay() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    content = {
        "leaves": [None, True, 2, 2.5, 1j, "x", b"y", torch.float16, torch.device("cpu"), np.float32(0.5)],
        "containers": [(1, (2,)), {3}, frozenset({4}), OrderedDict(b=1, a=2), torch.Size((5, 6))],
        7: parameter,
    }
    found = plain_data(content, HERE, 100)
    assert found["leaves"] == content["leaves"]
    assert list(map(type, found["leaves"])) == list(map(type, content["leaves"]))
    assert found["containers"] == [(1, (2,)), {3}, frozenset({4}), {"b": 1, "a": 2}, (5, 6)]
    assert list(found["containers"][3]) == ["b", "a"]
    assert found[7].data_ptr() == parameter.data_ptr()
    assert type(found[7]) is torch.Tensor


def test_what_is_not_plain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    bomb: list[Any] = []
    for _ in range(50):
        bomb = [bomb, bomb]
    monkeypatch.setattr(module, "MOST_VALUES", 10_000)
    for content, reason in (
        ({"x": object()}, "a object, which is neither"),
        ({"x": len}, "a builtin_function"),
        (torch.ones(1).untyped_storage(), "a UntypedStorage"),
        (cycle, "more than 100 levels"),
        (bomb, "more than 10,000 values"),
    ):
        with pytest.raises(CheckpointError, match=f"the checkpoint holds .*{reason}") as caught:
            plain_data(content, HERE, 100)
        assert caught.value.where == "a.pth"
