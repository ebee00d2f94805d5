"""Which trained models there are, what a choice among them is called, and the one that is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.errors import UsageError

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

RESULTS_VARIABLE = "nnUNet_results"
DEVICES = ("auto", "cpu", "cuda", "mps")

_OUR_PLANS = "SwinUMambaPlans"
_TRAINER_PREFIX, _DATASET_PREFIX = "nnUNetTrainer", "Dataset"


@dataclass(frozen=True)
class ModelChoice:
    """A model and the options that it is loaded with.

    Attributes
    ----------
    path
        A model folder, a fold folder, a checkpoint or an exported ``.safetensors`` file.
    folds
        Folds to average; None for all that were trained.
    device
        One of ``DEVICES``.
    mirroring
        Whether predictions are averaged over mirrored images.
    """

    path: Path
    folds: tuple[int | str, ...] | None = None
    device: str = "auto"
    mirroring: bool = True


class ModelShelf:
    """Holds one loaded model: as long as the choice and its files stay the same, it is not read again."""

    def __init__(self) -> None:
        self._choice: ModelChoice | None = None
        self._predictor: Predictor | None = None
        self._times: tuple[int, ...] = ()

    def load(self, choice: ModelChoice) -> Predictor:
        """Return the predictor of a choice; the one before it is given up.

        Raises
        ------
        SwinUMambaError
            As ``Predictor.from_folder``.
        """
        kept = self._predictor
        if kept is not None and self._choice == choice and self._times == _times(kept):
            return kept
        # PyTorch takes seconds to import: not before a model is wanted, and then in the thread that loads it.
        import_triton_apart()
        from swin_umamba.inference.predictor import Predictor

        kept = self._predictor = None  # memory for one model is enough
        predictor = Predictor.from_folder(
            choice.path, folds=choice.folds, device=choice.device, mirroring=choice.mirroring
        )
        self._choice, self._predictor, self._times = choice, predictor, _times(predictor)
        return predictor


def import_triton_apart() -> None:
    """Import Triton, which PyTorch imports if it is installed, so that it finds its own LLVM first.

    The window of the viewer has loaded the OpenGL driver, and with Mesa's drivers (software rendering, AMD)
    another LLVM, whose symbols are global since PyOpenGL opens the driver so. Triton's library, linked to its
    own LLVM of another version, would call that one and end the process with a segmentation fault.
    """
    deepbind = getattr(os, "RTLD_DEEPBIND", 0)  # of the GNU C library alone
    if not deepbind or "triton" in sys.modules or importlib.util.find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | deepbind)
    try:
        importlib.import_module("triton")
    except ImportError as error:
        logger.warning("Triton is installed, but cannot be imported: %s", error)
    finally:
        sys.setdlopenflags(flags)


def find_models(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the trained models below the folder that ``nnUNet_results`` names, by a title for each.

    A model that has no checkpoint yet is left out. Without the variable there are none.
    """
    results = environment.get(RESULTS_VARIABLE)
    if not results:
        return {}
    folders = [
        plans.parent for plans in sorted(Path(results).expanduser().glob("Dataset*/*__*__*/plans.json"))
    ]
    return {_title(folder): folder for folder in folders if any(folder.glob("fold_*/checkpoint_*.pth"))}


def model_name(path: Path) -> str:
    """Return a short name: the data set's for a model in nnU-Net's folders, else the file's or folder's."""
    path = path.absolute()
    folder = path.parent if path.suffix == ".pth" else path
    folder = folder.parent if folder.name.startswith("fold_") else folder
    if path.suffix != ".safetensors" and folder.parent.name.startswith(_DATASET_PREFIX):
        return folder.parent.name.partition("_")[2] or folder.parent.name
    return path.stem if path.is_file() else folder.name


def parse_folds(text: str) -> tuple[int | str, ...] | None:
    """Read folds as a user types them: ``0 1 2``, ``0, 1`` or ``all``, the fold of that name; None if none.

    Raises
    ------
    UsageError
        If a word is neither a number nor ``all``.
    """
    words = text.replace(",", " ").split()
    wrong = [word for word in words if word != "all" and not (word.isascii() and word.isdecimal())]
    if wrong:
        raise UsageError(
            f"{wrong[0]!r} is not a fold", where="Folds", hint="give numbers such as 0 1 2, or leave it empty"
        )
    return tuple(word if word == "all" else int(word) for word in words) or None


def _title(folder: Path) -> str:
    trainer, plans, configuration = folder.name.split("__", 2)
    parts = [trainer.removeprefix(_TRAINER_PREFIX) or trainer, configuration]
    if plans != _OUR_PLANS:
        parts.append(plans)
    return f"{folder.parent.name.removeprefix(_DATASET_PREFIX)}: {', '.join(parts)}"


def _times(predictor: Predictor) -> tuple[int, ...]:
    """Return when each file of the model was last written, 0 for a file that is gone."""
    files = predictor.model.checkpoints
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
