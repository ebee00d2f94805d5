from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_umamba.ops import free_memory as module
from swin_umamba.ops.free_memory import free_memory


def test_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SYSTEM", tmp_path / "meminfo")
    assert free_memory(torch.device("cpu")) is None  # as on other systems
    (tmp_path / "meminfo").write_text("MemTotal:       16307652 kB\nMemAvailable:    1000 kB\n")
    assert free_memory(torch.device("cpu")) == 1_024_000
    (tmp_path / "meminfo").write_text("MemTotal:       16307652 kB\n")
    assert free_memory(torch.device("cpu")) is None
    assert free_memory(torch.device("mps")) is None
