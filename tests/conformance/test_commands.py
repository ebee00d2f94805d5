"""One volume and one picture in every format through every command: the result is always the same."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from conformance import corpus
from conformance.made_images import axes_of
from serve.serving import client_of
from swin_umamba.data.formats import FORMATS, format_of, image_suffixes
from swin_umamba.data.image_io import read_image, read_labels, write_labels
from swin_umamba.inference.predictor import Predictor
from swin_umamba.serve.service import Service
from trained.model_folder import make_model_folder

Run = Callable[..., tuple[int, str, str]]
Files = dict[str, Path]

LABEL_FORMATS = [suffix for suffix in corpus.VOLUMES if suffix]
PLACED = [suffix for suffix in LABEL_FORMATS if format_of(f"a{suffix}").has_geometry]
"""Those that say where a volume lies."""
IN_ONE_FILE = [suffix for suffix in LABEL_FORMATS if suffix not in (".mhd", ".nhdr")]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return corpus.write(tmp_path_factory.mktemp("volumes"), corpus.VOLUME)


@pytest.fixture(scope="module")
def volume_labels(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return corpus.write(tmp_path_factory.mktemp("labels"), corpus.VOLUME_LABELS, suffixes=LABEL_FORMATS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return corpus.write(tmp_path_factory.mktemp("pictures"), corpus.PICTURE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"), file_ending=".nii.gz")


def lies_on_the_corpus(path: Path) -> None:
    """Check the place of a label map of the volume, as ITK and nibabel see it."""
    seen = sitk.ReadImage(str(path))
    np.testing.assert_allclose(seen.GetSpacing(), corpus.SPACING[::-1], rtol=1e-6)
    np.testing.assert_allclose(seen.GetOrigin(), corpus.ORIGIN, rtol=1e-6)
    np.testing.assert_allclose(np.reshape(seen.GetDirection(), (3, 3)).T, corpus.AXES, atol=1e-6)
    if path.name.endswith((".nii", ".nii.gz")):
        np.testing.assert_allclose(nibabel.load(path).affine, corpus.affine(), atol=1e-5)


def test_the_corpus_is_in_every_format() -> None:
    suffixes = {suffix for suffix in (*corpus.VOLUMES, *corpus.PICTURES) if suffix}
    names = {format_of(f"a{suffix}").name for suffix in suffixes}
    assert names | {"DICOM"} == {record.name for record in FORMATS}
    assert suffixes | {".tiff", ".jpeg", ".dcm"} >= set(image_suffixes())


def test_reading(volumes: Files, volume_labels: Files, pictures: Files) -> None:
    for suffix, path in volumes.items():
        image = read_image(path)
        np.testing.assert_array_equal(image.data[0], corpus.VOLUME, err_msg=suffix)
        assert image.spacing == pytest.approx(corpus.SPACING), suffix
        if suffix in (*PLACED, ""):
            assert image.origin == pytest.approx(np.array(corpus.ORIGIN) * corpus.TO_RAS), suffix
            np.testing.assert_allclose(image.direction[::-1], corpus.AXES * corpus.TO_RAS, atol=1e-6)
    for suffix, path in volume_labels.items():
        np.testing.assert_array_equal(read_labels(path).data[0], corpus.VOLUME_LABELS, err_msg=suffix)
    for suffix, path in pictures.items():
        np.testing.assert_array_equal(read_image(path).data[0], corpus.PICTURE, err_msg=suffix)


def test_predict_volumes(volumes: Files, model: Path, tmp_path: Path, run: Run) -> None:
    """Equal labels for equal voxels, which lie on the image."""
    folder = next(iter(volumes.values())).parent
    code, _, errors = run(
        "predict", "-m", model, "-i", folder, "-o", tmp_path / "out", "--no-mirroring", "--device", "cpu"
    )
    assert code == 0, errors
    results = {path.name: path for path in (tmp_path / "out").glob("case_*") if path.suffix != ".json"}
    assert {name.partition(".")[0] for name in results} == {
        path.name.partition(".")[0] for path in volumes.values()
    }
    first = read_labels(results["case_niigz.nii.gz"]).data
    assert len(np.unique(first)) > 1
    for name, path in results.items():
        np.testing.assert_array_equal(read_labels(path).data, first, err_msg=name)
        if name != "case_tif.tif":
            assert name.endswith(".nii.gz")
            lies_on_the_corpus(path)


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".mhd", ".seg.nrrd", ".nii"])
def test_predict_writes_what_the_model_was_trained_on(
    ending: str, volumes: Files, tmp_path: Path, run: Run
) -> None:
    model = make_model_folder(tmp_path / "model", file_ending=ending)
    options = ("-o", tmp_path / "out", "--no-mirroring", "--device", "cpu")
    code, _, errors = run("predict", "-m", model, "-i", volumes[".nii.gz"], volumes[".nrrd"], *options)
    assert code == 0, errors
    for name in ("case_niigz", "case_nrrd"):
        lies_on_the_corpus(tmp_path / "out" / f"{name}{ending}")


def test_predict_pictures(pictures: Files, tmp_path: Path, run: Run) -> None:
    model = make_model_folder(tmp_path / "model")
    folder = pictures[".png"].parent
    code, _, errors = run(
        "predict", "-m", model, "-i", folder, "-o", tmp_path / "out", "--no-mirroring", "--device", "cpu"
    )
    assert code == 0, errors
    found = {path.name: read_labels(path).data for path in (tmp_path / "out").glob("case_*")}
    assert len(found) == len(pictures)
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, found["case_png.png"], err_msg=name)


def test_evaluate_statistics_and_preview(
    volumes: Files, volume_labels: Files, tmp_path: Path, run: Run
) -> None:
    """Each format against another one: all of them hold the same."""
    (tmp_path / "other").mkdir()
    for path, suffix in zip(volume_labels.values(), [*LABEL_FORMATS[1:], LABEL_FORMATS[0]], strict=True):
        stem = path.name.partition(".")[0]
        corpus.VOLUMES[suffix](tmp_path / "other" / f"{stem}{suffix}", np.minimum(corpus.VOLUME_LABELS, 1))
    truth = next(iter(volume_labels.values())).parent
    code, output, errors = run("evaluate", tmp_path / "other", truth, "--labels", "1", "2", "--json")
    assert code == 0, errors
    cases = list(json.loads(output)["cases"].values())
    assert len(cases) == len(LABEL_FORMATS)
    _, ones, twos = np.bincount(corpus.VOLUME_LABELS.ravel()).tolist()
    dice = 2 * ones / (ones + ones + twos)
    assert [case["1"]["dice"] for case in cases] == pytest.approx([dice] * len(cases))

    drawn = {}
    for suffix, path in volume_labels.items():
        code, output, errors = run("statistics", path, volumes[suffix], "--json")
        assert code == 0, errors
        found = json.loads(output)
        volume = ones * np.prod(corpus.SPACING)
        assert volume in (pytest.approx(value) for value in flat(found)), (suffix, found)
        picture = tmp_path / f"{suffix[1:]}.png"
        assert run("preview", volumes[suffix], path, "-o", picture)[0] == 0
        drawn[suffix] = picture.read_bytes()
    assert {drawn[suffix] for suffix in PLACED} == {drawn[".nii.gz"]}


def flat(found: Any) -> list[float]:
    """Return all numbers of a JSON object."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return [number for each in found for number in flat(each)]
    return [found] if isinstance(found, (int, float)) else []


