"""Train and test networks on equal terms, resuming where a comparison was stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from swin_umamba.compare.budget import Budget, num_epochs
from swin_umamba.compare.job import RESULT_FILE, TrainingJob, run_in_process
from swin_umamba.compare.networks import ComparedNetwork, require_packages
from swin_umamba.compare.plans import complexity, planned, plans_of_networks
from swin_umamba.compare.recipe import Recipe
from swin_umamba.compare.results import RunResult
from swin_umamba.compare.step_times import STEP_TIMES_FILE, TIMED, UNTIMED, step_times
from swin_umamba.compare.table import Table, make_table
from swin_umamba.distributed.processes import num_started
from swin_umamba.errors import UsageError
from swin_umamba.files import check_output_folder, write_text
from swin_umamba.json_files import parse_json, read_contract, write_contract, write_json
from swin_umamba.nnunet.environment import Dataset, Folders, find_dataset

logger = logging.getLogger(__name__)

SETTINGS_FILE, PLANNED_FILE = "settings.json", "planned.json"
TABLE_FILES = ("comparison.json", "comparison.csv", "comparison.md")


@dataclass(frozen=True)
class Settings:
    """Settings shared by all trainings of a comparison.

    Attributes
    ----------
    budget
        Budget of each training. One in seconds becomes a number of steps for each network, see
        ``step_times``.
    recipe
        How weights are updated; None gives each network the recipe it was published with.
    fold
        ``"all"`` trains on all cases and tests on the test set; a number tests on that fold of the training
        set. None is ``"all"`` if the data set has labels for its test set (``labelsTs``), else 0.
    patch_size, batch_size
        Replacements for the planned ones; the patch is (height, width) in pixels.
    protocol
        Name of one of the paper's protocols, scored in its corrected form; None scores every class by Dice,
        NSD and HD95.
    references
        Folder of the label maps (instance maps for cells) of the test cases, if other than ``labelsTs`` or
        ``labelsTr``.
    tolerance
        Tolerance of the NSD without a protocol, in mm (pixels for pictures).
    pretrained
        Weights for the networks that start from some, as ``locate_pretrained`` takes them: one value for
        all, or one for each name.
    workers
        Number of processes that augment data.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    budget: Budget
    recipe: Recipe | None
    fold: int | str | None = None
    patch_size: tuple[int, int] | None = None
    batch_size: int | None = None
    protocol: str | None = None
    references: str | None = None
    tolerance: float = 2.0
    pretrained: str | dict[str, str] | None = None
    workers: int = 0
    device: str = "auto"

    def weights_of(self, network: ComparedNetwork) -> str | None:
        """Return the weights that a network starts from; None for random ones, or if none were given."""
        if not network.pretrained:
            return None
        given = self.pretrained
        return given.get(network.name) if isinstance(given, dict) else given

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return parse_json(json.dumps(asdict(self)), dict, where="settings")


