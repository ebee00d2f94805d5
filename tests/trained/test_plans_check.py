from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_umamba.errors import CheckpointError
from swin_umamba.trained.plans_check import check_plans

MakeModel = Callable[..., Path]


@pytest.fixture
def plans(make_model: MakeModel) -> dict[str, Any]:
    return json.loads((make_model() / "plans.json").read_text())


def check(plans: dict[str, Any]) -> None:
    check_plans(plans, plans["configurations"]["2d"], Path("model"))


def test_ordinary_plans_pass(plans: dict[str, Any]) -> None:
    check(plans)
    for name in ("PlannedSwinUMamba", "PlannedSwinUMambaD", "PlannedSwinUMambaDObjects"):
        ours = copy.deepcopy(plans)
        architecture = {"network_class_name": f"swin_umamba.nnunet.architecture.{name}"}
        ours["configurations"]["2d"]["architecture"].update(architecture)
        check(ours)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "evil_package.Network",
        "swin_umamba.files.write_text",
        "swin_umamba.nnunet.architecture.Any",
        "dynamic_network_architectures.architectures.unet.torch.nn.Conv2d",
        "dynamic_network_architectures.architectures.unet.np.save",
        "dynamic_network_architectures.building_blocks.helper.convert_dim_to_conv_op",
        "dynamic_network_architectures.architectures.unet.NoSuchNetwork",
        "dynamic_network_architectures..unet",
        "dynamic_network_architectures.__builtins__.eval",
        "",
        None,
        ["os.system"],
    ],
)
def test_a_network_has_to_be_a_network(plans: dict[str, Any], name: object) -> None:
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = name
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        check(plans)


def test_nothing_outside_the_packages_is_imported(
    plans: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_package.py").write_text("import pathlib; pathlib.Path('executed').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = "evil_package.Network"
    with pytest.raises(CheckpointError, match="lies outside"):
        check(plans)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["os.system", "torch.nn.functional.relu", "torch.nn.init", "torch.load"])
def test_a_layer_has_to_be_a_layer(plans: dict[str, Any], name: str) -> None:
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["nonlin"] = name
    with pytest.raises(CheckpointError, match=name):
        check(plans)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("preprocessor_name", "shutil"),
        ("preprocessor_name", "sleep"),
        ("normalization_schemes", ["np"]),
        ("normalization_schemes", ["NoSuchNormalization"]),
        ("resampling_fn_data", "partial"),
        ("resampling_fn_probabilities", "OrderedDict"),
        ("resampling_fn_seg", "os.system"),
    ],
)
def test_preprocessing_has_to_be_that_of_nnunet(plans: dict[str, Any], key: str, name: object) -> None:
    plans["configurations"]["2d"][key] = name
    with pytest.raises(CheckpointError, match="the plans name"):
        check(plans)


def test_the_label_manager_has_to_be_one(plans: dict[str, Any]) -> None:
    plans["label_manager"] = "time"
    with pytest.raises(CheckpointError, match="LabelManager"):
        check(plans)
