"""Untrusted uploads: every one ends in a mask or in a clear refusal, and leaves nothing behind."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.client_files import nifti, png, tiff
from serve.forms import FORM, form, nothing_is_left, refused
from serve.serving import client_of, eventually
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.limits import MIB, Limits
from swin_umamba.serve.segment import LONGEST_STEM, case_name, download_stem
from swin_umamba.serve.service import Service
from swin_umamba.serve.upload import LONGEST_NAME, shown_name


@pytest.mark.parametrize(
    ("name", "shown", "download"),
    [
        ("../../../etc/cron.d/x.png", "x.png", "x_labels.png"),
        ("..\\..\\windows\\x.png", "x.png", "x_labels.png"),
        ("/etc/passwd.png", "passwd.png", "passwd_labels.png"),
        ("nul\0byte.png", "nul�byte.png", "nul_byte_labels.png"),
        ("two\r\nlines.png", "two� lines.png", "two_lines_labels.png"),
        ("Leber Ä 肝.png", "Leber Ä 肝.png", "Leber_Ä_肝_labels.png"),
        ("\u202egnp.exe.png", "�gnp.exe.png", "gnp.exe_labels.png"),
        ("....png", "....png", "image_labels.png"),
        ("<script>'\";.png", "<script>'\";.png", "script_labels.png"),
        ("CON.png", "CON.png", "CON_labels.png"),
        ("case_0000.png", "case_0000.png", "case_labels.png"),
    ],
)
def test_names_are_shown_and_never_used(name: str, shown: str, download: str) -> None:
    assert shown_name(name) == shown
    assert f"{download_stem(case_name(shown))}_labels.png" == download


def test_long_names_keep_their_ending() -> None:
    name = shown_name("ä" * 1000 + ".nii.gz")
    assert len(name) == LONGEST_NAME
    assert name.endswith("ä.nii.gz")
    assert len(download_stem(case_name(name))) <= LONGEST_STEM


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (form(), "no file"),
        (form(('name="file"; filename=""', b"")), "no file"),
        (form(('name="file"', b"text")), "not a file"),
        (form(('name="other"; filename="a.png"', b"x")), "not a file"),
        (form(('filename="a.png"', b"x")), "not a file"),
        (
            form(('name="file"; filename="a.png"', b"x"), ('name="file"; filename="b.png"', b"x")),
            "more than 1",
        ),
        (form(('name="file"; filename="a.png"', b"x"), end=""), "too early"),
        (form(('name="file"; filename="a.png"', b"x"))[:-20], "too early"),
        (b"", "too early"),
        (b"no form at all", "not the form"),
        (form((f'name="file"; filename="{"a" * 20000}.png"', b"x")), ""),
        (form(('name="file"; filename="two\r\nlines.png"', b"x")), ""),
    ],
)
def test_forms_that_are_none(body: bytes, what: str, service: Service, client: TestClient) -> None:
    for path in ("/api/jobs", "/api/predict"):
        refused(client.post(path, content=body, headers=FORM), 400, what)
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 500]
)
def test_bodies_that_are_no_form(kind: str, service: Service, client: TestClient) -> None:
    body = form(('name="file"; filename="a.png"', b"x"))
    assert client.post("/api/jobs", content=body, headers={"content-type": kind}).status_code == 400
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", b"hello", "format of this file is not known"),
        ("noending", b"hello", "format of this file is not known"),
        ("a.dcm", b"DICM", "does not begin like a DICOM file"),
        ("a.png", b"", "empty"),
        ("a.png", b"not a picture", "not a PNG"),
        ("a.png", png(np.zeros((9, 9), np.uint8))[:-30], "cut off"),
        ("a.nii.gz", nifti(np.zeros((2, 8, 8), np.uint8))[:60], "damaged"),
        ("a.nii.gz", gzip.compress(b"x" * 999, mtime=0), "header"),
        ("a.nii", nifti(np.zeros((2, 8, 8), np.uint8)), "its name says otherwise"),
        ("a.tif", tiff(np.zeros((9, 9), np.uint8))[:50], "damaged"),
        (
            "a.png",
            png(np.zeros((9, 9, 3), np.uint8)),
            "the image has 3 channels, but the model takes 1: grey",
        ),
        ("a.nii.gz", nifti(np.full((2, 8, 8), np.nan, np.float32)), "NaN"),
    ],
    # Of the bytes, names would be long, and those of compressed ones could differ between processes.
    ids=[
        "txt",
        "no-ending",
        "dcm",
        "empty",
        "no-png",
        "cut-png",
        "cut-gz",
        "no-nifti",
        "gz-as-nii",
        "cut-tif",
        "colours",
        "nan",
    ],
)
def test_files_that_are_no_images(
    name: str, content: bytes, what: str, service: Service, client: TestClient
) -> None:
    error = refused(client.post("/api/predict", files={"file": (name, content)}), 422, what)
    assert error["where"] == name
    assert eventually(lambda: nothing_is_left(service))


def test_wrong_numbers_of_channels(
    start: Callable[..., Service], predictor_of_two: Predictor, picture: np.ndarray
) -> None:
    client = client_of(start(predictor_of_two))
    three = [("file", (f"{number}.png", png(picture))) for number in range(3)]
    refused(client.post("/api/predict", files=three), 400, "more than 2 files")
    one = {"file": ("one.png", png(picture))}
    error = refused(
        client.post("/api/predict", files=one), 422, "has 1 channel, but the model takes 2: T1, T2"
    )
    assert error["where"] == "one.png"
    grids = [("file", ("a.png", png(picture))), ("file", ("b.png", png(picture[1:])))]
    error = refused(client.post("/api/predict", files=grids), 422, "different grids")
    assert error["where"] == "a.png and b.png"


def test_a_spacing_counts_as_the_voxels_that_it_makes(
    start: Callable[..., Service], predictor_of_two: Predictor, picture: np.ndarray
) -> None:
    client = client_of(start(predictor_of_two, Limits(voxels=10**6)))
    content = nifti(picture[None].astype(np.float32), spacing=(1000.0, 1000.0, 1.0))
    files = [("file", (f"{number}.nii.gz", content)) for number in range(2)]
    refused(client.post("/api/predict", files=files), 422, "would have 3.84e+09 voxels; the limit is 1000000")


def test_a_model_of_pictures_counts_pixels_whatever_the_millimetres(
    start: Callable[..., Service], predictor: Predictor, picture: np.ndarray
) -> None:
    client = client_of(start(predictor, Limits(voxels=10**6)))
    masks = []
    for spacing in ((1.0, 1.0, 1.0), (1000.0, 1000.0, 1.0)):
        content = nifti(picture[None].astype(np.float32), spacing=spacing)
        answer = client.post("/api/predict", files={"file": ("a.nii.gz", content)})
        masks.append(np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content)).dataobj))
    np.testing.assert_array_equal(*masks)
    assert masks[0].any()


def test_all_channels_count(
    start: Callable[..., Service], predictor_of_two: Predictor, picture: np.ndarray
) -> None:
    client = client_of(start(predictor_of_two, Limits(voxels=picture.size)))
    files = [("file", (f"{number}.png", png(picture))) for number in range(2)]
    refused(client.post("/api/predict", files=files), 422, f"has {2 * picture.size} voxels")


def test_uploads_share_a_space(
    start: Callable[..., Service], predictor: Predictor, picture: np.ndarray
) -> None:
    service = start(predictor, Limits(upload_bytes=MIB, uploads_at_once=1, share=1))
    client = client_of(service)
    other = service.storage.new()
    service.storage.reserve(other, MIB - 100)
    answer = client.post("/api/jobs", files={"file": ("a.png", png(picture))})
    refused(answer, 503, "other uploads")
    assert int(answer.headers["retry-after"]) > 0
    service.storage.remove(other)
    assert client.post("/api/predict", files={"file": ("a.png", png(picture))}).status_code == 200
    assert client.post("/api/predict", files={"file": ("a.png", png(picture))}).status_code == 200


def test_a_full_disk_is_told(
    service: Service, client: TestClient, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, mode: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        refused(client.post("/api/jobs", files={"file": ("a.png", png(picture))}), 503, "cannot store")
    assert nothing_is_left(service)


def test_the_folder_is_private(service: Service) -> None:
    assert service.storage.path.stat().st_mode & 0o777 == 0o700