def compare(
    data: str | Path,
    networks: Sequence[ComparedNetwork],
    seeds: Sequence[int],
    output: str | Path,
    settings: Settings,
    *,
    baseline: str | None = None,
    run: Callable[[TrainingJob], RunResult] = run_in_process,
) -> Table:
    """Train and test networks, and write ``comparison.json``, ``.csv`` and ``.md``.

    Trainings finished in ``output`` are not repeated; one that was interrupted is restarted. The table is
    also written after each round of seeds.

    Parameters
    ----------
    data
        Raw data set folder ``DatasetXXX_Name``.
    networks
        Networks from ``find_network``.
    seeds
        Seeds of the trainings; each network is trained with all of them.
    output
        Folder for everything: preprocessed data, models, predictions, tables.
    settings
        Settings shared by all trainings.
    baseline
        Name of the network to compare the others with; the first by default.
    run
        Function that runs a job.

    Raises
    ------
    UsageError
        If an option is invalid, or ``output`` holds a comparison with other settings.
    DataError
        If the data set is damaged, or a test case has no label map.
    TrainingError
        If a training fails.
    """
    baseline = baseline or (networks[0].name if networks else "")
    _check(networks, seeds, baseline, settings)
    output = Path(output).absolute()
    check_output_folder(output)
    raw = find_dataset(Path(data).absolute(), output)
    settings = _settle_test_set(raw, settings)
    _check_settings(output / SETTINGS_FILE, raw, settings)
    folders = Folders(raw.folders.raw, output / "preprocessed", output / "runs")
    dataset = Dataset(raw.name, folders)
    plans = planned(dataset, output / PLANNED_FILE, settings.patch_size, settings.batch_size)
    sizes = {network.name: complexity(dataset, plans, network) for network in networks}
    steps = _steps(dataset, plans, networks, settings, output / STEP_TIMES_FILE)
    for name, own in plans_of_networks(plans, networks, settings.recipe, steps).items():
        write_json(dataset.preprocessed_folder / f"{name}.json", own)
    results: dict[str, list[RunResult]] = {network.name: [] for network in networks}
    for number, seed in enumerate(seeds, start=1):
        for network in networks:
            epochs = num_epochs(steps[network.name])
            results[network.name].append(_result(dataset, output, network, seed, epochs, settings, run))
        table = make_table(
            results,
            sizes,
            {network.name: network.title for network in networks},
            baseline=baseline,
            caption=_caption(dataset, plans, networks, seeds[:number], settings),
        )
        _write(table, output)
    return table


def _check(
    networks: Sequence[ComparedNetwork], seeds: Sequence[int], baseline: str, settings: Settings
) -> None:
    if (processes := num_started()) > 1:
        raise UsageError(
            f"torchrun has started {processes} processes, which would all compare in the same folder",
            where="WORLD_SIZE",
            hint="compare without torchrun, on one device",
        )
    names = [network.name for network in networks]
    for what, values in (("networks", names), ("seeds", list(seeds))):
        if not values or len(set(values)) < len(values):
            raise UsageError(f"{what} {values}", hint="give at least one, and each only once")
    if any(seed < 0 for seed in seeds):
        raise UsageError(f"seeds {list(seeds)}", hint="give 0 or more")
    if baseline not in names:
        raise UsageError(
            f"the baseline {baseline!r} is none of the networks compared",
            hint=f"choose one of {', '.join(names)}",
        )
    lacking = [each.name for each in networks if each.pretrained and settings.weights_of(each) is None]
    if lacking:
        raise UsageError(
            f"{', '.join(lacking)}: to start from pretrained weights, but none were given",
            hint=f"give --pretrained FILE, or --pretrained {lacking[0]}=FILE; or leave the network out",
        )
    if isinstance(settings.pretrained, dict):
        starting = [network.name for network in networks if network.pretrained]
        for name in settings.pretrained.keys() - set(starting):
            raise UsageError(
                f"weights for {name}, which is none of the networks that start from some",
                where="--pretrained",
                hint=f"these do: {', '.join(starting)}" if starting else "leave it out",
            )
    require_packages(networks)


def _settle_test_set(raw: Dataset, settings: Settings) -> Settings:
    """Return the settings with fold and references filled in."""
    has_test_set = (raw.raw_folder / "imagesTs").is_dir() and (
        settings.references is not None or (raw.raw_folder / "labelsTs").is_dir()
    )
    fold = settings.fold if settings.fold is not None else ("all" if has_test_set else 0)
    if fold == "all" and not has_test_set:
        raise UsageError(
            "the data set has no labelled test set, so that training on all cases leaves none to test on",
            where=raw.raw_folder,
            hint="add imagesTs and labelsTs, or give --fold 0",
        )
    labels = raw.raw_folder / ("labelsTs" if fold == "all" else "labelsTr")
    references = str(Path(settings.references or labels).absolute())
    return replace(settings, fold=fold, references=references)


def _check_settings(path: Path, raw: Dataset, settings: Settings) -> None:
    """Store the settings; refuse to continue with others."""
    new = {"data": str(raw.raw_folder), **settings.as_dict()}
    if path.is_file():
        old = read_contract(path, error=UsageError, hint="give another output folder")
        different = [name for name in new if new[name] != old.get(name)]
        if different:
            raise UsageError(
                "the folder holds a comparison on other terms: "
                + "; ".join(f"{name} was {old.get(name)} and is {new[name]}" for name in different),
                where=path,
                hint="give the same options, or another output folder",
            )
    write_contract("comparison-settings", path, new)


