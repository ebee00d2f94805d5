"""Thousands of damaged images of five formats: a ``DataError`` or a consistent image, soon, in bounds."""

from __future__ import annotations

import gzip
import io
import resource
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from conformance.png_files import with_right_checksums
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError

SECONDS = 60.0
"""Of the processor, after which it hangs: each image takes some milliseconds."""
MOST_GROWTH = 300 * 2**20
"""Bytes that the process may grow by in all: the test images themselves take some kilobytes."""
HEADER_BYTES = 400


class Hang(BaseException):
    """Not an ``Exception``, which a reader may turn into a ``DataError``."""


def png(mode: str) -> bytes:
    picture = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (19, 23, 3), np.uint8))
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def tiff(**options: object) -> bytes:
    values = np.random.default_rng(0).integers(0, 200, (3, 19, 23), np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="minisblack", **options)
    return buffer.getvalue()


def nifti(dtype: type, image_class: type = nibabel.Nifti1Image) -> bytes:
    values = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    return image_class(values, np.diag([1.5, 1.0, 4.0, 1.0])).to_bytes()


VOXELS = np.random.default_rng(0).integers(0, 200, (3, 5, 7), np.uint16).tobytes()


def metaimage(**fields: str) -> bytes:
    shape = {"NDims": "3", "DimSize": "7 5 3", "ElementType": "MET_USHORT", "ElementSpacing": "1 2 3"}
    place = {"TransformMatrix": "0 1 0 1 0 0 0 0 1", "Offset": "1 2 3", "ElementDataFile": "LOCAL"}
    header = "".join(f"{key} = {value}\n" for key, value in {**shape, **fields, **place}.items())
    return header.encode() + (zlib.compress(VOXELS) if fields else VOXELS)


def nrrd(encoding: str, encode: Callable[[bytes], bytes]) -> bytes:
    header = f"type: ushort\ndimension: 3\nsizes: 7 5 3\nendian: little\nencoding: {encoding}\nspace: RAS\n"
    place = "space directions: (0,1,0) (2,0,0) (0,0,3)\nspace origin: (1,2,3)\nSegment0_LabelValue:=1\n\n"
    return f"NRRD0004\n{header}{place}".encode() + encode(VOXELS)


def compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def unchanged(content: bytes) -> bytes:
    return content


# Suffix, an intact content, and what is done to it after it was mutated.
SOURCES: list[tuple[str, bytes, Callable[[bytes], bytes]]] = [
    (".nii", nifti(np.int16), unchanged),
    (".nii", nifti(np.float32), unchanged),
    (".nii", nifti(np.uint8, nibabel.Nifti2Image), unchanged),
    (".nii.gz", nifti(np.float64), compressed),
    (".nii.gz", compressed(nifti(np.int16)), unchanged),
    (".mha", metaimage(), unchanged),
    (".mha", metaimage(CompressedData="True"), unchanged),
    (".nrrd", nrrd("raw", bytes), unchanged),
    (".nrrd", nrrd("gzip", compressed), unchanged),
    (".nrrd", nrrd("hex", lambda content: content.hex().encode()), unchanged),
    (".png", png("RGB"), unchanged),
    *((".png", png(mode), with_right_checksums) for mode in ("RGB", "L", "P", "1", "RGBA")),
    (".tif", tiff(), unchanged),
    (".tif", tiff(compression="zlib"), unchanged),
    (".tif", tiff(compression="lzw", predictor=True), unchanged),
    (".tif", tiff(bigtiff=True, byteorder=">"), unchanged),
    (".tif", tiff(imagej=True), unchanged),
    (".tif", tiff(tile=(16, 16), compression="packbits"), unchanged),
]


def mutated(content: bytes, random: Random) -> bytes:
    """Return ``content`` with one to four faults; most lie in the first bytes, where headers are."""
    new = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if not new:
            break
        place = random.randrange(len(new) if random.random() < 0.4 else min(HEADER_BYTES, len(new)))
        kind = random.randrange(8)
        if kind == 0:
            del new[place:]
        elif kind == 1:
            new[place:place] = random.randbytes(random.randint(1, 20))
        elif kind == 2:
            del new[place : place + random.randint(1, 20)]
        elif kind == 3:
            length = random.choice((2, 4, 8))
            new[place : place + length] = random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 4:
            new[place] ^= 1 << random.randrange(8)
        else:
            new[place] = random.randrange(256)
    return bytes(new)


def check_consistent(path: Path) -> None:
    """Read an image twice: its parts must fit each other, and no memory of other contents shine through."""
    for read in (read_image, read_labels):
        image = read(path)
        assert image.data.ndim in (3, 4)
        assert image.data.size > 0
        assert image.data.dtype.kind in ("iu" if read is read_labels else "iuf")
        assert image.data.dtype.isnative
        assert len(image.spacing) == len(image.direction) == image.data.ndim - 1
        assert np.isfinite([*image.spacing, *image.origin, *np.ravel(image.direction)]).all()
        assert min(image.spacing) > 0
        assert np.isfinite(image.data).all()
        assert image.data.tobytes() == read(path).data.tobytes()


@pytest.mark.parametrize("inputs", [600, pytest.param(20_000, marks=pytest.mark.slow)])
def test_fuzzed_images(tmp_path: Path, inputs: int) -> None:
    random = Random(inputs)
    outcomes = {"refused": 0, "read": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def stop(*_: object) -> None:
        raise Hang

    handler = signal.signal(signal.SIGPROF, stop)
    try:
        for number in range(inputs):
            suffix, content, finish = SOURCES[number % len(SOURCES)]
            path = tmp_path / f"fuzzed{suffix}"
            path.write_bytes(finish(mutated(content, random)))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                check_consistent(path)
                outcomes["read"] += 1
            except DataError:
                outcomes["refused"] += 1
            except BaseException:
                path.rename(tmp_path / f"failing_{number}{suffix}")
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.signal(signal.SIGPROF, handler)
    assert min(outcomes.values()) > inputs / 20
    growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert growth < MOST_GROWTH
