"""Two ranks that train together on the CPU: what one does, and going on after any stop."""

from __future__ import annotations

import json
import random
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

import forked
from equal_states import assert_equal_states
from faults.training_process import root_with_data
from nnunet.planned_data import make_objects
from nnunet.ranks import DATASET_NAME, Ranks, fold_folder, weights
from swin_umamba.nnunet.environment import Dataset, Folders
from swin_umamba.trainer_names import SWIN_UMAMBA_D_OBJECTS
from swin_umamba.weights.checkpoint import load_checkpoint

TOLERANCE = 1e-6
"""Largest difference of a weight after 20 steps: the gradients are summed in another order."""
TOLERANCE_IN_DOUBLE = 1e-12
"""The same in float64 with AdamW, which makes differences of 5e-6 of the rounding of float32."""
EPOCHS = ("--epochs", "10")
IN_A_STEP = ("step", "forward", "loss", "backward", "update", "validation")


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    forked.end_all()


@pytest.fixture
def root(planned_folder: Path, tmp_path: Path) -> Path:
    return root_with_data(planned_folder, tmp_path / "own")


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[key] - other[key]).abs().max()) for key in one)


@pytest.fixture(scope="module")
def undisturbed(planned_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten epochs by two ranks; not to be written to."""
    root = root_with_data(planned_folder, tmp_path_factory.mktemp("undisturbed") / "own")
    assert [code for code, _ in Ranks(root, *EPOCHS).wait()] == [0, 0]
    return root


def test_two_ranks_take_a_step_and_stop_together(root: Path) -> None:
    """What the slow tests show, in short."""
    ranks = Ranks(root, "--epochs", "1", faults={1: "loader@1"})
    outcome = ranks.wait()
    assert [code for code, _ in outcome] == [1, 1]
    assert "the loader fails" in outcome[1][1]
    assert "all ranks stop, since rank 1 on" in outcome[0][1]
    assert [each.output().split()[-1] for each in ranks.processes] == ["1", "1"]
    assert load_checkpoint(fold_folder(root) / "checkpoint_latest.pth")["current_epoch"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "frozen", "tolerance"), [("slices", "0", TOLERANCE), ("double", "1", TOLERANCE_IN_DOUBLE)]
)
def test_two_ranks_train_what_one_does(
    planned_folder: Path, tmp_path: Path, how: str, frozen: str, tolerance: float
) -> None:
    """With an encoder that is trained from the second epoch on, too: then the network is wrapped again."""
    found, scores = [], []
    options = ("--epochs", "2", "--iterations", "10", "--save-every", "1", "--freeze-encoder-epochs", frozen)
    for name, size in (("one", 1), ("two", 2), ("again", 2)):
        root = root_with_data(planned_folder, tmp_path / name)
        ranks = Ranks(root, *options, size=size, faults=dict.fromkeys(range(size), how), drop_path_rate=0.0)
        outcome = ranks.wait()
        assert [code for code, _ in outcome] == [0] * size, outcome
        found.append(weights(root))
        scores.append(scores_of_epochs(root))
        assert [each.output().split()[-1] for each in ranks.processes] == ["20"] * size
    one, two, again = found
    assert_equal_states(two, again)
    assert largest_difference(one, two) < tolerance
    assert largest_difference(one, weights(root, "checkpoint_0.pth")) > 1e-4, "they have moved"
    assert scores[1] == scores[2]
    if how == "double":
        assert scores[1] == pytest.approx(scores[0], abs=tolerance)


def scores_of_epochs(root: Path) -> list[float]:
    """Losses and pseudo-Dice of the epochs, over the patches of all ranks."""
    lines = map(json.loads, (fold_folder(root) / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines for name in ("train_loss", "validation_loss", "pseudo_dice")]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "faults", [*([each] * 10 for each in ("SIGTERM", "SIGINT", "loader", "SIGKILL")), IN_A_STEP], ids=min
)
def test_a_run_that_is_stopped_again_and_again_ends_like_an_undisturbed_one(
    root: Path, undisturbed: Path, rank: int, faults: Sequence[str]
) -> None:
    draw = random.Random(f"{rank}{faults}")
    begin, trained = (*EPOCHS, "--save-every", "1"), 0
    for what, moment in zip(faults, sorted(draw.sample(range(2, 16), len(faults))), strict=True):
        delay = f"+{draw.uniform(0, 0.03):.3f}" if what.startswith("SIG") else ""
        step = max(0, moment - 2 * trained)
        ranks = Ranks(root, *begin, faults={rank: f"{what}@{step}{delay}"})
        assert_all_leave_together(ranks, rank, what)
        newest = newest_epoch(root)
        if what != "SIGKILL":
            steps = [int(each.output().split()[-1]) for each in ranks.processes]
            # In the validation of an epoch its steps are taken, and it is not saved.
            assert newest - trained in {steps[0] // 2, (steps[0] - 1) // 2}
            assert steps[0] == steps[1] or what in IN_A_STEP
            assert steps[rank] == step or delay or what == "validation"
        assert newest >= trained
        begin, trained = ("--continue",), newest
    assert [code for code, _ in Ranks(root, "--continue").wait()] == [0, 0]
    assert_equal_states(weights(root), weights(undisturbed))


def assert_all_leave_together(ranks: Ranks, rank: int, what: str) -> None:
    """Look at exit codes and messages after something has happened to a rank."""
    outcome = ranks.wait()
    survivors = [each for each in range(2) if what != "SIGKILL" or each != rank]
    expected = {"SIGTERM": 143, "SIGINT": 130}.get(what, 1)
    assert [outcome[each][0] for each in survivors] == [expected] * len(survivors), outcome
    said = outcome[1 - rank][1]
    if what.startswith("SIG"):
        assert f"rank {rank}" in said
        assert "--continue" in said
    else:
        assert f"all ranks stop, since rank {rank} on {socket.gethostname()}: the {what} fails" in said


def newest_epoch(root: Path) -> int:
    """Number of epochs after which a run would go on."""
    saved = fold_folder(root).glob("checkpoint_*.pth")
    return max(int(load_checkpoint(path)["current_epoch"]) for path in saved)


@pytest.mark.slow
def test_masks_of_random_layers_differ_and_go_on(root: Path, undisturbed: Path) -> None:
    states = load_checkpoint(fold_folder(undisturbed) / "checkpoint_final.pth")["swin_umamba"]
    first, other = states["random_state"], states["random_states_of_others"]
    assert len(other) == 1
    assert not torch.equal(first["torch"], other[0]["torch"])
    assert [code for code, _ in Ranks(root, "--epochs", "2").wait()] == [0, 0]
    assert [code for code, _ in Ranks(root, "--continue", *EPOCHS).wait()] == [0, 0]
    resumed = load_checkpoint(fold_folder(root) / "checkpoint_final.pth")["swin_umamba"]
    assert torch.equal(resumed["random_state"]["torch"], first["torch"])
    assert torch.equal(resumed["random_states_of_others"][0]["torch"], other[0]["torch"])
    assert_equal_states(weights(root), weights(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_ranks_goes_on(root: Path, before: int, after: int) -> None:
    assert [code for code, _ in Ranks(root, "--epochs", "1", size=before).wait()] == [0] * before
    outcome = Ranks(root, "--continue", "--epochs", "2", size=after).wait()
    assert [code for code, _ in outcome] == [0] * after
    assert f"until now {before} ranks have trained, and now {after} do" in outcome[0][1]
    assert load_checkpoint(fold_folder(root) / "checkpoint_final.pth")["current_epoch"] == 2


@pytest.mark.slow
def test_ranks_that_see_other_files_are_refused(root: Path, planned_folder: Path, tmp_path: Path) -> None:
    other = root_with_data(planned_folder, tmp_path / "other")
    splits = [{"train": [f"case{n}" for n in range(1, 6)], "val": ["case0"]}] * 5
    (other / "nnUNet_preprocessed" / DATASET_NAME / "splits_final.json").write_text(json.dumps(splits))
    outcome = Ranks(root, *EPOCHS, roots={1: other}).wait()
    assert [code for code, _ in outcome] == [1, 1]
    for _, said in outcome:
        assert "ranks 0 and 1 differ in what they have found: cases" in said
        assert "put them on a shared file system" in said
    assert not list(tmp_path.glob("*/nnUNet_results/**/*.pth"))


@pytest.mark.slow
def test_two_ranks_learn_objects(root: Path, planned_folder: Path) -> None:
    """The maps of objects are made ready by the first rank, and read by both."""
    name = SWIN_UMAMBA_D_OBJECTS
    (root / "nnUNet_raw").unlink()
    shutil.copytree(planned_folder / "nnUNet_raw", root / "nnUNet_raw")
    make_objects(Dataset(DATASET_NAME, Folders.below(root)))
    states = []
    for begin in (("--epochs", "2"), ("--epochs", "1")):
        outcome = Ranks(root, *begin, "--pretrained", "none", trainer=name).wait()
        assert [code for code, _ in outcome] == [0, 0], outcome
        if begin[1] == "1":
            outcome = Ranks(root, "--continue", "--epochs", "2", trainer=name).wait()
            assert [code for code, _ in outcome] == [0, 0], outcome
        states.append(weights(root, trainer=name))
        shutil.rmtree(root / "nnUNet_results")
    assert_equal_states(*states)
    maps = list((root / "nnUNet_preprocessed" / DATASET_NAME).glob("*_instances/*.npy"))
    assert len(maps) == 4


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "5"])
def test_a_batch_that_ranks_cannot_share_is_refused(root: Path, batch: str) -> None:
    outcome = Ranks(root, "--batch-size", batch).wait()
    assert [code for code, _ in outcome] == [2, 2]
    assert all(
        f"a batch of {batch} patches cannot be divided evenly over 2 ranks" in said for _, said in outcome
    )
    assert not fold_folder(root).exists()
