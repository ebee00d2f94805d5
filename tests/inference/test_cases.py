from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.cases import Case, find_cases, output_paths


def touch(folder: Path, *names: str) -> Path:
    """Make empty files, for what only looks at names."""
    for name in names:
        (folder / name).touch()
    return folder


def write_picture(path: Path, *shape: int) -> None:
    PillowImage.fromarray(np.zeros(shape, np.uint8)).save(path)


def found(inputs: Path | Sequence[Path], num_channels: int) -> dict[str, list[str]]:
    return {case.name: [file.name for file in case.files] for case in find_cases(inputs, num_channels)}


def test_plain_names(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.nii.gz", "c_01.tif", "notes.txt", ".hidden.png")
    assert found(tmp_path, 1) == {"a": ["a.nii.gz"], "b": ["b.png"], "c_01": ["c_01.tif"]}


def test_nnunet_names_with_one_channel(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path, 1) == {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"]}


def test_nnunet_names_with_several_channels(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}_000{channel}.nii.gz" for case in "ab" for channel in range(3)))
    assert found(tmp_path, 3) == {c: [f"{c}_000{i}.nii.gz" for i in range(3)] for c in "ab"}


def test_colour_pictures_with_the_suffix_of_nnunet(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.png", "b_0000.png")
    assert found(tmp_path, 3) == {"a": ["a_0000.png"], "b": ["b_0000.png"]}


def test_numbered_frames_are_cases_of_their_own(tmp_path: Path) -> None:
    names = [f"frame_000{i}" for i in range(4)]
    touch(tmp_path, *(f"{name}.png" for name in names))
    assert found(tmp_path, 1) == {name: [f"{name}.png"] for name in names}


def test_three_colour_frames_are_not_three_channels(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"frame_000{number}.png", 8, 8, 3)
    assert list(found(tmp_path, 3)) == ["frame_0000", "frame_0001", "frame_0002"]
    (tmp_path / "frame_0000.png").write_bytes(b"damaged")
    assert list(found(tmp_path, 3)) == ["frame_0000", "frame_0001", "frame_0002"]


def test_three_grey_pictures_are_three_channels(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"cell_000{number}.png", 8, 8)
    assert found(tmp_path, 3) == {"cell": [f"cell_000{i}.png" for i in range(3)]}


def test_an_incomplete_case_stays_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz")
    assert found(tmp_path, 3) == {"a": ["a_0000.nii.gz", "a_0002.nii.gz"]}


def test_files_may_be_given_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii", "a_0001.nii", "b.nii")
    assert found([tmp_path / "a_0001.nii", tmp_path / "a_0000.nii"], 2) == {"a": ["a_0000.nii", "a_0001.nii"]}
    assert found(tmp_path / "b.nii", 1) == {"b": ["b.nii"]}


def test_nothing_to_predict(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        find_cases(tmp_path, 1)
    with pytest.raises(DataError, match="no such file"):
        find_cases(tmp_path / "nowhere", 1)


@pytest.mark.parametrize(
    ("name", "file_ending", "expected"),
    [
        ("a.nii.gz", ".nii.gz", "a.nii.gz"),
        ("a.nii", ".nii.gz", "a.nii.gz"),
        ("a.nii.gz", ".nii", "a.nii"),
        ("a.nii.gz", ".png", "a.nii.gz"),
        ("a.nii.gz", ".mha", "a.mha"),
        ("a.nii.gz", ".hdr", "a.nii.gz"),
        ("a.jpg", ".png", "a.png"),
        ("a.JPEG", ".nii.gz", "a.png"),
        ("a.bmp", ".bmp", "a.bmp"),
        ("a.bmp", "", "a.png"),
        ("a.tif", ".png", "a.png"),
        ("a.tiff", ".nii.gz", "a.tif"),
        ("a.png", ".tif", "a.tif"),
    ],
)
def test_endings(tmp_path: Path, name: str, file_ending: str, expected: str) -> None:
    (path,) = output_paths([Case("a", (Path(name),))], tmp_path, file_ending)
    assert path == tmp_path / expected


def test_two_cases_with_one_result_are_refused(tmp_path: Path) -> None:
    for pair in (("a.png", "a.jpg"), ("a.png", "a_0000.png"), ("a.png", "A.jpg")):
        folder = tmp_path / "-".join(pair)
        folder.mkdir()
        cases = find_cases(touch(folder, *pair), 1)
        with pytest.raises(UsageError, match="both be written"):
            output_paths(cases, tmp_path / "out", ".png")


def test_results_never_lie_among_the_inputs(tmp_path: Path) -> None:
    cases = find_cases(touch(tmp_path, "a_0000.png"), 1)
    (tmp_path / "link").symlink_to(tmp_path)
    for output in (tmp_path, tmp_path / "link"):
        with pytest.raises(UsageError, match="among the inputs"):
            output_paths(cases, output, ".png")


def test_a_result_never_replaces_an_input(tmp_path: Path) -> None:
    cases = find_cases(touch(tmp_path, "a.png"), 1)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    for output in (tmp_path / "a.png", tmp_path / "link.png"):
        with pytest.raises(UsageError, match="replace an input"):
            output_paths(cases, output, ".png")


def test_one_case_may_name_its_file(tmp_path: Path) -> None:
    cases = find_cases(touch(tmp_path, "a.png", "b.png"), 1)
    assert output_paths(cases[:1], tmp_path / "mask.tif", ".png") == [tmp_path / "mask.tif"]
    with pytest.raises(UsageError, match="2 cases cannot go into one file"):
        output_paths(cases, tmp_path / "mask.tif", ".png")


def test_a_name_in_two_spellings_of_unicode_is_one_case(tmp_path: Path) -> None:
    for number, name in enumerate(("M\u00fcller", "Mu\u0308ller")):
        (tmp_path / f"{name}_{number:04d}.png").touch()
    assert [(case.name, len(case.files)) for case in find_cases(tmp_path, 2)] == [("M\u00fcller", 2)]
    (tmp_path / "M\u00fcller_0001.png").touch()
    with pytest.raises(DataError, match="two spellings of Unicode"):
        find_cases(tmp_path, 2)


@pytest.mark.parametrize("name", ["a.svs", "a.NDPI", "a.mrxs", "a.scn", "a.btf"])
def test_a_slide_of_any_scanner_is_a_case_of_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert found(tmp_path, 3) == {"a": [name]}


@pytest.mark.parametrize("name", ["a.zarr", "a.ome.zarr"])
def test_a_folder_in_zarr_is_a_case_of_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert found(tmp_path, 3) == {"a": [name]}
