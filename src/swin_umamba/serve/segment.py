"""Processing of an upload: read, check, predict, and store what the page and the download need."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from swin_umamba.data.image_io import Image, image_stem, image_suffix, is_image_name, read_case, write_labels
from swin_umamba.errors import DataError
from swin_umamba.inference.cases import CHANNEL_NUMBER, Case, output_paths
from swin_umamba.inference.inputs import fit_channels, wrong_channels
from swin_umamba.report.orientation import View, radiological_view
from swin_umamba.report.overlay import contrast_window, is_colour, to_rgb
from swin_umamba.report.preview import informative_slice
from swin_umamba.serve.classes import ClassShare, class_shares, shown_classes
from swin_umamba.serve.objects import FoundObjects, ObjectFile, ObjectFinding
from swin_umamba.serve.upload import Upload

if TYPE_CHECKING:
    from swin_umamba.inference.prediction import Prediction
    from swin_umamba.inference.predictor import Predictor


RESULT, LABELS, UNCERTAINTY = "result", "labels.npy", "uncertainty.npy"
LONGEST_STEM = 60
_UNSAFE = re.compile(r"[^\w.-]+")
# Number of voxels from which the contrast of a large volume is computed, approximately.
VOXELS_FOR_CONTRAST = 2**22


@dataclass(frozen=True)
class Quality:
    """Confidence of a prediction, see ``confidence.estimate.Confidence``."""

    mean: float | None
    of_class: dict[str, float | None]
    calibrated: bool
    quality_calibrated: bool


@dataclass(frozen=True)
class Result:
    """A segmented image; its arrays are in ``folder``.

    Attributes
    ----------
    folder
        Holds ``labels.npy`` (slices, rows, columns), ``view_N.npy`` (the same and 1 or 3; uint8), with a
        confidence ``uncertainty.npy`` (uint8, 255 for the most uncertain), and with objects
        ``instances.npy``, all oriented for display.
    labels_file
        The label map in the format that ``predict`` would write.
    stem
        What the file names of all downloads begin with, valid on every system.
    shape, spacing
        Shape and spacing shape of the image as it is stored, (y, x) or (z, y, x); spacing in mm, None for
        formats without one.
    turned
        Orientation of the image for display.
    views
        What can be shown under the labels: the colours, or each channel.
    shares
        Share of each class, in the order of ``shown_classes``.
    start
        The slice that shows most.
    seconds
        Duration of the prediction.
    quality
        None without a confidence.
    objects
        None if they were not asked for.
    """

    folder: Path
    labels_file: Path
    stem: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    turned: View
    views: tuple[str, ...]
    shares: tuple[ClassShare, ...]
    start: int
    seconds: float
    quality: Quality | None
    objects: FoundObjects | None = None

    @property
    def download_name(self) -> str:
        """File name of the label map for the client."""
        return f"{self.stem}_labels{image_suffix(self.labels_file)}"

    def download(self, kind: Literal["labels"] | ObjectFile) -> tuple[Path, str] | None:
        """Return a file and its name for the client; None if the result does not have it."""
        if kind == "labels":
            return self.labels_file, self.download_name
        if self.objects is None or kind not in self.objects.files:
            return None
        return self.objects.files[kind], self.objects.download_name(kind, self.stem)

    @property
    def num_slices(self) -> int:
        """Number of slices; 1 for a 2D picture."""
        return self.shape[self.turned.axes[0]] if len(self.shape) == 3 else 1

    @property
    def width(self) -> int:
        """Of a slice as it is shown, in pixels."""
        return self.shape[self.turned.axes[-1]]

    @property
    def aspect(self) -> float:
        """Height of a pixel of a slice divided by its width."""
        return 1.0 if self.spacing is None else self.turned.spacing[-2] / self.turned.spacing[-1]


class Segmenter:
    """Segments uploads with one model.

    Parameters
    ----------
    predictor
        The model.
    max_voxels
        Size above which images are refused before the network runs.
    confidence
        Whether to estimate the Dice and the uncertainty.
    """

    def __init__(self, predictor: Predictor, *, max_voxels: int, confidence: bool) -> None:
        self.predictor = predictor
        self.classes = shown_classes(predictor)
        self.confidence = confidence
        self.objects = ObjectFinding(predictor.labels)
        self._max_voxels = max_voxels

    def __call__(self, upload: Upload, on_progress: Callable[[float], None]) -> Result:
        """Segment an upload.

        Raises
        ------
        DataError
            The image is damaged, too large, or not suitable for the model.
        """
        start = time.perf_counter()
        image = self._read(upload)
        on_progress(0.0)  # an upload that was cancelled in the meantime ends here
        prediction = self.predictor.predict(
            image,
            confidence=self.confidence,
            on_progress=on_progress,
            max_voxels=self._max_voxels,
            instances=upload.instances,
        )
        on_progress(1.0)
        folder = upload.folder / RESULT
        folder.mkdir()
        ending = str(self.predictor.model.dataset_json.get("file_ending", ""))
        (labels_file,) = output_paths([Case("labels", upload.images)], folder, ending)
        write_labels(labels_file, prediction.labels, like=image)
        turned = radiological_view(image)
        data = turned.turn(image.data)
        data = data if data.ndim == 4 else data[:, None]
        views = self._save_views(folder, data)
        labels = _as_slices(turned.turn(prediction.labels))
        np.save(folder / LABELS, labels)
        quality = _save_confidence(folder, prediction, turned)
        case = case_name(upload.names[0])
        return Result(
            folder=folder,
            labels_file=labels_file,
            stem=download_stem(case),
            shape=image.spatial_shape,
            spacing=image.spacing if image.has_spacing else None,
            turned=turned,
            views=views,
            shares=class_shares(prediction.labels, self.classes, image),
            start=informative_slice(data, labels),
            seconds=time.perf_counter() - start,
            quality=quality,
            objects=self.objects.save(prediction, image, labels_file, case, turned),
        )

    def _read(self, upload: Upload) -> Image:
        channels = self.predictor.channel_names
        if len(upload.images) not in (1, len(channels)):
            raise wrong_channels(len(upload.images), channels, upload.files[0])
        image = read_case(upload.images, max_voxels=self._max_voxels, series=upload.series)
        image = image.with_data(fit_channels(image.data, channels, image.path))
        if image.data.size > self._max_voxels:
            raise DataError(
                f"the image has {image.data.size} voxels in all channels; the limit is {self._max_voxels}",
                where=image.path,
                hint="crop the image, or start the server with a larger --max-voxels",
            )
        return image

    def _save_views(self, folder: Path, data: np.ndarray) -> tuple[str, ...]:
        """Write each view of an image (channels, slices, rows, columns) as uint8; return their names."""
        if is_colour(data):
            np.save(folder / "view_0.npy", data.transpose(1, 2, 3, 0))
            return ("colours",)
        for number, channel in enumerate(data):
            step = 1 + channel.size // VOXELS_FOR_CONTRAST
            window = contrast_window(channel.reshape(-1)[::step])
            # All slices share one window, so that they can be compared; they are written one by one to save
            # memory.
            view = np.stack([to_rgb(each[None], window)[..., :1] for each in channel])
            np.save(folder / f"view_{number}.npy", view)
        return tuple(self.predictor.channel_names)


def case_name(client_name: str) -> str:
    """Return what ``predict`` would call an image: its name without the ending and the channel's number."""
    stem = image_stem(client_name) if is_image_name(client_name) else client_name
    match = CHANNEL_NUMBER.fullmatch(stem)
    return stem if match is None else match["case"]


def download_stem(case: str) -> str:
    """Return the name of an image with only letters, digits, dots, dashes and underscores in it."""
    return _UNSAFE.sub("_", case).strip("._")[:LONGEST_STEM] or "image"


def _as_slices(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else array


def _save_confidence(folder: Path, prediction: Prediction, turned: View) -> Quality | None:
    confidence = prediction.confidence
    if confidence is None:
        return None
    uncertainty = np.round(255 * np.clip(_as_slices(turned.turn(confidence.entropy)), 0, 1)).astype(np.uint8)
    np.save(folder / UNCERTAINTY, uncertainty)
    return Quality(
        confidence.quality,
        dict(confidence.class_quality),
        confidence.calibrated,
        confidence.quality_calibrated,
    )
