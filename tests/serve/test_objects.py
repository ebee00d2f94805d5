"""The objects of an upload: the same as those of ``predict``, and shown in one colour each."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from serve.client_files import nifti, png
from serve.serving import client_of, finished
from swin_umamba.data.image_io import read_labels
from swin_umamba.inference import stages
from swin_umamba.inference.predictor import Predictor
from swin_umamba.report.layers import outline_path
from swin_umamba.report.objects import told_apart
from swin_umamba.report.palette import class_colour
from swin_umamba.serve import objects
from swin_umamba.serve.service import Service
from trained.model_folder import make_model_folder

CELLS = {"background": 0, "interior": 1, "boundary": 2}
FORMULA = "=cmd 1.png"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = make_model_folder(tmp_path_factory.mktemp("cells"), labels=CELLS, file_ending=".nii.gz")
    return Predictor.from_folder(folder, device="cpu", mirroring=False)


@pytest.fixture
def of_cells(start: Callable[..., Service], cells: Predictor) -> TestClient:
    return client_of(start(cells))


@pytest.fixture
def content() -> bytes:
    """A PNG of 63 x 65 pixels in blocks, in which the model sees cells."""
    blocks = np.random.default_rng(0).integers(0, 255, (8, 9))
    return png(np.kron(blocks, np.ones((8, 8)))[:63, :65].astype(np.uint8))


def result_of(client: TestClient, name: str, content: bytes, query: str = "") -> tuple[str, dict[str, Any]]:
    """Segment a file; return the address of the job and its result."""
    job = finished(client, client.post(f"/api/jobs{query}", files={"file": (name, content)}).json())
    assert job["state"] == "done", job
    return f"/api/jobs/{job['id']}", job["result"]


def test_objects_are_those_of_predict(
    of_cells: TestClient, cells: Predictor, content: bytes, tmp_path: Path
) -> None:
    assert of_cells.get("/api/model").json()["objects"] == "found"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / FORMULA).write_bytes(content)
    cells.predict_folder(tmp_path / "in", tmp_path / "out", instances=True, objects=["geojson"])
    address, result = result_of(of_cells, FORMULA, content)
    rows = list(csv.DictReader((tmp_path / "out/objects.csv").open(encoding="utf-8", newline="")))
    assert result["objects"] == {
        "count": len(rows),
        "instances": "cmd_1_instances.tif",
        "table": "cmd_1_objects.csv",
        "outlines": "cmd_1_objects.geojson",
    }
    assert len(rows) > 1
    assert {each["name"]: each["objects"] for each in result["classes"]} == {
        "interior": len(rows),
        "boundary": None,
    }
    expected = {
        "objects.csv": ("text/csv; charset=utf-8", tmp_path / "out/objects.csv"),
        "objects.geojson": ("application/geo+json", tmp_path / "out/objects/=cmd 1.geojson"),
        "instances": ("application/octet-stream", tmp_path / "out/instances/=cmd 1.tif"),
    }
    for kind, (media, path) in expected.items():
        answer = of_cells.get(f"{address}/{kind}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-type"] == media
        name = f"cmd_1_{kind}{'.tif' if kind == 'instances' else ''}"
        assert f'filename="{name}"' in answer.headers["content-disposition"]
        at_once = of_cells.post(f"/api/predict?answer={kind}", files={"file": (FORMULA, content)})
        assert at_once.content == answer.content
    assert rows[0]["case"] == "'=cmd 1"
    labels = of_cells.post("/api/predict", files={"file": (FORMULA, content)}).content
    assert labels == of_cells.get(f"{address}/labels").content


def test_a_slice_has_one_colour_an_object(of_cells: TestClient, content: bytes, tmp_path: Path) -> None:
    address, _ = result_of(of_cells, "a.png", content)
    (tmp_path / "a.tif").write_bytes(of_cells.get(f"{address}/instances").content)
    instances = read_labels(tmp_path / "a.tif").data[0]
    answer = of_cells.get(f"{address}/slices/0?show=objects").json()
    assert answer["objects"]["outline"] == outline_path(instances)
    data = answer["objects"]["fill"].partition(",")[2]
    shown = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))))
    assert (shown[instances == 0, 3] == 0).all()
    values = told_apart(instances)
    for number in range(1, instances.max() + 1):
        colour = class_colour(int(values[instances == number][0]))
        assert np.unique(shown[instances == number], axis=0).tolist() == [[*colour, 255]]
    assert answer["layers"] == []
    classes = of_cells.get(f"{address}/slices/0").json()
    assert classes["objects"] is None
    assert {layer["value"] for layer in classes["layers"]} <= {1, 2}


def test_other_models_are_asked(client: TestClient, picture: np.ndarray, predictor: Predictor) -> None:
    assert client.get("/api/model").json()["objects"] == "on request"
    address, result = result_of(client, "a.png", png(picture))
    assert result["objects"] is None
    assert [each["objects"] for each in result["classes"]] == [None, None]
    assert client.get(f"{address}/slices/0").json()["objects"] is None
    refused = client.get(f"{address}/slices/0?show=objects")
    assert refused.status_code == 404
    assert "?instances=1" in refused.json()["error"]["hint"]
    for kind in ("instances", "objects.csv", "objects.geojson"):
        answer = client.get(f"{address}/{kind}")
        assert answer.status_code == 404
        assert "?instances=1" in answer.json()["error"]["hint"]
    address, result = result_of(client, "a.png", png(picture), "?instances=1")
    table = predictor.predict(picture, instances=True).objects
    assert table is not None
    assert result["objects"]["count"] == len(table)
    assert [each["objects"] for each in result["classes"]] == [
        int((table.label == value).sum()) for value in (1, 2)
    ]


def test_too_many_objects_are_refused(
    of_cells: TestClient, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, result = result_of(of_cells, "a.png", content)
    count = result["objects"]["count"]
    monkeypatch.setattr(objects, "MOST_OBJECTS", count)
    assert result_of(of_cells, "a.png", content)[1]["objects"]["count"] == count
    monkeypatch.setattr(objects, "MOST_OBJECTS", count - 1)
    answer = of_cells.post("/api/predict?answer=instances", files={"file": ("a.png", content)})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert f"{count} objects" in error["what"]
    assert error["where"] == "a.png"
    assert of_cells.post("/api/predict", files={"file": ("a.png", content)}).status_code == 200


def test_cells_can_be_left_alone(of_cells: TestClient, content: bytes) -> None:
    _, result = result_of(of_cells, "a.png", content, "?instances=0")
    assert result["objects"] is None


def test_objects_of_a_volume(of_cells: TestClient, tmp_path: Path) -> None:
    volume = np.random.default_rng(1).normal(size=(3, 33, 41)).astype(np.float32)
    volume = volume.cumsum(axis=2)
    address, result = result_of(of_cells, "v.nii.gz", nifti(volume, (0.5, 0.5, 2.0)))
    assert result["objects"]["instances"] == "v_instances.nii.gz"
    assert result["objects"]["outlines"] is None
    (tmp_path / "v.nii.gz").write_bytes(of_cells.get(f"{address}/instances").content)
    instances = read_labels(tmp_path / "v.nii.gz").data[0]
    assert instances.shape == (3, 33, 41)
    assert result["objects"]["count"] == instances.max() > 0
    rows = list(csv.DictReader(io.StringIO(of_cells.get(f"{address}/objects.csv").text)))
    assert float(rows[0]["volume_um3"]) == pytest.approx(float(rows[0]["volume_voxels"]) * 0.5e9)
    outlines = of_cells.get(f"{address}/objects.geojson")
    assert outlines.status_code == 404
    assert "pictures" in outlines.json()["error"]["hint"]
    slices = [of_cells.get(f"{address}/slices/{index}?show=objects").json()["objects"] for index in range(3)]
    assert [each["outline"] for each in slices] == [outline_path(each[::-1, ::-1]) for each in instances]


def test_overlapping_classes_have_no_objects(start: Callable[..., Service], tmp_path: Path) -> None:
    folder = make_model_folder(
        tmp_path, labels={"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=(2, 1)
    )
    client = client_of(start(Predictor.from_folder(folder, device="cpu", mirroring=False)))
    assert client.get("/api/model").json()["objects"] == "none"
    assert 'id="instances"' not in client.get("/").text
    upload = {"file": ("a.png", png(np.zeros((20, 20), np.uint8)))}
    for path in ("/api/jobs?instances=1", "/api/predict?answer=objects.csv"):
        answer = client.post(path, files=upload)
        assert answer.status_code == 400
        assert "regions" in answer.json()["error"]["what"]
    assert client.post("/api/predict", files=upload).status_code == 200


@pytest.mark.parametrize("query", ["jobs?instances=maybe", "predict?answer=all", "predict?answer=../labels"])
def test_other_values_are_refused(query: str, client: TestClient) -> None:
    answer = client.post(f"/api/{query}", files={"file": ("a.png", png(np.zeros((9, 9), np.uint8)))})
    assert answer.status_code == 422
    assert answer.json()["error"]["hint"] == "see /openapi.json"


def test_an_image_without_objects(
    of_cells: TestClient, cells: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_on_the_grid", _empty)
    address, result = result_of(of_cells, "a.png", png(np.zeros((40, 50), np.uint8)))
    assert result["objects"]["count"] == 0
    assert len(of_cells.get(f"{address}/objects.csv").text.splitlines()) == 1
    assert json.loads(of_cells.get(f"{address}/objects.geojson").content)["features"] == []
    assert of_cells.get(f"{address}/slices/0?show=objects").json()["objects"]["outline"] == ""


def _empty(predictor: Any, passed: Any, *_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
    shape = passed.volume.data.shape[2:]
    background = np.stack([np.ones(shape), *np.zeros((2, *shape))]).astype(np.float32)
    return np.zeros(shape, np.uint8), background, 1 - background[0], None


def test_all_of_it_counts_as_the_result(
    start: Callable[..., Service], cells: Predictor, content: bytes
) -> None:
    service = start(cells)
    client = client_of(service)
    sizes = []
    for query in ("?instances=0", "?instances=1"):
        address, _ = result_of(client, "a.png", content, query)
        job = service.queue.get(re.sub(".*/", "", address))
        files = [file for file in job.upload.folder.rglob("*") if file.is_file()]
        assert job.size == sum(file.stat().st_size for file in files)
        sizes.append(job.size)
    assert sizes[1] > sizes[0] + 2 * 63 * 65
