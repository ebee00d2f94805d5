"""nnU-Net's folders, the name of our plans, and looking up data sets by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swin_umamba.errors import UsageError, unknown_name
from swin_umamba.nnunet.dataset_json import read_dataset_json

PLANS_NAME = "SwinUMambaPlans"

DATASET_NAME = re.compile(r"Dataset(\d{3})_.+")

_NAMES = ("raw", "preprocessed", "results")
_OUTPUTS = _NAMES[1:]
RAW_VARIABLE = "nnUNet_raw"


@dataclass(frozen=True)
class Folders:
    """The three folders of nnU-Net.

    Attributes
    ----------
    raw, preprocessed, results
        Folders that hold one ``DatasetXXX_Name`` folder per data set.
    """

    raw: Path
    preprocessed: Path
    results: Path

    @classmethod
    def below(cls, root: str | Path) -> Folders:
        """Return ``nnUNet_raw``, ``nnUNet_preprocessed`` and ``nnUNet_results`` below ``root``."""
        root = Path(root).expanduser().absolute()
        return cls(*(root / f"nnUNet_{name}" for name in _NAMES))

    @classmethod
    def from_environment(cls) -> Folders:
        """Return the folders that the variables ``nnUNet_raw`` and so on name.

        If none of them is set and the current folder has ``nnUNet_raw`` or ``nnUNet_preprocessed``, they are
        those below it: there the pages have put the data set, and a number is enough to find it.

        Raises
        ------
        UsageError
            If a variable is not set.
        """
        names = [f"nnUNet_{name}" for name in _NAMES]
        unset = [name for name in names if not os.environ.get(name)]
        here = cls.below(Path.cwd())
        if len(unset) == len(names) and (here.raw.is_dir() or here.preprocessed.is_dir()):
            return here
        if unset:
            raise UsageError(
                "nnU-Net's folders are not known: " + ", ".join(unset) + " not set",
                hint="give --root DIR (uses DIR/nnUNet_raw and so on), give the path of the data set folder, "
                "go to the folder that has nnUNet_raw, or set the three variables",
            )
        return cls(*(Path(os.environ[name]).expanduser().absolute() for name in names))

    @classmethod
    def of_model(cls, model_folder: Path) -> list[Folders]:
        """Return the folders that may contain the data of a trained model, the most likely first.

        These are the folders beside the results folder that contains the model folder
        ``RESULTS/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION``, preceded by those that the environment
        names.
        """
        path = model_folder.absolute()
        beside = cls.below([path, *path.parents][:4][-1])
        named = {name: os.environ.get(f"nnUNet_{name}") for name in _NAMES}
        given = {name: Path(path).expanduser().absolute() for name, path in named.items() if path}
        return [replace(beside, **given), beside] if given else [beside]

    def variables(self) -> dict[str, str]:
        """Return the variables that name the folders, with their values."""
        return {f"nnUNet_{name}": str(getattr(self, name)) for name in _NAMES}

    def export(self) -> None:
        """Set nnU-Net's folders in this process and its child processes."""
        os.environ |= self.variables()


@dataclass(frozen=True)
class Dataset:
    """A raw data set.

    Attributes
    ----------
    name
        ``DatasetXXX_Name``.
    folders
        Folders of nnU-Net's data.
    """

    name: str
    folders: Folders

    @property
    def raw_folder(self) -> Path:
        """Folder of images and labels."""
        return self.folders.raw / self.name

    @property
    def preprocessed_folder(self) -> Path:
        """Folder of plans and preprocessed cases."""
        return self.folders.preprocessed / self.name

    @property
    def identifier(self) -> int:
        """The number in the name."""
        match = DATASET_NAME.fullmatch(self.name)
        assert match is not None
        return int(match.group(1))

    def description(self) -> dict[str, Any]:
        """Return the content of ``dataset.json``.

        Raises
        ------
        DataError
            If the file is missing, not JSON, or lacks an entry, or one is wrong.
        """
        return read_dataset_json(self.raw_folder / "dataset.json")


def raw_folder(dataset_name: str) -> Path | None:
    """Return where the environment says that a raw data set is; None if it does not say it."""
    raw = os.environ.get(RAW_VARIABLE)
    return None if raw is None else Path(raw) / dataset_name


@contextmanager
def environment_variable(name: str, value: int | str | None) -> Iterator[None]:
    """Set an environment variable in the block, unless ``value`` is None."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def find_dataset(dataset: str | int | Path, root: str | Path | None = None) -> Dataset:
    """Find a data set by number, name or path.

    Parameters
    ----------
    dataset
        The number (``912``), the name (``Dataset912_WBC``) or the path of the raw data set folder. With a
        path its parent is the raw folder; unless ``root`` or the environment says otherwise, the other two
        are ``nnUNet_preprocessed`` and ``nnUNet_results`` beside that parent.
    root
        Folder that holds, or will hold, nnU-Net's three folders. By default the environment says where, and
        if it does not, the current folder is taken if it has ``nnUNet_raw``.

    Raises
    ------
    UsageError
        If there is no folder at that path, the folders are not known, or no data set or more than one has
        that number or name.
    """
    path = Path(dataset).expanduser() if not isinstance(dataset, int) else None
    if path is not None and path.is_dir() and (len(path.parts) > 1 or (path / "dataset.json").exists()):
        return _dataset_at(path.absolute(), root)
    if path is not None and len(path.parts) > 1:
        raise UsageError(
            "there is no such folder",
            where=path.absolute(),
            hint="give the path of a raw data set folder DatasetXXX_Name, or its number with --root DIR",
        )
    folders = Folders.from_environment() if root is None else Folders.below(root)
    return Dataset(_resolve_name(str(dataset), folders), folders)


def _dataset_at(path: Path, root: str | Path | None) -> Dataset:
    if DATASET_NAME.fullmatch(path.name) is None:
        raise UsageError(
            f"{path.name!r} is not a valid name for an nnU-Net data set",
            where=path,
            hint="name the folder DatasetXXX_Name, with three digits",
        )
    named = [os.environ.get(f"nnUNet_{name}") for name in _OUTPUTS]
    if root is None and all(named):
        return Dataset(path.name, Folders(path.parent, *(Path(str(each)).absolute() for each in named)))
    outputs = Folders.below(path.parent.parent if root is None else root)
    return Dataset(path.name, replace(outputs, raw=path.parent))


def _resolve_name(dataset: str, folders: Folders) -> str:
    if not folders.raw.is_dir() and not folders.preprocessed.is_dir():
        raise UsageError(
            "the folder of the raw data sets does not exist",
            where=folders.raw,
            hint="create it and put DatasetXXX_Name folders into it",
        )
    known = sorted(
        {
            entry.name
            for folder in (folders.raw, folders.preprocessed, folders.results)
            if folder.is_dir()
            for entry in folder.iterdir()
            if entry.is_dir() and DATASET_NAME.fullmatch(entry.name)
        }
    )
    if dataset in known:
        # nnU-Net converts the name to the number and back, so the number must always be unique.
        candidates = [name for name in known if name[7:10] == dataset[7:10]]
    elif dataset.isdigit():
        candidates = [name for name in known if int(name[7:10]) == int(dataset)]
    else:
        candidates = []
    if len(candidates) > 1:
        raise UsageError(
            "several data sets have the same number: " + ", ".join(candidates),
            where=folders.raw,
            hint="rename all but one, also in the preprocessed and results folders",
        )
    if not candidates:
        raise unknown_name("data set", dataset, known, where=folders.raw)
    return candidates[0]
