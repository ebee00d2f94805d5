"""The grid that the images of one series form, or why they do not form one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.dicom.planes import Plane
from swin_umamba.data.image import Image
from swin_umamba.errors import DataError
from swin_umamba.pseudonyms import current, shown_uid

# Distances between slices may differ by this fraction of the usual one, since positions are rounded.
DISTANCE_TOLERANCE = 0.02
# Over the whole volume, slices may shift within their plane by this fraction of a pixel.
SHIFT_TOLERANCE = 0.25
ORIENTATION_TOLERANCE = 1e-4
SPACING_TOLERANCE = 1e-4
# Positions closer than this (mm) count as one.
_SAME_PLACE = 1e-3
_NAMED_PLACES = 5
# A time that belongs to the patient.
_OF_THE_DAY = "AcquisitionTime"
# DICOM's x points to the left and its y to the back, NIfTI's to the right and to the front.
_TO_RAS = np.array((-1.0, -1.0, 1.0))


@dataclass(frozen=True)
class Grid:
    """Planes in slice order, and where their pixels lie.

    Attributes
    ----------
    spacing, origin, direction
        As in :class:`~swin_umamba.data.image.Image`; two axes for a single plane.
    has_spacing, has_orientation
        Whether they are known; otherwise they are placeholders.
    planes
        Planes along their normal, which completes rows and columns to a right-handed system; none of a
        segmentation, whose frames leave slices out.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    has_spacing: bool = True
    has_orientation: bool = True
    planes: tuple[Plane, ...] = ()

    def image(self, data: np.ndarray, path: Path, **known: Any) -> Image:
        """Return voxels on the grid as an image; ``known`` are its further attributes."""
        return Image(
            data=np.ascontiguousarray(data),
            spacing=self.spacing,
            origin=self.origin,
            direction=self.direction,
            path=path,
            has_spacing=self.has_spacing,
            has_orientation=self.has_orientation,
            **known,
        )


def choose_volume(planes: Sequence[Plane], conditions: Sequence[str], where: Path) -> Sequence[Plane]:
    """Return the images that satisfy all conditions ``NAME=VALUE``.

    Raises
    ------
    DataError
        No image does.
    """
    for condition in conditions:
        name, _, wanted = condition.partition("=")
        values = [dict(plane.traits).get(name.strip(), "") for plane in planes]
        chosen = [plane for plane, value in zip(planes, values, strict=True) if value == wanted.strip()]
        if not chosen:
            is_hidden = name.strip() == _OF_THE_DAY and current() is not None
            known = (
                ", ".join(dict.fromkeys(value for value in values if value and not is_hidden)) or "not said"
            )
            raise DataError(
                f"no image of the series has {condition!r}: {name or 'the element'} is {known}",
                where=where,
                hint="leave the condition out: the error then lists the volumes",
            )
        planes = chosen
    return planes


def arrange(planes: Sequence[Plane], where: Path) -> Grid:
    """Return the grid that the images of one series form.

    Slices are ordered by position, never by number or name.

    Raises
    ------
    DataError
        Images differ in size, kind or orientation; or positions are missing, doubled, uneven or sheared.
    """
    if len(planes) == 1:
        return single(planes[0])
    for attribute, words in _ALIKE:
        _check_alike(planes, where, attribute, words)
    unplaced = [plane for plane in planes if plane.position is None or plane.orientation is None]
    if unplaced:
        raise DataError(
            f"the positions of {len(unplaced)} of {len(planes)} images are not known (such as "
            f"{unplaced[0].name}): they are a film or single pictures, or were exported without positions",
            where=where,
            hint="export the series with the positions of its slices, or each picture as a file of its own",
        )
    _check_close(planes, where, lambda plane: plane.orientation, ORIENTATION_TOLERANCE, "orientations")
    if any(plane.spacing is None for plane in planes):
        raise DataError("slices have no pixel spacing", where=where, hint="export the series with it")
    axes, spacing = planes[0].orientation, planes[0].spacing
    assert axes is not None
    assert spacing is not None
    _check_close(
        planes, where, lambda plane: plane.spacing, SPACING_TOLERANCE * min(spacing), "pixel spacings"
    )
    normal = np.cross(axes[0], axes[1])
    normal /= np.linalg.norm(normal)
    heights = np.array([plane.position for plane in planes]) @ normal
    order = np.argsort(heights, kind="stable")
    ordered = tuple(planes[index] for index in order)
    step = _check_places(ordered, heights[order], normal, where)
    return Grid(
        planes=ordered,
        spacing=(step, *spacing),
        origin=to_ras(ordered[0].position),
        direction=(to_ras(normal), to_ras(axes[1]), to_ras(axes[0])),
    )


