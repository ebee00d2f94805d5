"""The disk cache of the kernels: found again when it can be, and never a reason to fail."""

from __future__ import annotations

import errno
import itertools
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.caching import CompileResultCacheImpl, IndexDataCacheFile, UserProvidedCacheLocator

from swin_umamba.errors import BackendError
from swin_umamba.ops.native import compile as native_compile
from swin_umamba.ops.native.compile import kernel


def add_one(values: np.ndarray) -> None:
    for i in range(values.size):
        values[i] += 1


def run_fresh_kernel() -> Any:
    """Compile or load ``add_one`` as a new process would, check that it works, return its dispatcher."""
    compiled = kernel(add_one)
    values = np.zeros(3, dtype=np.float32)
    compiled(values)
    np.testing.assert_array_equal(values, 1)
    return compiled


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    return folder


def was_loaded(compiled: Any) -> bool:
    return sum(compiled.stats.cache_hits.values()) == 1


def test_second_process_loads_what_the_first_compiled(cache: Path) -> None:
    assert not was_loaded(run_fresh_kernel())
    assert list(cache.rglob("*.nbc"))
    assert was_loaded(run_fresh_kernel())


def test_a_changed_helper_means_compiling_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_fresh_kernel()
    monkeypatch.setattr(native_compile, "_source_digest", lambda: "another")
    assert not was_loaded(run_fresh_kernel())


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04."])
def test_damaged_cache_is_ignored_with_a_warning(
    cache: Path, suffix: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run_fresh_kernel()
    (damaged,) = cache.rglob(f"*{suffix}")
    damaged.write_bytes(content)
    assert not was_loaded(run_fresh_kernel())
    assert "damaged kernel cache" in caplog.text


def test_full_disk_is_a_warning(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(self: IndexDataCacheFile, key: Any, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", save)
    run_fresh_kernel()
    assert "No space left on device" in caplog.text


def test_no_writable_folder_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [UserProvidedCacheLocator])
    run_fresh_kernel()
    assert "for this process only" in caplog.text


def test_compiling_is_announced_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    native_compile._announce.cache_clear()
    run_fresh_kernel()
    native_compile._source_digest.cache_clear()
    kernel(run_fresh_kernel)
    run_fresh_kernel()
    assert caplog.text.count("Compiling the CPU kernels") == 1


def test_the_time_of_compiling_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    times = itertools.count(1.0, 2.5)  # seconds from one look at the clock to the next
    monkeypatch.setattr(native_compile, "time", SimpleNamespace(monotonic=lambda: next(times)))
    run_fresh_kernel()
    assert [text for text in caplog.messages if "Compiled" in text] == [
        "Compiled the CPU kernel add_one in 2.5 s"
    ]


def test_a_compiler_that_is_switched_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(BackendError, match="NUMBA_DISABLE_JIT"):
        kernel(add_one)


def test_importing_the_package_does_not_import_numba() -> None:
    code = "import sys, swin_umamba.ops.native; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_whole_scan_without_a_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = """
import logging, torch
logging.basicConfig(level=logging.INFO)
from numba.core.caching import CompileResultCacheImpl, UserProvidedCacheLocator
CompileResultCacheImpl._locator_classes = [UserProvidedCacheLocator]
from swin_umamba.ops.ss2d_scan import ss2d_scan
x = torch.ones(1, 2, 3, 16, requires_grad=True)
ones = torch.ones(4, 16, 1)
y = ss2d_scan(x, torch.ones(1, 2, 3, 4, 3), ones, ones[..., 0], -ones, ones[..., 0], backend="native")
y.sum().backward()
assert x.grad.isfinite().all()
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "below"), "PATH": "", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    sources = Path(native_compile.__file__).parent.glob("*.py")
    num_kernels = sum(source.read_text(encoding="utf-8").count("\n@kernel\n") for source in sources)
    assert finished.stderr.count("for this process only") == num_kernels


def test_what_others_could_have_written_is_not_loaded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_CACHE", str(tmp_path / "own"))
    run_fresh_kernel()
    assert was_loaded(run_fresh_kernel())
    cache.chmod(0o777)
    assert not was_loaded(run_fresh_kernel())
    assert "Other users can write to the cache of compiled code" in caplog.text
    assert list((tmp_path / "own" / "compiled" / "numba").rglob("*.nbc"))
    assert was_loaded(run_fresh_kernel())
    (tmp_path / "own").chmod(0o777)  # there is no private place at all
    assert not was_loaded(run_fresh_kernel())
