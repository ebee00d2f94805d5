"""Set-up shared by all tests."""

from __future__ import annotations

import argparse
import gc
import locale
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

# Set before torch is imported: test processes run side by side, and one thread each is fastest then.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _runs_tests() -> bool:
    """Return whether this process runs tests: that of ``pytest -n NUMBER`` only hands them to its workers."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-n", "--numprocesses", default="0")
    return "PYTEST_XDIST_WORKER" in os.environ or parser.parse_known_args()[0].numprocesses == "0"


# Before anything imports Triton, as parts of torch do: without a GPU its kernels run in the interpreter.
if _runs_tests():
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    # On a GPU, fresh memory that holds NaN (below) forbids matrix products without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from hypothesis import HealthCheck, settings

    # The same cases in every run, however long they take. For others: --hypothesis-profile default
    settings.register_profile(
        "repeatable",
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    settings.load_profile("repeatable")
    # Whatever is imported stays until the end: no garbage among it is worth a search.
    gc.disable()
# A shell starts background jobs, and so perhaps these tests and all that they start, with Ctrl-C off.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A developer's own nnU-Net folders must neither be used nor written to by a test.
for _variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
    os.environ.pop(_variable, None)

# Helpers are imported from here, such as nnunet.planned_data.
sys.path.insert(0, str(Path(__file__).parent))

# Some fixtures are for all: a fixture of the whole session that each folder imported would be made in each.
from nnunet.planned_data import (  # noqa: E402
    planned_dataset,
    planned_folder,
    raw_dataset,
    tiny_trainers,
    trained,
)
from own_environment import own_environment  # noqa: E402
from schemas import check_contract  # noqa: E402

__all__ = ["planned_dataset", "planned_folder", "raw_dataset", "tiny_trainers", "trained"]


def _compile_each_kernel_once() -> None:
    """Let the processes that run tests side by side wait for a kernel that another one of them compiles."""
    from filelock import FileLock

    from swin_umamba.ops.native.compile import _KernelCache

    load, save = _KernelCache.load_overload, _KernelCache.save_overload

    def load_or_wait(self: Any, *arguments: Any) -> Any:
        if (compiled := load(self, *arguments)) is None:
            name = f"kernel-{os.environ['PYTEST_XDIST_TESTRUNUID']}-{self._impl.filename_base}.lock"
            self.lock = FileLock(Path(gettempdir(), name))
            self.lock.acquire(timeout=600)
            if (compiled := load(self, *arguments)) is not None:
                self.lock.release()
        return compiled

    def save_and_let_others_go_on(self: Any, *arguments: Any) -> None:
        try:
            save(self, *arguments)
        finally:
            self.lock.release()

    _KernelCache.load_overload = load_or_wait  # type: ignore[method-assign]
    _KernelCache.save_overload = save_and_let_others_go_on  # type: ignore[method-assign]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let the processes that run tests end in their own time.

    By default they are killed after ten seconds, in which a busy machine does not write which lines have run.
    """
    from xdist.workermanage import NodeManager

    NodeManager.EXIT_TIMEOUT = 600


def pytest_collection_finish() -> None:
    """Leave what was imported out of all later searches for garbage; let plans draw fewer intensities."""
    planning = sys.modules.get("swin_umamba.nnunet.planning.preprocessing")
    if planning is not None:
        planning.FOREGROUND_SAMPLES = 10_000  # type: ignore[attr-defined]  # ten million take seconds
    if "swin_umamba.ops.native.compile" in sys.modules and "PYTEST_XDIST_WORKER" in os.environ:
        _compile_each_kernel_once()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of small files are written, and nobody minds if a power failure takes them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    with own_environment():
        yield


@pytest.fixture(autouse=True)
def _own_locale() -> Iterator[None]:
    """SimpleITK leaves that of C behind when it writes DICOM files; text files are then read as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(autouse=True, scope="session")
def _contracts_are_kept() -> Iterator[None]:
    """Hold all that commands print as JSON and all files of ours against their schemas, in every test."""
    from swin_umamba import json_files

    promise = json_files._under_contract

    def promise_and_check(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        content = promise(name, data)
        check_contract(name, content)
        return content

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(json_files, "_under_contract", promise_and_check)
        yield


@pytest.fixture
def nan_in_fresh_memory() -> Iterator[None]:
    """Let every uninitialised tensor hold NaN, so that a value that is never written shows."""
    import torch

    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    assert torch.empty(8).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import numpy as np
    import torch

    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines that tests have recorded as the property ``summary``, such as counts of files."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(value)
