from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_umamba.ops import free_memory as module
from swin_umamba.ops.free_memory import free_memory, memory_of_others

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine of nothing."""
    monkeypatch.setattr(module, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(module, "_GROUPS", tmp_path / "groups")
    return tmp_path


def write(folder: Path, **files: str | int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def test_what_linux_says(system: Path) -> None:
    assert free_memory(CPU) is None  # as on other systems
    (system / "meminfo").write_text("MemTotal:       16307652 kB\nMemAvailable:    1000 kB\n")
    assert free_memory(CPU) == 1_024_000
    (system / "meminfo").write_text("MemTotal:       16307652 kB\n")
    assert free_memory(CPU) is None
    assert free_memory(torch.device("mps")) is None


@pytest.mark.parametrize("path", ["/job/step", "/", "/machine's/own/path", "/../job/step", "/job: 1/step"])
def test_limits_of_a_container(path: str, system: Path) -> None:
    (system / "meminfo").write_text("MemAvailable: 1000 kB\n")
    (system / "own").write_text(f"0::{path}\n")
    write(system / "groups", max="max", current=5)
    assert free_memory(CPU) == 1_024_000
    write(system / "groups", max=900_000, current=500_000)
    assert free_memory(CPU) == 400_000
    write(system / "groups", stat="anon 400000\ninactive_file 60000\nactive_file 30000\nfile 95000")
    assert free_memory(CPU) == 490_000
    write(system / "groups", max=2**60)
    assert free_memory(CPU) == 1_024_000
    write(system / "groups", max=1000, current=300_000)  # made smaller since
    assert free_memory(CPU) == 0


@pytest.mark.parametrize("smallest", ["", "job", "job/step"])
def test_the_smallest_limit_above_a_process_counts(smallest: str, system: Path) -> None:
    (system / "own").write_text("0::/job/step\n")
    for group in ("", "job", "job/step", "job/step/below", "other"):
        write(system / "groups" / group, max=1000 if group != smallest else 800, current=100)
    write(system / "groups" / "other", max=1)
    assert free_memory(CPU) == 700


def test_limits_of_the_first_version(system: Path) -> None:
    (system / "own").write_text("9:cpu,cpuacct:/cpu\n4:devices,memory:/docker/a1b2\n0::/unified\n")
    unlimited = 2**63 - 4096
    write(system / "groups" / "memory", limit_in_bytes=unlimited, usage_in_bytes=5)
    assert free_memory(CPU) == unlimited - 5
    inner = system / "groups" / "memory" / "docker" / "a1b2"
    write(inner, limit_in_bytes=1000, usage_in_bytes=900)
    assert free_memory(CPU) == 100
    write(inner, stat="inactive_file 1\nactive_file 2\ntotal_inactive_file 30\ntotal_active_file 40")
    assert free_memory(CPU) == 170


@pytest.mark.parametrize("text", ["", "\n", "0", "x:y", "0::", "1:memory", "\xff::\x00"])
def test_groups_that_say_nothing(text: str, system: Path) -> None:
    (system / "own").write_text(text, encoding="latin-1")
    write(system / "groups", max="much", current="-")
    (system / "meminfo").write_text("MemAvailable: 1000 kB\n")
    assert free_memory(CPU) == 1_024_000


@pytest.mark.parametrize(("free", "own", "others"), [(10, 60, 10), (80, 0, 0), (0, 80, 0), (30, 51, 0)])
def test_what_other_programs_hold(free: int, own: int, others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: own)
    assert memory_of_others(torch.device("cuda:1")) == others
    assert memory_of_others(CPU) == 0
