"""Large images from file to label map: as if read whole, interrupted or not, by any number of processes."""

from __future__ import annotations

import json
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from inference.blocks.divided import rows
from swin_umamba.errors import DataError, UsageError
from swin_umamba.inference import cluster
from swin_umamba.inference.blocks import job, large_image
from swin_umamba.inference.blocks.division import Block
from swin_umamba.inference.blocks.finished_blocks import FinishedBlocks
from swin_umamba.inference.blocks.job import BlockResult
from swin_umamba.inference.blocks.options import BlockOptions
from swin_umamba.inference.finished import hashes_of
from swin_umamba.inference.predictor import Predictor
from swin_umamba.inference.records import read_records
from swin_umamba.pseudonyms import Pseudonyms, in_use

MakeModel = Callable[..., Path]
HEIGHT, WIDTH = 150, 97


@pytest.fixture
def predictor(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(large_image, "CHUNK", 16)
    folder = make_model(channels=("red", "green", "blue"), patch_size=(32, 32))
    return Predictor.from_folder(folder, device="cpu", mirroring=False, step_size=1.0)


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, np.ndarray]:
    image = np.random.default_rng(0).integers(1, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "images" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64))
    return path, image


def labels_of(folder: Path) -> np.ndarray:
    return np.asarray(tifffile.imread(folder / "a.tif", key=0))


def test_the_labels_are_those_of_the_image_read_whole(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, image = picture
    expected = predictor.predict(image).labels
    (result,) = predictor.predict_folder(path.parent, tmp_path / "out", blocks=True)
    assert result.error is None
    assert result.status == "written"
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), expected)
    (again,) = predictor.predict_folder(path.parent, tmp_path / "out", blocks=True)
    assert again.status == "kept"
    record = json.loads((tmp_path / "out" / "blocks" / "a.tif" / "job.json").read_text())
    assert record["statistics"] == "image"
    assert record["mean"] == pytest.approx(list(image.mean((0, 1))), rel=1e-12)


def test_a_region_has_the_labels_of_the_whole(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, image = picture
    expected = predictor.predict(image).labels[30:100, 7:90]
    (result,) = predictor.predict_folder(path, tmp_path / "out", roi="30:100,7:90")
    assert result.error is None
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), expected)


@pytest.mark.usefixtures("in_rows")
def test_an_interrupted_run_goes_on(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = picture
    expected = predictor.predict(image).labels
    run, ran = job.BlockWorker.run, []

    def counted(self: Any, block: Block, *more: Any) -> BlockResult:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(block.number)
        return run(self, block, *more)

    with monkeypatch.context() as patch:
        patch.setattr(job.BlockWorker, "run", counted)
        with pytest.raises(KeyboardInterrupt):
            predictor.predict_folder(path, tmp_path / "out", blocks=True)
    assert not (tmp_path / "out" / "a.tif").exists()
    damage_first_block(tmp_path / "out")
    later = count_blocks(monkeypatch)
    (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True)
    assert result.error is None
    assert later == [0, 2, 3, 4]
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), expected)


