"""Slides through OpenSlide: colours, levels, sizes of pixels, and what is missing."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from regions.slides import aperio_file, hamamatsu_file, tissue
from swin_umamba.errors import DataError, UsageError
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.openslide_source import OpenSlideSource
from swin_umamba.regions.tiff import TiffSource

ALL = slice(None)


@pytest.mark.parametrize("level", [0, 1])
def test_it_reads_what_the_own_reader_reads(tmp_path: Path, level: int) -> None:
    pytest.importorskip("openslide")
    aperio_file(tmp_path / "a.svs", tissue(200, 328))
    ours, theirs = TiffSource(tmp_path / "a.svs", level), OpenSlideSource(tmp_path / "a.svs", level)
    assert (theirs.shape, theirs.levels, theirs.flat) == (ours.shape, ours.levels, True)
    assert theirs.spacing == pytest.approx(ours.spacing)
    again = pickle.loads(pickle.dumps(theirs))
    for region in [(ALL, ALL, ALL), (ALL, slice(5, 40), slice(33, 81))]:
        assert np.array_equal(again.read(*region), ours.read(*region))
    theirs.close()


def test_openslide_reads_what_our_reader_does_not_support(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openslide")
    aperio_file(tmp_path / "a.svs", tissue(200, 328))
    monkeypatch.setattr("swin_umamba.data.tiff_layout.MAX_RATIO", {1: 1})  # as if JPEG were not known
    source = open_region_source(tmp_path / "a.svs")
    assert isinstance(source, OpenSlideSource)
    assert source.shape == (3, 1, 200, 328)
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(DataError, match="not supported") as caught:
        open_region_source(tmp_path / "a.svs")
    assert "or install OpenSlide" in str(caught.value.hint)


def test_what_openslide_cannot_read_is_one_message(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    (tmp_path / "a.mrxs").write_bytes(b"no slide")
    with pytest.raises(DataError, match="OpenSlide cannot open the slide"):
        open_region_source(tmp_path / "a.mrxs")
    hamamatsu_file(tmp_path / "a.ndpi", [tissue(96, 192)], blocks=6)
    source = OpenSlideSource(tmp_path / "a.ndpi")
    content = bytearray((tmp_path / "a.ndpi").read_bytes())
    scan = content.index(b"\xff\xda")
    content[scan : scan + 4000] = bytes(4000)
    (tmp_path / "a.ndpi").write_bytes(content)
    with pytest.raises(DataError, match=r"OpenSlide cannot (open|read)"):
        source.read(ALL, ALL, ALL)


def test_without_the_library_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(UsageError, match="slides of this scanner need OpenSlide") as caught:
        open_region_source(tmp_path / "a.mrxs")
    assert "pip install 'swin-umamba[openslide]'" in str(caught.value.hint)
