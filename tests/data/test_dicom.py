"""DICOM: series that SimpleITK writes, choices, pixels of rarer kinds, and files that cannot be trusted."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from conformance.dicom_files import PIXELS, Elements, Slice, Stored, compressed, enhanced, file_bytes, single
from conformance.dicom_files import write_series as write_slices
from conformance.dicom_kinds import VOLUME, stack
from swin_umamba.data.dicom import codestreams, elements, is_dicom_folder, read_dicom
from swin_umamba.data.image_io import read_image, read_labels
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import Pseudonyms, in_use

SERIES = "1.2.826.0.1.3680043.2.1125.1"
ORIENTATION = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # a sagittal series
IMAGE = np.arange(8 * 6).reshape(8, 6)


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    step: float = 3.0,
    series: str = SERIES,
    orientation: tuple[float, ...] = ORIENTATION,
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Path]:
    """Let SimpleITK write each slice of ``volume`` (z, y, x) as a file, last slice first by name."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    paths = []
    for number, pixels in enumerate(volume):
        image = sitk.GetImageFromArray(pixels[None].astype(np.int16))
        image.SetSpacing((0.5, 0.75, step))
        position = np.array((10.0, 20.0, 30.0)) + number * step * normal + number * np.array(shift)
        for key, value in (
            ("0008|0060", "MR"),
            ("0020|000e", series),
            ("0020|0032", "\\".join(f"{each:.6g}" for each in position)),
            ("0020|0037", "\\".join(f"{each:.6g}" for each in orientation)),
            ("0020|0013", str(number)),
        ):
            image.SetMetaData(key, value)
        path = folder / f"{series[-1]}_{99 - number}.dcm"
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    return paths


def write_file(path: Path, stored: Stored, numbers: np.ndarray = IMAGE, **options: object) -> Path:
    """Write one image; ``more`` replaces elements, ``modality`` and the fields of a slice are passed on."""
    modality = str(options.pop("modality", "CT"))
    slice_ = Slice(numbers, **options)  # type: ignore[arg-type]
    path.write_bytes(file_bytes(single(slice_, stored, modality=modality), stored.syntax))
    return path


@pytest.fixture
def volume() -> np.ndarray:
    return np.arange(4 * 5 * 6).reshape(4, 5, 6) * 7 - 100


def test_values_and_geometry(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "scan", volume)
    (tmp_path / "scan" / "notes.txt").write_text("no slice")
    image = read_image(tmp_path / "scan")
    assert np.array_equal(image.data[0], volume)
    assert image.spacing == pytest.approx((3.0, 0.75, 0.5))
    # DICOM points x to the left and y to the back, NIfTI to the right and to the front.
    assert image.origin == pytest.approx((-10.0, -20.0, 30.0))
    assert np.allclose(image.direction, ((1, 0, 0), (0, 0, -1), (0, -1, 0)))
    assert image.path == tmp_path / "scan"
    assert image.has_spacing
    assert image.has_orientation
    assert is_dicom_folder(tmp_path / "scan")
    assert not is_dicom_folder(tmp_path)


def test_the_same_as_nifti_of_simpleitk(tmp_path: Path, volume: np.ndarray) -> None:
    paths = write_series(tmp_path / "scan", volume)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    sitk.WriteImage(reader.Execute(), str(tmp_path / "scan.nii.gz"))
    ours, theirs = read_image(tmp_path / "scan"), read_image(tmp_path / "scan.nii.gz")
    assert np.array_equal(ours.data, theirs.data)
    assert ours.spacing == pytest.approx(theirs.spacing)
    assert ours.origin == pytest.approx(theirs.origin)
    assert np.allclose(ours.direction, theirs.direction, atol=1e-6)


def test_one_slice_is_a_picture(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "scan", volume[:1])
    image = read_image(tmp_path / "scan")
    assert image.data.shape == (1, 5, 6)
    assert image.spacing == pytest.approx((0.75, 0.5))
    assert np.allclose(image.direction, ((0, 0, -1), (0, -1, 0)))


