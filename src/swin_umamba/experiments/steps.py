"""The steps of an experiment. Each one sees from the contents of the folder whether it has been done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from swin_umamba.data.datasets import DATASETS, ChallengeDataset
from swin_umamba.data.image_io import image_stem, is_image_name, list_images
from swin_umamba.errors import DataError, SwinUMambaError
from swin_umamba.evaluation.evaluate_protocol import evaluate_protocol
from swin_umamba.evaluation.protocols import find_protocol
from swin_umamba.experiments.settings import RunSettings
from swin_umamba.files import file_sha256
from swin_umamba.json_files import read_json
from swin_umamba.nnunet.environment import PLANS_NAME, Dataset, Folders
from swin_umamba.paper import DEFAULT_WEIGHTS, PaperExperiment
from swin_umamba.trainer_names import PRETRAINED_TRAINER_NAMES

FOLD = "all"
HASH_DIGITS = 12


@dataclass(frozen=True)
class Experiment:
    """One recipe with one trainer, in a folder.

    Attributes
    ----------
    recipe, settings
        The paper's experiment, and the settings of its run.
    data
        The challenge's data, or a data set in nnU-Net's raw layout with the recipe's classes.
    root
        Folder of all output; trainers share the data set and its plans in it.
    trainer
        Name of the trainer.
    pretrained
        Weights the network starts from; None for the catalogue's ImageNet weights if the trainer needs any.
    convert_options
        Options of the recipe's converter.
    seed, workers, device
        As in ``TrainingOptions``.
    """

    recipe: PaperExperiment
    settings: RunSettings
    data: Path
    root: Path
    trainer: str
    pretrained: str | None = None
    convert_options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    workers: int | None = None
    device: str = "auto"

    @property
    def source(self) -> ChallengeDataset:
        """Challenge data set from which the recipe's data set is made."""
        return DATASETS[self.recipe.name]

    @cached_property
    def is_converted(self) -> bool:
        """Whether ``data`` is already the recipe's data set in nnU-Net's raw layout."""
        path = self.data / "dataset.json"
        if self.data.name != self.recipe.dataset_name or not path.is_file():
            return False
        labels = read_json(path, dict, hint="copy it again", nan=True).get("labels")
        # The challenges' own files name classes differently; only the numbers decide what is trained.
        ours = self.source.load("DESCRIPTION")["labels"]
        return isinstance(labels, dict) and _numbered(labels) == _numbered(ours)

    @property
    def dataset(self) -> Dataset:
        """The raw data set and the folders for the rest."""
        own = Folders.below(self.root)
        raw = self.data.absolute().parent if self.is_converted else own.raw
        return Dataset(self.recipe.dataset_name, Folders(raw, own.preprocessed, own.results))

    @property
    def model_folder(self) -> Path:
        """Folder of the trained model."""
        return self.dataset.folders.results / self.recipe.dataset_name / f"{self.trainer}__{PLANS_NAME}__2d"

    @property
    def final_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.model_folder / f"fold_{FOLD}" / "checkpoint_final.pth"

    @property
    def test_images(self) -> Path:
        """The test images."""
        return self._first_of(self.source.image_folders)

    @property
    def references(self) -> Path:
        """The references of the test images."""
        return self._first_of(self.source.reference_folders)

    def result_folder(self, kind: str) -> Path:
        """Return the folder of predictions or evaluation; each trained model has its own."""
        digest = file_sha256(self.final_checkpoint)[:HASH_DIGITS]
        return self.root / self.trainer / f"{kind}_{digest}"

    def _first_of(self, names: tuple[str, ...]) -> Path:
        folders = [self.dataset.raw_folder / name for name in names]
        for folder in folders:
            if folder.is_dir():
                return folder
        raise DataError(
            f"the data set has no {' or '.join(names)}",
            where=self.dataset.raw_folder,
            hint="the recipe needs labelled test data: add them, or give the challenge's own folders",
        )


@dataclass(frozen=True)
class Step:
    """One step: its name, a description, a check whether it is done, and its function."""

    name: str
    describe: Callable[[Experiment], str]
    is_done: Callable[[Experiment], bool]
    do: Callable[[Experiment], None]


def _numbered(labels: dict[str, Any]) -> dict[str, Any]:
    """Return labels with names normalised to ignore case and underscores."""
    names = {name.lower().replace("_", " ").removesuffix(" gland"): name for name in labels}
    return {name: labels[original] for name, original in names.items()}


def _is_converted(experiment: Experiment) -> bool:
    return (experiment.dataset.raw_folder / "dataset.json").is_file()


def _convert(experiment: Experiment) -> None:
    experiment.source.convert(
        experiment.data, experiment.dataset.raw_folder, needs_test=True, **experiment.convert_options
    )


