"""The information for prediction in the plans and the data set description of a trained model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swin_umamba.data.formats import format_with_suffix
from swin_umamba.data.image_io import MAX_VOXELS
from swin_umamba.data.instance_labels import IGNORE_NAME
from swin_umamba.errors import CheckpointError, DataError, SwinUMambaError
from swin_umamba.evaluation.classes import in_output_order
from swin_umamba.nnunet.dataset_json import members_of
from swin_umamba.nnunet.plane import check_plane
from swin_umamba.nnunet.stdout import stdout_to_log
from swin_umamba.schema import Provenance, shown
from swin_umamba.trained.configuration import Configuration, read_configuration
from swin_umamba.trained.intensities import check_overflow
from swin_umamba.trained.label_map import EVERYWHERE, LabelMap, Labels, box_of, foreground_of
from swin_umamba.trained.model import TrainedModel
from swin_umamba.trained.model_files import COPY_AGAIN, channel_names_of
from swin_umamba.trained.plans_check import check_plans
from swin_umamba.trained.preprocessing import intensities_of, preprocess
from swin_umamba.trained.volume import FLAT_SPACING_FACTOR, Volume

logger = logging.getLogger(__name__)

PICTURE_READER = "NaturalImage2DIO"
"""nnU-Net's reader of pictures."""


