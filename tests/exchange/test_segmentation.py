"""What a segmentation says, of whom, and that it says nothing else; sources of all kinds."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

import pydicom
from pydicom.dataset import Dataset

from conformance.dicom_files import Slice, Stored, enhanced, file_bytes, write_series
from conformance.dicom_kinds import KINDS
from exchange.made_series import ALGORITHM, FRAME_OF_REFERENCE, HEAD, Series, labels_of, segments_of
from swin_umamba.data.image_io import on_grid_of, read_image, read_labels
from swin_umamba.errors import DataError, UsageError
from swin_umamba.exchange import segmentation
from swin_umamba.exchange.segmentation import check_source, write_segmentation
from swin_umamba.exchange.source import read_source

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
SERIES = Series(orientation=OBLIQUE)
PICTURE = {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.77.1.1")}
"""The class of endoscopic images."""
LABELS = labels_of(SERIES.shape, 3, seed=2)
FROM_THE_IMAGES = {
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    "FrameOfReferenceUID",
}


def write(path: Path, images: Path, labels: np.ndarray = LABELS, count: int = 3, **options: Any) -> Dataset:
    source = read_source([images])
    write_segmentation(path, source, labels, segments_of(count, "{} ml".format), ALGORITHM, **options)
    return pydicom.dcmread(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return SERIES.write(tmp_path / "images")


def test_it_belongs_to_its_images_and_says_nothing_else_of_them(tmp_path: Path, images: Path) -> None:
    found = write(tmp_path / "a.dcm", images)
    sources = [pydicom.dcmread(each) for each in sorted(images.iterdir())]
    for name in FROM_THE_IMAGES:
        assert found[name].value == sources[0][name].value, name
    assert found.FrameOfReferenceUID == FRAME_OF_REFERENCE
    referenced = found.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == sources[0].SeriesInstanceUID
    every = {each.SOPInstanceUID for each in sources}
    assert {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence} == every
    assert (found.Modality, found.SeriesNumber, found.InstanceNumber) == ("SEG", 9007, 1)
    assert found.SeriesInstanceUID not in {each.SeriesInstanceUID for each in sources}
    assert found.SeriesDescription == "Segmentation by A model"

    for name in ("Hospital", "Operator", "private text", "PRIVATE"):
        assert name.encode() not in (tmp_path / "a.dcm").read_bytes()
    assert not [element for element in found.iterall() if element.tag.is_private]


def test_each_frame_names_the_image_that_it_lies_on(tmp_path: Path, images: Path) -> None:
    found = write(tmp_path / "a.dcm", images)
    positions = {
        each.SOPInstanceUID: each.ImagePositionPatient for each in map(pydicom.dcmread, images.iterdir())
    }
    for group in found.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == positions[image.ReferencedSOPInstanceUID]  # as the file has it, digit by digit


def test_segments_and_what_has_made_them(tmp_path: Path, images: Path) -> None:
    segments = write(tmp_path / "a.dcm", images).SegmentSequence
    kidney = segments[1]
    assert (kidney.SegmentNumber, kidney.SegmentLabel) == (2, "right kidney")
    assert kidney.SegmentDescription == "2 ml"
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert (side.CodeValue, side.CodeMeaning) == ("24028007", "Right")
    (algorithm,) = kidney.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, kidney.SegmentAlgorithmType) == ("A model", "AUTOMATIC")
    assert algorithm.AlgorithmVersion == f"{ALGORITHM.version} abababababab"
    assert algorithm.AlgorithmParameters == f"model={'ab' * 32},mirroring=True"


def test_colours_are_those_of_the_palette(tmp_path: Path, images: Path) -> None:
    """The oracle is the CIE's definition, with the white of D65 and sRGB's curve."""
    found = write(tmp_path / "a.dcm", images).SegmentSequence[0].RecommendedDisplayCIELabValue
    rgb = np.array((230, 159, 0)) / 255  # the first colour of Okabe and Ito
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
    ratio = np.array(matrix) @ linear / (0.95047, 1.0, 1.08883)
    curve = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    lab = np.array((116 * curve[1] - 16, 500 * (curve[0] - curve[1]), 200 * (curve[1] - curve[2])))
    expected = np.array((lab[0] / 100, (lab[1] + 128) / 255, (lab[2] + 128) / 255)) * 65535
    np.testing.assert_allclose(found, expected, atol=200)  # 0.3 % of the range


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_the_last_byte_is_zero_and_sizes_are_right(tmp_path: Path, kind: str) -> None:
    """Numbers of pixels that are no multiple of 8, and odd numbers of bytes."""
    for size in ((1, 1), (1, 5), (3, 3), (5, 5)):
        series = Series(shape=(3, *size))
        folder = series.write(tmp_path / f"{size}")
        labels = np.ones(series.shape, np.uint8)
        voxels: np.ndarray = labels[None].astype(np.float32) if kind == "fractional" else labels
        found = write(tmp_path / f"{size}.dcm", folder, voxels, 1, kind=kind)
        bits = 3 * size[0] * size[1] * (1 if kind == "binary" else 8)
        assert len(found.PixelData) == -(-bits // 16) * 2
        unpacked = np.unpackbits(np.frombuffer(found.PixelData, np.uint8), bitorder="little")
        assert unpacked.sum() == 3 * size[0] * size[1] * (8 if kind == "fractional" else 1)


def test_fractions(tmp_path: Path, images: Path) -> None:
    probabilities = np.zeros((1, *SERIES.shape), np.float32)
    probabilities[0, 1] = np.linspace(0, 1, 63, dtype=np.float32).reshape(9, 7)
    probabilities[0, 3, 0, 0] = 0.001  # nearer to 0 than to the first step
    found = write(tmp_path / "a.dcm", images, probabilities, 1, kind="fractional")
    assert (found.NumberOfFrames, found.MaximumFractionalValue) == (1, 255)
    assert found.SegmentationFractionalType == "PROBABILITY"
    np.testing.assert_allclose(found.pixel_array / 255, probabilities[0, 1], atol=0.5 / 255 + 1e-6)
    with pytest.raises(DataError, match="needs a threshold"):
        read_labels(tmp_path / "a.dcm")
    read = on_grid_of(read_image(images), read_labels(tmp_path / "a.dcm", fraction=0.5))
    np.testing.assert_array_equal(read.data[0], np.rint(probabilities[0] * 255) >= 0.5 * 255)


def test_segments_that_overlap(tmp_path: Path, images: Path) -> None:
    masks = np.stack([LABELS > 0, LABELS == 2])
    found = write(tmp_path / "a.dcm", images, masks, 2)
    assert found.SegmentsOverlap == "YES"
    frames = found.pixel_array.reshape(-1, 9, 7)
    numbers = [
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for group in found.PerFrameFunctionalGroupsSequence
    ]
    for number, mask in enumerate(masks, start=1):  # highdicom's order is from the last slice to the first
        own = frames[[index for index, each in enumerate(numbers) if each == number]]
        np.testing.assert_array_equal(own[::-1], mask[mask.any(axis=(1, 2))])
    with pytest.raises(ValueError, match=r"shape \(2, 5, 9, 7\) for 3 segments"):
        write(tmp_path / "b.dcm", images, masks, 3)
    with pytest.raises(UsageError, match="cannot be one label map"):
        write(tmp_path / "b.dcm", images, masks, 2, kind="labelmap")
    assert not (tmp_path / "b.dcm").exists()
    with pytest.raises(DataError, match=r"segments overlap \(first 'liver' and 'right kidney'\)"):
        read_labels(tmp_path / "a.dcm")


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_nothing_found(tmp_path: Path, kind: str, enhanced: bool) -> None:
    images = tmp_path / "images"
    _ = SERIES.write_enhanced(images / "a.dcm") if enhanced else SERIES.write(images)
    voxels = np.zeros((3, *SERIES.shape), np.float32) if kind == "fractional" else np.zeros_like(LABELS)
    found = write(tmp_path / "a.dcm", images, voxels, kind=kind)
    assert found.NumberOfFrames == (1 if kind == "labelmap" else 3)
    assert not found.pixel_array.any()
    assert len(found.SegmentSequence) == (4 if kind == "labelmap" else 3)
    referenced = found.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(referenced) == (1 if enhanced else 5)
    assert not on_grid_of(read_image(images), read_labels(tmp_path / "a.dcm")).data.any()


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_frames_of_one_file_in_any_order(tmp_path: Path, kind: str) -> None:
    order = [3, 0, 4, 1, 2]
    path = SERIES.write_enhanced(tmp_path / "images" / "a.dcm", order)
    found = write(tmp_path / "a.dcm", path, kind=kind)
    read = on_grid_of(read_image(path), read_labels(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(read.data[0], LABELS)
    for group in found.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, SERIES.position(order[image.ReferencedFrameNumber - 1]))


def test_one_slice_with_and_without_a_place(tmp_path: Path) -> None:
    labels = labels_of((1, 9, 7), 2, seed=4)[0]
    placed = Series(shape=(1, 9, 7), orientation=OBLIQUE).write(tmp_path / "placed")
    more = HEAD | PICTURE | {0x00200052: ("UI", "")}
    write_series(tmp_path / "nowhere", [Slice(np.zeros((9, 7)), None, None, None, more=more)])
    for folder in (placed, tmp_path / "nowhere"):
        found = write(tmp_path / "a.dcm", folder, labels, 2)
        assert found.NumberOfFrames == 2
        read = on_grid_of(read_image(folder), read_labels(tmp_path / "a.dcm"))
        np.testing.assert_array_equal(read.data[0], labels)
        # One of the two has to be there, if only to say that it is not known.
        assert ("PatientOrientation" in found) == ("FrameOfReferenceUID" not in found)


def test_colour_and_compressed_images(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (16, 24, 3))
    more = HEAD | PICTURE
    stored = Stored(8, 8, photometric="RGB", syntax="RLE")
    write_series(tmp_path / "images", [Slice(picture, None, None, None, more=more)], stored)
    labels = labels_of((1, 16, 24), 2, seed=4)[0]
    write(tmp_path / "a.dcm", tmp_path / "images", labels, 2)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.dcm").data[0], labels)


def test_several_channels(tmp_path: Path, images: Path) -> None:
    other = Series(orientation=OBLIQUE, more={0x00080060: ("CS", "MR")})
    write_series(tmp_path / "other", other.slices, series="1.2.3.10")
    source = read_source([images, tmp_path / "other"])
    write_segmentation(tmp_path / "a.dcm", source, LABELS, segments_of(3), ALGORITHM)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    referenced = {
        each.SeriesInstanceUID: len(each.ReferencedInstanceSequence)
        for each in found.ReferencedSeriesSequence
    }
    assert referenced == {"1.2.3.9": 5, "1.2.3.10": 5}
    strangers = Series(orientation=OBLIQUE, more={0x0020000D: ("UI", "1.2.3.99")})
    write_series(tmp_path / "strangers", strangers.slices, series="1.2.3.11")
    with pytest.raises(DataError, match="several studies"):
        read_source([images, tmp_path / "strangers"])


def test_names_that_would_be_several_values(tmp_path: Path, images: Path) -> None:
    (segment,) = segments_of(1)
    odd = replace(segment, name="left\\right\x1b[2J" + "x" * 70)
    write_segmentation(tmp_path / "a.dcm", read_source([images]), (LABELS > 0).astype(int), [odd], ALGORITHM)
    (found,) = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence
    assert found.SegmentLabel == ("left right [2J" + "x" * 70)[:64]


def test_one_of_several_volumes_in_a_file(tmp_path: Path) -> None:
    """Its frames are referred to by their numbers in the file."""
    groups = [
        replace(each, more={0x00209111: ("SQ", [{0x00209128: ("UL", time)}])})
        for time in (1, 2)
        for each in SERIES.slices
    ]
    content = enhanced(groups, Stored()) | HEAD
    (tmp_path / "a.dcm").write_bytes(file_bytes(content))
    source = read_source([tmp_path / "a.dcm"], series=":TemporalPositionIndex=2")
    write_segmentation(tmp_path / "b.dcm", source, LABELS, segments_of(3), ALGORITHM)
    found = pydicom.dcmread(tmp_path / "b.dcm")
    for group in found.PerFrameFunctionalGroupsSequence:
        number = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, SERIES.position(number - 6))


@pytest.mark.parametrize(
    "name",
    [
        "a slice missing",
        "several patients in one series",
        "several series",
        "a film (frames without positions)",
    ],
)
def test_series_that_are_refused(tmp_path: Path, name: str) -> None:
    """They are so as images, with one message, before anything is written."""
    KINDS[name][0](tmp_path / "images")
    with pytest.raises(DataError) as image:
        read_image(tmp_path / "images")
    with pytest.raises(DataError) as source:
        write(tmp_path / "a.dcm", tmp_path / "images")
    assert source.value.what == image.value.what
    assert not (tmp_path / "a.dcm").exists()


def test_uids_are_new_or_derived(tmp_path: Path, images: Path) -> None:
    def uids(**options: Any) -> tuple[str, ...]:
        found = write(tmp_path / "a.dcm", images, **options)
        dimensions = found.DimensionOrganizationSequence[0].DimensionOrganizationUID
        assert {each.DimensionOrganizationUID for each in found.DimensionIndexSequence} == {dimensions}
        own = (found.SeriesInstanceUID, found.SOPInstanceUID, dimensions)
        assert found.file_meta.MediaStorageSOPInstanceUID == own[1]
        assert all(pydicom.uid.UID(each).is_valid and each.startswith("2.25.") for each in own)
        assert len(set(own)) == 3
        return own

    assert not set(uids()) & set(uids())
    derived = uids(identity="a")
    assert uids(identity="a") == derived
    for others in (uids(identity="b"), uids(identity="a", kind="labelmap")):
        assert not set(others) & set(derived)


@pytest.mark.parametrize(
    ("charset", "name", "text"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        (r"\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
    ],
)
def test_names_in_any_script(tmp_path: Path, charset: str, name: bytes, text: str) -> None:
    more = {0x00080005: ("CS", charset), 0x00100010: ("PN", name)}
    images = Series(more=more).write(tmp_path / "images")
    found = write(tmp_path / "a.dcm", images)
    assert (str(found.PatientName), found.SpecificCharacterSet) == (text, "ISO_IR 192")
    assert text.encode() in (tmp_path / "a.dcm").read_bytes()


def test_nothing_of_a_patient_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    images = Series(more={0x00100010: ("PN", "Doe"), 0x00100040: ("CS", "female")}).write(tmp_path / "images")
    assert write(tmp_path / "a.dcm", images).PatientSex == "F"
    assert "Doe" not in caplog.text
    assert not [each for each in recwarn if "Doe" in str(each.message)]


@pytest.mark.parametrize("kind", ["files", "enhanced"])
@pytest.mark.parametrize(("slices", "spacing"), [(1, None), (4, 2.5)])
def test_the_distance_of_slices_is_known_or_left_out(
    tmp_path: Path, kind: str, slices: int, spacing: float | None
) -> None:
    """Even where nothing was found, so that there is one slice, and where there never was another."""
    series = Series(shape=(slices, 5, 6))
    images = series.write(tmp_path / "i") if kind == "files" else series.write_enhanced(tmp_path / "i.dcm")
    for labels in (np.zeros(series.shape, np.uint8), np.ones(series.shape, np.uint8)):
        found = write(tmp_path / "a.dcm", images, labels, 1)
        (measures,) = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        assert measures.get("SpacingBetweenSlices") == spacing
        assert read_labels(tmp_path / "a.dcm").spacing[-2:] == series.spacing


def test_values_of_old_exports_cost_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    method = {0x00120062: ("CS", "YES"), 0x00120063: ("LO", r"one\another")}  # may have several values
    more = method | {
        0x00080030: ("TM", "10:11:12"),
        0x00100030: ("DA", "00000000"),
        0x00200011: ("IS", "abc"),
    }
    found = write(tmp_path / "a.dcm", Series(more=more).write(tmp_path / "images"))
    assert (found.StudyTime, found.PatientBirthDate, found.SeriesNumber) == ("101112", "", 9000)
    assert found.DeidentificationMethod == ["one", "another"]
    (message,) = (each.getMessage() for each in caplog.records)  # once, not for each slice
    assert "PatientBirthDate, SeriesNumber left empty" in message
    assert "0000" not in message.replace(str(tmp_path), "")
    assert "abc" not in message.replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({0x00200052: ("UI", "")}, "no frame of reference"),
        ({0x0020000D: ("UI", "")}, "lacks StudyInstanceUID"),
        ({0x00080018: ("UI", "")}, "lacks SOPInstanceUID"),
        ({0x00080018: ("UI", "1.2.3.4")}, r"have the same SOPInstanceUID \(.+\.dcm and .+\.dcm\)"),
        ({0x00100020: ("LO", r"A\B")}, "several values of PatientID"),
        ({0x00180050: ("DS", "thin")}, "header is damaged"),
        ({0x00080016: ("UI", "1.2.3.4")}, "images of the kind 1.2.3.4 are not known"),
    ],
)
def test_headers_that_cannot_be_referred_to(tmp_path: Path, more: Any, message: str) -> None:
    images = Series(more=more).write(tmp_path / "images")
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.dcm", images)
    assert not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_images_are_checked_before_there_is_a_segmentation(tmp_path: Path, enhanced: bool, kind: Any) -> None:
    images = tmp_path / "images"
    _ = SERIES.write_enhanced(images / "a.dcm") if enhanced else SERIES.write(images)
    source = read_source([images])
    before = [str(each) for each in source.images]
    check_source(source, kind)
    assert [str(each) for each in source.images] == before


def test_what_only_writing_meets_is_found_before(tmp_path: Path) -> None:
    """Two frames of reference in one element."""
    source = read_source([Series(more={0x00200052: ("UI", r"1.2\3.4")}).write(tmp_path / "images")])
    with pytest.raises(DataError, match="no segmentation can be made of the headers") as expected:
        write_segmentation(tmp_path / "a.dcm", source, LABELS, segments_of(3), ALGORITHM)
    with pytest.raises(DataError) as caught:
        check_source(source)
    assert str(caught.value) == str(expected.value)


def test_images_that_are_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(UsageError, match="this is none"):
        read_source([tmp_path / "a.nii.gz"])


def test_without_highdicom(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match="need highdicom") as caught:
        segmentation.check_highdicom()
    assert caught.value.hint == "pip install 'swin-umamba[dicom]'"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("kind", ["binary", "fractional", "nothing", "enhanced", "picture"])
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    """It does not know label map segmentations."""
    series = SERIES if kind != "picture" else Series(shape=(1, 9, 7))
    images = tmp_path / "images"
    _ = series.write_enhanced(images / "a.dcm") if kind == "enhanced" else series.write(images)
    voxels: np.ndarray = labels_of(series.shape, 3, seed=2) * (kind != "nothing")
    if kind == "fractional":
        voxels = np.stack([each == LABELS for each in (1, 2, 3)]) * np.float32(0.7)
    write(tmp_path / "a.dcm", images, voxels, kind="fractional" if kind == "fractional" else "binary")
    command = ["dciodvfy", tmp_path / "a.dcm"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=600).stderr
    assert "Segmentation" in said.splitlines()  # it has recognised the object
    assert "Error" not in said