def _steps(
    dataset: Dataset,
    plans: dict[str, Any],
    networks: Sequence[ComparedNetwork],
    settings: Settings,
    times_file: Path,
) -> dict[str, int]:
    """Return the number of steps of each network."""
    names = [network.name for network in networks]
    if settings.budget.seconds is None:
        return dict.fromkeys(names, settings.budget.steps())
    timed = plans_of_networks(plans, networks, settings.recipe, dict.fromkeys(names, UNTIMED + TIMED))
    assert settings.fold is not None
    times = step_times(times_file, dataset, timed, settings.fold, settings.device, settings.workers)
    return {name: settings.budget.steps(seconds) for name, seconds in times.items()}


def _result(
    dataset: Dataset,
    output: Path,
    network: ComparedNetwork,
    seed: int,
    epochs: int,
    settings: Settings,
    run: Callable[[TrainingJob], RunResult],
) -> RunResult:
    """Return the result of a training, running it unless it was run before."""
    folder = output / "runs" / network.name / f"seed_{seed}"
    if (folder / RESULT_FILE).is_file():
        return RunResult.read(folder / RESULT_FILE)
    logger.info("training %s, seed %d", network.title, seed)
    assert settings.fold is not None
    assert settings.references is not None
    own_folders = Folders(dataset.folders.raw, dataset.folders.preprocessed, folder)
    images = dataset.raw_folder / ("imagesTs" if settings.fold == "all" else "imagesTr")
    return run(
        TrainingJob(
            network=network.name,
            seed=seed,
            dataset=Dataset(dataset.name, own_folders),
            folder=folder,
            fold=settings.fold,
            epochs=epochs,
            images=images,
            references=Path(settings.references),
            protocol=settings.protocol,
            tolerance=settings.tolerance,
            pretrained=settings.weights_of(network),
            workers=settings.workers,
            device=settings.device,
        )
    )


def _caption(
    dataset: Dataset,
    plans: dict[str, Any],
    networks: Sequence[ComparedNetwork],
    seeds: Sequence[int],
    settings: Settings,
) -> list[str]:
    configuration = plans["configurations"]["2d"]
    height, width = configuration["patch_size"]
    trained_on = "all training cases" if settings.fold == "all" else f"fold {settings.fold}"
    tested_on = "the test set" if settings.fold == "all" else "the validation cases of the fold"
    if settings.recipe is None:
        recipe = "Recipe: each network's own as published. " + "; ".join(
            f"{network.name}: {network.recipe.describe()}" for network in networks
        )
    else:
        recipe = f"Recipe, the same for all: {settings.recipe.describe()}"
    scored = (
        f"NSD at {settings.tolerance:g} mm (pixels for pictures)"
        if settings.protocol is None
        else f"protocol {settings.protocol}, corrected"
    )
    return [
        f"Data: {dataset.name}, trained on {trained_on}, tested on {tested_on} without mirroring; {scored}; "
        "means over classes of means over cases and seeds.",
        f"Patch {height} x {width}, batch {configuration['batch_size']}, {settings.budget.describe()} each, "
        f"seeds {', '.join(map(str, seeds))}; nnU-Net's loss and augmentation, gradients clipped at norm 12, "
        "deep supervision where the network has heads for it.",
        f"{recipe}.",
        "GMACs of one patch, all heads, a scan of L steps, D channels and N states counted as 9LDN + LD. "
        "Peak memory is that of the training process on a CPU, of the device's tensors on a GPU.",
        *(f"{network.name}: {network.note}." for network in networks if network.note),
    ]


def _write(table: Table, output: Path) -> None:
    as_json, as_csv, as_markdown = (output / name for name in TABLE_FILES)
    write_contract("comparison", as_json, table.to_dict())
    write_text(as_csv, table.to_csv())
    write_text(as_markdown, table.to_markdown())
