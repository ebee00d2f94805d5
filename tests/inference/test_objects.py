"""The objects of predictions, and their files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from scipy import ndimage

from inference.conftest import CELLS
from swin_umamba.cli.main import main
from swin_umamba.data.image_io import Image, read_labels
from swin_umamba.data.instance_labels import instances_to_classes
from swin_umamba.data.object_masks.reading import read_objects
from swin_umamba.errors import UsageError
from swin_umamba.inference.decoding_fit import DecodingFit, decoding_fit
from swin_umamba.inference.options import ObjectOptions
from swin_umamba.inference.predictor import Predictor
from swin_umamba.instances.decoding import Decoding, ObjectClasses
from swin_umamba.report.objects import told_apart
from swin_umamba.report.palette import class_colour
from swin_umamba.trained.calibration_file import FoldCalibration, write_calibration

MakeModel = Callable[..., Path]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in "ab":
        pixels = np.kron(generator.integers(0, 255, (6, 8)), np.ones((8, 8))).astype(np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_array_has_objects(cells: Predictor) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.float32)
    found = cells.predict(image, probabilities=True, instances=ObjectOptions(min_size=3))
    assert found.instances is not None
    assert found.objects is not None
    assert found.probabilities is not None
    expected, _ = ObjectClasses({1: "object"}, 2).decode(found.labels, Decoding(), min_size=3)
    np.testing.assert_array_equal(found.instances, expected)
    assert len(found.objects) == expected.max() > 0
    assert set(found.objects.class_name) == {"object"}
    inside = found.instances == 1
    np.testing.assert_allclose(found.objects.mean[0, 0], image[inside].mean(), rtol=1e-6)
    np.testing.assert_allclose(
        found.objects.probability[0], 1 - found.probabilities[0][inside].mean(), rtol=1e-5
    )
    assert np.isnan(found.objects.size_um).all()
    sized = cells.predict(image, spacing=(0.001, 0.002), instances=True).objects
    assert sized is not None
    np.testing.assert_allclose(sized.size_um, sized.pixels * 2)
    assert cells.predict(image).instances is None


def test_a_folder_of_objects(cells: Predictor, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cells.predict_folder(images, out, objects=("geojson", "rois"), min_size=3)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "a.png",
        "b.png",
        "instances/a.tif",
        "instances/b.tif",
        "objects.csv",
        "objects/a.csv",
        "objects/a.geojson",
        "objects/a.zip",
        "objects/b.csv",
        "objects/b.geojson",
        "objects/b.zip",
        "predictions.jsonl",
    ]
    rows = rows_of(out / "objects.csv")
    for case in "ab":
        instances = read_labels(out / "instances" / f"{case}.tif").data[0]
        own = [row for row in rows if row["case"] == case]
        assert [int(row["object"]) for row in own] == list(range(1, instances.max() + 1))
        assert [int(row["area_px"]) for row in own] == np.bincount(instances.ravel())[1:].tolist()
        assert {row["area_um2"] for row in own} == {""}
        image = Image.without_geometry(instances[None], Path("a.png"))
        for suffix in ("geojson", "zip"):
            drawn = read_objects(out / "objects" / f"{case}.{suffix}", image)
            np.testing.assert_array_equal(drawn.instances, instances)


def test_previews_show_objects_also_of_kept_results(cells: Predictor, images: Path, tmp_path: Path) -> None:
    cells.predict_folder(images, tmp_path, instances=True, min_size=3, preview=True)
    drawn = tmp_path / "previews" / "a.png"
    colours = np.unique(np.asarray(PillowImage.open(drawn)).reshape(-1, 3), axis=0)
    instances = read_labels(tmp_path / "instances" / "a.tif").data[0]
    values = np.unique(told_apart(instances)[instances > 0]).tolist()
    assert len(values) > 1
    assert {class_colour(value) for value in values} <= set(map(tuple, colours.tolist()))
    content = drawn.read_bytes()
    drawn.unlink()
    cells.predict_folder(images, tmp_path, instances=True, min_size=3, preview=True)
    assert drawn.read_bytes() == content


def test_finished_objects_are_kept_until_they_are_wanted_in_another_way(
    cells: Predictor, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def statuses(**options: Any) -> list[str]:
        return [each.status for each in cells.predict_folder(images, out, **options)]

    assert statuses() == ["written", "written"]
    assert statuses(instances=True, min_size=3) == ["written", "written"]
    before = rows_of(out / "objects.csv")
    assert statuses(instances=True, min_size=3) == ["kept", "kept"]
    assert rows_of(out / "objects.csv") == before
    assert statuses() == ["kept", "kept"]
    (out / "instances" / "a.tif").unlink()
    assert statuses(instances=True, min_size=3) == ["written", "kept"]
    assert statuses(instances=True, min_size=20) == ["written", "written"]
    assert len(rows_of(out / "objects.csv")) < len(before)


def test_pixel_sizes_lead_to_areas(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=CELLS, file_ending=".tif")
    pixels = np.kron(np.random.default_rng(0).integers(0, 255, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, resolution=(4e4, 4e4), resolutionunit="CENTIMETER", compression="zlib"
    )
    command = ["predict", "-m", str(model), "-i", str(tmp_path / "a.tif"), "-o", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu", "--no-mirroring", "--instances", "--min-size", "3"]) == 0
    rows = rows_of(tmp_path / "out" / "objects.csv")
    assert [float(row["area_um2"]) for row in rows] == [
        pytest.approx(int(row["area_px"]) / 16) for row in rows
    ]
    assert read_labels(tmp_path / "out" / "instances" / "a.tif").spacing == pytest.approx((2.5e-4, 2.5e-4))


def test_models_of_regions_are_refused_before_any_work(
    make_model: MakeModel, images: Path, tmp_path: Path
) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    model = make_model(labels=labels, regions_class_order=(1, 2))
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False)
    with pytest.raises(UsageError, match="regions"):
        predictor.predict_folder(images, tmp_path / "out", instances=True)
    assert not (tmp_path / "out").exists()


def test_a_calibrated_decoding_is_used(model: Path, images: Path, tmp_path: Path) -> None:
    plain = Predictor.from_folder(model, device="cpu", mirroring=False)
    write_calibration(
        model / "fold_0" / "checkpoint_final.pth",
        plain.model.parameters[0],
        FoldCalibration(1.5, None, Decoding(4, 0)),
        {},
    )
    fitted = Predictor.from_folder(model, device="cpu", mirroring=False)
    assert fitted.model.decoding == Decoding(4, 0)
    image = images / "a.png"
    found = fitted.predict(image, instances=ObjectOptions(min_size=3))
    expected, _ = ObjectClasses({1: "object"}, 2).decode(found.labels, Decoding(4, 0), min_size=3)
    np.testing.assert_array_equal(found.instances, expected)
    uncut = fitted.predict(image, instances=ObjectOptions(min_size=3, split_distance=0)).instances
    expected, _ = ObjectClasses({1: "object"}, 2).decode(found.labels, Decoding(None, 0), min_size=3)
    np.testing.assert_array_equal(uncut, expected)


@pytest.mark.parametrize("decoding", [{"split_distance": 3}, {"split_distance": True, "outer_rim": 1}, 7,
                                      {"split_distance": 0, "outer_rim": 1}])  # fmt: skip
def test_a_damaged_decoding(decoding: Any) -> None:
    with pytest.raises(ValueError, match=r"split|decoding"):
        FoldCalibration.from_stored({"temperature": 1.0, "quality_exponent": None, "decoding": decoding})


def pairs(count: int) -> np.ndarray:
    """Pairs of discs that overlap, parted in the middle."""
    truth = np.zeros((24 * count, 64), np.int64)
    y, x = np.mgrid[: len(truth), :64]
    for row in range(count):
        for side, centre in enumerate((20, 37)):
            disc = (y - 24 * row - 12) ** 2 + (x - centre) ** 2 < 100
            truth[disc & ((x > 28) == side)] = 2 * row + side + 1
    return truth


def test_the_best_decoding_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the boundary between two objects is lost, they have to be cut; else nothing is changed."""
    (tmp_path / "instancesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    truth = pairs(3)
    tifffile.imwrite(tmp_path / "instancesTr" / "a.tif", truth.astype(np.uint16))
    labels = instances_to_classes(truth)
    fit = decoding_fit(CELLS, tmp_path / "labelsTr", None)
    assert isinstance(fit, DecodingFit)
    fit.add("a", labels)
    fit.add("unknown", labels)
    best = fit.scores()[0]
    assert best.is_default
    assert best.f1 == 1
    assert "case unknown has no map" in caplog.text
    assert "on 1 cases" in caplog.text
    labels = np.where(labels == 2, labels * ndimage.binary_dilation(truth == 0), truth > 0).astype(np.uint8)
    labels[(labels == 0) & (truth > 0)] = 1
    fit = decoding_fit(CELLS, tmp_path / "labelsTr", None)
    assert fit is not None
    fit.add("a", labels)
    best, *others = fit.scores()
    assert best.decoding.split_distance is not None
    assert best.f1 == 1
    assert next(each for each in others if each.is_default).f1 < 0.5


def test_when_there_is_no_decoding_to_find(tmp_path: Path) -> None:
    (tmp_path / "instancesTr").mkdir()
    assert decoding_fit({"background": 0, "liver": 1}, tmp_path / "labelsTr", None) is None
    assert decoding_fit(CELLS, tmp_path / "elsewhere", None) is None
    regions = {"background": 0, "whole": [1, 2]}
    assert decoding_fit(regions, tmp_path / "labelsTr", None) is None
    with pytest.raises(UsageError, match="regions"):
        decoding_fit(regions, tmp_path / "labelsTr", tmp_path / "instancesTr")


def test_calibrate_finds_the_decoding(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, dtype in (("labels", np.uint8), ("instances", np.uint16)):
        (tmp_path / name).mkdir()
        for case in "ab":
            truth = np.zeros((48, 64), dtype)
            truth[4:20, 4:20], truth[24:40, 24:60] = 1, 1 if name == "labels" else 2
            tifffile.imwrite(tmp_path / name / f"{case}.tif", truth)
    command = ["calibrate", "-m", str(model), "--device", "cpu", "--images", str(images), "--json"]
    command += ["--references", str(tmp_path / "labels"), "--instances", str(tmp_path / "instances")]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["folds"]["fold_0"]
    assert len(found["decodings"]) == 14
    assert found["decoding"] == {key: found["decodings"][0][key] for key in ("split_distance", "outer_rim")}
    stored = json.loads((model / "fold_0" / "calibration.json").read_text())
    assert stored["decoding"] == found["decoding"]
    assert stored["decodings"] == found["decodings"]
