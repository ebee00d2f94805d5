"""What a DICOM file says about each of its images: its position, its storage, the meaning of its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swin_umamba.data.dicom.elements import DataSet, Elements, PixelElement, name_of, read_data_set
from swin_umamba.data.dicom.files import damaged_file
from swin_umamba.data.dicom.storage import STORAGE_TAGS, Storage, name_of_uid, read_storage
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import alias

SOP_CLASS, _INSTANCE, _IMAGE_TYPE = 0x00080016, 0x00080018, 0x00080008
_MODALITY, _UNITS, _DESCRIPTION = 0x00080060, 0x00541001, 0x0008103E
_PATIENT_NAME, _PATIENT_ID, _PATIENT_BIRTH = 0x00100010, 0x00100020, 0x00100030
_SERIES_UID, _SERIES_NUMBER, _FRAME_OF_REFERENCE = 0x0020000E, 0x00200011, 0x00200052
_STUDY_UID = 0x0020000D
_POSITION, _ORIENTATION = 0x00200032, 0x00200037
# Pixel spacing, or that of the detector, or that of a scanned film: the first one present counts.
_SPACINGS = (0x00280030, 0x00181164, 0x00182010)
_ROWS, _ASPECT = 0x00280010, 0x00280034
_INTERCEPT, _SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_TILED = 0x00480006
_SHARED_GROUPS, _FRAME_GROUPS = 0x52009229, 0x52009230
_PLANE_POSITION, _PLANE_ORIENTATION, PIXEL_MEASURES, _TRANSFORMATION = (
    0x00209113,
    0x00209116,
    0x00289110,
    0x00289145,
)
# Elements that distinguish the volumes of one series.
_DISTINGUISHING = (
    _IMAGE_TYPE,
    0x00180024,  # SequenceName
    0x00180081,  # EchoTime
    0x00180082,  # InversionTime
    0x00180086,  # EchoNumbers
    0x00181060,  # TriggerTime
    0x00181210,  # ConvolutionKernel
    0x00200012,  # AcquisitionNumber
    0x00200100,  # TemporalPositionIdentifier
    0x00189087,  # DiffusionBValue
    0x00541300,  # FrameReferenceTime
    0x00080032,  # AcquisitionTime
)
_FRAME_TRAITS = (
    (0x00189226, (0x00089007,)),  # MRImageFrameTypeSequence, FrameType
    (0x00189329, (0x00089007,)),  # CTImageFrameTypeSequence, FrameType
    (0x00189114, (0x00189082,)),  # MREchoSequence, EffectiveEchoTime
    (0x00189117, (0x00189087,)),  # MRDiffusionSequence, DiffusionBValue
    (0x00189118, (0x00209153,)),  # CardiacSynchronizationSequence, NominalCardiacTriggerDelayTime
    (0x00209310, (0x0020930D,)),  # TemporalPositionSequence, TemporalPositionTimeOffset
    (0x00209111, (0x00209128, 0x00209056)),  # FrameContentSequence, TemporalPositionIndex, StackID
)
_OF_SERIES = (
    *(_MODALITY, _UNITS, _DESCRIPTION, _PATIENT_NAME, _PATIENT_ID, _PATIENT_BIRTH),
    *(_STUDY_UID, _SERIES_UID, _SERIES_NUMBER),
)
PLANE_TAGS = (
    *(SOP_CLASS, _INSTANCE, *_OF_SERIES, _FRAME_OF_REFERENCE, _POSITION, _ORIENTATION, *_SPACINGS),
    *STORAGE_TAGS,
    _ASPECT,
    *(_INTERCEPT, _SLOPE, _MODALITY_LUT, _TILED, _SHARED_GROUPS, _FRAME_GROUPS, *_DISTINGUISHING),
)
# Objects whose pixels are not the values of an image, or do not lie side by side.
SEGMENTATIONS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "label map segmentation",
}
NO_IMAGES = {
    **SEGMENTATIONS,
    "1.2.840.10008.5.1.4.1.1.481.2": "radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "tiled whole-slide image",
}
_UNIT_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Series:
    """The series of an image, and its patient, who is compared and never shown."""

    uid: str
    study: str
    number: str
    modality: str
    units: str
    description: str
    patient: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Plane:
    """One image in one file.

    Attributes
    ----------
    path, frame
        Location of the image; frames count from 0.
    instance
        UID of the object that the file is; empty if unknown.
    series, storage
        Properties that it shares with other images.
    slope, intercept
        ``slope`` times a stored number plus ``intercept`` is the value; None if the header has neither.
    position
        Centre of the first pixel, in mm (x to the left, y to the back, z up); None if unknown.
    orientation
        Unit vectors ``(2, 3)`` along a row and along a column; None if unknown.
    spacing
        Distance between rows and between columns in mm; None if unknown.
    frame_of_reference
        UID; positions with equal UIDs are comparable.
    traits
        Properties that may distinguish it from other images at the same position.
    """

    path: Path
    frame: int
    instance: str
    series: Series
    storage: Storage
    slope: float | None
    intercept: float | None
    position: tuple[float, ...] | None
    orientation: tuple[tuple[float, ...], ...] | None
    spacing: tuple[float, ...] | None
    frame_of_reference: str
    traits: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Name of the file, with the frame if there are several, for messages."""
        name = alias("file", self.path.name)
        return name if self.storage.frames == 1 else f"frame {self.frame + 1} of {name}"