def test_labels(tmp_path: Path) -> None:
    write_series(tmp_path / "mask", np.eye(4, dtype=int)[None].repeat(2, axis=0))
    assert read_labels(tmp_path / "mask").data[0, 1].tolist() == np.eye(4, dtype=int).tolist()
    write_series(tmp_path / "scan", -np.eye(4, dtype=int)[None])
    with pytest.raises(DataError, match="whole numbers from 0"):
        read_labels(tmp_path / "scan")


def test_a_missing_slice(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path, volume)[2].unlink()
    with pytest.raises(DataError, match=r"not evenly spaced: 6 mm between 1_98\.dcm at .* and 1_96\.dcm at"):
        read_image(tmp_path)


def test_doubled_slices(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "time", volume, step=1e-4)
    with pytest.raises(
        DataError, match=r"4 images lie at 1 place, .* nothing in their headers tells them apart"
    ):
        read_image(tmp_path / "time")


# Element, its type, one value for each of two volumes, and how the choice calls them.
TRAITS = [
    (0x00080008, "CS", ("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"), "ImageType"),
    (0x00080032, "TM", ("101500.5", "101630"), "AcquisitionTime"),
    (0x00180024, "SH", ("ep_b0", "ep_b1000#1"), "SequenceName"),
    (0x00180081, "DS", ("4.60", "9.2"), "EchoTime"),
    (0x00180082, "DS", ("100", "200"), "InversionTime"),
    (0x00180086, "IS", ("1", "2"), "EchoNumbers"),
    (0x00181060, "DS", ("0", "87.5"), "TriggerTime"),
    (0x00181210, "SH", ("B30f", "B70f"), "ConvolutionKernel"),
    (0x00200012, "IS", ("1", "2"), "AcquisitionNumber"),
    (0x00200100, "IS", ("1", "2"), "TemporalPositionIdentifier"),
    (0x00189087, "FD", (0.0, 800.0), "DiffusionBValue"),
    (0x00541300, "DS", ("0", "60000"), "FrameReferenceTime"),
]
FRAME_TRAITS = [
    (0x00189114, 0x00189082, "FD", (4.6, 9.2), "EffectiveEchoTime"),
    (0x00189117, 0x00189087, "FD", (0.0, 800.0), "DiffusionBValue"),
    (0x00189118, 0x00209153, "FD", (0.0, 87.5), "NominalCardiacTriggerDelayTime"),
    (0x00209310, 0x0020930D, "FD", (0.0, 2.5), "TemporalPositionTimeOffset"),
    (0x00209111, 0x00209128, "UL", (1, 2), "TemporalPositionIndex"),
    (0x00209111, 0x00209056, "SH", ("1", "2"), "StackID"),
    (0x00189226, 0x00089007, "CS", ("ORIGINAL\\M", "ORIGINAL\\P"), "FrameType"),
]


def check_choices(path: Path, name: str, volumes: list[np.ndarray]) -> None:
    """Choose each volume by what the refusal lists."""
    with pytest.raises(DataError, match="10 images lie at 5 places") as refusal:
        read_image(path)
    lines = [line for line in refusal.value.what.splitlines() if line.startswith("  - ")]
    assert "--series UID:NAME=VALUE" in (refusal.value.hint or "")
    assert len(lines) == 2
    for line, volume in zip(lines, volumes, strict=True):
        choice = line.split("UID ")[1]
        assert f":{name}=" in choice
        for series in (choice, choice[choice.index(":") :]):
            np.testing.assert_array_equal(read_image(path, series=series).data[0], volume)
    with pytest.raises(DataError, match=f"no image of the series has '{name}=absent'"):
        read_image(path, series=f":{name}=absent")


@pytest.mark.parametrize(("tag", "kind", "values", "name"), TRAITS)
def test_a_volume_of_a_series_is_chosen_by_what_tells_them_apart(
    tmp_path: Path, tag: int, kind: str, values: tuple[object, object], name: str
) -> None:
    first = stack(more={tag: (kind, values[0])})
    second = [Slice(each.numbers + 1, each.position, more={tag: (kind, values[1])}) for each in first]
    write_slices(tmp_path / "1", first)
    write_slices(tmp_path / "2", second)
    check_choices(tmp_path, name, [VOLUME, VOLUME + 1])