def single(plane: Plane) -> Grid:
    """Return the grid of one image, whatever is known of its place."""
    placed = plane.position is not None and plane.orientation is not None
    # Placeholders: the axes of an axial slice at the origin.
    position = plane.position if placed else (0.0, 0.0, 0.0)
    orientation = plane.orientation if placed else ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    assert position is not None
    assert orientation is not None
    return Grid(
        planes=(plane,),
        spacing=plane.spacing or (1.0, 1.0),
        origin=to_ras(position),
        direction=(to_ras(orientation[1]), to_ras(orientation[0])),
        has_spacing=plane.spacing is not None,
        has_orientation=placed,
    )


def to_ras(vector: Any) -> tuple[float, ...]:
    """Return a vector of DICOM's as one of NIfTI's, with x and y reversed."""
    return tuple((np.asarray(vector) * _TO_RAS + 0.0).tolist())  # + 0.0: no negative zeros


# Properties that the images of a volume must share.
_ALIKE: tuple[tuple[Callable[[Plane], Any], str], ...] = (
    (lambda plane: (plane.storage.rows, plane.storage.columns), "sizes (rows, columns)"),
    (lambda plane: (plane.storage.samples, plane.storage.photometric), "kinds of pixels"),
    (lambda plane: plane.series.modality, "modalities"),
    (lambda plane: plane.series.units, "units"),
    (lambda plane: plane.frame_of_reference and shown_uid(plane.frame_of_reference), "frames of reference"),
)


def _check_alike(planes: Sequence[Plane], where: Path, attribute: Callable[[Plane], Any], words: str) -> None:
    first: dict[Any, Plane] = {}
    for plane in planes:
        first.setdefault(attribute(plane), plane)
    if len(first) > 1:
        (one, plane), (other, another) = list(first.items())[:2]
        raise _several(words, where, f"{one} ({plane.name})", f"{other} ({another.name})")


def _check_close(
    planes: Sequence[Plane], where: Path, attribute: Callable[[Plane], Any], tolerance: float, words: str
) -> None:
    values = np.array([attribute(plane) for plane in planes])
    differences = np.abs(values - values[0]).reshape(len(planes), -1).max(axis=1)
    if differences.max() > tolerance:
        one, other = (
            f"{_short(values[index])} ({planes[index].name})" for index in (0, int(differences.argmax()))
        )
        raise _several(words, where, one, other)


def _several(words: str, where: Path, one: str, other: str) -> DataError:
    return DataError(
        f"the images of the series have several {words}: {one} and {other}",
        where=where,
        hint="export the volume alone, or put its files into a folder of their own",
    )


