"""Kinds of TIFF pages that are refused, each by its name and none as damaged, and contradictions of tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conformance.picture import refusal
from conformance.tiff_writer import FLOAT, LONG, SHORT, Coding, Page, page_of, tiff_file
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError

RNG = np.random.default_rng(0)


def page_with(samples: int = 1, photometric: int = 1, **tags: tuple[int, object]) -> Page:
    return page_of(RNG.integers(0, 256, (4, 5, samples), np.uint8), photometric, Coding(), **tags)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (page_with(4, 5), "CMYK"),
        (page_with(3, 8), "CIELab"),
        (page_with(3, 9), "ICCLab"),
        (page_with(3, 10), "ITULab"),
        (page_with(1, 4), "transparency masks"),
        (page_with(1, 32803), "raw mosaics"),
        (page_with(1, 32844), "photometric interpretation 32844"),
        (page_with(1, 1, t32997=(SHORT, 4)), "a volume in one page"),
        (page_with(1, 1, t258=(SHORT, 24)), r"values of \[24\] bits"),
        (page_with(1, 1, t258=(SHORT, 128)), r"values of \[128\] bits"),
        (page_with(1, 1, t258=(SHORT, 4), t339=(SHORT, 2)), r"\[4\] bits and sample format \[2\]"),
        (page_with(1, 1, t339=(SHORT, 3)), r"\[8\] bits and sample format \[3\]"),
        (page_with(1, 1, t339=(SHORT, 6)), r"sample format \[6\]"),
        (page_with(3, 2, t258=(SHORT, [5, 6, 5])), r"values of \[5, 6\] bits"),
        (page_with(3, 2, t339=(SHORT, [1, 2, 1])), r"sample format \[1, 2\]"),
        (page_with(1, 0, t339=(SHORT, 2)), "photometric interpretation 0 with 1 values of type int8"),
        (page_with(3, 6), r"subsampling \(2, 2\)"),
        (page_with(3, 6, t530=(SHORT, [2, 1])), r"subsampling \(2, 1\)"),
        (page_with(1, 1, t317=(SHORT, 2)), "predictor 2, compression 1"),
        (page_with(1, 1, t317=(SHORT, 34892), t259=(SHORT, 8)), "predictor 34892"),
        (page_with(1, 1, t317=(SHORT, 3), t259=(SHORT, 8)), "predictor 3"),
        (page_with(1, 3, t259=(SHORT, 7)), "JPEG of anything but 8-bit grey"),
        (page_with(4, 2, t259=(SHORT, 7), t338=(SHORT, 2)), "JPEG of anything but 8-bit grey"),
    ],
)
def test_kinds_that_are_not_read(tmp_path: Path, page: Page, why: str) -> None:
    found = refusal(tmp_path / "a.tif", tiff_file([page]))
    with pytest.raises(DataError, match=f"(?s){why}.* not supported"):
        read_image(tmp_path / "a.tif")
    assert "damaged" not in found


def test_a_compression_that_leaves_out_other_tags_is_named(tmp_path: Path) -> None:
    """Old-style JPEG without the number of samples, as old cameras and scanners have it."""
    page = page_with(1, 6, t259=(SHORT, 6))
    del page.tags[277], page.tags[258]
    found = refusal(tmp_path / "a.tif", tiff_file([page]))
    assert "compression old-style JPEG are not supported" in found
    assert "damaged" not in found


def test_what_the_values_mean_is_not_guessed(tmp_path: Path) -> None:
    page = page_with()
    del page.tags[262]
    assert "do not say what their values mean (tag 262) are not supported" in refusal(
        tmp_path / "a.tif", tiff_file([page])
    )


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (page_with(1, 1, t256=(LONG, 0)), "claims 0 x 4 pixels"),
        (page_with(1, 1, t277=(SHORT, 0)), "of 0 values"),
        (page_with(2, 2), "claims 2 values a pixel"),
        (page_with(3, 2, t338=(SHORT, 2)), "1 of them beyond the 3"),
        (page_with(1, 1, t256=(FLOAT, 4.0)), "no whole number"),
        (page_with(1, 3), "its palette has 0 values, not 768"),
        (page_with(1, 3, t320=(SHORT, [0] * 48)), "its palette has 48 values, not 768"),
    ],
)
def test_tags_that_contradict_each_other(tmp_path: Path, page: Page, why: str) -> None:
    found = refusal(tmp_path / "a.tif", tiff_file([page]))
    assert why in found
    assert "is damaged" in found


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("samples", [1, 3])
def test_every_number_of_bits(tmp_path: Path, bits: int, samples: int) -> None:
    dtype = np.uint8 if bits < 8 else np.uint16
    stored = RNG.integers(0, 2**bits - 1, (5, 7, samples), dtype, endpoint=True)
    for order in ("<", ">"):
        page = page_of(stored, 1 if samples == 1 else 2, Coding(bits=bits, order=order, rows=2))
        (tmp_path / "a.tif").write_bytes(tiff_file([page], order))
        image = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.data, stored.transpose(2, 0, 1))
        assert image.data.dtype == dtype


def test_one_number_of_bits_for_all_samples_and_undefined_formats(tmp_path: Path) -> None:
    page = page_with(3, 2, t258=(SHORT, 8), t339=(SHORT, 4))
    (tmp_path / "a.tif").write_bytes(tiff_file([page]))
    assert read_image(tmp_path / "a.tif").data.dtype == np.uint8
