"""The objects of an image in blocks are those of the image read whole, in every file."""

from __future__ import annotations

import csv
import filecmp
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tifffile
import torch

from inference.blocks.divided import rows
from inference.conftest import CELLS
from swin_umamba.inference.blocks import job, large_image, object_files
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.predictor import Predictor
from swin_umamba.instances.tiles import stored
from swin_umamba.tiling.folds import FoldNetworks

MakeModel = Callable[..., Path]
HEIGHT, WIDTH = 150, 97
WANTED: dict[str, Any] = {"objects": ("geojson", "rois"), "min_size": 3, "solidity": True}
FILES = ("objects.csv", "objects/a.csv", "objects/a.geojson", "objects/a.zip")


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_image, "CHUNK", 16)
    monkeypatch.setitem(stored.SIDES, 2, (48, 32))


@pytest.fixture
def predictor(make_model: MakeModel) -> Predictor:
    folder = make_model(channels=("red", "green", "blue"), labels=CELLS, patch_size=(32, 32))
    found = Predictor.from_folder(folder, device="cpu", mirroring=False, step_size=1.0)
    # The bits of a convolution depend on what is in a batch: tiles as small as these go together.
    found.window = replace(found.window, tiles_per_batch=1)
    return found


@pytest.fixture
def image(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    coarse = generator.integers(1, 255, (HEIGHT // 6 + 1, WIDTH // 6 + 1, 3), dtype=np.uint8)
    path = tmp_path / "images" / "a.tif"
    path.parent.mkdir()
    pixels = np.kron(coarse, np.ones((6, 6, 1), np.uint8))[:HEIGHT, :WIDTH]
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64))
    return path


@pytest.fixture
def whole(predictor: Predictor, image: Path, tmp_path: Path) -> Path:
    """Return the results of the image read whole."""
    (result,) = predictor.predict_folder(image.parent, tmp_path / "whole", **WANTED)
    assert result.error is None
    assert len((tmp_path / "whole" / "objects.csv").read_text().splitlines()) > 20
    return tmp_path / "whole"


def check_same(folder: Path, whole: Path) -> None:
    for name in FILES:
        assert filecmp.cmp(folder / name, whole / name, shallow=False), name
    expected = tifffile.imread(whole / "instances" / "a.tif")
    found = tifffile.imread(folder / "instances" / "a.tif", key=0)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert not list(folder.rglob("*.npy"))


def test_the_files_are_those_of_the_image_read_whole(
    predictor: Predictor, image: Path, whole: Path, tmp_path: Path
) -> None:
    (result,) = predictor.predict_folder(image.parent, tmp_path / "out", blocks=True, **WANTED)
    assert result.error is None
    check_same(tmp_path / "out", whole)
    (again,) = predictor.predict_folder(image.parent, tmp_path / "out", blocks=True, **WANTED)
    assert again.status == "kept"


@pytest.mark.usefixtures("in_rows")
def test_depth_is_kept_until_the_objects_are_found(predictor: Predictor, image: Path, tmp_path: Path) -> None:
    predictor.networks = FoldNetworks(Brightness().eval(), [{}])
    predictor.predict_folder(image.parent, tmp_path / "whole", **WANTED)
    (result,) = predictor.predict_folder(image.parent, tmp_path / "out", blocks=True, **WANTED)
    assert result.error is None
    check_same(tmp_path / "out", tmp_path / "whole")


class Brightness(torch.nn.Module):
    """Takes what is bright for cells, and the brightness for their depth."""

    has_depth_head = True
    _with_depth = False

    @contextmanager
    def returning_depth(self) -> Iterator[None]:
        self._with_depth = True
        yield
        self._with_depth = False

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red, green = image[:, :1], image[:, 1:2]
        values = [torch.zeros_like(red), red + 0.3, green]
        return torch.cat([*values, *([red / 4] if self._with_depth else [])], dim=1)


@pytest.fixture
def in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide the picture into blocks of 32 rows."""
    monkeypatch.setattr(large_image, "blocks_of", rows)


def interrupt(predictor: Predictor, path: Path, out: Path, **options: Any) -> None:
    """Predict, and stop before the objects are separated."""
    with (
        patch.object(object_files, "decode_over", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        predictor.predict_folder(path, out, blocks=True, **options, **WANTED)


@pytest.mark.usefixtures("in_rows")
def test_an_interrupted_run_goes_on(
    predictor: Predictor, image: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of which what the objects need is lost are predicted again, and no others."""
    out = tmp_path / "out"
    interrupt(predictor, image, out)
    assert not (out / "objects.csv").exists()
    kept = sorted((out / "blocks" / "a.tif" / "foreground").iterdir())
    kept[1].unlink()
    kept[3].write_bytes(kept[3].read_bytes()[:-5])
    run, later = job.BlockWorker.run, []

    def seen(self: Any, block: Block, *more: Any) -> Any:
        later.append(block.number)
        return run(self, block, *more)

    monkeypatch.setattr(job.BlockWorker, "run", seen)
    (result,) = predictor.predict_folder(image.parent, out, blocks=True, **WANTED)
    assert result.error is None
    assert later == [1, 3]
    check_same(out, whole)


def test_in_ome_zarr_the_map_lies_beside_the_labels(
    predictor: Predictor, image: Path, whole: Path, tmp_path: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    out = tmp_path / "out"
    wanted = {**WANTED, "label_format": "zarr"}
    (result,) = predictor.predict_folder(image.parent, out, blocks=True, **wanted)
    assert result.error is None
    expected = tifffile.imread(whole / "instances" / "a.tif")
    found = zarr.open_array(out / "a.ome.zarr" / "labels" / "instances" / "0", mode="r")
    np.testing.assert_array_equal(found[:], expected)
    listed = zarr.open_group(out / "a.ome.zarr" / "labels", mode="r").attrs["ome"]["labels"]
    assert sorted(listed) == ["instances", "segmentation"]
    assert filecmp.cmp(out / "objects" / "a.geojson", whole / "objects" / "a.geojson", shallow=False)
    (again,) = predictor.predict_folder(image.parent, out, blocks=True, **wanted)
    assert again.status == "kept"


def test_outlines_lie_on_the_largest_level_of_the_whole_image(
    predictor: Predictor, image: Path, tmp_path: Path
) -> None:
    pixels = tifffile.imread(image)
    with tifffile.TiffWriter(image) as file:
        file.write(pixels.repeat(2, 0).repeat(2, 1), subifds=1, tile=(64, 64), photometric="rgb")
        file.write(pixels, subfiletype=1, tile=(64, 64), photometric="rgb")
    (result,) = predictor.predict_folder(
        image, tmp_path / "out", level=1, roi="20:90,1:60", statistics="image", **WANTED
    )
    assert result.error is None
    found = json.loads((tmp_path / "out" / "objects" / "a.geojson").read_text())["features"]
    rows = list(csv.DictReader((tmp_path / "out" / "objects.csv").open()))
    assert len(found) == len(rows) > 10
    for feature, row in zip(found, rows, strict=True):
        polygons = feature["geometry"]["coordinates"]
        polygons = [polygons] if feature["geometry"]["type"] == "Polygon" else polygons
        x, y = np.min([np.min(rings[0], axis=0) for rings in polygons], axis=0)
        assert (x, y) == (2 * (int(row["box_x_min"]) + 1), 2 * (int(row["box_y_min"]) + 20))


def test_parts_that_were_interrupted_are_merged(
    predictor: Predictor, image: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    interrupt(predictor, image.parent, out, part="1/1")
    (result,) = predictor.predict_folder(image.parent, out, blocks=True, merge=True, **WANTED)
    assert (result.status, result.error) == ("written", None)
    check_same(out, whole)


def test_volumes(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stored.SIDES, 3, (2, 16, 32))
    path = tmp_path / "images" / "a.tif"
    path.parent.mkdir()
    generator = np.random.default_rng(0)
    pixels = np.kron(generator.integers(1, 255, (3, 9, 8)), np.ones((2, 6, 6))).astype(np.uint8)
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZYX"})
    model = Predictor.from_folder(
        make_model(labels={"background": 0, "a": 1, "b": 2}, file_ending=".tif"),
        device="cpu",
        mirroring=False,
        step_size=1.0,
    )
    model.window = replace(model.window, tiles_per_batch=1)
    for name, blocks in (("whole", False), ("out", True)):
        (result,) = model.predict_folder(
            path.parent, tmp_path / name, blocks=blocks, instances=True, min_size=3
        )
        assert result.error is None
    assert len((tmp_path / "whole" / "objects.csv").read_text().splitlines()) > 5
    assert filecmp.cmp(tmp_path / "out" / "objects.csv", tmp_path / "whole" / "objects.csv", shallow=False)
    found, expected = (tifffile.imread(tmp_path / name / "instances" / "a.tif") for name in ("out", "whole"))
    np.testing.assert_array_equal(found, expected)


def test_outlines_of_volumes_are_refused_before_they_are_predicted(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, np.zeros((3, 3, 40, 40), np.uint8), ome=True, metadata={"axes": "ZCYX"})
    (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True, objects=("geojson",))
    assert result.error is not None
    assert "this is a volume" in result.error.what


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "scheduler"), [(2, None), (3, None), (2, "local")])
@pytest.mark.usefixtures("in_rows")
def test_processes_find_the_same_objects(
    workers: int, scheduler: str | None, predictor: Predictor, image: Path, tmp_path: Path
) -> None:
    alone = Predictor.from_folder(predictor.model.path, device="cpu", mirroring=False, step_size=1.0)
    alone.predict_folder(image.parent, tmp_path / "alone", blocks=True, **WANTED)
    (result,) = alone.predict_folder(
        image.parent, tmp_path / "out", blocks=True, workers=workers, scheduler=scheduler, **WANTED
    )
    assert result.error is None
    check_same(tmp_path / "out", tmp_path / "alone")


@pytest.mark.slow
def test_parts_are_joined(predictor: Predictor, image: Path, tmp_path: Path) -> None:
    tifffile.imwrite(image.with_name("b.tif"), tifffile.imread(image)[::-1], photometric="rgb")
    predictor.predict_folder(image.parent, tmp_path / "whole", **WANTED)
    for part in ("1/2", "2/2"):
        predictor.predict_folder(image.parent, tmp_path / "out", blocks=True, part=part, **WANTED)
    check_same(tmp_path / "out", tmp_path / "whole")