@pytest.mark.parametrize(("sequence", "tag", "kind", "values", "name"), FRAME_TRAITS)
def test_a_volume_of_an_enhanced_object_is_chosen(
    tmp_path: Path, sequence: int, tag: int, kind: str, values: tuple[object, object], name: str
) -> None:
    slices = [
        Slice(each.numbers + index, each.position, more={sequence: ("SQ", [{tag: (kind, value)}])})
        for each in stack()
        for index, value in enumerate(values)
    ]
    (tmp_path / "1.dcm").write_bytes(file_bytes(enhanced(slices, Stored())))
    check_choices(tmp_path / "1.dcm", name, [VOLUME, VOLUME + 1])


def test_volumes_that_no_element_tells_apart_are_not_offered(tmp_path: Path) -> None:
    """Of a diffusion series, one volume has no gradient and two have: two of one b-value."""
    for number, value in enumerate((0.0, 800.0, 800.0)):
        more = {0x00189087: ("FD", value), 0x00080018: ("UI", f"1.2.3.{number}")}
        write_slices(tmp_path / str(number), stack(more=more))
    with pytest.raises(DataError, match=r"they differ in DiffusionBValue 0\.0 / 800\.0") as refusal:
        read_image(tmp_path)
    assert "export one volume" in (refusal.value.hint or "")
    np.testing.assert_array_equal(read_image(tmp_path, series=":DiffusionBValue=0.0").data[0], VOLUME)


def test_other_sizes_and_sheared_slices(tmp_path: Path, volume: np.ndarray) -> None:
    write_series(tmp_path / "sizes", volume)
    write_series(tmp_path / "sizes", volume[:1, :, :4])
    with pytest.raises(DataError, match="several sizes"):
        read_image(tmp_path / "sizes")
    write_series(tmp_path / "tilted", volume, shift=(0.0, 0.5, 0.0))
    with pytest.raises(DataError, match=r"shifted against each other by up to 1\.5 mm.*9\.46 degrees"):
        read_image(tmp_path / "tilted")


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    steps = np.round(np.arange(40) * 1.2345678, 2)
    write_slices(tmp_path / "scan", [Slice(IMAGE, (0, 0, step)) for step in steps])
    assert read_dicom(tmp_path / "scan").spacing[0] == pytest.approx(steps[-1] / 39, abs=1e-9)


def test_a_small_tilt_adds_up(tmp_path: Path) -> None:
    slices = [Slice(IMAGE, (0, 0.01 * index, 2.0 * index)) for index in range(40)]
    write_slices(tmp_path / "short", slices[:10])
    assert read_dicom(tmp_path / "short").data.shape == (1, 10, 8, 6)
    write_slices(tmp_path / "long", slices)
    with pytest.raises(DataError, match=r"up to 0\.39 mm"):
        read_dicom(tmp_path / "long")


def test_the_choice_of_a_series(tmp_path: Path) -> None:
    write_slices(tmp_path / "a", stack())
    other: Elements = {0x00200011: ("IS", 8), 0x0008103E: ("LO", "T2 tra")}
    write_slices(tmp_path / "b", stack(more={**other, 0x00200052: ("UI", "1.2.7")})[:2], series="1.2.3.10")
    with pytest.raises(DataError) as raised:
        read_dicom(tmp_path)
    assert raised.value.what.splitlines() == [
        "the folder holds 2 DICOM series:",
        "  - number 7: CT, 5 images, UID 1.2.3.9",
        "  - number 8: CT 'T2 tra', 2 images, UID 1.2.3.10",
    ]
    assert "--series" in str(raised.value.hint)
    assert "Nobody" not in str(raised.value)  # the patient's name
    assert read_dicom(tmp_path, series="8").data.shape == (1, 2, 6, 7)
    assert read_dicom(tmp_path, series="1.2.3.9").data.shape == (1, 5, 6, 7)
    key = Pseudonyms(b"k" * 40)
    with in_use(key):  # by the UID that is shown then
        assert read_dicom(tmp_path, series=key.uid("1.2.3.9")).data.shape == (1, 5, 6, 7)
    with pytest.raises(DataError, match="no DICOM series '9' among the 2"):
        read_dicom(tmp_path, series="9")
    write_slices(tmp_path / "c", stack(), series="1.2.3.11")
    with pytest.raises(DataError, match="2 DICOM series have the number 7"):
        read_dicom(tmp_path, series="7")