def read_planes(path: Path) -> list[Plane] | str:
    """Return the images of a DICOM file, or the kind of an object that is not an image.

    Raises
    ------
    DataError
        The header is damaged, or contains something that is not supported.
    """
    data_set = read_data_set(path, PLANE_TAGS)
    elements = data_set.elements
    sop_class = elements.text(SOP_CLASS)
    if sop_class in NO_IMAGES:
        return NO_IMAGES[sop_class]
    if data_set.pixels is None:
        name = name_of_uid(sop_class, "object without pixels")
        if name.endswith("Image Storage") or _ROWS in elements:
            raise damaged_file(path, "the DICOM file holds no pixels")
        return name
    if _TILED in elements:
        return "tiled whole-slide image"
    return planes_in(path, data_set, data_set.pixels)


def planes_in(path: Path, data_set: DataSet, pixels: PixelElement) -> list[Plane]:
    """Return the images of a file of which ``PLANE_TAGS`` have been read.

    Raises
    ------
    DataError
        The header is damaged, or contains something that is not supported.
    """
    elements = data_set.elements
    series = _series(elements)
    storage = read_storage(data_set, pixels)
    described = len(elements.items(_FRAME_GROUPS))
    if described not in (0, storage.frames):
        raise elements.damaged(f"it describes {described} frames, and the file has {storage.frames}")
    if "MOSAIC" in elements.text(_IMAGE_TYPE).split("\\"):
        raise DataError(
            "mosaics, which hold the slices of a volume side by side, are not supported",
            where=path,
            hint="export a file for each slice, or convert the series to NIfTI",
        )
    if elements.items(_MODALITY_LUT):
        raise DataError(
            "a lookup table of values (Modality LUT Sequence) is not supported",
            where=path,
            hint="export the image with a rescale slope and intercept, or as NIfTI",
        )
    several = storage.frames > 1
    planes = []
    for number in range(storage.frames):
        groups = groups_of(elements, number)
        position, orientation, spacing, transformation = (
            next(first_items(groups, tag), elements)
            for tag in (_PLANE_POSITION, _PLANE_ORIENTATION, PIXEL_MEASURES, _TRANSFORMATION)
        )
        # In a file with several frames, the one position at the top level cannot apply to each of them.
        lacks_place = several and position is elements
        slope, intercept = _rescale(transformation)
        planes.append(
            Plane(
                path=path,
                frame=number,
                instance=elements.text(_INSTANCE),
                series=series,
                storage=storage,
                slope=slope,
                intercept=intercept,
                position=None if lacks_place else position.numbers(_POSITION, 3),
                orientation=_orientation(orientation),
                spacing=_spacing(spacing),
                frame_of_reference=elements.text(_FRAME_OF_REFERENCE),
                traits=_traits(elements, groups),
            )
        )
    return planes


