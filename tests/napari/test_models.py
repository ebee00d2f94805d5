from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.napari.models import ModelChoice, ModelShelf, find_models, model_name, parse_folds

MakeModel = Callable[..., Path]


def test_trained_models_are_found(make_model: MakeModel) -> None:
    ours, trained = make_model(), make_model(trainer="nnUNetTrainerSwinUMambaD", folds=("all",))
    unfinished = make_model(trainer="nnUNetTrainerNew", folds=())
    assert unfinished.is_dir()
    results = ours.parents[1]
    (results / "Dataset999_Tiny" / "notes").mkdir()
    assert find_models({"nnUNet_results": str(results)}) == {
        "999_Tiny: nnUNetTrainer, 2d, nnUNetPlans": ours,
        "999_Tiny: SwinUMambaD, 2d, nnUNetPlans": trained,
    }
    renamed = trained.rename(trained.parent / "nnUNetTrainerSwinUMambaD__SwinUMambaPlans__2d")
    assert find_models({"nnUNet_results": str(results)})["999_Tiny: SwinUMambaD, 2d"] == renamed


@pytest.mark.parametrize("environment", [{}, {"nnUNet_results": ""}, {"nnUNet_results": "/no/such/folder"}])
def test_without_a_results_folder_there_are_no_models(environment: dict[str, str]) -> None:
    assert find_models(environment) == {}


def test_names_of_models(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model()
    assert model_name(folder) == "Tiny"
    assert model_name(folder / "fold_0") == "Tiny"
    assert model_name(folder / "fold_0" / "checkpoint_final.pth") == "Tiny"
    exported = folder.parent / "liver.v2.safetensors"
    exported.touch()
    assert model_name(exported) == "liver.v2"
    alone = tmp_path / "lung.pth"
    alone.touch()
    assert model_name(alone) == "lung"
    assert model_name(folder.rename(tmp_path / "downloaded")) == "downloaded"


@pytest.mark.parametrize(
    ("text", "folds"), [("", None), ("  ", None), ("0", (0,)), ("0, 1 3", (0, 1, 3)), ("all", ("all",))]
)
def test_folds_are_read(text: str, folds: tuple | None) -> None:
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["one", "0-4", "-1", "²", "0 every"])
def test_folds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a fold"):
        parse_folds(text)


def test_the_shelf_keeps_one_model(make_model: MakeModel) -> None:
    folder, shelf = make_model(folds=(0, 1)), ModelShelf()
    choice = ModelChoice(folder, device="cpu")
    loaded = shelf.load(choice)
    assert shelf.load(ModelChoice(folder, device="cpu")) is loaded
    assert len(loaded.model.parameters) == 2
    other = shelf.load(ModelChoice(folder, (1,), "cpu", mirroring=False))
    assert len(other.model.parameters) == 1
    assert shelf.load(choice) is not loaded


def test_the_shelf_reads_a_model_again_that_was_trained_on(make_model: MakeModel) -> None:
    folder, shelf = make_model(), ModelShelf()
    loaded = shelf.load(ModelChoice(folder, device="cpu"))
    file = folder / "fold_0" / "checkpoint_final.pth"
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 10**9))
    assert shelf.load(ModelChoice(folder, device="cpu")) is not loaded


def test_a_failed_load_leaves_the_shelf_usable(make_model: MakeModel, tmp_path: Path) -> None:
    folder, shelf = make_model(), ModelShelf()
    with pytest.raises(CheckpointError, match="does not exist"):
        shelf.load(ModelChoice(tmp_path / "nothing"))
    assert shelf.load(ModelChoice(folder, device="cpu")).channel_names == ["grey"]


def test_triton_is_imported_apart_and_nothing_else_is_bound_so() -> None:
    pytest.importorskip("triton")
    code = (
        "import sys; before = sys.getdlopenflags(); "
        "from swin_umamba.napari.models import import_triton_apart; import_triton_apart(); "
        "print(sys.getdlopenflags() == before, 'triton' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(hasattr(os, "RTLD_DEEPBIND")), "False"]
