"""From an upload to its mask: the labels are the predictor's own, whatever the format."""

from __future__ import annotations

import base64
import io
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from conformance.dicom_files import Slice, write_series
from schemas import check_contract
from serve.client_files import nifti, png, tiff
from serve.serving import PATIENCE, PICTURE, Listening, client_of, finished
from swin_umamba.data.image_io import read_labels
from swin_umamba.inference.predictor import Predictor
from swin_umamba.report.layers import fill_path, outline_path
from swin_umamba.serve import api
from swin_umamba.serve.schema import SliceAnswer
from swin_umamba.serve.service import Service
from swin_umamba.serve.slices import slice_picture

VOLUME = np.random.default_rng(1).normal(size=(3, 20, 24)).astype(np.float32)


def mask_of(answer: object, folder: Path) -> np.ndarray:
    """Return the labels of an answer with a file."""
    name = re.search(r'filename="([^"]+)"', answer.headers["content-disposition"])[1]  # type: ignore
    (folder / name).write_bytes(answer.content)  # type: ignore[attr-defined]
    return read_labels(folder / name).data[0]


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.png", ".png"), ("a.tif", ".png"), ("a.nii.gz", ".nii.gz"), ("volume.nii.gz", ".nii.gz")],
)
def test_labels_are_the_predictors(
    name: str, ending: str, client: TestClient, predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    make: dict[str, Callable[[], bytes]] = {
        "a.png": lambda: png(picture),
        "a.tif": lambda: tiff(picture),
        "a.nii.gz": lambda: nifti(picture),
        "volume.nii.gz": lambda: nifti(VOLUME),
    }
    content = make[name]()
    (tmp_path / name).write_bytes(content)
    expected = predictor.predict(tmp_path / name).labels
    assert len(np.unique(expected)) > 1
    answer = client.post("/api/predict", files={"file": (name, content)})
    assert answer.status_code == 200
    stem = name.partition(".")[0]
    assert f'filename="{stem}_labels{ending}"' in answer.headers["content-disposition"]
    np.testing.assert_array_equal(mask_of(answer, tmp_path), expected)

    job = client.post("/api/jobs", files={"file": (name, content)})
    assert job.status_code == 202
    assert job.headers["location"] == f"/api/jobs/{job.json()['id']}"
    assert finished(client, job.json())["state"] == "done"
    again = client.get(f"/api/jobs/{job.json()['id']}/labels")
    assert again.content == answer.content


def test_a_volume_keeps_its_grid(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/api/predict", files={"file": ("v.nii.gz", nifti(VOLUME, (0.5, 0.7, 4.0)))})
    (tmp_path / "mask.nii.gz").write_bytes(answer.content)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == (24, 20, 3)
    np.testing.assert_allclose(np.diag(mask.affine), [0.5, 0.7, 4.0, 1.0], rtol=1e-6)


def test_one_file_for_each_channel(
    start: Callable[..., Service], predictor_of_two: Predictor, tmp_path: Path
) -> None:
    client = client_of(start(predictor_of_two))
    first, second = nifti(VOLUME), nifti(VOLUME[::-1] * 2)
    for name, content in (("a.nii.gz", first), ("b.nii.gz", second)):
        (tmp_path / name).write_bytes(content)
    expected = predictor_of_two.predict([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]).labels
    other = predictor_of_two.predict([tmp_path / "b.nii.gz", tmp_path / "a.nii.gz"]).labels
    assert (expected != other).any()
    files = [("file", ("x_0001.nii.gz", first)), ("file", ("x_0000.nii.gz", second))]
    answer = client.post("/api/predict", files=files)  # their order counts, not their names
    np.testing.assert_array_equal(mask_of(answer, tmp_path), expected)
    job = finished(client, client.post("/api/jobs", files=files).json())
    assert job["result"]["views"] == ["T1", "T2"]


def test_the_model_is_described(client: TestClient) -> None:
    model = client.get("/api/model").json()
    assert model["name"] == "Dataset999_Tiny 2d"
    assert model["channels"] == ["grey"]
    assert model["classes"] == [
        {"name": "small", "value": 1, "members": [1], "colour": "#e69f00"},
        {"name": "large", "value": 2, "members": [2], "colour": "#56b4e9"},
    ]
    assert model["limits"]["upload_bytes"] == 256 * 2**20
    assert ".nii.gz" in model["formats"]
    assert client.get("/api/health").json() == {"schema": 2, "status": "ok"}


def test_a_result_is_measured(client: TestClient, predictor: Predictor, tmp_path: Path) -> None:
    content = nifti(VOLUME, (0.5, 0.5, 4.0))
    (tmp_path / "v.nii.gz").write_bytes(content)
    labels = predictor.predict(tmp_path / "v.nii.gz").labels
    job = finished(client, client.post("/api/jobs", files={"file": ("v.nii.gz", content)}).json())
    result = job["result"]
    assert job["progress"] == 1
    assert (result["shape"], result["spacing"], result["slices"]) == ([3, 20, 24], [4.0, 0.5, 0.5], 3)
    assert (result["width"], result["plane"], result["edges"]) == (24, "axial", ["R", "L", "A", "P"])
    assert result["start"] == int(np.argmax((labels > 0).sum(axis=(1, 2))))
    for each in result["classes"]:
        voxels = int((labels == each["value"]).sum())
        assert each["voxels"] == voxels
        assert each["percent"] == pytest.approx(100 * voxels / labels.size)
        assert each["millilitres"] == pytest.approx(voxels / 1000)
    assert result["quality"] is None


def test_slices_show_picture_and_paths(client: TestClient, predictor: Predictor, tmp_path: Path) -> None:
    content = nifti(VOLUME, (0.5, 1.0, 4.0))
    (tmp_path / "v.nii.gz").write_bytes(content)
    labels = predictor.predict(tmp_path / "v.nii.gz").labels
    job = finished(client, client.post("/api/jobs", files={"file": ("v.nii.gz", content)}).json())
    answer = client.get(f"/api/jobs/{job['id']}/slices/2").json()
    assert (answer["index"], answer["width"], answer["height"], answer["aspect"]) == (2, 24, 20, 2.0)
    assert answer["uncertainty"] is None
    kind, _, data = answer["picture"].partition(",")
    assert kind == "data:image/webp;base64"
    shown = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))))[..., 0]
    low, high = np.percentile(VOLUME.astype(np.float64), (0.5, 99.5))
    expected = np.clip((VOLUME[2] - low) / (high - low), 0, 1)[::-1, ::-1] * 255  # as radiologists look
    assert np.abs(shown - expected).mean() < 12  # the contrast is the volume's, the picture's encoding lossy
    for layer in answer["layers"]:
        mask = labels[2, ::-1, ::-1] == layer["value"]
        assert layer["fill"] == fill_path(mask)
        assert layer["outline"] == outline_path(mask)
    assert {layer["value"] for layer in answer["layers"]} == set(np.unique(labels[2]).tolist()) - {0}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("slices/3", 404),
        ("slices/-1", 404),
        ("slices/0?view=1", 404),
        ("slices/0?view=-1", 404),
        ("slices/x", 422),
        ("slices/0?view=x", 422),
    ],
)
def test_slices_that_are_not_there(path: str, status: int, client: TestClient) -> None:
    job = finished(client, client.post("/api/jobs", files={"file": ("v.nii.gz", nifti(VOLUME))}).json())
    answer = client.get(f"/api/jobs/{job['id']}/{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["hint"]


def test_few_slices_are_drawn_at_the_same_time(
    service: Service, listen: Callable[[Service], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, most, lock, full = [], [], threading.Lock(), threading.Event()

    def drawing(*arguments: Any, **options: Any) -> SliceAnswer:
        with lock:
            drawn.append(1)
            most.append(len(drawn))
            if len(drawn) == api.SLICES_AT_ONCE:
                full.set()
        assert full.wait(PATIENCE)
        time.sleep(0.02)  # for one too many
        with lock:
            drawn.pop()
        return slice_picture(*arguments, **options)

    monkeypatch.setattr(api, "slice_picture", drawing)
    listening = listen(service)
    client = client_of(service)
    job = finished(client, client.post("/api/jobs", files={"file": ("a.png", PICTURE)}).json())

    def ask(_: int) -> int:
        connection = listening.connect()
        connection.request("GET", f"/api/jobs/{job['id']}/slices/0")
        return connection.getresponse().status

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(12))) == [200] * 12
    assert max(most) == api.SLICES_AT_ONCE


def test_colours_stay_colours(start: Callable[..., Service], tmp_path: Path) -> None:
    from trained.model_folder import make_model_folder

    folder = make_model_folder(tmp_path, channels=("R", "G", "B"))
    client = client_of(start(Predictor.from_folder(folder, device="cpu", mirroring=False)))
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[..., 0] = 200
    colours[:, 16:] = (0, 0, 255)
    job = finished(client, client.post("/api/jobs", files={"file": ("rgb.png", png(colours))}).json())
    assert job["result"]["views"] == ["colours"]
    assert job["result"]["spacing"] is None
    data = client.get(f"/api/jobs/{job['id']}/slices/0").json()["picture"].partition(",")[2]
    shown = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    assert np.abs(shown[5, 5] - [200, 0, 0]).max() < 20
    assert np.abs(shown[5, 28] - [0, 0, 255]).max() < 20
    # A grey picture is taken for the colours that convert would store.
    grey = client.post("/api/predict", files={"file": ("grey.png", png(colours[..., 0]))})
    same = client.post("/api/predict", files={"file": ("same.png", png(np.dstack([colours[..., 0]] * 3)))})
    np.testing.assert_array_equal(mask_of(grey, tmp_path), mask_of(same, tmp_path))
    job = finished(
        client, client.post("/api/jobs", files={"file": ("grey.png", png(colours[..., 0]))}).json()
    )
    assert job["result"]["views"] == ["colours"]


def test_confidence(start: Callable[..., Service], predictor: Predictor, picture: np.ndarray) -> None:
    client = client_of(start(predictor, confidence=True))
    assert client.get("/api/model").json()["confidence"] is True
    job = finished(client, client.post("/api/jobs", files={"file": ("a.png", png(picture))}).json())
    confidence = predictor.predict(picture, confidence=True).confidence
    assert confidence is not None
    result = job["result"]
    assert result["quality"] == pytest.approx(confidence.quality)
    qualities = {each["name"]: each["quality"] for each in result["classes"]}
    assert qualities == pytest.approx(dict(confidence.class_quality))
    assert result["calibrated"] is False
    assert result["quality_calibrated"] is False
    layer = client.get(f"/api/jobs/{job['id']}/slices/0").json()["uncertainty"].partition(",")[2]
    heat = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(layer))))
    assert heat.shape == (40, 48, 4)
    opacity = np.clip(np.round(255 * confidence.entropy) / 255 / 0.4, 0, 1) * 0.9 * 255
    np.testing.assert_allclose(heat[..., 3], opacity, atol=1)