def _check_places(planes: Sequence[Plane], heights: np.ndarray, normal: np.ndarray, where: Path) -> float:
    """Refuse planes that are not evenly spaced along their normal; return their distance in mm."""
    steps = np.diff(heights)
    doubled = np.flatnonzero(steps < _SAME_PLACE)
    if len(doubled):
        raise _doubled(planes, heights, doubled, where)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # of two, the smaller: the other spans a gap
    uneven = np.flatnonzero(np.abs(steps - usual) > DISTANCE_TOLERANCE * usual)
    if len(uneven):
        index = int(uneven[np.abs(steps[uneven] - usual).argmax()])
        before, after = planes[index], planes[index + 1]
        raise DataError(
            f"the slices are not evenly spaced: {steps[index]:.4g} mm between {before.name} at "
            f"{_short(before.position)} and {after.name} at {_short(after.position)}, mostly {usual:.4g} mm "
            f"({len(uneven)} of {len(steps)} distances differ)",
            where=where,
            hint="copy the missing slices, or resample the volume to even distances",
        )
    step = float(heights[-1] - heights[0]) / len(steps)
    positions = np.array([plane.position for plane in planes])
    places = positions[0] + np.arange(len(planes))[:, None] * step * normal
    sideways = np.linalg.norm(
        (positions - places) - ((positions - places) @ normal)[:, None] * normal, axis=1
    )
    spacing = planes[0].spacing
    assert spacing is not None
    if sideways.max() > SHIFT_TOLERANCE * min(spacing):
        worst = int(sideways.argmax())
        tilt = np.degrees(np.arctan2(sideways[-1], heights[-1] - heights[0]))
        raise DataError(
            f"the slices are shifted against each other by up to {sideways[worst]:.4g} mm: {planes[0].name} "
            f"lies at {_short(planes[0].position)}, {planes[worst].name} at {_short(planes[worst].position)}"
            + (f" (a gantry tilted by {tilt:.3g} degrees)" if tilt > 0.1 else ""),
            where=where,
            hint="resample the volume to a straight grid",
        )
    return step


def _doubled(planes: Sequence[Plane], heights: np.ndarray, doubled: np.ndarray, where: Path) -> DataError:
    """Return the error for several images at one position, with the positions and the differing elements."""
    places = [planes[int(index)].position for index in doubled]
    shown = ", ".join(_short(place) for place in places[:_NAMED_PLACES])
    more = f" and at {len(places) - _NAMED_PLACES} more places" if len(places) > _NAMED_PLACES else ""
    values: dict[str, list[str]] = {}
    for plane in planes:
        for name, value in plane.traits:
            if name == _OF_THE_DAY and current() is not None:
                continue
            if value not in values.setdefault(name, []):
                values[name].append(value)
    reasons = [f"{name} {' / '.join(each[:_NAMED_PLACES])}" for name, each in values.items() if len(each) > 1]
    one, other = planes[int(doubled[0])], planes[int(doubled[0]) + 1]
    volumes = _volumes(planes, heights, [name for name, each in values.items() if len(each) > 1])
    count = int(np.count_nonzero(np.diff(heights) >= _SAME_PLACE)) + 1
    return DataError(
        f"{len(planes)} images lie at {count} place{'s' if count > 1 else ''}, so the series holds more "
        f"than one volume; doubled at {shown}{more} ({one.name} and {other.name}); "
        + (f"they differ in {'; '.join(reasons)}" if reasons else "nothing in their headers tells them apart")
        + "".join(f"\n  - {volume}" for volume in volumes),
        where=where,
        hint="choose one with --series UID:NAME=VALUE as listed (series= in Python and over HTTP)"
        if volumes
        else "remove one of the copies, if these are copies; otherwise export it again"
        if not reasons
        else "export one volume (phase, echo, b-value) alone, or put its files into a folder of their own",
    )


def _volumes(planes: Sequence[Plane], heights: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return descriptions of the volumes in a series if one or two elements distinguish them."""
    for chosen in (*combinations(names, 1), *combinations(names, 2)):
        groups: dict[tuple[str, ...], list[float]] = {}
        for plane, height in zip(planes, heights, strict=True):
            traits = dict(plane.traits)
            groups.setdefault(tuple(traits.get(name, "") for name in chosen), []).append(float(height))
        # Each group has the same positions, each once; heights are sorted.
        places = list(groups.values())
        if len({len(each) for each in places}) == 1 and all(
            np.allclose(each, places[0], rtol=0, atol=_SAME_PLACE) and (np.diff(each) > _SAME_PLACE).all()
            for each in places
        ):
            return [
                f"{len(each)} images, UID {shown_uid(planes[0].series.uid)}"
                + "".join(f":{name}={value}" for name, value in zip(chosen, values, strict=True))
                for values, each in groups.items()
            ]
    return []


def _short(values: Any) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in np.ravel(values)) + ")"