def _is_planned(experiment: Experiment) -> bool:
    """Return whether plans are the recipe's and all cases preprocessed: their folder appears at the end."""
    folder = experiment.dataset.preprocessed_folder
    plans_file = folder / f"{PLANS_NAME}.json"
    if not plans_file.is_file() or not (folder / "dataset.json").is_file():
        return False
    settings = experiment.settings
    try:
        configuration = read_json(plans_file, dict, nan=True)["configurations"]["2d"]
        return (
            tuple(configuration["patch_size"]) == settings.patch_size
            and configuration["batch_size"] == settings.batch_size
            and (folder / configuration["data_identifier"]).is_dir()
        )
    except (DataError, KeyError, TypeError):  # damaged: planning replaces them
        return False


def _plan(experiment: Experiment) -> None:
    from swin_umamba.nnunet.planning.plan import plan

    settings = experiment.settings
    _ = experiment.test_images, experiment.references  # must exist before hours of training
    plan(
        experiment.dataset,
        patch_size=settings.patch_size,
        batch_size=settings.batch_size,
        workers=experiment.workers,
    )


def _is_trained(experiment: Experiment) -> bool:
    return experiment.final_checkpoint.is_file()


def needed_weights(experiment: Experiment) -> str | None:
    """Return the weights that the training needs to start from, if any."""
    if experiment.pretrained is None and experiment.trainer in PRETRAINED_TRAINER_NAMES:
        return DEFAULT_WEIGHTS
    return experiment.pretrained


def _train(experiment: Experiment) -> None:
    from swin_umamba.nnunet.resume.checkpoints import existing_checkpoints
    from swin_umamba.nnunet.training.train import train

    settings = experiment.settings
    options: dict[str, Any] = {
        "trainer": experiment.trainer,
        "fold": FOLD,
        "epochs": settings.epochs,
        "iterations_per_epoch": settings.iterations_per_epoch,
        "validation_iterations": settings.validation_iterations,
        "schedule": settings.schedule,
        "device": experiment.device,
        "skip_validation": True,  # on the training cases: fold all has no others
    }
    weights = needed_weights(experiment)
    if weights is not None:
        options["pretrained"] = weights
        options["frozen_epochs"] = 0 if weights == "none" else settings.frozen_epochs
    for name in ("seed", "workers"):
        if getattr(experiment, name) is not None:
            options[name] = getattr(experiment, name)
    train(
        experiment.dataset,
        continue_training=bool(existing_checkpoints(experiment.final_checkpoint.parent)),
        **options,
    )


def _is_predicted(experiment: Experiment) -> bool:
    if not _is_trained(experiment) or not experiment.result_folder("predictions").is_dir():
        return False
    ending = find_protocol(experiment.recipe.name)().reference_ending
    wanted = {image_stem(path).removesuffix(ending) for path in list_images(experiment.references)}
    files = experiment.result_folder("predictions").iterdir()
    return wanted <= {image_stem(path) for path in files if is_image_name(path)}


def _predict(experiment: Experiment) -> None:
    from swin_umamba.inference.predictor import Predictor

    predictor = Predictor.from_folder(
        experiment.model_folder, folds=[FOLD], device=experiment.device, mirroring=False
    )
    results = predictor.predict_folder(experiment.test_images, experiment.result_folder("predictions"))
    failures = [result for result in results if result.error is not None]
    if failures:
        names = ", ".join(result.case for result in failures)
        raise SwinUMambaError(
            f"{len(failures)} of {len(results)} test images cannot be segmented: {names}; "
            f"the first: {failures[0].error}",
            hint="repair them and run the same command again: what is done is kept",
        )


def _is_evaluated(experiment: Experiment) -> bool:
    if not _is_predicted(experiment):
        return False
    folder = experiment.result_folder("evaluation")
    return all((folder / name).is_file() for name in ("metrics.json", "metrics.csv"))


def _evaluate(experiment: Experiment) -> None:
    evaluation = evaluate_protocol(
        experiment.result_folder("predictions"),
        experiment.references,
        find_protocol(experiment.recipe.name)(),
        num_workers=max(1, experiment.workers or 1),
    )
    if evaluation.failures:
        names = ", ".join(failure.case for failure in evaluation.failures)
        raise SwinUMambaError(
            f"{len(evaluation.failures)} test cases cannot be scored: {names}; "
            f"the first: {evaluation.failures[0].error}",
            hint="repair their references and run the same command again",
        )
    evaluation.write(experiment.result_folder("evaluation"))


def _training_text(experiment: Experiment) -> str:
    settings, weights = experiment.settings, needed_weights(experiment)
    return (
        f"{experiment.trainer}, {settings.epochs} epochs of {settings.iterations_per_epoch} steps on all "
        f"training cases, from {weights or 'random weights'}"
    )


STEPS = (
    Step("convert", lambda each: f"{each.data} to {each.dataset.raw_folder}", _is_converted, _convert),
    Step(
        "plan",
        lambda each: "check and preprocess; patch {} x {}, batch {}".format(
            *each.settings.patch_size, each.settings.batch_size
        ),
        _is_planned,
        _plan,
    ),
    Step("train", _training_text, _is_trained, _train),
    Step("predict", lambda each: "the test images, without mirroring", _is_predicted, _predict),
    Step(
        "evaluate",
        lambda each: f"by the protocol {each.recipe.name}, as published and corrected",
        _is_evaluated,
        _evaluate,
    ),
)