def test_pseudonyms_hide_the_name(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path = picture[0].rename(picture[0].with_name("John_Doe.tif"))
    out = tmp_path / "out"
    with in_use(Pseudonyms(b"k" * 32)):
        for label_format in ("tiff", "zarr"):
            folder = out / label_format
            (result,) = predictor.predict_folder(path, folder, blocks=True, label_format=label_format)
            assert result.error is None
    files = [file for file in out.rglob("*") if file.is_file()]
    assert len(files) > 4
    for file in files:
        assert "Doe" not in str(file.relative_to(out))
        assert b"Doe" not in file.read_bytes()


@pytest.fixture
def in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide the picture into five blocks."""
    monkeypatch.setattr(large_image, "blocks_of", rows)


def damage_first_block(folder: Path) -> None:
    path = folder / "blocks" / "a.tif" / "000000.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "digest": "0" * 64}))


@pytest.mark.usefixtures("in_rows")
def test_a_block_that_fails_costs_no_other(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = picture
    run = job.BlockWorker.run

    def failing(self: Any, block: Block, *more: Any) -> BlockResult:
        if block.number == 1:
            raise DataError("a damaged chunk", where=path)
        return run(self, block, *more)

    with monkeypatch.context() as patch:
        patch.setattr(job.BlockWorker, "run", failing)
        (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True)
    assert result.error is not None
    assert "1 of 5 blocks" in result.error.what
    (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True)
    assert result.error is None
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), predictor.predict(image).labels)


@pytest.mark.usefixtures("in_rows")
@pytest.mark.parametrize("label_format", ["tiff", "zarr"])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_predict_their_blocks(
    predictor: Predictor,
    picture: tuple[Path, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    label_format: str,
    order: tuple[int, int, int],
) -> None:
    path, _ = picture
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options: dict[str, Any] = {"blocks": True, "label_format": label_format}
    predictor.predict_folder(path, whole, **options)
    ran = count_blocks(monkeypatch)
    statuses = []
    for number in order:
        (result,) = predictor.predict_folder(path, parts, part=f"{number}/3", **options)
        assert result.error is None
        statuses.append(result.status)
    assert statuses == ["begun", "begun", "written"]
    assert "damaged" not in caplog.text
    assert ran == [block for number in order for block in range(5)[number - 1 :: 3]]
    (name,) = (each.name for each in whole.iterdir() if each.name.startswith("a."))
    assert hashes_of([whole / name]) == hashes_of([parts / name])
    assert list(read_records(parts)) == ["a"]
    (result,) = predictor.predict_folder(path, parts, part="1/3", **options)
    assert result.status == "kept"
    (result,) = predictor.predict_folder(path, parts, part="2/3", overwrite=True, **options)
    assert "does not replace" in str(result.error)


@pytest.mark.usefixtures("in_rows")
def test_blocks_of_a_lost_part_are_made_up_for(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = picture
    out = tmp_path / "out"
    (result,) = predictor.predict_folder(path, out, blocks=True, merge=True)
    assert "this case has not been predicted" in str(result.error)
    predictor.predict_folder(path, out, blocks=True, part="1/2")
    (result,) = predictor.predict_folder(path, out, blocks=True, merge=True)
    assert "2 of 5 blocks have not been predicted" in str(result.error)
    with monkeypatch.context() as patch:  # the second part ends right after its last block
        patch.setattr(FinishedBlocks, "have_records", lambda *_: False)
        (result,) = predictor.predict_folder(path, out, blocks=True, part="2/2")
        assert result.status == "begun"
    assert not (out / "a.tif").exists()
    (result,) = predictor.predict_folder(path, out, blocks=True, merge=True)
    assert result.status == "written"
    np.testing.assert_array_equal(labels_of(out), predictor.predict(image).labels)
    assert sorted(each.name for each in out.iterdir()) == ["a.tif", "blocks", "predictions.jsonl"]
    (result,) = predictor.predict_folder(path, out, blocks=True, merge=True)
    assert result.status == "kept"


@pytest.mark.usefixtures("in_rows")
def test_any_run_goes_on_with_what_a_part_has_begun(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = picture
    out = tmp_path / "out"
    predictor.predict_folder(path, out, blocks=True, part="2/3")
    ran = count_blocks(monkeypatch)
    (result,) = predictor.predict_folder(path, out, blocks=True)
    assert ran == [0, 2, 3]
    assert result.status == "written"
    np.testing.assert_array_equal(labels_of(out), predictor.predict(image).labels)


def count_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of each block that is predicted."""
    run, ran = job.BlockWorker.run, []

    def counted(self: Any, block: Block, *more: Any) -> BlockResult:
        ran.append(block.number)
        return run(self, block, *more)

    monkeypatch.setattr(job.BlockWorker, "run", counted)
    return ran


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", [None, "local"])
@pytest.mark.usefixtures("in_rows")
def test_processes_give_the_same_labels(
    scheduler: str | None, predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, image = picture
    out = tmp_path / "out"
    (result,) = predictor.predict_folder(path, out, blocks=True, workers=2, scheduler=scheduler)
    assert result.error is None
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), predictor.predict(image).labels)


@pytest.mark.slow
@pytest.mark.usefixtures("in_rows")
def test_processes_that_are_killed_cost_nothing_but_time(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = picture
    add, killed = FinishedBlocks.add, []

    def add_and_kill(self: FinishedBlocks, result: BlockResult) -> None:
        add(self, result)
        children = multiprocessing.active_children()
        if len(killed) < 3 and children:
            victim = children[result.number % len(children)]
            victim.kill()
            killed.append(victim.pid)

    monkeypatch.setattr(FinishedBlocks, "add", add_and_kill)
    (result,) = predictor.predict_folder(path, tmp_path / "out", blocks=True, workers=2)
    assert result.error is None
    assert len(killed) == 3
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), predictor.predict(image).labels)


def test_a_scheduler_that_is_not_there_is_said(
    predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    (result,) = predictor.predict_folder(picture[0], tmp_path / "out", blocks=True, scheduler=address)
    assert result.error is not None
    assert "no scheduler answers" in str(result.error)


@pytest.mark.parametrize("scheduler", ["10.0.0.1:8786", "tcp://host", "http://host:1", "local "])
def test_an_address_that_is_none_is_refused(scheduler: str) -> None:
    with pytest.raises(UsageError, match="scheduler"):
        BlockOptions(scheduler=scheduler)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"confidence": True}, "--confidence"),
        ({"roi": "0:10,90:98"}, "not in the image"),
        ({"level": 3}, "no level 3"),
    ],
)
def test_what_is_not_possible_is_said(
    options: dict[str, Any], what: str, predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    (result,) = predictor.predict_folder(picture[0], tmp_path / "out", blocks=True, **options)
    assert result.error is not None
    assert what in str(result.error)
    assert not (tmp_path / "out" / "a.tif").exists()


@pytest.mark.parametrize("roi", ["1:2", "a", "0:1,0:1,0:1,0:1", "-1:4,0:3"])
def test_a_region_that_is_none_is_refused(
    roi: str, predictor: Predictor, picture: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="region"):
        predictor.predict_folder(picture[0], tmp_path / "out", roi=roi)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
