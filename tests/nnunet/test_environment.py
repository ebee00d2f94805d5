"""Folders, names of data sets, and the errors about them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swin_umamba.errors import UsageError
from swin_umamba.nnunet.environment import Dataset, Folders, environment_variable, find_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("Dataset001_Liver", "Dataset012_Polyps"):
        (tmp_path / "nnUNet_raw" / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("given", ["12", "012", 12, "Dataset012_Polyps"])
def test_a_data_set_is_found_by_number_and_name(root: Path, given: str | int) -> None:
    dataset = find_dataset(given, root)
    assert dataset == Dataset("Dataset012_Polyps", Folders.below(root))
    assert dataset.identifier == 12
    assert dataset.raw_folder == root / "nnUNet_raw" / "Dataset012_Polyps"


def test_a_path_brings_its_folders(root: Path) -> None:
    dataset = find_dataset(root / "nnUNet_raw" / "Dataset001_Liver")
    assert dataset.folders == Folders.below(root)
    elsewhere = find_dataset(root / "nnUNet_raw" / "Dataset001_Liver", root / "work")
    assert elsewhere.folders.raw == root / "nnUNet_raw"
    assert elsewhere.folders.results == root / "work" / "nnUNet_results"


def test_a_path_keeps_the_output_folders_of_the_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_preprocessed", "/somewhere/preprocessed")
    monkeypatch.setenv("nnUNet_results", "/somewhere/results")
    dataset = find_dataset(root / "nnUNet_raw" / "Dataset001_Liver")
    assert dataset.folders.preprocessed == Path("/somewhere/preprocessed")
    assert dataset.folders.results == Path("/somewhere/results")


def test_unset_folders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", "/somewhere")
    with pytest.raises(UsageError, match="nnUNet_preprocessed, nnUNet_results not set"):
        find_dataset("12")


def test_without_variables_the_current_folder_is_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    monkeypatch.chdir(root)
    assert find_dataset("12") == find_dataset("12", root)
    monkeypatch.setenv("nnUNet_results", "/somewhere")
    with pytest.raises(UsageError, match="nnUNet_raw, nnUNet_preprocessed not set"):
        find_dataset("12")
    monkeypatch.delenv("nnUNet_results")
    monkeypatch.chdir(root / "nnUNet_raw")
    with pytest.raises(UsageError, match="nnUNet_results not set") as caught:
        find_dataset("12")
    assert "go to the folder that has nnUNet_raw" in str(caught.value.hint)


def test_an_unknown_name_brings_the_close_ones(root: Path) -> None:
    with pytest.raises(UsageError, match="Dataset012_Polyps"):
        find_dataset("Dataset012_Polyp", root)
    with pytest.raises(UsageError, match="no data set '77'"):
        find_dataset("77", root)
    with pytest.raises(UsageError, match="does not exist"):
        find_dataset("77", root / "empty")


def test_a_path_to_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder") as caught:
        find_dataset(tmp_path / "Dataset001_Liver")
    assert caught.value.where == str(tmp_path / "Dataset001_Liver")


def test_two_data_sets_with_one_number_are_refused(root: Path) -> None:
    (root / "nnUNet_results" / "Dataset012_Old").mkdir(parents=True)
    for given in ("12", "Dataset012_Polyps"):
        with pytest.raises(UsageError, match="Dataset012_Old, Dataset012_Polyps"):
            find_dataset(given, root)


def test_a_path_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(UsageError, match="DatasetXXX_Name"):
        find_dataset(tmp_path / "cells")


def test_exporting_tells_nnunet_and_makes_nothing(root: Path) -> None:
    folders = Folders.below(root)
    before = list(root.iterdir())
    folders.export()
    assert list(root.iterdir()) == before
    assert Folders.from_environment() == folders


def test_a_variable_is_set_only_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_VARIABLE", "before")
    with environment_variable("SOME_VARIABLE", 3):
        assert os.environ["SOME_VARIABLE"] == "3"
    assert os.environ["SOME_VARIABLE"] == "before"
    with environment_variable("SOME_VARIABLE", None):
        assert os.environ["SOME_VARIABLE"] == "before"


def test_the_data_of_a_model_are_beside_it_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "nnUNet_results" / "Dataset001_Liver" / "nnUNetTrainer__nnUNetPlans__2d"
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    beside = Folders.below(tmp_path)
    assert Folders.of_model(model) == [beside]
    monkeypatch.setenv("nnUNet_raw", "/somewhere/raw")
    first, second = Folders.of_model(model)
    assert first == Folders(Path("/somewhere/raw"), beside.preprocessed, beside.results)
    assert second == beside
    assert Folders.of_model(Path("/"))[0].raw == Path("/somewhere/raw")