def test_convert(volumes: Files, volume_labels: Files, tmp_path: Path, run: Run) -> None:
    """Stock nnU-Net's reader sees in the data set what was in each of the files."""
    labels = tmp_path / "masks"
    shutil.copytree(volume_labels[".nii"].parent, labels)
    corpus.VOLUMES[".nrrd"](labels / "case_dicom.nrrd", corpus.VOLUME_LABELS)
    folder = next(iter(volumes.values())).parent
    code, _, errors = run(
        "convert", "folder", "--images", folder, "--masks", labels, "-o", tmp_path, "--name", "Dataset906_All"
    )
    assert code == 0, errors
    raw = tmp_path / "nnUNet_raw" / "Dataset906_All"
    for path in volumes.values():
        stem = path.name.partition(".")[0]
        image, label = raw / "imagesTr" / f"{stem}_0000.nii.gz", raw / "labelsTr" / f"{stem}.nii.gz"
        for file, voxels in ((image, corpus.VOLUME), (label, corpus.VOLUME_LABELS)):
            seen, properties = SimpleITKIO().read_images([str(file)])
            np.testing.assert_array_equal(seen[0], voxels, err_msg=stem)
            assert properties["spacing"] == pytest.approx(corpus.SPACING, rel=1e-6)
            if stem != "case_tif":
                lies_on_the_corpus(file)


@pytest.mark.parametrize(
    "ending", [".nii.gz", *(pytest.param(each, marks=pytest.mark.slow) for each in (".mha", ".nrrd"))]
)
def test_plan(ending: str, tmp_path: Path, run: Run) -> None:
    raw = tmp_path / "nnUNet_raw" / "Dataset907_Same"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    for number in range(3):
        corpus.VOLUMES[ending](raw / "imagesTr" / f"case{number}_0000{ending}", corpus.VOLUME)
        corpus.VOLUMES[ending](raw / "labelsTr" / f"case{number}{ending}", corpus.VOLUME_LABELS)
    description = {"channel_names": {"0": "a"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 3}
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ending}))
    code, _, errors = run("plan", "907", "--root", tmp_path, "--workers", "0")
    assert code == 0, errors
    preprocessed = tmp_path / "nnUNet_preprocessed" / raw.name
    fingerprint = json.loads((preprocessed / "dataset_fingerprint.json").read_text())
    np.testing.assert_allclose(fingerprint["spacings"], [corpus.SPACING] * 3, rtol=1e-6)
    statistics = fingerprint["foreground_intensity_properties_per_channel"]["0"]
    assert statistics["max"] == corpus.VOLUME[corpus.VOLUME_LABELS > 0].max()


