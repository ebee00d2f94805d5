"""The available trained models, the names of choices, and the loaded model."""

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
    """A model and the options it is loaded with.

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
    """Holds one loaded model, which is not read again while the choice and its files stay the same."""

    def __init__(self) -> None:
        self._choice: ModelChoice | None = None
        self._predictor: Predictor | None = None
        self._times: tuple[int, ...] = ()

    def load(self, choice: ModelChoice) -> Predictor:
        """Return the predictor of a choice, dropping the previous one.

        Raises
        ------
        SwinUMambaError
            As ``Predictor.from_folder``.
        """
        kept = self._predictor
        if kept is not None and self._choice == choice and self._times == _times(kept):
            return kept
        # PyTorch takes seconds to import: wait until a model is wanted, and import it in the loading thread.
        import_triton_apart()
        from swin_umamba.inference.predictor import Predictor

        kept = self._predictor = None  # memory for one model is enough
        predictor = Predictor.from_folder(
            choice.path, folds=choice.folds, device=choice.device, mirroring=choice.mirroring
        )
        self._choice, self._predictor, self._times = choice, predictor, _times(predictor)
        return predictor


def import_triton_apart() -> None:
    """Import Triton, which PyTorch imports if installed, in a way that makes it find its own LLVM first.

    The viewer's window has loaded the OpenGL driver, and Mesa's drivers (software rendering, AMD) bring
    another LLVM, whose symbols are global because of how PyOpenGL opens the driver. Triton's library, linked
    to its own LLVM of a different version, would call that one and crash with a segmentation fault.
    """
    if sys.platform == "win32":  # no such flags
        return
    deepbind = getattr(os, "RTLD_DEEPBIND", 0)  # GNU C library only
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
    """Return the trained models below the folder named by ``nnUNet_results``, keyed by title.

    Models without a checkpoint are left out. Without the variable there are none.
    """
    results = environment.get(RESULTS_VARIABLE)
    if not results:
        return {}
    folders = [
        plans.parent for plans in sorted(Path(results).expanduser().glob("Dataset*/*__*__*/plans.json"))
    ]
    return {_title(folder): folder for folder in folders if any(folder.glob("fold_*/checkpoint_*.pth"))}


def model_name(path: Path) -> str:
    """Return a short name: that of the data set in nnU-Net's folders, else of the file or folder."""
    path = path.absolute()
    folder = path.parent if path.suffix == ".pth" else path
    folder = folder.parent if folder.name.startswith("fold_") else folder
    if path.suffix != ".safetensors" and folder.parent.name.startswith(_DATASET_PREFIX):
        return folder.parent.name.partition("_")[2] or folder.parent.name
    return path.stem if path.is_file() else folder.name


def parse_folds(text: str) -> tuple[int | str, ...] | None:
    """Parse folds as typed by a user: ``0 1 2``, ``0, 1`` or ``all``, the fold of that name; None if empty.

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
    """Return when each file of the model was last written, 0 for a missing file."""
    files = predictor.model.checkpoints
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