@pytest.mark.parametrize(("modality", "expected"), [("CR", 4095 - IMAGE), ("CT", IMAGE)])
def test_dark_pixels_with_large_numbers(tmp_path: Path, modality: str, expected: np.ndarray) -> None:
    path = write_file(tmp_path / "a", Stored(stored=12, photometric="MONOCHROME1"), modality=modality)
    assert np.array_equal(read_dicom(path).data[0], expected)
    write_file(path, Stored(stored=12, photometric="MONOCHROME1"), modality=modality, rescale=("0.5", 100))
    assert np.array_equal(read_dicom(path).data[0], IMAGE * 0.5 + 100)


def test_luminance_with_chrominance_of_pairs(tmp_path: Path) -> None:
    numbers = np.full((1, 2, 4), 77)
    content = single(Slice(numbers[0]), Stored(8, 8, photometric="YBR_FULL_422"))
    content |= {0x00280002: ("US", 3), PIXELS: ("OW", bytes((76, 76, 85, 255, 29, 29, 255, 107) * 2))}
    path = tmp_path / "a"
    path.write_bytes(file_bytes(content))
    red, blue = (254, 0, 0), (0, 0, 254)  # as near as whole numbers come
    assert np.array_equal(np.moveaxis(read_dicom(path).data, 0, -1), [[red, red, blue, blue]] * 2)


def test_palettes(tmp_path: Path) -> None:
    table = bytes(range(200, 206))
    more: Elements = {0x00281101 + index: ("US", (6, 3, 8)) for index in range(3)}
    more |= {0x00281201 + index: ("OW", table) for index in range(3)}
    path = write_file(tmp_path / "a", Stored(8, 8, photometric="PALETTE COLOR"), more=more)
    image = read_dicom(path)
    assert image.data.dtype == np.uint8
    assert np.array_equal(image.data, np.broadcast_to(200 + np.clip(IMAGE - 3, 0, 5), (3, 8, 6)))
    assert np.array_equal(read_dicom(path, indexed=True).data, IMAGE[None])


def test_floating_point_pixels(tmp_path: Path) -> None:
    content = single(Slice(IMAGE), Stored(32, 32))
    del content[PIXELS]
    path = tmp_path / "a"
    path.write_bytes(file_bytes(content | {0x7FE00008: ("OF", (IMAGE / 4).astype("<f4").tobytes())}))
    assert read_dicom(path).data.dtype == np.float32
    assert np.array_equal(read_dicom(path).data[0], IMAGE / 4)


def test_single_bits_that_end_within_bytes(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2, (3, 3, 5))
    slices = [Slice(image, (0, 0, index)) for index, image in enumerate(numbers)]
    (tmp_path / "a").write_bytes(file_bytes(enhanced(slices, Stored(1, 1))))
    assert np.array_equal(read_dicom(tmp_path / "a").data[0], numbers)


def test_frames_in_several_fragments(tmp_path: Path) -> None:
    streams = [compressed(image.astype(np.uint16), "JPEG-LS") for image in VOLUME]
    pieces = [piece for stream in streams for piece in (stream[:20], stream[20:])]
    content = enhanced(stack(), Stored(syntax="JPEG-LS")) | {PIXELS: ("OB", pieces)}
    (tmp_path / "a").write_bytes(file_bytes(content, "JPEG-LS"))
    assert np.array_equal(read_dicom(tmp_path / "a").data[0], VOLUME)


