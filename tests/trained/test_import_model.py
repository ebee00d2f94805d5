"""Model folders of the published code become folders that predict, and untrusted folders do no harm."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from json_edits import changed_json
from payload import Payload
from swin_umamba.errors import CheckpointError, OutputError, UsageError
from swin_umamba.inference.predictor import Predictor
from swin_umamba.models.registry import create_model
from swin_umamba.trained.import_model import import_model
from swin_umamba.trained.model import load_trained_model
from swin_umamba.weights.checkpoint import load_checkpoint
from trained.published_model import (
    DATASET_JSON,
    LABELS,
    OLD_PLANS,
    PATCH_SIZE,
    TRAINERS,
    full_size_weights,
    make_published_model,
    published_checkpoint,
)

PROBABILITY_TOLERANCE = 1e-5
NETWORK_FROM_ELSEWHERE = {"network_class_name": "os.system", "arch_kwargs": {}, "_kw_requires_import": []}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(folder: Path, archive: Path, prefix: str = "Dataset702_AbdomenMR/model") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, f"{prefix}/{path.relative_to(folder)}")
    return archive


@pytest.fixture(scope="module", params=list(TRAINERS))
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The name of a network, its weights, and a model folder of the published code with them."""
    torch.manual_seed(0)
    weights = full_size_weights(request.param)
    folder = make_published_model(tmp_path_factory.mktemp("published"), request.param, weights=weights)
    return request.param, weights, folder