def test_deleting_is_for_good(client: TestClient, picture: np.ndarray) -> None:
    job = finished(client, client.post("/api/jobs", files={"file": ("a.png", png(picture))}).json())
    path = f"/api/jobs/{job['id']}"
    assert client.delete(path).status_code == 204
    for answer in (client.get(path), client.delete(path), client.get(f"{path}/labels")):
        assert answer.status_code == 404
        assert "no such image" in answer.json()["error"]["what"]


@pytest.mark.parametrize(
    "path", ["unknown", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "a" * 5000, "%C3%A9"]
)
def test_unknown_ids(path: str, client: TestClient) -> None:
    for tail in ("", "/labels", "/slices/0", "/instances", "/objects.csv", "/objects.geojson"):
        answer = client.get(f"/api/jobs/{path}{tail}")
        assert answer.status_code == 404
        assert answer.json()["error"]["what"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/jobs"), ("GET", "/api/predict"), ("POST", "/"), ("DELETE", "/api/model")],
)
def test_methods_that_are_not_allowed(method: str, path: str, client: TestClient) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    check_contract("error", answer.json())
    assert answer.json()["error"]["what"] == "Method Not Allowed"
    assert answer.headers["allow"]


def test_pages_of_fastapi_that_load_scripts_are_off(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404


def test_the_api_is_described(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/api/health",
        "/api/model",
        "/api/jobs",
        "/api/jobs/{job_id}",
        "/api/jobs/{job_id}/slices/{index}",
        "/api/jobs/{job_id}/labels",
        "/api/jobs/{job_id}/instances",
        "/api/jobs/{job_id}/objects.csv",
        "/api/jobs/{job_id}/objects.geojson",
        "/api/predict",
    }
    create = schema["paths"]["/api/jobs"]["post"]
    assert "multipart/form-data" in create["requestBody"]["content"]
    assert {"202", "400", "403", "408", "413", "421", "422", "503"} <= set(create["responses"])
    assert "application/json" not in schema["paths"]["/api/predict"]["post"]["responses"]["200"]["content"]
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema["components"]["schemas"]["JobStatus"]["example"]["state"] == "running"
    assert schema["components"]["schemas"]["ErrorAnswer"]["example"]["error"]["where"] == "photo.png"


def test_the_files_of_a_dicom_series_are_one_image(
    client: TestClient, predictor: Predictor, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(1).integers(0, 500, (3, 20, 24))
    slices = [Slice(image, (0, 0, 2.5 * index)) for index, image in enumerate(numbers)]
    paths = write_series(tmp_path / "scan", slices)
    answer = client.post("/api/predict", files=[("file", (path.name, path.read_bytes())) for path in paths])
    assert answer.status_code == 200
    expected = predictor.predict(tmp_path / "scan").labels
    np.testing.assert_array_equal(mask_of(answer, tmp_path), expected)
    bare = [("file", (f"1.2.{number}", path.read_bytes())) for number, path in enumerate(paths)]
    bare += [("file", ("README", b"notes"))]
    answer = client.post("/api/predict", files=bare)
    np.testing.assert_array_equal(mask_of(answer, tmp_path), expected)
    assert "1.2.0_labels.nii.gz" in answer.headers["content-disposition"]
    several = [("file", (path.name, path.read_bytes())) for path in paths] + [("file", ("a.png", PICTURE))]
    answer = client.post("/api/predict", files=several)
    assert answer.status_code == 400
    assert "more than 1 files" in answer.json()["error"]["what"]
    other = ("file", ("other.dcm", paths[0].read_bytes()[:-1] + b"\x7f"))
    answer = client.post("/api/predict", files=[several[0], other])
    what = answer.json()["error"]["what"]
    assert what == f"two different files have the same SOPInstanceUID: {paths[0].name} and other.dcm"


def test_a_series_of_several_is_chosen(client: TestClient, predictor: Predictor, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 500, (2, 3, 20, 24))
    for number, volume in enumerate(numbers):
        slices = [Slice(image, (0, 0, 2.5 * index)) for index, image in enumerate(volume)]
        write_series(tmp_path / "scan" / str(number), slices, series=f"1.2.{number}")
    paths = sorted((tmp_path / "scan").rglob("*.dcm"))
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    error = client.post("/api/predict", files=files).json()["error"]
    assert "2 DICOM series" in error["what"]
    assert "UID 1.2.1" in error["what"]
    for number in (0, 1):
        answer = client.post(f"/api/predict?series=1.2.{number}", files=files)
        expected = predictor.predict(tmp_path / "scan" / str(number)).labels
        np.testing.assert_array_equal(mask_of(answer, tmp_path), expected)
    answer = client.post("/api/jobs?series=1.2.9", files=files)
    assert "no DICOM series '1.2.9'" in finished(client, answer.json())["error"]["what"]
    assert client.post("/api/jobs?series=" + "1" * 501, files=files).status_code == 422


def test_errors_name_dicom_files_as_the_client_does(client: TestClient, tmp_path: Path) -> None:
    slices = [Slice(np.ones((20, 24)), (0, 0, height)) for height in (0, 2, 4, 8)]
    paths = write_series(tmp_path / "scan", slices)
    files = [("file", (f"slice {number}.dcm", path.read_bytes())) for number, path in enumerate(paths)]
    error = client.post("/api/predict", files=files).json()["error"]
    assert "between slice 2.dcm at (0, 0, 4) and slice 3.dcm at (0, 0, 8)" in error["what"]
    assert "upload" not in str(error)