def test_what_is_unknown_is_said(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", Stored(), position=None, orientation=None, spacing=None)
    image = read_dicom(path)
    assert (image.has_spacing, image.has_orientation) == (False, False)
    assert image.spacing == (1.0, 1.0)
    assert image.direction == ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    write_file(path, Stored(), spacing=(0, 0), more={0x00181164: ("DS", "0.2\\0.1")})
    assert read_dicom(path).spacing == (0.2, 0.1)  # at the detector
    write_file(path, Stored(), spacing=None, more={0x00280034: ("IS", "4\\3")})
    with pytest.raises(DataError, match="not square"):
        read_dicom(path)


def test_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_file(tmp_path / "a", Stored(), modality="PT", more={0x00541001: ("CS", "CNTS")})
    read_dicom(path)
    assert "in CNTS, not in Bq/ml" in caplog.text
    for signed, beside, warned in ((False, 0, False), (False, 0x7000, True), (True, 0xF000, True)):
        caplog.clear()
        write_file(path, Stored(stored=12, signed=signed, beside=beside))
        assert np.array_equal(read_dicom(path).data[0], IMAGE)
        assert ("bits beside the 12" in caplog.text) == warned
    # The sign of a negative number fills these bits, as it does in most files.
    caplog.clear()
    write_file(path, Stored(stored=12, signed=True, beside=0xF000), IMAGE - 2048)
    assert np.array_equal(read_dicom(path).data[0], IMAGE - 2048)
    assert not caplog.records


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({0x00280010: ("US", 5000), 0x00280011: ("US", 5000)}, "pixels are missing"),
        ({0x00280010: ("US", 0)}, "0 x 6 pixels"),
        ({0x00280010: ("US", b"")}, "Rows is missing or empty"),
        ({0x00280010: ("US", b"\1\0\1")}, "Rows does not hold one whole number"),
        ({0x00280101: ("US", 17)}, "17 of 16 bits"),
        ({0x00280100: ("US", 12), 0x00280101: ("US", 12), 0x00280102: ("US", 11)}, "12 bits are not"),
        ({0x00280008: ("IS", "1A")}, "NumberOfFrames does not hold one whole number"),
        ({0x00280008: ("IS", 2**31 - 1)}, "pixels are missing: the header describes 206158430112 bytes"),
        ({0x00200032: ("DS", "1\\2")}, r"ImagePositionPatient holds '1\\\\2', which is not 3 numbers"),
        ({0x00200032: ("DS", "1\\2\\nan")}, "ImagePositionPatient"),
        ({0x00200037: ("DS", "1\\0\\0\\1\\0\\0")}, "not along two perpendicular unit vectors"),
        ({0x00280030: ("DS", "-1\\1")}, r"PixelSpacing is \(-1.0, 1.0\)"),
        ({0x00281053: ("DS", 0), 0x00281052: ("DS", 0)}, "slope 0.0"),
        ({0x00281053: ("DS", "x"), 0x00281052: ("DS", 0)}, "RescaleSlope"),
        ({0x00280004: ("CS", "HSV")}, "photometric interpretation 'HSV' are not supported"),
        ({PIXELS: ("OW", bytes(96) + b"extra.")}, "describes 96 bytes of pixels, and there are 102"),
        ({0x52009230: ("SQ", [{}, {}])}, "describes 2 frames, and the file has 1"),
    ],
)
def test_headers_that_cannot_be_trusted(tmp_path: Path, more: Elements, message: str) -> None:
    path = write_file(tmp_path / "a.dcm", Stored(), more=more)
    with pytest.raises(DataError, match=message):
        read_dicom(path)


