"""Packages of extras: what is said where one is missing."""

from __future__ import annotations

import sys

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.extras import extra_module


def test_a_missing_package_comes_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra_module("json.decoder", "x", "y") is sys.modules["json.decoder"]
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(
        UsageError, match="OME-Zarr needs the zarr library, which cannot be imported: "
    ) as caught:
        extra_module("zarr", "OME-Zarr needs the zarr library", "zarr", otherwise=", or go", where="--format")
    assert (caught.value.where, caught.value.hint) == ("--format", "pip install 'swin-umamba[zarr]', or go")
