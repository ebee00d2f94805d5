"""DICOM segmentations (PS3.3 A.51): what was found in the images of a series, as an object of its study."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import numpy as np

from swin_umamba import __version__
from swin_umamba.errors import DataError, UsageError
from swin_umamba.exchange.codes import TISSUE, Code, Meaning, short_text
from swin_umamba.exchange.fractions import MOST_FRACTION, fill_frames, stored_steps
from swin_umamba.exchange.source import SourceImages
from swin_umamba.exchange.values import quiet
from swin_umamba.extras import extra_module
from swin_umamba.files import atomic_open
from swin_umamba.pseudonyms import current

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

logger = logging.getLogger(__name__)

Kind = Literal["binary", "labelmap", "fractional"]
PROGRAM = "swin-umamba"
# Added to the number of the images' series, so that viewers list the segmentation behind all images.
FIRST_SERIES_NUMBER = 9000
_LARGEST_NUMBER = 2**31 - 1
_LONGEST_TEXT = 1024
_PURPOSES = ("series", "object", "dimensions")


@dataclass(frozen=True)
class Algorithm:
    """What has segmented.

    Attributes
    ----------
    name
        Name of the model.
    model
        Its SHA-256 as hexadecimal, whatever its files are called.
    parameters
        Options that results depend on.
    version
        Version of the program.
    """

    name: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__


@dataclass(frozen=True)
class CodedSegment:
    """One segment; its number is its place among all, from 1.

    Attributes
    ----------
    name
        Name that viewers show.
    meaning
        Category and type as codes.
    colour
        Red, green and blue, 0 to 255.
    remark
        Text that goes with it, such as its volume; may be empty.
    """

    name: str
    meaning: Meaning
    colour: tuple[int, int, int]
    remark: str = ""


def check_highdicom() -> None:
    """Raise ``UsageError`` if the library that writes segmentations is not installed."""
    extra_module("highdicom", "DICOM segmentations need highdicom", "dicom")


def write_segmentation(
    path: Path,
    source: SourceImages,
    voxels: np.ndarray,
    segments: Sequence[CodedSegment],
    algorithm: Algorithm,
    *,
    kind: Kind = "binary",
    identity: str | None = None,
) -> int:
    """Write a DICOM segmentation of a series, atomically.

    Study, patient, frame of reference and the positions of slices are those of the source, and all of its
    images are referred to. Series and object are new.

    Parameters
    ----------
    path
        The file.
    source
        The images that were segmented.
    voxels
        On the grid of the source: a label map ``(y, x)`` or ``(z, y, x)`` of whole numbers, in which n is the
        n-th segment; or segments that may overlap, ``(segments, y, x)`` or ``(segments, z, y, x)``, bool, or
        for ``fractional`` probabilities from 0 to 1.
    segments
        What they are, in order.
    algorithm
        What has found them.
    kind
        ``binary`` stores a frame for each slice and segment that it has; ``labelmap`` one for each slice;
        ``fractional`` probabilities in 255 steps. Frames in which there is nothing are left out.
    identity
        What the UIDs are derived from, together with those of the source: the same give the same. None makes
        new ones.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    ValueError
        The voxels are not on the grid of the source, or not of these segments.
    UsageError
        highdicom is not installed; or segments that may overlap are to be a label map.
    DataError
        The headers of the source are not those of a valid object.
    OutputError
        The file cannot be written.
    """
    check_highdicom()
    stacked = voxels.ndim > 2 and voxels.dtype.kind in "bf"
    if stacked and kind == "labelmap":
        what = "segments that may overlap cannot be one label map"
        raise UsageError(what, where=path, hint="write them as binary or fractional segments: --seg-type")
    array = np.moveaxis(voxels, 0, -1) if stacked else voxels
    if array.ndim == (3 if stacked else 2):
        array = array[None]
    size = (source.num_planes, source.first.Rows, source.first.Columns)
    if array.shape != (size if not stacked else (*size, len(segments))):
        raise ValueError(f"voxels of shape {voxels.shape} for {len(segments)} segments of images {size}")
    steps = None
    if kind == "fractional" and stacked and array.dtype.kind == "f":
        steps = stored_steps(array)
        array = steps != 0
    elif not stacked:
        array = array.astype(np.uint8 if len(segments) < 2**8 else np.uint16, copy=False)
    if not array.any():
        # A segmentation has one frame at least: nothing, in the first slice.
        source, array, steps = _first_slice(source), array[:1], None
    uids = [_uid(identity, [*source.uids, algorithm.model, kind, purpose]) for purpose in _PURPOSES]
    with _refusing(source), quiet():
        found = _segmentation(source, array, segments, algorithm, kind, uids)
        if steps is not None:
            fill_frames(found, source, steps)
        _correct(found, source, uids)
        with atomic_open(path) as file:
            found.save_as(file, enforce_file_format=True)
        return int(found.NumberOfFrames)


def check_source(source: SourceImages, kind: Kind = "binary") -> None:
    """Refuse images of which no segmentation can be made: make one of a pixel a slice.

    Raises
    ------
    UsageError
        highdicom is not installed.
    DataError
        The headers of the source are not those of a valid object.
    """
    check_highdicom()
    from pydicom.dataset import Dataset

    small = replace(source, images=tuple(Dataset(dict(each.items())) for each in source.images))
    for each in small.images:
        for name in ("Rows", "Columns"):  # setting a value would change the source, too
            each.add_new(name, "US", 1)
    uids = ["1.2.3"] * len(_PURPOSES)
    voxels = np.ones((source.num_planes, 1, 1), np.uint8)
    segment = CodedSegment("any", Meaning(TISSUE, TISSUE), (0, 0, 0))
    with _refusing(source), quiet():
        found = _segmentation(small, voxels, [segment], Algorithm("any", "0" * 64), kind, uids)
        _correct(found, small, uids)
        found.save_as(BytesIO(), enforce_file_format=True)


@contextmanager
def _refusing(source: SourceImages) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OSError) as error:
        # Libraries quote values of headers.
        why = str(error) if current() is None else type(error).__name__
        raise DataError(
            f"no segmentation can be made of the headers of this series: {why}",
            where=source.where,
            hint="export the series again from the archive, or leave out --format",
        ) from error


def _uid(identity: str | None, parts: Sequence[str]) -> str:
    """Return a UID derived from a UUID (PS3.5 B.2): a new one, or that of some text."""
    if identity is None:
        return f"2.25.{uuid4().int}"
    digest = hashlib.sha256("\n".join([identity, *parts]).encode()).digest()
    return f"2.25.{UUID(bytes=digest[:16], version=5).int}"


def _first_slice(source: SourceImages) -> SourceImages:
    first = source.first
    if source.frames:
        from copy import copy

        first = copy(first)
        first.PerFrameFunctionalGroupsSequence = list(first.PerFrameFunctionalGroupsSequence)[:1]
        first.NumberOfFrames = 1
    others = () if source.frames else source.images[1:]
    return replace(source, images=(first,), frames=source.frames[:1], further=(*others, *source.further))


def _segmentation(
    source: SourceImages,
    array: np.ndarray,
    segments: Sequence[CodedSegment],
    algorithm: Algorithm,
    kind: Kind,
    uids: Sequence[str],
) -> Dataset:
    """Return the object as highdicom makes it."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    parameters = {"model": algorithm.model} | {name: str(each) for name, each in algorithm.parameters.items()}
    identification = highdicom.AlgorithmIdentificationSequence(
        name=short_text(algorithm.name),
        family=codes.DCM.ArtificialIntelligence,
        version=short_text(f"{algorithm.version} {algorithm.model[:12]}"),
        source=PROGRAM,
        parameters=parameters,
    )
    described: Any = [
        _described(number, each, identification) for number, each in enumerate(segments, start=1)
    ]
    number = source.first.get("SeriesNumber")
    made: Dataset = highdicom.seg.Segmentation(
        source_images=list(source.images),
        pixel_array=array,
        segmentation_type=kind.upper(),
        segment_descriptions=described,
        series_instance_uid=uids[0],
        series_number=min(FIRST_SERIES_NUMBER + max(int(number or 0), 0), _LARGEST_NUMBER),
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer=PROGRAM,
        manufacturer_model_name=PROGRAM,
        software_versions=algorithm.version,
        device_serial_number=short_text(algorithm.model),
        max_fractional_value=MOST_FRACTION,
        content_label="SEGMENTATION",
        content_description=short_text(f"by {algorithm.name}"),
        series_description=short_text(f"Segmentation by {algorithm.name}"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        further_source_images=list(source.further) or None,
        specific_character_set="ISO_IR 192",
    )
    return made


def _described(number: int, segment: CodedSegment, identification: Any) -> Dataset:
    import highdicom

    meaning = segment.meaning
    described: Dataset = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=short_text(segment.name),
        segmented_property_category=_concept(meaning.category),
        segmented_property_type=_concept(meaning.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=identification,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )
    if segment.remark:
        described.SegmentDescription = segment.remark[:_LONGEST_TEXT]
    if meaning.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(meaning.side)]
    return described


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _correct(found: Dataset, source: SourceImages, uids: Sequence[str]) -> None:
    """Put right what highdicom cannot know, and its padding."""
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in found.get(name) or ():
            item.DimensionOrganizationUID = uids[2]
    if "FrameOfReferenceUID" not in found:
        found.PatientOrientation = None  # where there is no other, even if unknown (C.7.6.1: 2C)
    shared = found.SharedFunctionalGroupsSequence[0]
    for measures in shared.get("PixelMeasuresSequence") or ():
        if source.num_planes == 1 and "SpacingBetweenSlices" in measures:
            del measures.SpacingBetweenSlices  # of a single slice highdicom says 1 mm, whatever its thickness
    if "PixelMeasuresSequence" in shared and not any(shared.PixelMeasuresSequence):
        del shared.PixelMeasuresSequence
    frames, pixels = int(found.NumberOfFrames), found.Rows * found.Columns
    size, content = -(-frames * pixels * found.BitsAllocated // 8), found.PixelData
    if found.BitsAllocated == 1 and size < frames <= len(content):
        # highdicom begins each frame of fewer than 8 pixels with a new byte.
        bits = np.unpackbits(np.frombuffer(content, np.uint8)[:frames, None], axis=1, bitorder="little")
        content = np.packbits(bits[:, :pixels], bitorder="little").tobytes()
    found.PixelData = content[:size] + b"\0" * (size % 2)
    if source.frames:
        # Frames of several segments share what they are derived from.
        images = {
            id(image): image
            for frame in found.PerFrameFunctionalGroupsSequence
            for derivation in frame.get("DerivationImageSequence") or ()
            for image in derivation.SourceImageSequence
            if "ReferencedFrameNumber" in image
        }
        for image in images.values():
            image.ReferencedFrameNumber = source.frames[int(image.ReferencedFrameNumber) - 1]