class ModelPlans:
    """Preprocessing, labels and channels of a trained model.

    Parameters
    ----------
    model
        The trained model.

    Attributes
    ----------
    configuration
        nnU-Net's view of the model's configuration.
    patch_size
        Patch size of the network, in pixels.
    channel_names
        Names of the channels that the model takes, in order.
    labels
        Number of each label by its name; for a region, the numbers that it unites.
    classes
        Name of each foreground class or region, with the label numbers that make it up, in the order of the
        network's outputs.
    label_values
        The value of each class in label maps. With regions the n-th entry of ``regions_class_order`` marks
        the n-th region, outside the regions that come after it.
    ignore
        Label of unannotated pixels; None if there is none.
    has_regions
        Whether classes are regions, which may overlap.
    num_classes
        Number of the network's outputs.

    Raises
    ------
    CheckpointError
        If the plans or the description are incomplete, inconsistent or not supported.
    """

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self._said: set[str] = set()
        try:
            self._read()
        except SwinUMambaError:
            raise
        except Exception as error:
            # nnU-Net reads the JSON files unchecked: missing entries may cause any kind of error.
            raise CheckpointError(
                "plans.json or dataset.json is incomplete or does not fit this nnU-Net "
                f"({type(error).__name__}: {error})",
                where=model.path,
                hint="check that both files are those that the model was trained with",
            ) from error

    def mirror_axes(self) -> tuple[int, ...]:
        """Return the axes of the patch along which the training mirrored.

        Raises
        ------
        CheckpointError
            If there are no such axes in the patch.
        """
        axes = self.model.mirror_axes
        dimensions = range(len(self.patch_size))
        known = {axis for axis in axes if type(axis) is int and axis in dimensions}
        if len(known) < len(axes):
            raise CheckpointError(
                f"the checkpoint allows mirroring along axes {shown(axes)} of a {len(dimensions)}D patch",
                where=self.model.path,
                hint="switch mirroring off, or check that plans and checkpoint belong together",
            )
        return axes

    def preprocess(self, volume: Volume, max_voxels: int = MAX_VOXELS) -> tuple[np.ndarray, dict[str, Any]]:
        """Crop, resample and normalize; return ``(channels, Z, Y, X)`` and how to undo it for the labels.

        Raises
        ------
        DataError
            Resampled, the image would have more than ``max_voxels`` in all channels, or none; its values are
            so large that normalizing them overflows; or a network of slices would see lines.
        """
        spacing = self.spacing_of(volume)
        if len(self.configuration.spacing) == 2:
            check_plane(volume.data.shape[1:], self._forward, volume.path)
        self._check_resampled(volume, spacing, max_voxels)
        data, properties = preprocess(volume, spacing, self.model, self.configuration)
        check_overflow(data, volume.data, volume.path)
        return data, properties

    def intensities_of(self, channel: int) -> dict[str, float]:
        """Return nnU-Net's statistics of the training images' foreground in a channel."""
        return dict(intensities_of(self.model.plans)[str(channel)])

    @property
    def keeps_axes(self) -> bool:
        """Whether the network takes an image's axes in their own order."""
        return list(self._forward) == [0, 1, 2]

    def _check_resampled(self, volume: Volume, spacing: list[float], max_voxels: int) -> None:
        """Refuse an image whose spacing would make it huge or empty, before memory is allocated for it."""
        axes = self._forward
        wanted = [float(value) for value in self.configuration.spacing]
        if len(wanted) == 2:  # slices are not resampled
            wanted = [spacing[axes[0]], *wanted]
        old = volume.data.shape[1:]
        # Floats, as a header can declare more than NumPy's integers can hold.
        shape = [old[axis] * spacing[axis] / new for axis, new in zip(axes, wanted, strict=True)]
        voxels = len(volume.data) * math.prod(shape)
        vanishes = min(shape) <= 0.5
        if voxels <= max_voxels and not vanishes:
            return
        size = "no voxel along an axis" if vanishes else f"{voxels:.3g} voxels; the limit is {max_voxels}"
        own = " x ".join(f"{each:g}" for each in spacing)
        raise DataError(
            f"at the spacing that the model works at, the image would have {size}",
            where=volume.path,
            hint=f"check the spacing of the image, {own} mm, or crop it",
        )

    @property
    def counts_pixels(self) -> bool:
        """Whether the training images had no pixel size, so that spacings are in pixels.

        That is so for nnU-Net's reader of pictures, and for other formats that need not say it if nnU-Net's
        stand-in of 1 is all that the plans know.
        """
        if self.model.plans["image_reader_writer"] == PICTURE_READER:
            return True
        known = format_with_suffix(str(self.model.dataset_json.get("file_ending", "")).lower())
        ones = all(value == 1 for value in self.configuration.spacing)
        return known is not None and not known.has_geometry and ones

    def spacing_of(self, volume: Volume) -> list[float]:
        """Return the effective spacing of an image, and log what is assumed.

        A model that counts pixels takes each pixel as one, whatever millimetres an image has. For a model
        that counts millimetres, an image that does not say how large its pixels are has the model's own.
        """
        own = self.own_spacing(volume.flat)
        if self.counts_pixels:
            if self.model.plans["image_reader_writer"] == PICTURE_READER and volume.data.shape[1] > 1:
                self._say_once(
                    "the model was trained on pictures: of volumes, each slice is segmented as one"
                )
            if volume.spacing is not None and list(volume.spacing[-2:]) != [1.0, 1.0]:
                self._say_once(
                    "the model was trained on pictures and counts pixels; sizes of pixels in mm are not used"
                )
            return [own[0], 1.0, 1.0]
        if volume.spacing is not None:
            return list(volume.spacing)
        if volume.source is not None:
            size = " x ".join(f"{value:g}" for value in own[1:])
            self._say_once(
                f"the file does not say how large a pixel is; taken to be the model's own, {size} mm"
            )
        return own

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            logger.warning("%s (said once for all images)", what)

    def own_spacing(self, flat: bool) -> list[float]:
        """Return the spacing that the network works at, in the order of the image's axes."""
        spacing = [float(value) for value in self.configuration.spacing]
        if len(spacing) == 2:
            across = max(spacing) * FLAT_SPACING_FACTOR
            if not flat:
                across = float(self.model.plans["original_median_spacing_after_transp"][0])
            spacing = [across, *spacing]
        return [spacing[axis] for axis in self._backward]

    def keeps_shape(self, shape: Sequence[int], properties: dict[str, Any]) -> bool:
        """Return whether the preprocessed image has one pixel for each of the cropped image."""
        return tuple(shape) == tuple(properties["shape_after_cropping_and_before_resampling"])

    def label_map(self, properties: Mapping[str, Any]) -> LabelMap:
        """Return the label map to fill for an image of which ``preprocess`` has returned ``properties``."""
        return LabelMap(self._labels, properties, self._backward)

    @torch.inference_mode()
    def to_labels(
        self, logits: Tensor, properties: dict[str, Any], probabilities: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the labels on the grid of the image, and the probabilities if requested.

        The logits' memory is used for the probabilities.
        """
        labels = self.label_map(properties)
        resampled = self._resampled(logits, properties)
        if not probabilities:
            labels.put_logits(EVERYWHERE, resampled)
            return labels.finished(), None
        classes = self._labels.apply_inference_nonlin(torch.as_tensor(resampled))
        labels.put_probabilities(classes)
        shape = properties["shape_before_cropping"]
        if classes.shape[1:] != tuple(shape):
            classes = self._labels.revert_cropping_on_probabilities(
                classes, properties["bbox_used_for_cropping"], shape
            )
        return labels.finished(), self._turned_back(classes.numpy())

    @torch.inference_mode()
    def to_foreground(self, logits: Tensor, properties: dict[str, Any]) -> np.ndarray:
        """Return the probability of not being background on the grid of the image, ``(Z, Y, X)``."""
        found = foreground_of(self._resampled(logits, properties))
        return self._placed(found[None], properties).squeeze(0)

    def to_grid(self, values: Tensor, properties: dict[str, Any]) -> np.ndarray:
        """Return numbers ``(channels, ...)`` on the grid of the image, 0 where nnU-Net has cropped it.

        ``properties`` are what ``preprocess`` returned of the image.
        """
        return self._placed(np.asarray(self._resampled(values, properties)), properties)

    def _placed(self, values: np.ndarray, properties: dict[str, Any]) -> np.ndarray:
        """Return numbers ``(channels, ...)`` of the cropped image on the grid of the whole."""
        whole = np.zeros((len(values), *properties["shape_before_cropping"]), np.float32)
        inside = (slice(None), *box_of(properties))
        whole[inside] = values
        return self._turned_back(whole)

    def _resampled(self, values: Tensor, properties: dict[str, Any]) -> Tensor | np.ndarray:
        """Return numbers ``(channels, ...)`` on the grid of the cropped image."""
        if self.keeps_shape(values.shape[1:], properties):
            return values
        spacing = [properties["spacing"][axis] for axis in self._forward]
        shape = properties["shape_after_cropping_and_before_resampling"]
        own = [float(value) for value in self.configuration.spacing]
        current = own if len(own) == len(shape) else [spacing[0], *own]
        return self.configuration.resampled("probabilities", values, shape, current, spacing)

    def _turned_back(self, values: np.ndarray) -> np.ndarray:
        """Return numbers ``(channels, ...)`` with their axes in the order of the image's."""
        turned: np.ndarray = values.transpose(0, *(axis + 1 for axis in self._backward))
        return turned

    def nnunets_properties(self, labels: Path) -> dict[str, Any] | None:
        """Return what nnU-Net keeps of an image to write results on its grid; None if it cannot read the map.

        Parameters
        ----------
        labels
            A label map on the grid of the image.
        """
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        reader = PlansManager(self.model.plans).image_reader_writer_class()
        if not labels.name.lower().endswith(tuple(reader.supported_file_endings)):
            return None
        with stdout_to_log():
            return dict(reader.read_seg(str(labels))[1])

    def _label_values(self) -> dict[str, int]:
        if self.has_regions:
            order = [int(value) for value in self.model.dataset_json["regions_class_order"]]
            return dict(zip(self.classes, order, strict=True))
        return {name: values[0] for name, values in self.classes.items()}

    def _read(self) -> None:
        model = self.model
        source = Provenance(model.path, COPY_AGAIN, CheckpointError)
        self.configuration = Configuration(read_configuration(model.plans, model.configuration, source))
        check_plans(model.plans, self.configuration.configuration, model.path)
        self._forward, self._backward = model.plans["transpose_forward"], model.plans["transpose_backward"]
        self.patch_size = tuple(int(size) for size in self.configuration.patch_size)
        self._labels = Labels(model.dataset_json["labels"], model.dataset_json.get("regions_class_order"))
        self.has_regions = self._labels.has_regions
        self.num_classes = self._labels.num_segmentation_heads
        self.labels: dict[str, Any] = dict(model.dataset_json["labels"])
        groups = {
            name: tuple(members_of(value)) for name, value in self.labels.items() if name != IGNORE_NAME
        }
        self.classes = in_output_order({name: group for name, group in groups.items() if set(group) != {0}})
        self.label_values = self._label_values()
        self.ignore = self._labels.ignore_label
        self.channel_names = channel_names_of(model.dataset_json)
        if self.configuration.configuration.get("previous_stage") is not None:
            raise CheckpointError(
                f"{model.configuration} is the second stage of a cascade, which is not supported",
                where=model.path,
                hint="predict with nnU-Net's own command, or with another configuration",
            )
        if str(model.plans["image_reader_writer"]).endswith("WithReorient"):
            raise CheckpointError(
                f"the model was trained on reoriented images ({model.plans['image_reader_writer']}), "
                "which is not supported",
                where=model.path,
                hint="predict with nnU-Net's own command",
            )