@pytest.fixture(scope="module")
def dagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest of the published models."""
    return make_published_model(tmp_path_factory.mktemp("dagger"), "swin_umamba_d")


def test_an_imported_model_predicts_as_its_network_does(published: Any, tmp_path: Path) -> None:
    name, weights, folder = published
    before = files_in(folder)
    imported = import_model(folder, tmp_path / "imported")
    assert imported.path == tmp_path / "imported"
    assert files_in(folder) == before

    image = np.random.default_rng(0).normal(size=PATCH_SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # plans in the old format would make nnU-Net warn
        predictor = Predictor.from_folder(imported.path, device="cpu", mirroring=False)
    ours = predictor.predict(image, probabilities=True).probabilities
    network = create_model(name, 1, len(LABELS)).eval()
    network.load_state_dict(weights)
    x = torch.from_numpy((image - image.mean()) / image.std()).float()
    with torch.no_grad():
        expected = network(x[None, None]).softmax(1)[0]
    np.testing.assert_allclose(ours, expected, atol=PROBABILITY_TOLERANCE)
    assert expected.std() > 1e-3


def test_nothing_but_what_prediction_needs_is_written(published: Any, tmp_path: Path) -> None:
    _, weights, folder = published
    imported = import_model(folder, tmp_path / "imported")
    assert set(files_in(imported.path)) == {"plans.json", "dataset.json", "fold_all/checkpoint_final.pth"}
    assert json.loads((imported.path / "dataset.json").read_text()) == DATASET_JSON
    content = load_checkpoint(imported.path / "fold_all/checkpoint_final.pth")
    assert set(content) == {
        "network_weights",
        "trainer_name",
        "init_args",
        "inference_allowed_mirroring_axes",
    }
    assert content["network_weights"].keys() == weights.keys()
    assert all(torch.equal(content["network_weights"][key], value) for key, value in weights.items())
    assert content["init_args"]["fold"] == "all"
    assert content["init_args"]["plans"] == json.loads((imported.path / "plans.json").read_text())
    # The checkpoint alone is a model, too.
    assert load_trained_model(imported.path / "fold_all/checkpoint_final.pth").configuration == "2d"


def test_stock_nnunet_builds_the_network_from_the_plans(published: Any, tmp_path: Path) -> None:
    _, weights, folder = published
    imported = import_model(folder, tmp_path / "imported")
    plans = json.loads((imported.path / "plans.json").read_text())
    assert list(plans["configurations"]) == ["2d"]
    assert {key: plans[key] for key in OLD_PLANS if key != "configurations"} == {
        key: value for key, value in OLD_PLANS.items() if key != "configurations"
    }
    assert not any("UNet" in key or "conv" in key for key in plans["configurations"]["2d"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configuration = PlansManager(plans).get_configuration("2d")
    with torch.device("meta"):
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            len(LABELS),
        )
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert shapes == {key: value.shape for key, value in weights.items()}


def with_checkpoints(dagger: Path, folder: Path, names: tuple[str, ...]) -> Path:
    """Make a model folder with the one checkpoint under several names."""
    (folder / "fold_all").mkdir(parents=True)
    for name in names:
        os.link(dagger / "fold_all/checkpoint_99.pth", folder / f"fold_all/checkpoint_{name}.pth")
    (folder / "plans.json").write_text(json.dumps(OLD_PLANS))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return folder


@pytest.mark.parametrize(
    ("there", "dataset", "taken", "reason"),
    [
        (("99", "final", "best"), "Dataset702_AbdomenMR", "99", "published results on Dataset702"),
        (("249", "349"), "Dataset703_NeurIPSCell", "349", "published results on Dataset703"),
        (("249", "final"), "Dataset704_Endovis17", "249", "published results on Dataset704"),
        (("99", "final", "best"), "Dataset999_Mine", "final", "end of the training"),
        (("best", "149", "latest"), "Dataset999_Mine", "best", "scored best"),
        (("49", "149", "99", "latest"), "Dataset999_Mine", "149", "epoch 150"),
        (("latest",), "Dataset999_Mine", "latest", "last one"),
    ],
)
def test_which_checkpoint_is_taken(
    dagger: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    dataset: str,
    taken: str,
    reason: str,
) -> None:
    monkeypatch.setattr("swin_umamba.trained.import_model.check_model", lambda model: None)
    folder = with_checkpoints(dagger, tmp_path / "model", there)
    (folder / "plans.json").write_text(json.dumps(OLD_PLANS | {"dataset_name": dataset}))
    imported = import_model(folder, tmp_path / "out")
    assert imported.checkpoint == f"checkpoint_{taken}.pth"
    assert reason in imported.reason
    assert set(imported.others) == {f"checkpoint_{name}.pth" for name in there if name != taken}


@pytest.mark.parametrize("name", ["final", "best"])
def test_a_checkpoint_that_was_asked_for_is_taken(dagger: Path, tmp_path: Path, name: str) -> None:
    folder = with_checkpoints(dagger, tmp_path / "model", ("final", "best"))
    asked = import_model(folder, tmp_path / "out", checkpoint=f"checkpoint_{name}.pth")
    assert (asked.checkpoint, asked.reason) == (f"checkpoint_{name}.pth", "you asked for it")


def test_where_it_goes_by_default(dagger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "downloaded"
    source.symlink_to(dagger, target_is_directory=True)
    beside = dagger.with_name(f"{dagger.name}_imported")
    assert import_model(source).path == beside
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    place = tmp_path / "results/Dataset702_AbdomenMR/nnUNetTrainerSwinUMambaD__nnUNetPlans__2d"
    assert import_model(source).path == place
    # That place is taken now, and so is the one beside.
    with pytest.raises(OutputError, match="a model exists already"):
        import_model(source)
    assert import_model(source, force=True).path == beside


def test_what_is_there_is_not_touched(dagger: Path, tmp_path: Path) -> None:
    for output in (dagger, dagger / "fold_all/imported"):
        with pytest.raises(UsageError, match="into itself"):
            import_model(dagger, output, force=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/letter.txt").write_text("dear")
    (tmp_path / "file").touch()
    for name in ("letters", "file"):
        with pytest.raises(OutputError, match="something other"):
            import_model(dagger, tmp_path / name, force=True)
    assert files_in(tmp_path) == {"letters/letter.txt": b"dear", "file": b""}
    import_model(dagger, tmp_path / "model")
    (tmp_path / "model/notes.txt").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        import_model(dagger, tmp_path / "model")
    assert (tmp_path / "model/notes.txt").exists()
    import_model(dagger, tmp_path / "model", force=True)
    assert not (tmp_path / "model/notes.txt").exists()


def edit_plans(**entries: object) -> Any:
    def edit(folder: Path) -> None:
        with changed_json(folder / "plans.json") as plans:
            for key, value in entries.items():
                (plans if key in plans else plans["configurations"]["2d"])[key] = value

    return edit


def edit_checkpoint(**entries: object) -> Any:
    def edit(folder: Path) -> None:
        weights = full_size_weights("swin_umamba_d")
        content = published_checkpoint(weights, "nnUNetTrainerSwinUMambaD", OLD_PLANS)
        for key, value in entries.items():
            if callable(value):
                value(content[key])
            else:
                content[key] = value
        torch.save(content, folder / "fold_all/checkpoint_99.pth")

    return edit


def rename_a_tensor(weights: dict[str, Any]) -> None:
    weights["decoder.seg_layers.9.bias"] = weights.pop("decoder.seg_layers.3.bias")


def reshape_a_tensor(weights: dict[str, Any]) -> None:
    weights["decoder.seg_layers.3.bias"] = torch.zeros(5)


def claim_terabytes(weights: dict[str, Any]) -> None:
    weights["decoder.seg_layers.3.bias"] = torch.zeros(1).expand(10**12)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "plans.json").unlink(), r"not an nnU-Net model folder"),
        (lambda folder: (folder / "plans.json").write_text("{"), r"cannot be read(.|\n)*plans\.json"),
        (lambda folder: (folder / "plans.json").write_text("[" * 10**5), r"cannot be read(.|\n)*plans\.json"),
        (lambda folder: (folder / "plans.json").write_text("[]"), r"no JSON object"),
        (lambda folder: (folder / "dataset.json").write_text("{}"), r"labels"),
        (
            lambda folder: (folder / "fold_all/checkpoint_99.pth").unlink(),
            r"checkpoint_final\.pth is missing",
        ),
        (lambda folder: (folder / "fold_all").rename(folder / "fold"), r"no fold folder"),
        (
            lambda folder: (folder / "fold_all/checkpoint_99.pth").write_bytes(b"garbage"),
            r"where: .*checkpoint_99\.pth",
        ),
        (edit_plans(configurations={}), r"configuration"),
        (edit_plans(configurations=None), r"incomplete or damaged"),
        (edit_plans(UNet_class_name="os.system"), r"os\.system"),
        (edit_plans(preprocessor_name="shutil"), r"'shutil'"),
        (edit_plans(label_manager="time"), r"'time'"),
        (edit_plans(architecture=NETWORK_FROM_ELSEWHERE), r"os\.system"),
        (edit_plans(architecture={}), r"network_class_name"),
        (edit_plans(inherits_from="2d"), r"incomplete or damaged"),
        (
            edit_checkpoint(network_weights=rename_a_tensor),
            r"seg_layers\.3\.bias is missing; .*9\.bias is unk",
        ),
        (edit_checkpoint(network_weights=reshape_a_tensor), r"\(5,\) and not \(3,\)"),
        (edit_checkpoint(network_weights=claim_terabytes), r"tensors of 4,000,[\d,]+ bytes"),
        (edit_checkpoint(network_weights={"a": 1}), r"not a state dict"),
        (edit_checkpoint(network_weights={}), r"is missing"),
        (edit_checkpoint(trainer_name="nnUNetTrainerUMambaBot"), r"nnUNetTrainerUMambaBot"),
        (edit_checkpoint(inference_allowed_mirroring_axes=5), r"mirroring_axes are 5"),
    ],
)
def test_wrong_folders(dagger: Path, tmp_path: Path, damage: Any, message: str) -> None:
    folder = tmp_path / "model"
    (folder / "fold_all").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "fold_all/checkpoint_99.pth"):
        (folder / name).write_bytes((dagger / name).read_bytes())
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        import_model(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("place", ["network_weights", "optimizer_state", "logging", "init_args"])
def test_payloads_are_refused(dagger: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "fold_all").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_bytes((dagger / name).read_bytes())
    edit_checkpoint(**{place: {"x": Payload(os.mkdir, str(tmp_path / "executed"))}})(folder)
    with pytest.raises(CheckpointError, match="mkdir"):
        import_model(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_folders_that_are_none(tmp_path: Path, dagger: Path) -> None:
    with pytest.raises(UsageError, match="single file"):
        import_model(dagger / "fold_all/checkpoint_99.pth", tmp_path / "out")
    for path, message in (
        (tmp_path / "nowhere", "does not exist"),
        (dagger / "fold_all", "not an nnU-Net model"),
    ):
        with pytest.raises(CheckpointError, match=message):
            import_model(path, tmp_path / "out")


def test_from_an_archive(dagger: Path, tmp_path: Path) -> None:
    archive = zipped(dagger, tmp_path / "model.zip")
    imported = import_model(archive)
    assert imported.path == tmp_path / "model_imported"
    import_model(dagger, tmp_path / "folder")
    assert files_in(imported.path).keys() == files_in(tmp_path / "folder").keys()
    ours, theirs = (
        load_checkpoint(path / "fold_all/checkpoint_final.pth")["network_weights"]
        for path in (imported.path, tmp_path / "folder")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    (tmp_path / "broken.zip").write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"damaged(.|\n)*broken\.zip"):
        import_model(tmp_path / "broken.zip")
