"""Images and label maps: what they claim is not believed, and no other file than the user's is read."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from conformance.tiff_writer import Coding, page_of, tiff_file
from data import metaimage_files, nrrd_files
from data.ome_files import OWN, PLANES, ome_file, xml_of
from faults.fault_files import header_field, save_volume
from little_memory import little_memory
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError
from work import calls_of

OBLIQUE = np.array([[0, -1.12, 3, 10], [0.8, 0, 0, -20], [0, 0.84, 4, 30], [0, 0, 0, 1]])
MOST_BYTES = 20e6
OUTSIDE = (
    "files in its own folder are read|link that leads out of its folder|a list of files, and there is none"
)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("shape", "message"), [((2000, 2000, 1000), "the limit is"), ((1000, 1000, 1000), "does not hold")]
)
def test_row_04_a_header_that_claims_gigabytes(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], message: str
) -> None:
    """352 bytes that claim 16 GB (more than is ever read) and 4 GB (more than the file can hold)."""
    path = save_volume(tmp_path / "a.nii", np.zeros((2, 2, 2), np.float32))
    header_field(path, 40, "<4h", 3, *shape)
    content = path.read_bytes()[:352]
    hostile = tmp_path / f"hostile{suffix}"
    hostile.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)

    def read() -> None:
        with pytest.raises(DataError, match=message):
            read_image(hostile)

    with little_memory(MOST_BYTES):
        read()
    assert calls_of(read) < 5000


@pytest.mark.parametrize("mutations", [500, pytest.param(4000, marks=pytest.mark.slow)])
def test_row_05_mutated_headers_and_truncations(tmp_path: Path, mutations: int) -> None:
    """Whatever a header says: a DataError, or exactly what an independent reader makes of the same bytes."""
    voxels = np.arange(60, dtype=np.int16).reshape(4, 5, 3)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / "mutated.nii"
    accepted = 0
    for number in range(mutations):
        mutated = bytearray(content)
        if number % 4 == 0:
            del mutated[int(rng.integers(0, len(mutated))) :]
        for _ in range(rng.integers(1, 4)):
            if mutated:
                mutated[int(rng.integers(0, min(352, len(mutated))))] = rng.integers(0, 256)
        path.write_bytes(mutated)
        try:
            image = read_image(path)
        except DataError:
            continue
        accepted += 1
        oracle = nibabel.Nifti1Image.from_bytes(bytes(mutated))
        expected = np.asarray(oracle.dataobj, np.float64)
        np.testing.assert_allclose(
            image.data.astype(np.float64).reshape(-1), expected.ravel(order="F"), rtol=1e-6
        )
        assert np.isfinite([*image.spacing, *image.origin, *np.ravel(image.direction)]).all()
    assert mutations / 4 < accepted < mutations * 3 / 4  # both outcomes were tried


OTHER = '<TiffData FirstZ="1" IFD="0"><UUID {name}>urn:uuid:2</UUID></TiffData>'


@pytest.mark.parametrize(
    ("inner", "root"),
    [
        (
            '<TiffData IFD="0" PlaneCount="5"/>' + OTHER.format(name='FileName="{secret}"'),
            'UUID="urn:uuid:1"',
        ),
        (OTHER.format(name='FileName="../private/b.tif"'), ""),
        (OTHER.format(name='FileName="b.tif"'), OWN),
        (OTHER.format(name=""), OWN),
    ],
)
def test_other_files_are_named_and_not_opened(
    tmp_path: Path, inner: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "private" / "b.tif"
    secret.parent.mkdir()
    secret.write_bytes(tiff_file([page_of(plane, 1, Coding()) for plane in PLANES]))
    path = ome_file(tmp_path / "a.tif", xml_of(inner.format(secret=secret), root=root))
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: opened.append(self) or original(self, *args))
    with pytest.raises(DataError, match="lie in another file"):
        read_image(path)
    assert opened == [path]


def test_metadata_in_another_file(tmp_path: Path) -> None:
    xml = '<OME><BinaryOnly MetadataFile="companion.ome" UUID="urn:uuid:9"/></OME>'
    with pytest.raises(DataError, match=r"another file: 'companion.ome'"):
        read_image(ome_file(tmp_path / "a.tif", xml))


def test_small_metaimage_files_take_little_memory_whatever_they_claim(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(2**24), 9)
    claims = {"DimSize": "1024 1024 1000"}
    cases = [
        metaimage_files.save(tmp_path / "raw.mha", **claims),
        metaimage_files.save(tmp_path / "zlib.mha", bomb, CompressedData="True", DimSize="1024 1024 15"),
        metaimage_files.save(tmp_path / "long.mha", bomb[:1000], CompressedData="True", **claims),
        metaimage_files.save(tmp_path / "text.mha", BinaryData="False", **claims),
        metaimage_files.save(tmp_path / "list.mha", b"a\n" * 50, "LIST", **claims),
    ]
    for path in cases:
        with little_memory(100 * 2**20), pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize(
    "place", ["{}/private.raw", "../private.raw", "deeper/a.raw", "..", "", "link.raw", "c:\\a.raw"]
)
def test_voxels_of_a_metaimage_outside_its_folder_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "private.raw").write_bytes(metaimage_files.VOXELS.tobytes())
    folder = tmp_path / "mine"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "a.raw").write_bytes(metaimage_files.VOXELS.tobytes())
    (folder / "link.raw").symlink_to("../private.raw")
    place = place.format(tmp_path)
    paths = [
        metaimage_files.save(folder / "a.mhd", b"", place),
        metaimage_files.save(folder / "b.mhd", f"{place}\n".encode() * 2, "LIST"),
    ]
    for path in paths:
        with pytest.raises(DataError, match=OUTSIDE):
            read_image(path)


def test_pipes_devices_and_folders_hold_no_voxels_of_a_metaimage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.raw")
    (tmp_path / "folder.raw").mkdir()
    for name in ("pipe.raw", "folder.raw", "missing.raw"):
        with pytest.raises(DataError, match=r"not a file|is missing|cannot be read"):
            read_image(metaimage_files.save(tmp_path / "a.mhd", b"", name))


def test_small_nrrd_files_take_little_memory_whatever_they_claim(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(2**24), 9)
    claims = {"sizes": "1024 1024 1000"}
    cases = [
        nrrd_files.save(tmp_path / "raw.nrrd", **claims),
        nrrd_files.save(tmp_path / "gzip.nrrd", bomb, encoding="gzip", sizes="1024 1024 15"),
        nrrd_files.save(tmp_path / "long.nrrd", bomb[:1000], encoding="gzip", **claims),
        nrrd_files.save(tmp_path / "bzip2.nrrd", bz2.compress(bytes(2**20)), encoding="bzip2", **claims),
        nrrd_files.save(tmp_path / "text.nrrd", encoding="text", **claims),
        nrrd_files.save(tmp_path / "hex.nrrd", encoding="hex", **claims),
        nrrd_files.save(tmp_path / "pattern.nrrd", b"", "data file: a%d 1 1000000000 1", **claims),
        nrrd_files.save(tmp_path / "vectors.nrrd", b"", f"space directions: {'(1,' * 10**6}"),
    ]
    for path in cases:
        with little_memory(100 * 2**20), pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize("place", ["{}/private.raw", "../private.raw", "deeper/a.raw", "link.raw"])
def test_voxels_of_a_nrrd_outside_its_folder_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "private.raw").write_bytes(nrrd_files.VOXELS.tobytes())
    folder = tmp_path / "mine"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "a.raw").write_bytes(nrrd_files.VOXELS.tobytes())
    (folder / "link.raw").symlink_to("../private.raw")
    place = place.format(tmp_path)
    for lines in ([f"data file: {place}"], ["data file: LIST", place]):
        for name in ("a.nhdr", "a.nrrd"):
            with pytest.raises(DataError, match=OUTSIDE):
                read_image(nrrd_files.save(folder / name, b"", *lines))
    os.mkfifo(folder / "pipe.raw")
    with pytest.raises(DataError, match="not a file"):
        read_image(nrrd_files.save(folder / "a.nhdr", b"", "data file: pipe.raw"))
