"""Label maps written by region, as OME-Zarr and as TIFF: values, levels, metadata, and what is refused."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr", reason="the zarr library needs Python 3.11")

import tifffile
import zarr

from regions.zarr_images import write_group, write_image
from swin_umamba.data.image_io import read_labels
from swin_umamba.errors import DataError, OutputError, UsageError
from swin_umamba.regions.label_files import create_labels, open_labels
from swin_umamba.regions.labels import LabelGrid, LabelWriter, blocks_of
from swin_umamba.regions.opening import open_region_source
from swin_umamba.regions.source import ArraySource, Level, Placement
from swin_umamba.report.palette import class_colour

ALL = slice(None)
PLACES = pytest.mark.parametrize("place", ["out.zarr", "out.tif"])


def labels_of(*shape: int) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)
    labels[..., : shape[-1] // 3] = 0
    return labels


def fill(writer: LabelWriter, labels: np.ndarray) -> None:
    """Write all blocks, the last first."""
    for region in reversed(list(blocks_of(writer.grid.shape, writer.grid.block))):
        writer.write(*region, labels[region])


def halves(*shapes: tuple[int, int, int]) -> tuple[Level, ...]:
    return tuple(Level(shape, (1.0, 2.0**step, 2.0**step)) for step, shape in enumerate(shapes))


@PLACES
@pytest.mark.parametrize(
    ("shape", "block"), [((1, 77, 53), (1, 32, 16)), ((5, 40, 33), (2, 16, 32)), ((1, 9, 9), (1, 64, 64))]
)
def test_what_is_written_is_read(
    tmp_path: Path, place: str, shape: tuple[int, int, int], block: tuple[int, int, int]
) -> None:
    labels, small = labels_of(*shape), (shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2)
    grid = LabelGrid(
        shape,
        np.dtype(np.uint8),
        block,
        Placement((2.0, 0.5, 0.25), (1.0, 3.0, 5.0), ("micrometer",) * 3),
        halves(shape, small),
        flat=shape[0] == 1,
    )
    writer = create_labels(tmp_path / place, grid)
    fill(writer, labels)
    writer = pickle.loads(pickle.dumps(writer))
    assert np.array_equal(writer.read(ALL, slice(3, 9), slice(1, None)), labels[:, 3:9, 1:])
    path = writer.finish()
    # Of two voxels the second; at the end there may be only one.
    y, x = (np.minimum(np.arange(small[axis]) * 2 + 1, shape[axis] - 1) for axis in (1, 2))
    expected = [labels, labels[:, y][:, :, x]]
    if place.endswith(".tif"):
        assert np.array_equal(read_labels(path).data[0].reshape(shape), labels)
        assert read_labels(path).spacing == pytest.approx((0.002, 0.0005, 0.00025)[shape[0] == 1 :])
        with tifffile.TiffFile(path) as file:
            assert file.is_bigtiff
            assert file.pages[0].is_tiled
            found = [level.asarray() for level in file.series[0].levels]
    else:
        sources = [open_region_source(path, level) for level in range(2)]
        found = [source.read(ALL, ALL, ALL)[0] for source in sources]
        assert [source.placement.scale[1:] for source in sources] == [(0.5, 0.25), (1.0, 0.5)]
        assert sources[0].placement.translation[1:] == (3.0, 5.0)
    for level, wanted in zip(found, expected, strict=True):
        assert np.array_equal(level.reshape(wanted.shape), wanted)
    assert not list(tmp_path.rglob("*unfinished*"))


@PLACES
def test_several_writers_write_one_map(tmp_path: Path, place: str) -> None:
    labels = labels_of(1, 64, 96)
    grid = LabelGrid((1, 64, 96), np.dtype(np.uint16), (1, 32, 32), flat=True)
    writers = [create_labels(tmp_path / place, grid), open_labels(tmp_path / place)]
    for number, region in enumerate(blocks_of(grid.shape, grid.block)):
        writers[number % 2].write(*region, labels[region])
    assert np.array_equal(writers[0].read(ALL, ALL, ALL), labels)
    writers[1].write(slice(0, 1), slice(32, 64), slice(0, 64), np.zeros((1, 32, 64), np.uint16))  # again
    assert not writers[0].read(ALL, slice(32, 64), slice(0, 64)).any()


@PLACES
def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path, place: str) -> None:
    """Nor predicted into until the end of the image."""
    writer = create_labels(tmp_path / "out" / place, LabelGrid((1, 32, 32), np.dtype(np.uint8), (1, 16, 16)))
    part, labels = (slice(0, 1), slice(0, 16)), np.ones((1, 16, 16), np.uint8)
    writer.write(*part, slice(0, 16), labels)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="labels cannot be written: No such file"):
        writer.write(*part, slice(16, 32), labels)
    assert not (tmp_path / "out").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "out")
    writer.write(*part, slice(16, 32), labels)
    assert writer.read(*part, ALL).all()


@PLACES
def test_what_is_not_finished_is_no_image(tmp_path: Path, place: str) -> None:
    grid = LabelGrid((1, 32, 32), np.dtype(np.uint8), (1, 16, 16), flat=True)
    writer = create_labels(tmp_path / place, grid)
    path = writer.path
    with pytest.raises(DataError, match="not finished"):
        open_region_source(path)
    with pytest.raises(OutputError, match="already"):
        create_labels(tmp_path / place, grid)
    writer.finish()
    assert not open_region_source(path).read(ALL, ALL, ALL).any()
    with pytest.raises(OutputError, match="already"):
        create_labels(tmp_path / place, grid)
    with pytest.raises(OutputError, match="cannot be read"):
        open_labels(tmp_path / place)


@PLACES
def test_only_whole_blocks_are_written(tmp_path: Path, place: str) -> None:
    writer = create_labels(
        tmp_path / place, LabelGrid((1, 40, 40), np.dtype(np.uint8), (1, 16, 16), flat=True)
    )
    for y in (slice(0, 8), slice(8, 16), slice(16, 33), slice(33, 40)):
        with pytest.raises(ValueError, match="no whole blocks"):
            writer.write(ALL, y, slice(0, 16), np.zeros((1, y.stop - y.start, 16), np.uint8))
    with pytest.raises(ValueError, match="no part of an axis"):
        writer.write(ALL, slice(32, 48), slice(0, 16), np.zeros((1, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="of shape"):
        writer.write(ALL, slice(32, 40), slice(0, 16), np.zeros((1, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="integers"):
        writer.write(ALL, slice(32, 40), slice(0, 16), np.zeros((1, 8, 16), np.float32))
    with pytest.raises(ValueError, match="256 do not fit"):
        writer.write(ALL, slice(32, 40), slice(0, 16), np.full((1, 8, 16), 256, np.int64))


@PLACES
def test_a_full_disk_is_one_message(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = create_labels(
        tmp_path / place, LabelGrid((1, 32, 32), np.dtype(np.uint8), (1, 16, 16), flat=True)
    )
    writer.write(ALL, slice(0, 16), slice(0, 16), np.ones((1, 16, 16), np.uint8))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage._local._put", full)
        patch.setattr("swin_umamba.regions.tiff_labels.open", full, raising=False)
        with pytest.raises(OutputError, match="No space left"):
            writer.write(ALL, slice(16, 32), slice(0, 16), np.ones((1, 16, 16), np.uint8))
    assert open_labels(tmp_path / place).read(ALL, ALL, ALL).sum() == 256


@pytest.mark.parametrize(("axes", "version"), [("cyx", 2), ("zyx", 3)])
def test_labels_of_an_image_are_in_it(tmp_path: Path, version: int, axes: str) -> None:
    data = np.zeros((3, 64, 80), np.uint8)
    write_image(tmp_path / "a.zarr", data, axes, version, (3, 32, 80), levels=3)
    image = open_region_source(tmp_path / "a.zarr", level=1)
    labels = labels_of(*image.shape[1:])
    colours = {value: class_colour(value) for value in (1, 2, 3)}
    grid = LabelGrid.like(image, np.dtype(np.uint8), (1, 16, 32), {1: "a", 2: "b", 3: "c"}, colours)
    for name in ("first", "second"):
        writer = create_labels(tmp_path / "a.zarr", grid, name=name)
        fill(writer, labels)
        writer.finish()
    folder = tmp_path / "a.zarr" / "labels"
    found = [open_region_source(folder / "first", level) for level in range(2)]
    for number, source in enumerate(found):
        of_image = open_region_source(tmp_path / "a.zarr", number + 1)
        assert source.shape[1:] == of_image.shape[1:]
        assert source.placement.units == of_image.placement.units
        assert source.placement.scale == pytest.approx(of_image.placement.scale)
        assert source.placement.translation == pytest.approx(of_image.placement.translation)
    assert np.array_equal(found[0].read(ALL, ALL, ALL)[0], labels)
    if version == 2:
        ome = json.loads((folder / "first" / ".zattrs").read_text())
        listed = json.loads((folder / ".zattrs").read_text())["labels"]
    else:
        ome = json.loads((folder / "first" / "zarr.json").read_text())["attributes"]["ome"]
        listed = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["labels"]
    assert listed == ["first", "second"]
    assert ome["image-label"] == {
        "version": "0.4" if version == 2 else "0.5",
        "colors": [{"label-value": value, "rgba": [*class_colour(value), 255]} for value in (1, 2, 3)],
        "properties": [
            {"label-value": value, "name": name} for value, name in [(1, "a"), (2, "b"), (3, "c")]
        ],
        "source": {"image": "../../"},
    }
    validate(folder, version, "first")


def validate(folder: Path, version: int, name: str) -> None:
    """Validate labels with the models of the NGFF community, where they are installed."""
    models = pytest.importorskip("ome_zarr_models")
    group = zarr.open_group(folder, mode="r")
    if version == 2:
        import pydantic_zarr.v2

        for kind in (models.v04.Image, models.v04.ImageLabel, models.v04.Labels):
            kind.model_rebuild(_types_namespace=vars(pydantic_zarr.v2))  # newer pydantic needs it
        models.v04.Labels.from_zarr(group)
        models.v04.ImageLabel.from_zarr(group[name])
    else:
        models.v05.Labels.from_zarr(group)


def test_labels_without_an_image_are_valid_too(tmp_path: Path) -> None:
    source = ArraySource(np.zeros((3, 40, 40), np.uint8))
    writer = create_labels(
        tmp_path / "out.zarr",
        LabelGrid.like(source, np.dtype(np.int32), (1, 32, 32), colours={1: (0, 1, 2)}),
        image=tmp_path / "slides" / "a.svs",
    )
    path = writer.finish()
    label = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["image-label"]
    assert label["source"] == {"image": "../../../slides/a.svs"}
    validate(path.parent, 3, "segmentation")


def test_levels_are_halves_where_the_image_has_none() -> None:
    grid = LabelGrid((1, 2051, 300), np.dtype(np.uint8), (1, 256, 256))
    assert [level.shape for level in grid.pyramid] == [(1, 2051, 300), (1, 1026, 150), (1, 513, 75)]
    assert [place.tolist() for place in grid.nearest(2)[1:]] == [
        [min(2 * each + 1, 1025) for each in range(513)],
        [2 * each + 1 for each in range(75)],
    ]
    assert grid.placement_of(grid.pyramid[2]).translation == (0.0, 1.5, 1.5)
    assert LabelGrid((1, 4096, 4096), np.dtype(np.uint8), (1, 1536, 2048)).chunk == (1, 512, 512)


def test_labels_are_written_nowhere_else(tmp_path: Path) -> None:
    grid = LabelGrid((1, 16, 16), np.dtype(np.uint8), (1, 16, 16), flat=True)
    for name in ("../a", "", ".hidden", "a/b", "a\\b"):
        with pytest.raises(UsageError, match="name of labels"):
            create_labels(tmp_path / "out.zarr", grid, name=name)
    (tmp_path / "elsewhere").mkdir()
    write_group(tmp_path / "out.zarr", 3, {})
    (tmp_path / "out.zarr" / "labels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="leads out of the image"):
        create_labels(tmp_path / "out.zarr", grid)
    with pytest.raises(UsageError, match="OME-Zarr or TIFF"):
        create_labels(tmp_path / "out.png", grid)


def test_labels_that_are_damaged_are_refused(tmp_path: Path) -> None:
    grid = LabelGrid((1, 32, 32), np.dtype(np.uint8), (1, 16, 16), flat=True)
    writer = create_labels(tmp_path / "out.zarr", grid)
    writer.write(ALL, ALL, ALL, labels_of(1, 32, 32))
    chunk = writer.path / "0/c/1/1"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(DataError, match="labels written before are damaged"):
        writer.read(ALL, ALL, ALL)
    description = writer.path / ".unfinished.json"
    stored = json.loads(description.read_text())
    for change in ({"dtype": "float32"}, {"block": [0, 1, 1]}, {"levels": [[1]]}, {"units": ["m"]}):
        description.write_text(json.dumps(stored | change))
        with pytest.raises(OutputError, match="makes no sense"):
            open_labels(tmp_path / "out.zarr")
    description.write_text(json.dumps(stored | {"shape": "4"}))
    with pytest.raises(OutputError, match="shape is"):
        open_labels(tmp_path / "out.zarr")