def test_serve(volumes: Files, model: Path, tmp_path: Path) -> None:
    """The labels of an upload are those of ``predict``; a header alone is refused in words."""
    predictor = Predictor.from_folder(model, device="cpu", mirroring=False)
    expected = predictor.predict(volumes[".nii.gz"]).labels
    with Service(predictor) as service:
        client = client_of(service)
        for suffix in IN_ONE_FILE:
            content = volumes[suffix].read_bytes()
            answer = client.post("/api/predict", files={"file": (f"case{suffix}", content)})
            assert answer.status_code == 200, answer.text
            name = re.search(r'filename="([^"]+)"', answer.headers["content-disposition"])[1]  # type: ignore[index]
            (tmp_path / name).write_bytes(answer.content)
            if suffix != ".tif":  # which has no spacing without its second file
                np.testing.assert_array_equal(read_labels(tmp_path / name).data[0], expected, err_msg=suffix)
                lies_on_the_corpus(tmp_path / name)
        for suffix in (".mhd", ".nhdr"):
            content = volumes[suffix].read_bytes()
            answer = client.post("/api/predict", files={"file": (f"case{suffix}", content)})
            assert answer.status_code == 422
            assert "is missing" in answer.text


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Draw spacing, origin and axes (as rows) in ITK's world, and a shape (z, y, x) or (y, x)."""
    ndim = draw(st.sampled_from((2, 3)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = axes_of(generator, ndim)
    if draw(st.booleans()):  # along the axes of the world, in any order and direction
        axes = np.eye(ndim)[generator.permutation(ndim)] * generator.choice((-1, 1), (ndim, 1))
    shape = tuple(draw(st.lists(st.integers(2, 5), min_size=ndim, max_size=ndim)))
    return generator.uniform(0.2, 6, ndim), generator.uniform(-300, 300, ndim), axes, shape


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(grids(), st.sampled_from((".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")))
def test_label_maps_lie_on_their_images(
    tmp_path_factory: pytest.TempPathFactory, grid: Any, suffix: str
) -> None:
    """In whatever format an image is and its labels are written, both other readers see them at one place."""
    spacing, origin, axes, shape = grid
    folder = tmp_path_factory.mktemp("grid")
    image = sitk.GetImageFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(axes.T.ravel().tolist())
    sitk.WriteImage(image, str(folder / f"image{suffix}"))
    read = read_image(folder / f"image{suffix}")
    labels = np.arange(np.prod(shape)).reshape(shape)
    for ending in PLACED:
        path = folder / f"labels{ending}"
        write_labels(path, labels, like=read)
        seen = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(seen), labels)
        exact = "nii" not in suffix and "nii" not in ending
        tolerance = 1e-12 if exact else 1e-5
        np.testing.assert_allclose(seen.GetSpacing(), spacing, rtol=tolerance)
        np.testing.assert_allclose(seen.GetOrigin(), origin, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(seen.GetDirection(), image.GetDirection(), atol=tolerance)
    if len(shape) == 3:
        matrix = nibabel.load(folder / "labels.nii").affine
        expected = (axes * spacing[:, None] * corpus.TO_RAS).T
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-4)
        np.testing.assert_allclose(matrix[:3, 3], origin * corpus.TO_RAS, atol=1e-4)


def test_plan_holds_segmentations_to_the_names_of_the_data_set(tmp_path: Path, run: Run) -> None:
    """Values are not positions: what 3D Slicer calls "b" must be the class "b"."""
    raw = tmp_path / "nnUNet_raw" / "Dataset908_Named"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    corpus.VOLUMES[".nrrd"](raw / "imagesTr" / "case_0000.nrrd", corpus.VOLUME)
    corpus.VOLUMES[".nrrd"](raw / "labelsTr" / "case.nrrd", corpus.VOLUME_LABELS)
    labels = sitk.ReadImage(str(raw / "labelsTr" / "case.nrrd"))
    for number, (value, name) in enumerate(((1, "B"), (2, "a"))):
        labels.SetMetaData(f"Segment{number}_LabelValue", str(value))
        labels.SetMetaData(f"Segment{number}_Name", name)
    sitk.WriteImage(labels, str(raw / "labelsTr" / "case.nrrd"))
    description = {"channel_names": {"0": "a"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 1}
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nrrd"}))
    code, _, errors = run("plan", "908", "--root", tmp_path, "--workers", "0")
    assert code == 1
    assert "'B' has the value 1 in this file, not 2" in errors
