"""Compilation of the kernels on their first call, and the disk cache that spares later processes the wait."""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from swin_umamba.compiled_code import is_private, private_folder, warn_of
from swin_umamba.errors import BackendError

logger = logging.getLogger(__name__)


def kernel(function: Callable[..., None]) -> Any:
    """Compile ``function`` on its first call, to run without the interpreter lock, and keep it on disk.

    The cache is where Numba keeps its own: in ``NUMBA_CACHE_DIR``, else beside the source, else in the user's
    cache folder. Its files are executed, so if other users can write to it, a private folder is used instead.
    It only saves time: if the folder is missing, read-only, full or damaged, the kernel is compiled again.

    Raises
    ------
    BackendError
        If compilation is switched off by ``NUMBA_DISABLE_JIT``.
    """
    if numba.config.DISABLE_JIT:
        raise BackendError(
            "the native backend needs Numba's compiler, which is switched off",
            where="environment variable NUMBA_DISABLE_JIT",
            hint='unset it, or use backend="chunked"',
        )
    dispatcher = numba.njit(nogil=True)(function)
    try:
        dispatcher._cache = _KernelCache(function)
    except (RuntimeError, OSError) as error:  # RuntimeError: no folder on Numba's list is writable
        logger.info("The CPU kernel %s is compiled for this process only: %s", function.__name__, error)
    return dispatcher


@functools.cache
def _source_digest() -> str:
    """Return a hash of all source files in this folder: a kernel is compiled together with its helpers."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _announce() -> None:
    logger.info("Compiling the CPU kernels: once per machine and version, about 10 seconds in all.")


@contextmanager
def _numba_cache_in(folder: Path) -> Iterator[None]:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class _KernelCache(FunctionCache):
    """Numba's cache of one function, except that it never fails and never serves an outdated helper.

    Numba notices only changes to the function's own file. Here the file names carry the digest of all
    sources, so that even a half-written update (disk full after the index, before the code) cannot pair old
    code with a new index.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        self._name, self._missed_at = function.__name__, time.monotonic()
        if not is_private(Path(self._cache_path)):
            warn_of(Path(self._cache_path))
            place = private_folder("numba")
            if place is None:
                raise RuntimeError("other users can write to every folder for compiled code")
            with _numba_cache_in(place):
                super().__init__(function)
            # If it cannot write there, Numba takes the next folder on its list.
            if not Path(self._cache_path).is_relative_to(place) or not is_private(Path(self._cache_path)):
                raise RuntimeError(f"no kernel can be kept in {place}")
        digest = _source_digest()
        self._cache_file = IndexDataCacheFile(
            self._cache_path, f"{self._impl.filename_base}-{digest}", digest
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            compiled = super().load_overload(sig, target_context)
        except Exception as error:  # a damaged pickle can raise anything
            logger.warning("Ignoring a damaged kernel cache in %s: %r", self._cache_path, error)
            compiled = None
        if compiled is None:
            _announce()
            self._missed_at = time.monotonic()
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        seconds = time.monotonic() - self._missed_at
        logger.info("Compiled the CPU kernel %s in %.1f s", self._name, seconds)
        try:
            super().save_overload(sig, data)
        except Exception as error:  # whatever goes wrong with disk or pickler, the kernel itself is fine
            logger.warning("The compiled CPU kernel could not be kept in %s: %r", self._cache_path, error)
