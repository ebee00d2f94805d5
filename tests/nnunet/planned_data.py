"""A tiny data set, planned once, and trainers whose networks take milliseconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PILImage

from json_edits import changed_json
from own_environment import own_environment
from swin_umamba.nnunet.environment import Dataset, Folders

DATASET_NAME = "Dataset901_Squares"
NUM_CASES = 6
OBJECT_LABELS = ("background", "interior", "boundary")


def write_dataset(raw: Path, name: str = DATASET_NAME, num_cases: int = NUM_CASES) -> Path:
    """Write RGB pictures of 64x64 pixels with one bright square of class 1 and a darker one of class 2."""
    folder = raw / name
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    random = np.random.default_rng(0)
    for number in range(num_cases):
        image = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        label = np.zeros((64, 64), dtype=np.uint8)
        for value, brightness in ((1, 180), (2, 90)):
            row, column = random.integers(0, 40, 2)
            square = np.s_[row : row + 20, column : column + 20]
            image[square] = random.integers(brightness, brightness + 40, (20, 20, 3))
            label[square] = value
        PILImage.fromarray(image).save(folder / "imagesTr" / f"case{number}_0000.png")
        PILImage.fromarray(label).save(folder / "labelsTr" / f"case{number}.png")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "bright": 1, "dark": 2},
        "numTraining": num_cases,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def make_objects(dataset: Dataset) -> None:
    """Turn a planned data set into one of touching objects, whose numbers need more than 16 bits."""
    place = dataset.raw_folder / "instancesTr"
    place.mkdir()
    for path in (dataset.raw_folder / "labelsTr").iterdir():
        numbers = np.asarray(PILImage.open(path), dtype=np.uint32) * 100_000
        tifffile.imwrite(place / f"{path.stem}.tif", numbers)
    for folder in (dataset.raw_folder, dataset.preprocessed_folder):
        with changed_json(folder / "dataset.json") as description:
            description["labels"] = {name: number for number, name in enumerate(OBJECT_LABELS)}


@pytest.fixture
def raw_dataset(tmp_path: Path) -> Dataset:
    """A raw data set that a test may spoil."""
    folders = Folders.below(tmp_path)
    write_dataset(folders.raw)
    return Dataset(DATASET_NAME, folders)


@pytest.fixture(scope="session")
def planned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw and preprocessed data of the tiny data set; not to be written to."""
    from swin_umamba.nnunet.planning.plan import plan

    root = tmp_path_factory.mktemp("planned")
    folders = Folders.below(root)
    write_dataset(folders.raw)
    with own_environment():
        plan(Dataset(DATASET_NAME, folders), workers=1)
    return root


@pytest.fixture
def planned_dataset(planned_folder: Path, tmp_path: Path) -> Dataset:
    """The planned data set in folders of the test's own."""
    planned, own = Folders.below(planned_folder), Folders.below(tmp_path)
    shutil.copytree(planned.preprocessed, own.preprocessed)
    return Dataset(DATASET_NAME, Folders(planned.raw, own.preprocessed, own.results))


def _shrink_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace each trainer by a subclass of the same name with a tiny network, and draw no curves."""
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet.tiny_training import SIZES
    from swin_umamba.nnunet import trainers

    # nnU-Net's drawing takes a second, much longer than a tiny epoch.
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, output_folder: None)
    for name in trainers.__all__:
        tiny = type(name, (getattr(trainers, name),), {"network_kwargs": SIZES})
        monkeypatch.setitem(trainers.TRAINERS, name, tiny)


@pytest.fixture
def tiny_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all trainers have tiny networks."""
    _shrink_trainers(monkeypatch)


@pytest.fixture(scope="session")
def trained(planned_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained model folder of each network; not to be written to."""
    from nnunet.tiny_training import DAGGER, PLAIN, SHORT
    from swin_umamba.nnunet.training.train import train

    planned, own = Folders.below(planned_folder), Folders.below(tmp_path_factory.mktemp("trained"))
    shutil.copytree(planned.preprocessed, own.preprocessed)
    dataset = Dataset(DATASET_NAME, Folders(planned.raw, own.preprocessed, own.results))
    folders = {}
    with own_environment() as monkeypatch:
        _shrink_trainers(monkeypatch)
        for name in (PLAIN, DAGGER):
            result = train(dataset, trainer=name, pretrained="none", **SHORT)
            folders[name] = result.fold_folder.parent
    return folders