def read_series(path: Path) -> Series:
    """Return the series of a DICOM file, whatever its images are.

    Raises
    ------
    DataError
        The header is damaged.
    """
    return _series(read_data_set(path, _OF_SERIES, cut_short=True).elements)


def _series(elements: Elements) -> Series:
    return Series(
        uid=elements.text(_SERIES_UID),
        study=elements.text(_STUDY_UID),
        number=elements.text(_SERIES_NUMBER),
        modality=elements.text(_MODALITY),
        units=elements.text(_UNITS),
        description=elements.text(_DESCRIPTION),
        patient=tuple(elements.text(tag) for tag in (_PATIENT_ID, _PATIENT_NAME, _PATIENT_BIRTH)),
    )


def groups_of(elements: Elements, frame: int) -> list[Elements]:
    """Return what is said of a frame, counted from 0: its own group and that of all frames, if there are."""
    return [*elements.items(_FRAME_GROUPS)[frame : frame + 1], *elements.items(_SHARED_GROUPS)[:1]]


def first_items(groups: Sequence[Elements], tag: int) -> Iterator[Elements]:
    """Return the first item of a sequence in each group that has it."""
    return (item for group in groups for item in group.items(tag)[:1])


def _rescale(elements: Elements) -> tuple[float | None, float | None]:
    slope, intercept = elements.numbers(_SLOPE, 1), elements.numbers(_INTERCEPT, 1)
    if slope is None and intercept is None:
        return None, None
    if slope is None or intercept is None or slope[0] == 0:
        # Readers differ here: some assume 1 and 0 for what is missing, some ignore what is there.
        raise DataError(
            f"the values cannot be rescaled: slope {None if slope is None else slope[0]}, "
            f"intercept {None if intercept is None else intercept[0]}",
            where=elements.path,
            hint="export the image again with both rescale slope and intercept",
        )
    return slope[0], intercept[0]


def _orientation(elements: Elements) -> tuple[tuple[float, ...], ...] | None:
    numbers = elements.numbers(_ORIENTATION, 6)
    if numbers is None:
        return None
    axes = np.array(numbers).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > _UNIT_LENGTH_TOLERANCE or abs(axes[0] @ axes[1]) > _UNIT_LENGTH_TOLERANCE:
        raise elements.damaged(
            f"rows and columns run along {numbers}, not along two perpendicular unit vectors"
        )
    return tuple(tuple(axis.tolist()) for axis in axes / lengths[:, None])


def _spacing(elements: Elements) -> tuple[float, ...] | None:
    for tag in _SPACINGS:
        spacing = elements.numbers(tag, 2)
        if spacing is not None and spacing != (0, 0):  # zeros mean unknown
            if min(spacing) <= 0:
                raise elements.damaged(f"{name_of(tag)} is {spacing}")
            return spacing
    aspect = elements.numbers(_ASPECT, 2)
    if aspect is not None and aspect[0] != aspect[1]:
        raise DataError(
            f"pixels of unknown size that are not square (aspect ratio {aspect[0]:g} to {aspect[1]:g}) are "
            "not supported",
            where=elements.path,
            hint="export the image with its pixel spacing, or resample it to square pixels",
        )
    return None


def _traits(elements: Elements, groups: Sequence[Elements]) -> tuple[tuple[str, str], ...]:
    """Return what may distinguish an image from others at the same position, wherever a frame stores it."""
    sources: list[tuple[Elements, Sequence[int]]] = [(elements, _DISTINGUISHING)]
    for group in groups:
        sources += [(item, tags) for sequence, tags in _FRAME_TRAITS for item in group.items(sequence)[:1]]
    return tuple((name_of(tag), each.shown(tag)) for each, tags in sources for tag in tags if tag in each)
