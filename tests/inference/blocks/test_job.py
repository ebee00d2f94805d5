"""Labels of blocks are those of the whole image, however it is divided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.blocks.labels_in_memory import LabelsInMemory
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference.blocks import job, statistics
from swin_umamba.inference.blocks.division import Block, blocks_of
from swin_umamba.inference.blocks.job import BlockJob, BlockWorker, digest_of
from swin_umamba.inference.blocks.statistics import Basis, statistics_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.regions.source import ArraySource
from swin_umamba.trained import intensities

MakeModel = Callable[..., Path]
COLOURS = ("red", "green", "blue")
CELL = 64


@pytest.fixture
def predictor(make_model: MakeModel) -> Predictor:
    folder = make_model(channels=COLOURS, patch_size=(32, 32))
    return Predictor.from_folder(folder, device="cpu", mirroring=False)


def picture(height: int, width: int, dtype: type = np.uint8, channels: int = 3, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(1, 200, (channels, -(-height // 8), -(-width // 8)))
    smooth = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return (smooth + generator.integers(0, 50, smooth.shape)).astype(dtype)


def predicted(
    predictor: Predictor,
    image: np.ndarray,
    blocks: list[Block] | None = None,
    *,
    basis: Basis = "image",
    only_tissue: bool = False,
) -> LabelsInMemory:
    source = ArraySource(image)
    _, *shape = source.shape
    writer = LabelsInMemory((shape[0], shape[1], shape[2]))
    found = statistics_of(source, basis, find_tissue=only_tissue)
    worker = BlockWorker(predictor, BlockJob(source, writer, found, only_tissue=only_tissue))
    if blocks is None:
        blocks = [Block(0, (0, shape[0]), (0, shape[1]), (0, shape[2]))]
    for block in blocks:
        result = worker.run(block)
        assert result.digest == digest_of(writer.read(*block.region))
    assert (writer.times == 1).all()
    return writer


def checkerboard(height: int, width: int, rows: int, columns: int) -> list[Block]:
    corners = [(y, x) for y in range(0, height, rows) for x in range(0, width, columns)]
    return [
        Block(number, (0, 1), (y, min(y + rows, height)), (x, min(x + columns, width)))
        for number, (y, x) in enumerate(corners)
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("height", "width"), [(101, 75), (33, 20)])
def test_labels_are_those_of_the_whole(predictor: Predictor, height: int, width: int, dtype: type) -> None:
    image = picture(height, width, dtype)
    expected = predictor.predict(image).labels
    assert len(np.unique(expected)) > 1
    for rows, columns in ((32, 128), (48, 32)):
        found = predicted(predictor, image, checkerboard(height, width, rows, columns))
        np.testing.assert_array_equal(found.labels[0], expected)


def test_zeros_around_the_image_are_background_and_do_not_count(predictor: Predictor) -> None:
    image = np.zeros((3, 130, 97), np.uint8)
    image[:, 21:90, 11:85] = picture(69, 74)
    expected = predictor.predict(image).labels
    found = predicted(predictor, image, checkerboard(130, 97, 32, 48))
    np.testing.assert_array_equal(found.labels[0], expected)
    assert not found.labels[0, :21].any()


def test_an_image_of_zeros(predictor: Predictor) -> None:
    image = np.zeros((3, 50, 40), np.uint8)
    found = predicted(predictor, image, checkerboard(50, 40, 16, 16))
    np.testing.assert_array_equal(found.labels[0], predictor.predict(image).labels)


def test_a_grey_image_for_a_colour_model(predictor: Predictor) -> None:
    image = picture(70, 64, channels=1)
    found = predicted(predictor, image, checkerboard(70, 64, 32, 32))
    np.testing.assert_array_equal(found.labels[0], predictor.predict(image).labels)


def test_a_part_of_the_image_has_the_labels_of_the_whole(predictor: Predictor) -> None:
    image = picture(101, 75)
    source = ArraySource(image)
    writer = LabelsInMemory((1, 48, 35))
    part = BlockJob(source, writer, statistics_of(source, "image"), origin=(0, 37, 21))
    BlockWorker(predictor, part).run(Block(0, (0, 1), (0, 48), (0, 35)))
    np.testing.assert_array_equal(writer.labels[0], predictor.predict(image).labels[37:85, 21:56])


def test_volumes_of_slices(make_model: MakeModel) -> None:
    generator = np.random.default_rng(1)
    image = generator.normal(100, 20, (1, 9, 40, 50)).astype(np.float32)
    flat = Predictor.from_folder(make_model(channels=("MR",), patch_size=(32, 32)), device="cpu")
    expected = flat.predict(image, spacing=flat.plans.own_spacing(False)).labels
    source = ArraySource(image)
    for thickness in (1, 4, 9):
        writer = LabelsInMemory((9, 40, 50))
        worker = BlockWorker(flat, BlockJob(source, writer, statistics_of(source, "image")))
        for number, first in enumerate(range(0, 9, thickness)):
            worker.run(Block(number, (first, min(first + thickness, 9)), (0, 40), (0, 50)))
        np.testing.assert_array_equal(writer.labels, expected)


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (intensities, statistics, job):
        monkeypatch.setattr(module, "CELL", CELL)


@pytest.mark.usefixtures("small_cells")
def test_tissue_changes_only_pixels_without_tissue(predictor: Predictor) -> None:
    height, width = 2 * CELL + 40, CELL + 30
    image = np.full((3, height, width), 240, np.uint8)
    image[:, CELL - 10 : CELL + 20, :40] = picture(30, 40)
    every = predicted(predictor, image, basis="tissue")
    found = predicted(predictor, image, checkerboard(height, width, 48, 48), basis="tissue", only_tissue=True)
    tissue = np.zeros((height, width), bool)
    tissue[: 2 * CELL, :CELL] = True  # the cells with more than 5 % of tissue
    np.testing.assert_array_equal(found.labels[0], every.labels[0] * tissue)
    assert found.labels.any()


@pytest.mark.usefixtures("small_cells")
def test_the_statistics_of_tissue_are_those_of_its_cells() -> None:
    image = np.full((3, 2 * CELL, 2 * CELL), 240, np.uint8)
    image[:, CELL:, :CELL] = picture(CELL, CELL)
    found = statistics_of(ArraySource(image), "tissue")
    assert found.tissue is not None
    np.testing.assert_array_equal(found.tissue[0], [[False, False], [True, False]])
    assert found.background == 0.75
    for channel, values in zip(found.channels, image[:, CELL:, :CELL], strict=True):
        assert channel.mean == pytest.approx(values.mean(), rel=1e-12)
        assert channel.deviation == pytest.approx(values.std(), rel=1e-12)


def test_a_field_has_the_statistics_of_what_surrounds_a_tile(make_model: MakeModel) -> None:
    """Side by side, images of the trained size are segmented as each of them alone."""
    predictor = Predictor.from_folder(
        make_model(channels=COLOURS, patch_size=(32, 32)), device="cpu", mirroring=False, step_size=1.0
    )
    predictor.plans.configuration.configuration["median_image_size_in_voxels"] = [32, 32]
    images = [picture(32, 32, seed=seed) // (1 + seed) + 1 for seed in range(4)]
    mosaic = np.concatenate([np.concatenate(images[:2], axis=2), np.concatenate(images[2:], axis=2)], axis=1)
    expected = [predictor.predict(image).labels for image in images]
    found = predicted(predictor, mosaic, checkerboard(64, 64, 16, 64), basis="field").labels[0]
    np.testing.assert_array_equal(found, np.block([[expected[0], expected[1]], [expected[2], expected[3]]]))


def test_the_division_covers_everything_with_few_tiles_twice() -> None:
    size = (1, 16384, 16384)
    blocks = blocks_of(size, (1, 512, 512), (512, 512), 0.5, 12, 4)
    covered = sum((b.y[1] - b.y[0]) * (b.x[1] - b.x[0]) for b in blocks)
    assert covered == 16384**2
    rows = [range(max(b.y[0] // 256 - 1, 0), min(-(-b.y[1] // 256), 63)) for b in blocks if b.x[0] == 0]
    assert sum(map(len, rows)) <= 1.1 * 63


def test_what_needs_the_whole_image_is_refused(make_model: MakeModel, predictor: Predictor) -> None:
    with pytest.raises(DataError, match="channels"):
        predicted(predictor, picture(40, 40, channels=2))
    with pytest.raises(UsageError, match="8 or 16 bits"):
        statistics_of(ArraySource(picture(40, 40, np.float32)), "tissue")
    huge = np.full((3, 40, 40), 3e38, np.float32)
    huge[:, 3, 4:9] = -3e38
    with pytest.raises(DataError, match=r"overflows: its values reach 3e\+38"):
        predicted(predictor, huge)
    nan = picture(40, 40, np.float32)
    nan[1, 3, 4] = np.nan
    with pytest.raises(DataError, match="NaN"):
        predicted(predictor, nan)