@pytest.mark.parametrize("syntax", ["RLE", "JPEG lossless", "JPEG-LS", "JPEG 2000", "JPEG baseline"])
def test_codestreams_that_cannot_be_trusted(tmp_path: Path, syntax: str) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stored, stream = Stored(8, 8, syntax=syntax), compressed(image, syntax)

    def error(content: bytes, rows: int = 8) -> str:
        data_set = single(Slice(image), stored) | {PIXELS: ("OB", [content]), 0x00280010: ("US", rows)}
        (tmp_path / "a").write_bytes(file_bytes(data_set, syntax))
        with pytest.raises(DataError) as raised:
            read_dicom(tmp_path / "a")
        return str(raised.value)

    assert "cannot be decoded" in error(stream[: len(stream) // 2])
    assert "cannot be decoded" in error(b"")
    assert "cannot be decoded" in error(bytes(100)) or syntax == "RLE"
    if syntax != "RLE":
        assert "contradict each other: rows, columns and samples" in error(stream, rows=9)


def test_colours_that_contradict_each_other(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    stored = Stored(8, 8, photometric="RGB", syntax="JPEG baseline")  # JFIF has luminance and chrominance
    path = write_file(tmp_path / "a", stored, image)
    with pytest.raises(DataError, match="the colours are RGB there and luminance and chrominance here"):
        read_dicom(path)


def test_run_lengths_are_unpacked_to_the_size_of_the_frame_and_no_further(tmp_path: Path) -> None:
    segment = bytes((129, 0)) * 10_000  # 1.28 million bytes of zeros
    content = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    stored = Stored(8, 8, syntax="RLE")
    path = tmp_path / "a"
    path.write_bytes(file_bytes(single(Slice(IMAGE), stored) | {PIXELS: ("OB", [content])}, "RLE"))
    with pytest.raises(DataError, match="cannot be decoded"):
        read_dicom(path)
    assert codestreams.COMPRESSED  # the decoder was asked


def test_the_number_of_items_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = stack()
    path = tmp_path / "a"
    path.write_bytes(file_bytes(enhanced(slices, Stored())))
    assert np.array_equal(read_dicom(path, max_voxels=VOLUME.size).data[0], VOLUME)
    with pytest.raises(DataError, match="210 voxels; the limit is 209"):
        read_dicom(path, max_voxels=VOLUME.size - 1)
    monkeypatch.setattr(elements, "_MOST_ITEMS", 8)
    with pytest.raises(DataError, match="PerFrameFunctionalGroupsSequence has more than 8 items"):
        read_dicom(path)
    endless = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    endless += struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 9 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    content = file_bytes(single(slices[0], Stored()))
    place = content.index(struct.pack("<HH", 0x0010, 0x0010))
    path.write_bytes(content[:place] + endless + content[place:])
    with pytest.raises(DataError, match="the DICOM header is damaged"):
        read_dicom(path)


def test_inflating_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path / "a", Stored(syntax="deflated"))
    assert np.array_equal(read_dicom(path).data[0], IMAGE)
    monkeypatch.setattr(elements, "_MOST_INFLATED", 200)
    with pytest.raises(DataError, match="cut short or too large"):
        read_dicom(path)


def test_damaged_files(tmp_path: Path, volume: np.ndarray) -> None:
    path = write_series(tmp_path / "cut", volume)[1]
    content = path.read_bytes()
    for size in (len(content) - 20, 140, 400):
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            read_image(tmp_path / "cut")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="nor a folder with DICOM images"):
        read_image(tmp_path / "none")


def test_damage_anywhere_is_one_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes are changed at random; nothing but the image or one error may come of it."""
    caplog.set_level(logging.ERROR)
    generator = np.random.default_rng(1)
    sources = [
        file_bytes(single(stack()[0], Stored(syntax=name)), name)
        for name in ("RLE", "implicit little endian")
    ]
    sources.append(file_bytes(enhanced(stack(), Stored(8, 8))))
    path, refused = tmp_path / "a.dcm", 0
    for index in range(240):
        content = bytearray(sources[index % len(sources)])
        for place in generator.integers(128, len(content), 1 + index % 4):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content[: len(content) - int(generator.integers(0, 40)) * (index % 2)])
        try:
            read_dicom(path)
        except DataError:  # anything else fails the test
            refused += 1
    assert 40 < refused < 240
