"""Segment images with a trained nnU-Net model, in one process and without nnU-Net's folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

import torch

from swin_umamba.data.dicom import ChosenSeries
from swin_umamba.data.image_io import MAX_VOXELS
from swin_umamba.errors import UsageError
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.inference.case_result import CaseResult
from swin_umamba.inference.folder import predict_folder
from swin_umamba.inference.inputs import Given, as_volume
from swin_umamba.inference.options import FolderOptions, ModelOptions, ObjectOptions, PredictorOptions
from swin_umamba.inference.prediction import Prediction
from swin_umamba.inference.stages import Wanted, conclude, pass_through, prepare
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.ops.backend import choose_backend, resolve_device
from swin_umamba.ops.precision import check_precision
from swin_umamba.options import Nonfinite, options_as_keywords
from swin_umamba.tiling.folds import FoldNetworks
from swin_umamba.tiling.sliding_window import SlidingWindow
from swin_umamba.tiling.tiles import tiles_per_batch, views_together
from swin_umamba.trained.calibration_file import weights_hash
from swin_umamba.trained.model import TrainedModel, load_trained_model
from swin_umamba.trained.model_file import read_model_file
from swin_umamba.trained.model_files import FINAL_CHECKPOINT, MODEL_FILE_SUFFIX
from swin_umamba.trained.model_plans import ModelPlans
from swin_umamba.trained.network import build_network, set_scan_backend

logger = logging.getLogger(__name__)


class Predictor:
    """Segments images with a trained model.

    Parameters
    ----------
    model
        The trained model.
    **options
        Fields of ``PredictorOptions``.

    Attributes
    ----------
    plans
        Plans of the model.
    channel_names
        Names of the channels the model takes, in order.
    labels
        Name of each label, with its number or, for a region, the numbers it unites.
    has_regions
        True if classes may overlap: probabilities are then independent of each other.
    mirroring
        Whether predictions are averaged over mirrored images.
    postprocessing
        Steps applied to label maps; probabilities and confidence stay the network's own.
    settings
        Options that results depend on.
    window, networks
        How an image of any size is predicted, and the network of each fold.

    Raises
    ------
    CheckpointError
        If the model is incomplete or inconsistent, or names code that it must not.
    UsageError
        If an option is out of range.
    BackendError
        If the device or backend is not available.
    """

    @options_as_keywords(PredictorOptions)
    def __init__(self, model: TrainedModel, options: PredictorOptions) -> None:
        self.model, self._options = model, options
        self._opened: tuple[Path, ModelOptions] | None = None
        self.device = resolve_device(options.device)
        check_precision(options.precision, self.device)
        backend = choose_backend(self.device, torch.float32, options.backend)
        self.plans = plans = ModelPlans(model)
        self.channel_names, self.labels = plans.channel_names, plans.labels
        self.has_regions = plans.has_regions
        self.mirroring = bool(options.mirroring and plans.mirror_axes())
        self.postprocessing = model.postprocessing if options.postprocessing else ()
        self.settings = {
            "mirroring": self.mirroring,
            "step_size": options.step_size,
            "precision": options.precision,
            "postprocessing": [asdict(step) for step in self.postprocessing],
        }
        mirror_axes = plans.mirror_axes() if self.mirroring else ()
        self.window = SlidingWindow(
            patch_size=plans.patch_size,
            num_classes=plans.num_classes,
            step_size=options.step_size,
            mirror_axes=mirror_axes,
            tiles_per_batch=tiles_per_batch(plans.patch_size, len(mirror_axes), self.device),
            views_together=views_together(plans.patch_size, len(mirror_axes), self.device),
            device=self.device,
            precision=options.precision,
        )
        network = build_network(plans, self.device).to(self.device)
        set_scan_backend(network, backend)
        self.networks = FoldNetworks(network, model.parameters)

    @classmethod
    @options_as_keywords(ModelOptions)
    def from_folder(cls, path: str | Path, options: ModelOptions) -> Predictor:
        """Return a predictor for a model folder, a fold folder, a checkpoint file or an exported file.

        Parameters
        ----------
        path
            See ``load_trained_model`` and, for ``.safetensors``, ``read_model_file``.
        **options
            Fields of ``ModelOptions``.

        Raises
        ------
        CheckpointError
            If the model is missing, incomplete, damaged or not safe to load.
        UsageError
            If a checkpoint is named for an exported file, or a trainer that cannot be loaded or does not
            match.
        """
        if (trainer := options.trainer) is not None:
            from swin_umamba.nnunet.trainers import find_trainer  # all of nnU-Net's training

            trainer = find_trainer(trainer).__name__
        if Path(path).suffix == MODEL_FILE_SUFFIX:
            if options.checkpoint != FINAL_CHECKPOINT:
                hint = "leave the name of the checkpoint out"
                raise UsageError("an exported model has no named checkpoints", where=path, hint=hint)
            model = read_model_file(path, folds=options.folds)
        else:
            model = load_trained_model(path, folds=options.folds, checkpoint=options.checkpoint)
        if trainer not in (None, model.trainer_name):
            raise UsageError(
                f"the model was trained with {model.trainer_name} and not with {trainer}",
                where=path,
                hint="name the trainer of the model, or leave --trainer out",
            )
        predictor = cls(model, **vars(options.for_predictor()))
        predictor._opened = Path(path), options
        return predictor

    def in_another_process(self, number: int) -> Callable[[], Predictor]:
        """Return what makes the same predictor in another process; of several GPUs, each process gets one.

        Parameters
        ----------
        number
            Number of the process, from 0.
        """
        device = str(self.device)
        if device == "cuda":
            device = f"cuda:{number % torch.cuda.device_count()}"
        if self._opened is None:
            return partial(Predictor, self.model, **{**asdict(self._options), "device": device})
        path, options = self._opened
        return partial(Predictor.from_folder, path, **{**asdict(options), "device": device})

    @cached_property
    def fingerprint(self) -> str:
        """Identity of this model, wherever its files are and whatever they are called."""
        model = self.model
        return fingerprint_of(
            [
                [weights_hash(each) for each in model.parameters],
                self.plans.configuration.configuration,
                {
                    key: model.dataset_json.get(key)
                    for key in ("labels", "regions_class_order", "file_ending")
                },
            ]
        )

    def predict(
        self,
        image: Given,
        *,
        spacing: Sequence[float] | None = None,
        probabilities: bool = False,
        confidence: bool = False,
        nonfinite: Nonfinite = "refuse",
        on_progress: Callable[[float], None] | None = None,
        max_voxels: int = MAX_VOXELS,
        series: ChosenSeries | None = None,
        instances: bool | ObjectOptions = False,
    ) -> Prediction:
        """Segment one image.

        Parameters
        ----------
        image
            A file or a folder of DICOM files, a list of these with one channel each in the order of
            ``channel_names``, an image already read, or an array: (Y, X), (C, Y, X), (C, Z, Y, X), or (Y, X,
            C) if the first axis cannot be the channels. A colour model also takes grey images, and colour or
            grey arrays may have an alpha channel that is opaque everywhere.
        spacing
            Distance between neighbouring pixels along (Y, X) or (Z, Y, X) in mm. By default the file's; for
            an array, or a file that states none, the spacing the model works at, so that nothing is
            resampled. A model trained on pictures counts pixels and ignores this.
        probabilities
            Also return probabilities.
        confidence
            Also return the entropy and an estimate of the Dice; the labels stay the same.
        nonfinite
            Whether to refuse images with NaN or infinite values or to replace those values with zero.
        on_progress
            Called after each pass of the network with the fraction of the work done, up to 1. Any exception
            it raises ends the prediction.
        max_voxels
            Largest image, in voxels of all channels together, at the spacing the model works at.
        series
            UID, number or files of the series to take from a DICOM folder with several.
        instances
            Whether and how to find the objects (cells, nuclei, lesions) as well.

        Raises
        ------
        UsageError
            If objects are requested from a model whose classes overlap.
        DataError
            If the image cannot be read, holds NaN or infinity, has the wrong channels, does not fit into
            memory, or would exceed ``max_voxels`` because of its spacing.
        TypeError
            If the input is anything else, such as a Pillow image, a tensor or a list of arrays.
        """
        objects = (
            (instances if isinstance(instances, ObjectOptions) else ObjectOptions()) if instances else None
        )
        if objects is not None:
            ObjectClasses.of(self.labels)  # refuse a model without objects before its prediction
        wanted = Wanted(probabilities, confidence, objects)
        volume = as_volume(image, spacing, self.channel_names, nonfinite, series)
        passed = pass_through(self, prepare(self, volume, max_voxels), wanted, on_progress)
        return conclude(self, passed, wanted)

    @property
    def knows_depth(self) -> bool:
        """Whether the network has learnt depth within objects."""
        return self.networks.know_depth

    @options_as_keywords(FolderOptions)
    def predict_folder(
        self, inputs: str | Path | Sequence[str | Path], output: str | Path, options: FolderOptions
    ) -> list[CaseResult]:
        """Segment all images of a folder and write their labels; see ``inference.folder.predict_folder``.

        The options are the fields of ``FolderOptions``.
        """
        return predict_folder(self, inputs, output, options)
