"""Pairs of images and masks in the namings that people use, and reasons for what has no partner."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from swin_umamba.data.datasets.folder_pairs import find_pairs
from swin_umamba.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("image", "mask", "name"),
    [
        ("a.png", "a.png", "a"),
        ("a.jpg", "A.PNG", "a"),
        ("a.tif", "a_mask.png", "a"),
        ("ISIC_01.jpg", "ISIC_01_segmentation.png", "ISIC_01"),
        ("a 1.bmp", "a 1-label.bmp", "a_1"),
        ("img_007.png", "mask_007.png", "img_007"),
        ("scan_image.nii.gz", "scan.seg.nii.gz", "scan_image"),
        ("p1/image.nii.gz", "p1/label.nii.gz", "p1_image"),
        ("p1/x.png", "y/x_gt.png", "p1_x"),
        ("frame_0001.png", "frame_0001.png", "frame_0001"),
    ],
)
def test_names_that_belong_together(tmp_path: Path, image: str, mask: str, name: str) -> None:
    images, masks = touch(tmp_path / "a", image, "other.png"), touch(tmp_path / "b", mask)
    pairs, left_out = find_pairs(images, masks)
    assert [(pair.name, pair.images, pair.mask) for pair in pairs] == [
        (name, (images / image,), masks / mask)
    ]
    assert [(each.path, each.reason) for each in left_out] == [
        (str(images / "other.png"), "there is no mask of this name")
    ]


def test_strict_names_win(tmp_path: Path) -> None:
    images = touch(tmp_path / "a", "x.png", "x_img.png")
    masks = touch(tmp_path / "b", "x.png", "x_img.png")
    pairs, left_out = find_pairs(images, masks)
    assert [(pair.images[0].name, pair.mask.name) for pair in pairs] == [
        ("x.png", "x.png"),
        ("x_img.png", "x_img.png"),
    ]
    assert not left_out


def test_one_folder_for_both(tmp_path: Path) -> None:
    folder = touch(tmp_path, "benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png", "b.png")
    pairs, left_out = find_pairs(folder, folder)
    assert [(pair.name, pair.mask.name) for pair in pairs] == [("benign_1_", "benign (1)_mask.png")]
    assert sorted(Path(each.path).name for each in left_out) == ["b.png", "benign (1)_mask_1.png"]


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    images = touch(tmp_path / "a", "p_0001.nii.gz", "p_0000.nii.gz", "q_0001.nii.gz")
    masks = touch(tmp_path / "b", "p.nii.gz", "q.nii.gz")
    pairs, left_out = find_pairs(images, masks)
    assert [(pair.name, [path.name for path in pair.images]) for pair in pairs] == [
        ("p", ["p_0000.nii.gz", "p_0001.nii.gz"])
    ]
    assert sorted(Path(each.path).name for each in left_out) == ["q.nii.gz", "q_0001.nii.gz"]


def test_what_fits_several_is_not_guessed(tmp_path: Path) -> None:
    images = touch(tmp_path / "a", "x.png", "good.png", ".hidden.png", "notes.txt")
    masks = touch(tmp_path / "b", "x_mask.png", "x_label.png", "good.png", "only.png")
    pairs, left_out = find_pairs(images, masks)
    assert [pair.name for pair in pairs] == ["good"]
    assert {Path(each.path).name: each.reason for each in left_out} == {
        "notes.txt": "not an image of a known format",
        "x.png": "its name fits more than one mask, or more than one file like it",
        "x_mask.png": "its name fits more than one image, or more than one file like it",
        "x_label.png": "its name fits more than one image, or more than one file like it",
        "only.png": "there is no image of this name",
    }


def test_nothing_fits(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "a", "x.png"), touch(tmp_path / "b", "y.png")
    with pytest.raises(DataError, match="no image has a mask") as caught:
        find_pairs(images, masks)
    assert "x.png: there is no mask of this name" in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        find_pairs(images, tmp_path / "c")


def test_names_of_all_scripts_stay_apart(tmp_path: Path) -> None:
    names = ("\u809d", "\u813e", "\u0e2a\u0e35", "\u0e2a\u0e34", "\u03b2 2", "M\u00fcller", "a", "A")
    images = touch(
        tmp_path / "images", *(f"{name}.png" for name in names), "Thumbs.db", "._a.png", ".DS_Store"
    )
    masks = touch(tmp_path / "masks", *(f"{normalize('NFD', name)}.png" for name in names))
    pairs, left_out = find_pairs(images, masks)
    assert sorted(pair.name for pair in pairs) == sorted(name.replace(" ", "_") for name in names)
    assert all(normalize("NFC", pair.mask.name) == pair.images[0].name for pair in pairs)
    assert left_out == []
