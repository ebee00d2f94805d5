"""Probabilities as the frames of a fractional segmentation, in little memory.

highdicom sorts all probabilities of a volume to find the least and the largest, in copies of them. It gets
where they are not 0 instead, one byte a voxel, and its frames are then filled with the stored numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from swin_umamba.exchange.source import SourceImages

MOST_FRACTION = 255
"""The stored number of a probability of 1."""


def stored_steps(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities ``(z, y, x, segments)`` in 255 steps, as uint8; outside of 0 to 1 is 0 or 1."""
    steps = np.empty_like(probabilities, dtype=np.uint8)
    for place, segment in np.ndindex(probabilities.shape[0], probabilities.shape[-1]):
        scaled = probabilities[place, ..., segment] * float(MOST_FRACTION)
        steps[place, ..., segment] = np.rint(np.clip(scaled, 0, MOST_FRACTION))
    return steps


def fill_frames(found: Dataset, source: SourceImages, steps: np.ndarray) -> None:
    """Put the steps into the frames of a segmentation of where they are not 0.

    Parameters
    ----------
    found
        What highdicom has made; changed in place.
    source
        The images, which its frames name.
    steps
        ``(z, y, x, segments)``, uint8.

    Raises
    ------
    ValueError
        A frame is not where these steps are.
    """
    place_of = {str(image.SOPInstanceUID): place for place, image in enumerate(source.images)}
    shape = (int(found.NumberOfFrames), found.Rows, found.Columns)
    masks = np.frombuffer(found.PixelData, np.uint8)[: np.prod(shape)].reshape(shape)
    frames = np.empty(shape, np.uint8)
    for index, group in enumerate(found.PerFrameFunctionalGroupsSequence):
        segment = int(_group("SegmentIdentificationSequence", group, found).ReferencedSegmentNumber)
        image = _group("DerivationImageSequence", group, found).SourceImageSequence[0]
        place = place_of[str(image.ReferencedSOPInstanceUID)]
        if source.frames:
            place = int(image.ReferencedFrameNumber) - 1
        frames[index] = steps[place, ..., segment - 1]
        if not np.array_equal(frames[index] != 0, masks[index] != 0):
            raise ValueError(f"frame {index + 1} is not of slice {place + 1} and segment {segment}")
    found.PixelData = frames.tobytes()
    if steps.shape[-1] > 1:
        found.SegmentsOverlap = "UNDEFINED"


def _group(name: str, frame: Dataset, found: Dataset) -> Dataset:
    """Return what is said of a frame; what all frames have in common is said once."""
    item: Dataset = (frame.get(name) or found.SharedFunctionalGroupsSequence[0][name].value)[0]
    return item
